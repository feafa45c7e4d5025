"""`fute audit claims, export, receipt, page`: what an audit leaves behind for others to read.

Every step of the workflow loads this file, so a command imports what it needs by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fute.audit.options import JsonOption, ManifestOption, ResultsOption, manifest_path

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
