"""What the commands of `fute audit` share: their options, and how they end.

Every step of the workflow loads this file, so it imports nothing heavy.
"""

from __future__ import annotations

from json import loads
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fute.audit.findings import INCOMPLETE, Report
from fute.cluster import storage


class Unusable(RuntimeError):
    """A file or folder that cannot be read or written, so that nothing was found out."""

    exit_code = INCOMPLETE


class AuditGroup(TyperGroup):
    """The commands; what a system refuses them is one line and exit code 2, since it is no drift."""

    def invoke(self, ctx: typer.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as error:
            told = f"{error.filename2 or error.filename}: {error.strerror}" if error.filename else str(error)
            raise Unusable(storage.advice(error) or f"{told}; give a path that can be read and written") from error


def _settings(text: str) -> dict[str, Any]:
    try:
        value = loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter("not a JSON object")
    return value


ConfigOption = Annotated[Path, typer.Option(help="the run's configuration")]
ResultsOption = Annotated[Path, typer.Option(help="folder of the run's results")]
ManifestOption = Annotated[Path | None, typer.Option(help="default: audit/manifest.json in the results")]
SettingsOption = Annotated[
    dict | None,
    typer.Option(parser=_settings, metavar="JSON", help="as JSON, settings that override the file's"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object, for machines")]


def manifest_path(results: Path, manifest: Path | None) -> Path:
    """The manifest that was named, or where the results have theirs."""
    return manifest or results / "audit" / "manifest.json"


def finish(report: Report, json: bool) -> None:
    """Print a report and end the command with its exit code."""
    from fute.audit.report import print_report

    print_report(report, json=json)
    raise typer.Exit(report.exit_code)
