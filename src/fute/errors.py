"""One line for every expected error of a command: what, where, and what to do."""

from __future__ import annotations

import csv
import gzip
import json
import os
import traceback
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from fute.artifacts import AGAIN, sha256_file, sidecar_path
from fute.code_hash import PACKAGE
from fute.wording import listed

LARGEST = 2**30
"""Files above this size (bytes) are not read through to look for damage."""


def one_line(error: BaseException, arguments: Sequence[str]) -> str | None:
    """The message of an expected error; None for one that may be a fault of this program, which keeps its traceback.

    Expected are errors that this package raises itself, errors of the system with a file, and every error of a command
    that was given a damaged file. arguments: of the command; the files among them are looked at.
    """
    from fute.cluster import storage

    if type(error).__module__.startswith("fute.") or _raised_here(error):
        return str(error)
    if message := storage.advice(error):
        return message
    if isinstance(error, OSError) and error.filename is not None:
        return f"{_shown(error.filename)}: {error.strerror or error}{_how_to_make(error.filename)}"
    if isinstance(error, OSError) and not error.errno:  # a library's own words, as for a model folder without weights
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return None
    files = list(dict.fromkeys(_files(arguments)))
    for path in files:
        if problem := damage(path):
            return f"{path}: {problem}; {_remedy(path)}"
    for path in files:
        if (was := _recorded_sha256(path)) and sha256_file(path) != was:
            return f"{path}: is not the file that its record describes: it was edited or damaged; {_remedy(path)}"
    strange = [str(path) for path in files if not sidecar_path(path).is_file()]
    if strange and isinstance(error, (LookupError, TypeError, ValueError, AttributeError)):
        return (
            f"cannot use what it was given ({type(error).__name__}{_place(error)}: {' '.join(str(error).split())}): "
            f"these files have no record, so they may hold something else: {listed(strange, 5)}"
        )
    return None


def damage(path: Path) -> str | None:
    """Why a file cannot be read as what its name says it is; None for a good one, and for a kind that is not known."""
    if path.stat().st_size > LARGEST:
        return None
    try:
        data = path.read_bytes()
        if not data:
            return "is empty"
        name = path.name
        if name.endswith(".gz"):
            data, name = gzip.decompress(data), name.removesuffix(".gz")
        if name.endswith(".jsonl"):
            for number, line in enumerate(data.decode("utf8").removesuffix("\n").split("\n"), start=1):
                if not isinstance(json.loads(line), dict):
                    return f"line {number} is no JSON object"
        elif name.endswith((".json", ".json.gz")):
            json.loads(data)
        elif name.endswith((".csv", ".tsv")):
            list(csv.reader(data.decode("utf8").splitlines(), strict=True))
        elif name.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                if bad := archive.testzip():
                    return f"its member {bad} is damaged"
        elif name.endswith(".safetensors"):
            length = int.from_bytes(data[:8], "little")
            header = json.loads(data[8 : 8 + length])
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
            if 8 + length + max(ends, default=0) != len(data):
                return "is cut"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    except (ValueError, RecursionError, EOFError, LookupError, TypeError, AttributeError,
            csv.Error, zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        return f"is damaged: {' '.join(str(error).split())}"
    return None


def _raised_here(error: BaseException) -> bool:
    """Whether a statement `raise` of this package raised the error."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    here = bool(last) and Path(last[0].filename).is_relative_to(PACKAGE) and (last[0].line or "").startswith("raise ")
    return here and not isinstance(error, (AssertionError, NotImplementedError))


def _place(error: BaseException) -> str:
    """Where in this package an error arose, for whoever looks for a fault of the program instead."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(PACKAGE)]
    return f" at {Path(own[-1].filename).relative_to(PACKAGE.parent)}:{own[-1].lineno}" if own else ""


def _files(arguments: Sequence[str]) -> Iterator[Path]:
    """Files that arguments name: `PATH`, `KEY=PATH`, `--flag=PATH`, and those in the lines of `@PATH`."""
    for argument in arguments:
        if argument.startswith("@") and Path(argument[1:]).is_file():
            yield from _files(Path(argument[1:]).read_text(encoding="utf8", errors="replace").splitlines())
        for text in (argument, argument.partition("=")[2]):
            if text and "\0" not in text and len(os.fsencode(text)) < 4096 and os.path.isfile(text):
                yield Path(text)


def _recorded_sha256(path: Path) -> str | None:
    try:
        return json.loads(sidecar_path(path).read_text(encoding="utf8"))["record"]["sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _remedy(path: Path) -> str:
    return f"{AGAIN} {path}" if sidecar_path(path).exists() or _in_results(path) else "correct it, or give another file"


def _how_to_make(path: str | bytes | int) -> str:
    shown = Path(_shown(path))
    return f"; make it: snakemake --cores 1 {shown}" if _in_results(shown) and not shown.exists() else ""


def _in_results(path: Path) -> bool:
    return "results" in path.parts


def _shown(path: str | bytes | int) -> str:
    return os.fsdecode(path) if isinstance(path, (str, bytes)) else str(path)
