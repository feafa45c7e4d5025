"""`fute audit claims, export, receipt, page`: what an audit leaves behind for others to read.

Every step of the workflow loads this file, so a command imports what it needs by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fute.audit.options import JsonOption, ManifestOption, ResultsOption, finish, manifest_path

app = typer.Typer()

ClaimsOption = Annotated[Path, typer.Option("--claims", help="the claims file")]
CLAIMS = Path("resources/claims.yaml")


@app.command()
def claims(
    ids: Annotated[list[str] | None, typer.Argument(help="claims to check; default: all")] = None,
    results: ResultsOption = Path("results"),
    manifest: ManifestOption = None,
    file: ClaimsOption = CLAIMS,
    json: JsonOption = False,
) -> None:
    """Hold every number of our tables, of the docs and of the paper against the artifact it comes from."""
    from fute.audit.claims.check import check_claims
    from fute.audit.claims.file import read_claims
    from fute.audit.claims.show import print_claims
    from fute.audit.claims.sources import Project
    from fute.audit.manifest import read_manifest
    from fute.audit.paths import ResultsFolder

    project = Project(Path(), ResultsFolder(results), read_manifest(manifest_path(results, manifest)))
    report = check_claims(read_claims(file).of(tuple(ids or ())), project)
    print_claims(report, json=json)
    raise typer.Exit(report.exit_code)


@app.command()
def export(
    results: ResultsOption = Path("results"),
    manifest: ManifestOption = None,
    output: Annotated[Path | None, typer.Option(help="a new folder; default: audit/crate in the results")] = None,
) -> None:
    """Write the run as a Workflow Run RO-Crate: artifacts, records, and what made what."""
    from fute.audit.manifest import read_manifest
    from fute.audit.paths import ResultsFolder
    from fute.audit.publish.ro_crate import export_crate

    folder = output or results / "audit" / "crate"
    count = export_crate(read_manifest(manifest_path(results, manifest)), ResultsFolder(results), folder)
    typer.echo(f"export: {count} executions in {folder}/ro-crate-metadata.json")


@app.command()
def receipt(
    results: ResultsOption = Path("results"),
    manifest: ManifestOption = None,
    report: Annotated[list[Path] | None, typer.Option(help="--json of another audit, e.g. of rerun")] = None,
    file: ClaimsOption = CLAIMS,
    check: Annotated[bool, typer.Option("--check", help="follow the chain of receipts, write nothing")] = False,
    json: JsonOption = False,
) -> None:
    """Verify, check the claims, and write a dated record of it, chained to the last one.

    The record is written whatever the audits find; the exit code is the worst of theirs.
    """
    from fute.audit.findings import worst
    from fute.audit.paths import ResultsFolder
    from fute.audit.publish.audits import run_audits
    from fute.audit.publish.receipt_chain import check_receipts, write_receipt
    from fute.audit.publish.receipts import audited, read_report

    folder, listed = ResultsFolder(results), manifest_path(results, manifest)
    if check:
        finish(check_receipts(folder, listed), json)
    more = [read_report(path) for path in report or ()]
    made = run_audits(folder, listed, file)
    written, path = write_receipt(folder, listed, [audited(each) for each in made.as_json()] + more)
    if json:
        typer.echo(path.read_text(encoding="utf8"), nl=False)
    else:
        typer.echo(f"receipt: {path}, sha256 {written.sha256}")
        for audit in written.audits:
            typer.echo(f"  {audit.command}: exit code {audit.exit_code}, {audit.counts}")
    raise typer.Exit(worst(audit.exit_code for audit in written.audits))


@app.command()
def page(
    results: ResultsOption = Path("results"),
    manifest: ManifestOption = None,
    output: Annotated[Path | None, typer.Option(help="default: audit/audit.html in the results")] = None,
    file: ClaimsOption = CLAIMS,
) -> None:
    """Verify, check the claims, and write one page with what was found, needing no network."""
    from fute.artifacts import atomic
    from fute.audit.paths import ResultsFolder
    from fute.audit.publish.audits import run_audits
    from fute.audit.publish.page import render_page

    folder = ResultsFolder(results)
    made = run_audits(folder, manifest_path(results, manifest), file)
    path = output or results / "audit" / "audit.html"
    with atomic(path) as temporary:
        temporary.write_text(render_page(made, folder), encoding="utf8")
    typer.echo(f"page: {path}")
