"""Commands of `fute audit` about making results again: adopt, explain, rerun, noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fute.audit.options import ConfigOption, JsonOption, SettingsOption, finish

if TYPE_CHECKING:
    from fute.audit.planned_jobs import Job
    from fute.audit.rerun.redo_job import Rerunner

TargetsArgument = Annotated[list[str] | None, typer.Argument(help="files or phases; default: all of the run")]
NamesArgument = Annotated[list[str] | None, typer.Argument(help="artifacts to make again instead of a sample")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="default: all cores")]
SampleOption = Annotated[int, typer.Option(min=1, help="number of jobs to do again")]
SeedOption = Annotated[int, typer.Option(help="which sample")]
BudgetOption = Annotated[float, typer.Option(min=0, help="most seconds that the sample took when it was made")]
ScratchOption = Annotated[Path | None, typer.Option(help="folder to work in, kept; default: a temporary one")]
ProfileOption = Annotated[Path | None, typer.Option(help="profile of Snakemake, as for the run")]


def adopt(
    targets: TargetsArgument = None,
    config: ConfigOption = Path("config.yaml"),
    settings: SettingsOption = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Verify copied results and tell Snakemake of what is good, so that nothing of it runs again."""
    from fute.audit.adopt import adopt as run
    from fute.audit.hashing import cores

    finish(run(config, targets or (), settings=settings, threads=threads or cores()), json)


def explain(
    target: Annotated[str, typer.Argument(help="a file of the results")],
    config: ConfigOption = Path("config.yaml"),
    settings: SettingsOption = None,
    json: JsonOption = False,
) -> None:
    """Say what an artifact came from, what it cost, and what would run again for it and why."""
    from fute.audit.explain import explain as run
    from fute.audit.explain_print import print_explanation

    found = run(target, config, settings=settings)
    print_explanation(found, json=json)


def rerun(
    names: NamesArgument = None,
    config: ConfigOption = Path("config.yaml"),
    settings: SettingsOption = None,
    sample: SampleOption = 10,
    seed: SeedOption = 1,
    budget: BudgetOption = 3600,
    scratch: ScratchOption = None,
    threads: ThreadsOption = None,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Do a sample of the run's jobs again from their recorded inputs, in a folder apart, and compare."""
    from fute.audit.rerun.noise import NOISE, read_tolerances
    from fute.audit.rerun.rerun import rerun as run

    tolerances = read_tolerances(Path(NOISE))
    with _rerunner(config, settings, scratch, threads, profile) as rerunner:
        jobs, facts = _sampled(rerunner, names or [], sample, seed, budget)
        report = run(rerunner, jobs, tolerances)
    report.facts |= facts
    finish(report, json)


def noise(
    names: NamesArgument = None,
    config: ConfigOption = Path("config.yaml"),
    settings: SettingsOption = None,
    repeats: Annotated[int, typer.Option(min=2, help="how often each job is done")] = 3,
    sample: SampleOption = 5,
    seed: SeedOption = 1,
    budget: BudgetOption = 3600,
    scratch: ScratchOption = None,
    threads: ThreadsOption = None,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Repeat a sample of the run's jobs and write how far repeats are apart: the tolerances of `rerun`."""
    from fute.audit.rerun.noise import NOISE, measure, write_noise

    with _rerunner(config, settings, scratch, threads, profile) as rerunner:
        jobs, facts = _sampled(rerunner, names or [], sample, seed, budget / repeats)
        found, report = measure(rerunner, jobs, repeats)
    report.facts |= facts
    if found["floor"]:
        write_noise(found, Path(NOISE))
        report.facts["written"] = NOISE
    finish(report, json)


@contextmanager
def _rerunner(
    config: Path, settings: dict | None, scratch: Path | None, threads: int | None, profile: Path | None
) -> Iterator[Rerunner]:
    import tempfile

    from fute.audit.collect import build_manifest
    from fute.audit.hashing import cores
    from fute.audit.paths import RESULTS, ResultsFolder
    from fute.audit.planned_jobs import read_graph
    from fute.audit.rerun.redo_job import Rerunner
    from fute.audit.rerun.sandbox import Machine, checked_scratch

    kept = checked_scratch(scratch) if scratch else None
    graph = read_graph(config, settings=settings)
    manifest = build_manifest(graph, config, ResultsFolder(Path(RESULTS)))
    machine = Machine(threads or cores(), profile)
    with tempfile.TemporaryDirectory(prefix="fute-rerun-") as temporary:
        yield Rerunner(graph, manifest, kept or Path(temporary), machine)


def _sampled(
    rerunner: Rerunner, names: list[str], sample: int, seed: int, budget: float
) -> tuple[list[Job], dict[str, object]]:
    from fute.audit.rerun.sample import NothingDrawn, candidates, draw, edited, named, seconds_of

    graph, manifest, results = rerunner.graph, rerunner.manifest, rerunner.results
    known = candidates(graph.jobs, manifest)
    if names:
        return named(known, names), {}
    drawn = draw(
        known, sample, seed, budget,
        cost=lambda job: seconds_of(job, manifest, results), first=lambda job: edited(job, manifest),
    )  # fmt: skip
    if not drawn.jobs:
        told = f"{drawn.left_out} of {len(known)} jobs are over the budget of {budget:g} s; raise --budget"
        raise NothingDrawn(told if known else "no job has all its artifacts with a record; run the workflow")
    facts = {"of": len(known), "seed": seed, "recorded seconds": round(drawn.seconds, 1)}
    return list(drawn.jobs), facts | ({"over the budget": drawn.left_out} if drawn.left_out else {})
