"""Remove from records and logs what they must not hold: paths of one machine, addresses of servers, and secrets."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY", re.IGNORECASE)
SHORTEST_SECRET = 8
SHORTEST_NAMED_SECRET = 6  # of a variable that is known to hold a secret; words such as EMPTY are shorter
_PATH = re.compile(r"[~/][^\n\0]*/[^\n\0]*")
_named: set[str] = set()


def name_secret(variable: str) -> None:
    """Count an environment variable as one that holds a secret, whatever its name."""
    _named.add(variable)


def secrets(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Secret values of environment variables, in every form in which a text may show them, the longest first.

    They are the variables with names like TOKEN or PASSWORD, and those of `name_secret`.
    """
    values = set()
    for name, value in environment.items():
        shortest = SHORTEST_NAMED_SECRET if name in _named else SHORTEST_SECRET
        if name in _named or SECRET_NAME.search(name):
            values |= {form for form in _forms(value) if len(form) >= shortest}
    return tuple(sorted(values, key=lambda value: (-len(value), value)))


def _forms(value: str) -> Iterator[str]:
    """A secret without blanks around it, each line of it, and each of these escaped or quoted."""
    for text in {value.strip(), *map(str.strip, value.splitlines())}:
        raw = text.encode(errors="surrogateescape")
        for form in (text, repr(text)[1:-1], repr(raw)[2:-1], ascii(text)[1:-1], shlex.quote(text)):
            yield form
            yield repr(form)[1:-1]
        for known in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
            yield known
            yield json.dumps(known)[1:-1]
        yield from (quote(raw), quote(raw, safe=""), quote_plus(raw), raw.decode("latin-1"))
        yield raw.decode("ascii", "replace")
        yield raw.decode("utf8", "replace")


def hidden(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The text without the values of secret variables."""
    for secret in secrets(environment):
        text = text.replace(secret, "<secret>")
    return text


class HidingStream:
    """A text stream that writes no secrets. Everything but writing is the stream's own."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(hidden(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def hide_from_output() -> None:
    """Write no secrets to standard output and error from now on, in tracebacks either."""
    if not isinstance(sys.stderr, HidingStream):
        sys.stdout, sys.stderr = HidingStream(sys.stdout), HidingStream(sys.stderr)

    def print_traceback(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        # in one piece, so that no secret is split between two
        sys.stderr.write("".join(traceback.format_exception(kind, error, trace)))

    sys.excepthook = print_traceback


def scrubbed(value: Any, environment: Mapping[str, str] = os.environ) -> Any:
    """Remove secrets, absolute paths and server addresses from a JSON value.

    A file's path becomes `path:{name}`, a folder's path `path:` (its name may be a user's); a URL keeps its scheme and
    path.
    """
    return _scrubbed(value, secrets(environment))


def _scrubbed(value: Any, hidden: tuple[str, ...]) -> Any:
    if isinstance(value, Mapping):
        return {
            _text(name, hidden) if isinstance(name, str) else name: _scrubbed(v, hidden) for name, v in value.items()
        }
    if isinstance(value, list | tuple):
        return list(map(partial(_scrubbed, hidden=hidden), value))
    return _text(value, hidden) if isinstance(value, str) else value


def _text(text: str, hidden: tuple[str, ...]) -> str:
    for secret in hidden:
        text = text.replace(secret, "<secret>")
    if _PATH.fullmatch(text):
        path = PurePath(text)
        return f"path:{path.name if path.suffix and not text.endswith('/') else ''}"
    if re.match(r"https?://", text, re.IGNORECASE):
        address = urlsplit(text)
        return f"{address.scheme}:...{address.path}"
    return text


def portable_name(path: Path, folder: Path) -> str:
    """Name of a file in records: its path relative to `folder` (the project) if it lies there, else `data:{name}`."""
    # not resolved: a file that is in the project through a link keeps its name there
    absolute = os.path.abspath(folder / path)
    inside = PurePath(os.path.relpath(absolute, folder))
    return f"data:{path.name}" if ".." in inside.parts else inside.as_posix()
