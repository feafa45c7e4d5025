"""What the commands of `fute audit` share: their options, and how they end.

Every step of the workflow loads this file, so it imports what it needs where it needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fute.audit.verdicts import Report

ConfigOption = Annotated[Path, typer.Option(help="the run's configuration")]
ResultsOption = Annotated[Path, typer.Option(help="folder of the run's results")]
ManifestOption = Annotated[Path | None, typer.Option(help="default: audit/manifest.json in the results")]
SettingsOption = Annotated[str | None, typer.Option(help="settings as JSON, where the file's were overridden")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object, for machines")]


def manifest_path(results: Path, manifest: Path | None) -> Path:
    """The manifest that was named, or where the results have theirs."""
    return manifest or results / "audit" / "manifest.json"


def finish(report: Report, json: bool) -> None:
    """Print a report and end the command with its exit code."""
    from fute.audit.report import print_report

    print_report(report, json=json)
    raise typer.Exit(report.exit_code)
