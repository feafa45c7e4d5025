"""`fute audit ...`: what a reviewer or a doubting reader asks of a finished run.

Exit codes of all commands: 0 good, 1 something drifted, 2 something is missing or could not be checked. Every step of
the workflow loads this file, so a command imports what it needs by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fute.audit.verdicts import Report

app = typer.Typer(no_args_is_help=True, help="Trace, check and compare the artifacts of a run.")

ConfigOption = Annotated[Path, typer.Option(help="the run's configuration")]
ResultsOption = Annotated[Path, typer.Option(help="folder of the run's results")]
ManifestOption = Annotated[Path | None, typer.Option(help="default: audit/manifest.json in the results")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object, for machines")]


def manifest_path(results: Path, manifest: Path | None) -> Path:
    """The manifest that was named, or where the results have theirs."""
    return manifest or results / "audit" / "manifest.json"


def finish(report: Report, json: bool) -> None:
    """Print a report and end the command with its exit code."""
    from fute.audit.report import print_report

    print_report(report, json=json)
    raise typer.Exit(report.exit_code)


@app.command()
def manifest(
    targets: Annotated[list[str] | None, typer.Argument(help="files or phases; default: all of the run")] = None,
    config: ConfigOption = Path("config.yaml"),
    results: ResultsOption = Path("results"),
    output: ManifestOption = None,
    json: JsonOption = False,
) -> None:
    """List what the run should have made and what it made, with one hash over all."""
    from fute.audit.collect import build_manifest, manifest_report
    from fute.audit.graph import read_graph
    from fute.audit.manifest import write_manifest
    from fute.audit.paths import ResultsFolder

    folder = ResultsFolder(results)
    made = build_manifest(read_graph(config, targets or ()), config, folder)
    write_manifest(made, manifest_path(results, output))
    finish(manifest_report(made), json)


@app.command()
def verify(
    results: ResultsOption = Path("results"),
    manifest: ManifestOption = None,
    root: Annotated[str | None, typer.Option(help="the root hash that the manifest must have")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="default: all cores")] = None,
    json: JsonOption = False,
) -> None:
    """Hash every artifact again and check the chain of records, locks, images, configuration and code."""
    from fute.audit.hashing import cores
    from fute.audit.paths import ResultsFolder
    from fute.audit.verify import verify_folder

    listed = manifest_path(results, manifest)
    finish(verify_folder(ResultsFolder(results), listed, root=root, threads=threads or cores()), json)


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="a manifest, or a folder of results with one")],
    second: Annotated[Path, typer.Argument(help="the other run's")],
    json: JsonOption = False,
) -> None:
    """Say of every artifact that two runs have otherwise why, the first divergent ones first."""
    from fute.audit.diff import Side
    from fute.audit.diff import diff as compare

    finish(compare(Side(first), Side(second)), json)
