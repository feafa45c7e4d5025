"""What the steps' command lines have in common."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[str, typer.Option(help="settings as JSON")]
PathOption = Annotated[Path, typer.Option()]
Files = Annotated[list[str], typer.Option(help="NAME=PATH, repeated")]


def named(pairs: list[str]) -> dict[str, Path]:
    """NAME=PATH options as a mapping."""
    found = {}
    for pair in pairs:
        name, separator, path = pair.partition("=")
        if not separator or not name or not path:
            raise typer.BadParameter(f"{pair!r} is not NAME=PATH")
        found[name] = Path(path)
    return found


def parsed_json(text: str) -> Any:
    """JSON options as values."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"not JSON: {error}") from None
