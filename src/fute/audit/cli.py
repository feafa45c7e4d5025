"""`fute audit ...`: what a reviewer or a doubting reader asks of a finished run.

Exit codes: 0 good, 1 something drifted, 2 something is missing or could not be checked. `explain`, `export` and `page`
judge nothing: 0 once they are done. Every step of the workflow loads this file, so a command imports what it needs by
itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fute.audit import commands
from fute.audit.evidence import app as evidence
from fute.audit.options import (
    AuditGroup,
    ConfigOption,
    JsonOption,
    ManifestOption,
    ResultsOption,
    SettingsOption,
    finish,
    manifest_path,
)

app = typer.Typer(cls=AuditGroup, no_args_is_help=True, help="Trace, check and compare the artifacts of a run.")
app.add_typer(evidence)
for command in (commands.adopt, commands.explain, commands.rerun, commands.noise):
    app.command()(command)


@app.command()
def manifest(
    targets: Annotated[list[str] | None, typer.Argument(help="files or phases; default: all of the run")] = None,
    config: ConfigOption = Path("config.yaml"),
    results: ResultsOption = Path("results"),
    output: ManifestOption = None,
    settings: SettingsOption = None,
    json: JsonOption = False,
) -> None:
    """List what the run should have made and what it made, with one hash over all."""
    from fute.audit.collect import build_manifest, manifest_report
    from fute.audit.manifest import write_manifest
    from fute.audit.paths import ResultsFolder
    from fute.audit.planned_jobs import read_graph

    folder = ResultsFolder(results)
    graph = read_graph(config, targets or (), settings=settings)
    made = build_manifest(graph, config, folder)
    write_manifest(made, manifest_path(results, output))
    finish(manifest_report(made), json)


@app.command()
def verify(
    results: ResultsOption = Path("results"),
    manifest: ManifestOption = None,
    root: Annotated[str | None, typer.Option(help="the root hash that the manifest must have")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="default: all cores")] = None,
    report: Annotated[Path | None, typer.Option(help="write the findings here, too, as JSON")] = None,
    json: JsonOption = False,
) -> None:
    """Hash every artifact again and check the chain of records, locks, images, configuration and code."""
    from fute.artifacts import atomic
    from fute.audit.hashing import cores
    from fute.audit.paths import ResultsFolder
    from fute.audit.verify import verify_folder

    listed = manifest_path(results, manifest)
    found = verify_folder(ResultsFolder(results), listed, root=root, threads=threads or cores())
    if report:
        with atomic(report) as written:
            written.write_text(found.to_json() + "\n", encoding="utf8")
    finish(found, json)


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
