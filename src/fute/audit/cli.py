"""`fute audit ...`: what a reviewer or a doubting reader asks of a finished run.

Exit codes: 0 good, 1 something drifted, 2 something is missing or could not be checked. `explain`, `export` and `page`
pass no judgement: 0 once they are done. A command imports what it needs, so that `--help` is quick.
"""

from __future__ import annotations

from json import loads
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fute.audit.findings import AuditError, Report, print_report, worst
from fute.cluster import storage


class AuditGroup(TyperGroup):
    """The commands; an error of the operating system is one line and exit code 2, since it is no drift."""

    def invoke(self, ctx: typer.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as error:
            problem = f"{error.filename2 or error.filename}: {error.strerror}" if error.filename else str(error)
            raise AuditError(storage.advice(error) or f"{problem}; give a path that can be read and written") from error


app = typer.Typer(cls=AuditGroup, no_args_is_help=True, help="Trace, check and compare the artifacts of a run.")


# --- options --------------------------------------------------------------------------------------------


def _settings(given: str) -> dict[str, Any]:
    try:
        value = loads(given if given.lstrip().startswith(("{", "[")) else Path(given).read_text(encoding="utf8"))
    except OSError as error:
        raise typer.BadParameter(f"{given}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter("not a JSON object")
    return value


TargetsArgument = Annotated[list[str] | None, typer.Argument(help="files or phases; default: all of the run")]
NamesArgument = Annotated[list[str] | None, typer.Argument(help="artifacts to make again instead of a sample")]
ConfigOption = Annotated[Path, typer.Option(help="the run's configuration")]
SettingsOption = Annotated[
    dict | None,
    typer.Option(
        parser=_settings, metavar="JSON", help="settings that override those of the file: JSON, or a file of it"
    ),
]
ResultsOption = Annotated[Path, typer.Option(help="folder of the run's results")]
ManifestOption = Annotated[Path | None, typer.Option(help="default: audit/manifest.json in the results")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="default: all cores")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object, for machines")]
SampleOption = Annotated[int, typer.Option(min=1, help="number of jobs to do again")]
SeedOption = Annotated[int, typer.Option(help="seed of the sample")]
BudgetOption = Annotated[float, typer.Option(min=0, help="limit for the sample: seconds that its jobs took in the run")]
ScratchOption = Annotated[Path | None, typer.Option(help="folder to work in, kept; default: a temporary one")]
ProfileOption = Annotated[Path | None, typer.Option(help="profile of Snakemake, as for the run")]

CONFIG, RESULTS, CLAIMS = Path("config.yaml"), Path("results"), Path("resources/claims.yaml")


def _manifest_path(results: Path, manifest: Path | None) -> Path:
    """The manifest that was given, or its usual place in the results."""
    return manifest or results / "audit" / "manifest.json"


def _finish(report: Report, json: bool) -> None:
    """Print a report and end the command with its exit code."""
    print_report(report, json=json)
    raise typer.Exit(report.exit_code)


# --- checking a run -------------------------------------------------------------------------------------


@app.command()
def manifest(
    targets: TargetsArgument = None,
    config: ConfigOption = CONFIG,
    results: ResultsOption = RESULTS,
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
    listed = build_manifest(read_graph(config, targets or (), settings=settings), config, folder)
    write_manifest(listed, _manifest_path(results, output))
    _finish(manifest_report(listed), json)


@app.command()
def verify(
    results: ResultsOption = RESULTS,
    manifest: ManifestOption = None,
    root: Annotated[str | None, typer.Option(help="the root hash that the manifest must have")] = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Hash every artifact again and check records, locks, images, configuration and code."""
    from fute.audit.paths import ResultsFolder
    from fute.audit.verify import verify_folder

    listed = _manifest_path(results, manifest)
    _finish(verify_folder(ResultsFolder(results), listed, root=root, threads=threads), json)


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="a manifest, or a folder of results with one")],
    second: Annotated[Path, typer.Argument(help="that of the other run")],
    json: JsonOption = False,
) -> None:
    """Explain why artifacts differ between two runs; where a difference begins comes first."""
    from fute.audit.diff import Side
    from fute.audit.diff import diff as compare

    _finish(compare(Side(first), Side(second)), json)


@app.command()
def claims(
    ids: Annotated[list[str] | None, typer.Argument(help="claims to check; default: all")] = None,
    results: ResultsOption = RESULTS,
    manifest: ManifestOption = None,
    json: JsonOption = False,
) -> None:
    """Compare the numbers of our tables, the docs and the paper with the artifacts they come from."""
    from fute.audit.claims.check import check_claims, print_claims
    from fute.audit.claims.file import read_claims
    from fute.audit.claims.sources import Project
    from fute.audit.manifest import read_manifest
    from fute.audit.paths import ResultsFolder

    project = Project(ResultsFolder(results), read_manifest(_manifest_path(results, manifest)))
    report = check_claims(read_claims(CLAIMS).of(tuple(ids or ())), project)
    print_claims(report, json=json)
    raise typer.Exit(report.exit_code)


# --- making results again -------------------------------------------------------------------------------


@app.command()
def adopt(
    targets: TargetsArgument = None,
    config: ConfigOption = CONFIG,
    settings: SettingsOption = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Verify copied results and tell Snakemake which are good, so that these do not run again."""
    from fute.audit.adopt import adopt as run

    _finish(run(config, targets or (), settings=settings, threads=threads), json)


@app.command()
def explain(
    target: Annotated[str, typer.Argument(help="a file of the results")],
    config: ConfigOption = CONFIG,
    settings: SettingsOption = None,
    json: JsonOption = False,
) -> None:
    """Show what an artifact came from, what it cost, and what would run again for it and why."""
    from fute.audit.explain import explain as run
    from fute.audit.explain import print_explanation

    print_explanation(run(target, config, settings=settings), json=json)


@app.command()
def rerun(
    names: NamesArgument = None,
    config: ConfigOption = CONFIG,
    settings: SettingsOption = None,
    sample: SampleOption = 10,
    seed: SeedOption = 1,
    budget: BudgetOption = 3600,
    scratch: ScratchOption = None,
    threads: ThreadsOption = None,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Do a sample of the run's jobs again from their recorded inputs, in a separate folder, and compare."""
    from fute.audit.rerun.noise import NOISE, read_tolerances
    from fute.audit.rerun.redo_job import checkout_rerunner
    from fute.audit.rerun.rerun import rerun as run
    from fute.audit.rerun.sample import choose

    tolerances = read_tolerances(Path(NOISE))
    with checkout_rerunner(config, settings, scratch, threads, profile) as rerunner:
        jobs, facts = choose(rerunner, names or (), size=sample, seed=seed, budget=budget)
        report = run(rerunner, jobs, tolerances)
    report.facts |= facts
    _finish(report, json)


@app.command()
def noise(
    names: NamesArgument = None,
    config: ConfigOption = CONFIG,
    settings: SettingsOption = None,
    repeats: Annotated[int, typer.Option(min=2, help="times that each job is done")] = 3,
    sample: SampleOption = 5,
    seed: SeedOption = 1,
    budget: BudgetOption = 3600,
    scratch: ScratchOption = None,
    threads: ThreadsOption = None,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Repeat a sample of the run's jobs and write how much repeats differ: the tolerances of `rerun`."""
    from fute.audit.rerun.noise import NOISE, measure, write_noise
    from fute.audit.rerun.redo_job import checkout_rerunner
    from fute.audit.rerun.sample import choose

    with checkout_rerunner(config, settings, scratch, threads, profile) as rerunner:
        jobs, facts = choose(rerunner, names or (), size=sample, seed=seed, budget=budget / repeats)
        measured, report = measure(rerunner, jobs, repeats)
    report.facts |= facts
    if measured["floor"]:
        write_noise(measured, Path(NOISE))
        report.facts["written"] = NOISE
    _finish(report, json)


# --- publishing -----------------------------------------------------------------------------------------


@app.command()
def export(
    results: ResultsOption = RESULTS,
    manifest: ManifestOption = None,
    output: Annotated[Path | None, typer.Option(help="a new folder; default: audit/crate in the results")] = None,
) -> None:
    """Write the run as a Workflow Run RO-Crate: artifacts, records, and what made what."""
    from fute.audit.manifest import read_manifest
    from fute.audit.paths import ResultsFolder
    from fute.audit.publish.ro_crate import export_crate

    folder = output or results / "audit" / "crate"
    listed = read_manifest(_manifest_path(results, manifest))
    count = export_crate(listed, ResultsFolder(results), folder)
    typer.echo(f"export: {count} executions in {folder}/ro-crate-metadata.json")
    if listed.config.file is None:
        typer.echo(
            f"the settings of {listed.config.name} are no file of the project, so they are not in it; hand them on, too"
        )


@app.command()
def receipt(
    results: ResultsOption = RESULTS,
    manifest: ManifestOption = None,
    report: Annotated[
        list[Path] | None, typer.Option(help="also record this output of another audit with --json, e.g. of rerun")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="check the chain of receipts, write nothing")] = False,
    json: JsonOption = False,
) -> None:
    """Verify, check the claims, and write a dated record of both, chained to the last one.

    The record is written whatever the audits find; the exit code is the worst of theirs.
    """
    from fute.audit.paths import ResultsFolder
    from fute.audit.publish.receipts import audited, check_receipts, read_report, run_audits, write_receipt

    folder, listed = ResultsFolder(results), _manifest_path(results, manifest)
    if check:
        _finish(check_receipts(folder, listed), json)
    others = [read_report(path) for path in report or ()]
    own = [audited(each) for each in run_audits(folder, listed, CLAIMS).as_json()]
    written, path = write_receipt(folder, listed, own + others)
    if json:
        typer.echo(path.read_text(encoding="utf8"), nl=False)
    else:
        typer.echo(f"receipt: {path}, sha256 {written.sha256}")
        for audit in written.audits:
            typer.echo(f"  {audit.command}: exit code {audit.exit_code}, {audit.counts}")
    raise typer.Exit(worst(audit.exit_code for audit in written.audits))


@app.command()
def page(
    results: ResultsOption = RESULTS,
    manifest: ManifestOption = None,
    output: Annotated[Path | None, typer.Option(help="default: audit/audit.html in the results")] = None,
) -> None:
    """Verify, check the claims, and write the findings as one HTML page that needs no network."""
    from fute.artifacts import atomic
    from fute.audit.paths import ResultsFolder
    from fute.audit.publish.page import render_page
    from fute.audit.publish.receipts import run_audits

    folder = ResultsFolder(results)
    audits = run_audits(folder, _manifest_path(results, manifest), CLAIMS)
    path = output or results / "audit" / "audit.html"
    with atomic(path) as temporary:
        temporary.write_text(render_page(audits, folder), encoding="utf8")
    typer.echo(f"page: {path}")
