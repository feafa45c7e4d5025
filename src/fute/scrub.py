"""Remove from records what they must not hold: paths of one machine, addresses of servers, and secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY", re.IGNORECASE)
SHORTEST_SECRET = 8
_PATH = re.compile(r"[~/][^\n\0]*/[^\n\0]*")


def secrets(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Values of environment variables with names like TOKEN or PASSWORD, the longest first."""
    values = {
        value for name, value in environment.items() if SECRET_NAME.search(name) and len(value) >= SHORTEST_SECRET
    }
    return tuple(sorted(values, key=lambda value: (-len(value), value)))


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
    if re.match(r"https?://", text):
        address = urlsplit(text)
        return f"{address.scheme}:...{address.path}"
    return text


def portable_name(path: Path, folder: Path) -> str:
    """Name of a file in records: its path relative to `folder` (the project) if it lies there, else `data:{name}`."""
    # not resolved: a file that is in the project through a link keeps its name there
    absolute = os.path.abspath(folder / path)
    inside = PurePath(os.path.relpath(absolute, folder))
    return f"data:{path.name}" if ".." in inside.parts else inside.as_posix()
