"""Fetch the lines that U is drawn from: one file `{script}.jsonl` per CrossFit script, for `unsup` of kind
`crossfit_full`.

CrossFit's own code needs Python 3.6, `datasets` 1.4 and downloads that are gone. MetaICL ran a copy of it in time; its
files, and tables of the datasets for other scripts, are on the hub (`config/unsup.yaml` says where). MetaICL's form is
turned back into CrossFit's as far as it can be (`metaicl_line`). A script that is there, as `.tsv` of CrossFit's own
code or as `.jsonl`, is left as it is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import httpx2
from filelock import FileLock, Timeout
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from fute.config.unsup_sources import ScriptSource, UnsupSources
from fute.data.crossfit_forms import FORMS, ONE_LINE_FOR_MANY_ROWS, one_line, with_choices
from fute.data.hub_patience import FOR_A_MOMENT, patiently
from fute.data.rows import BadRow, at, read_lines, read_raw_jsonl
from fute.data.unsup_files import DOWNLOADS, script_file

CONVERTED = "refs/convert/parquet"
"""Branch that the hub makes of a dataset, with one folder per configuration and split."""
MOST = 16_384
"""Lines that are kept of a script, as in MetaICL's files; U takes at most 1,000 of them."""
LOCK = ".lock"
"""File in the folder that scripts are fetched into, while they are."""
Asked = TypeVar("Asked")


class FetchError(RuntimeError):
    """The hub cannot be read at all, or not all scripts can be had where all are asked for."""


class _Absent(Exception):
    """A script's lines are not there; the message says why."""


class Script(NamedTuple):
    """What came of one script. joined: lines whose passage and question could not be told apart. why: of a missing
    one."""

    name: str
    state: Literal["here", "fetched", "missing"]
    lines: int = 0
    joined: int = 0
    why: str = ""


def fetch_unsup(sources: UnsupSources, scripts: Iterable[str], folder: Path) -> Iterator[Script]:
    """Fetch what is not in the folder yet, script by script.

    A file appears under its name when it is whole, so a run after one that was stopped fetches the rest. One process
    fetches into a folder at a time: another one waits, and finds there what the first has fetched. Raises FetchError if
    the hub cannot be read, OSError if the folder cannot be written.
    """
    unknown = ScriptSource(missing="config/unsup.yaml does not name it")
    asked = {name: sources.scripts.get(name, unknown) for name in scripts}
    downloads_folder = folder / DOWNLOADS
    to_fetch = any(source.missing is None and not script_file(folder, name) for name, source in asked.items())
    with _alone_in(folder) if to_fetch else nullcontext():
        for name, source in asked.items():
            if path := script_file(folder, name):
                yield Script(name, "here", sum(1 for _ in read_lines(path)))
            elif source.missing is not None:
                yield Script(name, "missing", why=source.missing)
            else:
                downloads = downloads_folder / name
                downloads.mkdir(parents=True, exist_ok=True)
                try:
                    lines, joined = _fetch(name, source, sources, downloads, folder / f"{name}.jsonl")
                except (_Absent, BadRow) as error:
                    yield Script(name, "missing", why=str(error))
                else:
                    yield Script(name, "fetched", lines, joined)
                shutil.rmtree(downloads, ignore_errors=True)
        with suppress(OSError):  # not there, or it holds what a killed fetch has left of another script
            downloads_folder.rmdir()


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process fetches into a folder. The lock ends with its process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, mode=0o666)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{folder}: another process fetches into it; waiting until it has ended (or end one of them)", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)  # while it is held: who waits for it makes a new one
        lock.release()


def _fetch(name: str, source: ScriptSource, sources: UnsupSources, downloads: Path, path: Path) -> tuple[int, int]:
    """Fetch one script; return how many lines it has, and how many of them are joined."""
    joined = 0
    if source.task is not None:
        file = f"data/{source.task}/{source.task}_16384_100_train.jsonl"
        got = _download(sources.repo, file, sources.revision, downloads)
        made = [metaicl_line(values, source, at(file, number)) for number, values in read_raw_jsonl(got)]
        joined = sum(not apart for _, apart in made)
        lines = [text for text, _ in made]
    else:
        lines = _table_lines(name, source, downloads)
    if not lines:
        raise _Absent("its source has no lines")
    unfinished = downloads / "unfinished"
    unfinished.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in lines), "utf8")
    unfinished.replace(path)
    return len(lines), joined


# --- MetaICL's form, and back ---------------------------------------------------------------------------------------

_STOP = r"(?<=[a-z0-9)%\"'’”])[.!?]+[\"'’”)]*"
_NEXT = r"(?=[\"'“‘(]?[A-Z_])"
_JOINT, _SENTENCE_END = re.compile(_STOP + _NEXT), re.compile(_STOP + r"\s+" + _NEXT)


def metaicl_line(values: Mapping[str, Any], source: ScriptSource, where: str) -> tuple[str, bool]:
    """The line of CrossFit that MetaICL's row was made from, and whether passage and question were told apart.

    MetaICL writes choices into a list of their own, and a passage right before its question, without a blank. What it
    dropped does not come back: blanks around a text, names of choices other than letters, the word `or` between them.
    Raises BadRow for a row of another form.
    """
    text, options = values.get("input"), values.get("options", [])
    if not isinstance(text, str) or not isinstance(options, list) or not all(isinstance(o, str) for o in options):
        raise BadRow(where, "input, options", "are not a text and a list of texts", "name another revision")
    text, passage, apart = text.strip(), "", True
    if source.question is not None:
        start = _question_start(text, source.question)
        apart = start is not None
        text, passage = text[start or 0 :].strip(), text[: start or 0].strip()
    if source.choices == "spaced":
        text = with_choices(text, options)
    elif source.choices == "tight":
        text += "".join(f"({chr(ord('A') + number)}){option}" for number, option in enumerate(options))
    return " ".join(filter(None, (text, source.before_passage, passage)) if passage else (text,)), apart


def _question_start(text: str, begins_with: str) -> int | None:
    """Where the question begins in a text of a passage and a question; None if that cannot be told."""
    if begins_with:
        start = text.rfind(begins_with)
        return start if start >= 0 else None
    ends = [match.end() for match in _JOINT.finditer(text)]
    if not ends or _SENTENCE_END.search(text, ends[-1]):  # the rest has several sentences: no question
        return None
    return ends[-1]


# --- tables ---------------------------------------------------------------------------------------------------------


def _table_lines(name: str, source: ScriptSource, downloads: Path) -> list[str]:
    """Lines of a script from the table of a dataset: at most `MOST`, drawn as CrossFit draws its test split."""
    import numpy
    from pyarrow import parquet
    from pyarrow.lib import ArrowException

    repo = str(source.repo)
    info = _asked(repo, partial(HfApi(token=_token()).dataset_info, repo, revision=CONVERTED))
    pattern = f"{source.config}/{source.split}/*.parquet"
    names = sorted(file.rfilename for file in info.siblings or () if fnmatch(file.rfilename, pattern))
    if not names:
        raise _Absent(f"{repo} has no {pattern} in its branch {CONVERTED}")
    lines: list[str] = []
    for file in names:
        got = _download(repo, file, info.sha, downloads)
        try:
            table = parquet.ParquetFile(got)
            if absent := sorted(set(source.columns) - set(table.schema_arrow.names)):
                raise _Absent(f"{repo}, {file}: has no column {absent[0]!r}")
            for batch in table.iter_batches(columns=list(source.columns)):
                made = map(FORMS[name], batch.to_pylist())
                lines += [one_line(line) for line in made if line is not None and line.strip()]
        except ArrowException as error:
            raise _Absent(f"{repo}, {file}: is no Parquet file ({error})") from None
    if name in ONE_LINE_FOR_MANY_ROWS:
        lines = list(dict.fromkeys(lines))
    order = list(range(len(lines)))
    numpy.random.RandomState(42).shuffle(order)  # CrossFit's own draw
    kept = order[: int(0.8 * len(order)) if source.heldout else None][:MOST]
    return [lines[number] for number in sorted(kept)]


# --- the hub ----------------------------------------------------------------------------------------------------------


def _token() -> str | None:
    return os.environ.get("HF_TOKEN")


def _download(repo: str, file: str, revision: str, folder: Path) -> Path:
    """Download one file of a dataset's repository; the hub's client renames it when it is whole."""
    call = partial(hf_hub_download, repo, file, repo_type="dataset", revision=revision, local_dir=folder)
    return Path(_asked(repo, partial(call, token=_token())))


def _asked(repo: str, call: Callable[[], Asked]) -> Asked:
    """Ask the hub. Raises _Absent for what it does not have or give, FetchError if it does not answer."""
    try:
        return patiently(repo, call)
    except GatedRepoError:
        page = f"https://huggingface.co/datasets/{repo}"
        raise _Absent(f"{repo} is gated: accept its licence on {page}, and put a token into HF_TOKEN") from None
    except (RepositoryNotFoundError, DisabledRepoError):
        raise _Absent(f"{repo} is not on the hub, or is private: put a token into HF_TOKEN") from None
    except RevisionNotFoundError:
        raise _Absent(f"{repo} has no such revision: correct config/unsup.yaml") from None
    except RemoteEntryNotFoundError as error:
        raise _Absent(f"{repo} does not have {error.response.url.path.rsplit('/', 1)[-1]}") from None
    except (OSError, httpx2.HTTPError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # of this machine, as a full disk
        cause = error.__cause__ or error
        if isinstance(cause, OfflineModeIsEnabled):
            raise FetchError("HF_HUB_OFFLINE is set: unset it, on a node with a network") from None
        cause = error if isinstance(error, HfHubHTTPError) else cause
        status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
        if status is not None and status < 500 and status not in FOR_A_MOMENT:
            raise _Absent(f"the hub refuses {repo} (status {status})") from None
        what = f"status {status}" if status else type(cause).__name__
        raise FetchError(
            f"the hub does not give {repo} ({what}): run this again, on a node with a network, or set "
            "HF_ENDPOINT to a mirror; what was fetched is kept"
        ) from None
