"""Commands around a run on a cluster: `fute check`, `fetch-unsup`, `prefetch`, `lock`, `plan`, `cluster clean`.

Each command imports what it needs when it runs, so that this file is quick to load.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fute.plan import Plan

app = typer.Typer()
cluster = typer.Typer(no_args_is_help=True, help="Jobs of this folder's runs on a SLURM cluster.")
app.add_typer(cluster, name="cluster")

ConfigFiles = Annotated[
    list[Path], typer.Option("--configfile", help="settings of the run; repeatable, a later file over an earlier one")
]
DEFAULT = [Path("config.yaml")]
Values = Annotated[
    list[str], typer.Option("--config", help="KEY=VALUE in place of the file's, as for Snakemake; repeatable")
]


def _planned(configfiles: list[Path], values: list[str]) -> tuple[Plan, tuple[str, ...]]:
    """Plan of a run from its files and values given on the command line, and all of these as Snakemake's arguments.

    Snakemake's own functions read the values and merge all: mappings key by key at every level, the later over the
    earlier.
    """
    from snakemake.cli import parse_config
    from snakemake.utils import update_config

    from fute.config.run import parse_run, read_yaml
    from fute.config.sections import ConfigError
    from fute.plan import Plan

    settings: dict[str, Any] = {}
    for path in configfiles:
        content = read_yaml(path) or {}
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: holds a {type(content).__name__}; a configuration is lines of `name: value`")
        update_config(settings, content)
    try:
        update_config(settings, parse_config(values))
    except ValueError as error:
        raise typer.BadParameter(f"--config {' '.join(values)}: {error}") from None
    run = parse_run(settings, Path("config"), ", ".join(map(str, configfiles)), configfiles)
    return Plan(run), _arguments(configfiles, values)


def _arguments(configfiles: list[Path], values: list[str]) -> tuple[str, ...]:
    """Arguments of Snakemake for a run's files and values."""
    return ("--configfile", *map(str, configfiles), *(("--config", *values) if values else ()))


@app.command()
def check(
    configfile: ConfigFiles = DEFAULT, config: Values = [],  # noqa: B006
    profile: Annotated[list[Path], typer.Option(help="of Snakemake, e.g. profiles/slurm; repeatable")] = [],  # noqa: B006
    node: Annotated[bool, typer.Option("--node", help="this is a GPU node: look at its driver and compiler")] = False,
) -> None:  # fmt: skip
    """Compare what a run needs with what is here, one line each; exit status 1 if the run could not start."""
    from fute.cluster.check import check as step

    run_plan, _ = _planned(configfile, config)
    faults = 0
    for finding in step(run_plan, profile, node=node):
        typer.echo(finding)
        faults += finding.state == "fault"
    typer.echo(f"{faults} to be mended" if faults else "the run can start")
    raise typer.Exit(1 if faults else 0)


@app.command()
def prefetch(
    configfile: ConfigFiles = DEFAULT, config: Values = [],  # noqa: B006
    cores: Annotated[int, typer.Option(help="models and datasets fetched at a time")] = 4,
    profile: Annotated[list[str], typer.Option(help="of Snakemake, e.g. profiles/apptainer; repeatable")] = [],  # noqa: B006
) -> None:  # fmt: skip
    """Fetch a run's models, datasets and unlabelled texts (U); run this on a node with a network."""
    from fute.cluster.prefetch import prefetch as step

    run_plan, arguments = _planned(configfile, config)
    profiles = [word for name in profile for word in ("--profile", name)]
    step(run_plan, cores, (*arguments, *profiles))


@app.command("fetch-unsup")
def fetch_unsup(
    configfile: ConfigFiles = DEFAULT, config: Values = [],  # noqa: B006
    strict: Annotated[bool, typer.Option("--strict", help="exit status 1 if a script is missing")] = False,
) -> None:  # fmt: skip
    """Fetch the unlabelled texts (U) of a run, one file per CrossFit script; run this on a node with a network."""
    from fute.cluster.unsup import FetchError, fetch

    run_plan, _ = _planned(configfile, config)
    if (missing := fetch(run_plan)) and strict:
        raise FetchError(f"{missing} scripts are missing, and --strict asks for all")


@app.command()
def plan(
    configfile: ConfigFiles = DEFAULT, config: Values = [],  # noqa: B006
    cost: Annotated[bool, typer.Option("--cost", help="also print GPU-hours, tokens and disk")] = False,
) -> None:  # fmt: skip
    """Print the jobs that a run would start, by rule, and with --cost what they cost."""
    from fute.cluster.cost import disk_bytes, heavy_jobs, planned_jobs, print_costs, rule_costs
    from fute.cluster.job_needs import JobNeeds

    run_plan, arguments = _planned(configfile, config)
    if missing := run_plan.data.missing_text():
        typer.echo(missing, err=True)
    jobs = planned_jobs(arguments)
    if not cost:
        for rule, count in sorted(jobs.items(), key=lambda item: -item[1]):
            typer.echo(f"{count:6d} {rule}")
        typer.echo(f"{sum(jobs.values()):6d} jobs")
        return
    needs = JobNeeds(run_plan)
    costs = rule_costs(jobs, list(heavy_jobs(run_plan, needs)), Path("results"))
    disk, missing = disk_bytes(run_plan, needs), disk_bytes(run_plan, needs, missing=True)
    print_costs(run_plan, costs, disk, missing)


@app.command()
def lock(
    configfile: ConfigFiles = DEFAULT, config: Values = [],  # noqa: B006
    update: Annotated[bool, typer.Option("--update", help="take the newest revisions of the hub")] = False,
) -> None:  # fmt: skip
    """Write the revisions and hashes of all that a run reads to config/locks/NAME.json, to be committed with it."""
    from fute.plan.run_lock import make_run_lock, write_run_lock

    run_plan, _ = _planned(configfile, config)
    made = make_run_lock(run_plan, update=update)
    typer.echo(f"{write_run_lock(made)}: {len(made.datasets)} datasets, {len(made.unsup)} U, {len(made.models)} models")
    if missing := run_plan.data.missing_text():
        typer.echo(f"{missing}\nwhat is not there is not locked; lock again when it is", err=True)


@cluster.command()
def clean(
    configfile: ConfigFiles = DEFAULT, config: Values = [],  # noqa: B006
    yes: Annotated[bool, typer.Option("--yes", help="cancel without asking")] = False,
) -> None:  # fmt: skip
    """Cancel the jobs that a killed Snakemake left behind, then unlock this folder."""
    from fute.cluster.slurm import SlurmError, cancel, check_owner, controllers, orphans

    here = Path.cwd()
    if alive := controllers(here):
        raise SlurmError(f"Snakemake still runs here (process {', '.join(map(str, alive))}): stop it first (Ctrl-C)")
    check_owner(here)
    jobs = orphans(here)
    for job in jobs:
        typer.echo(f"{job.id:>10} {job.state:<12} {job.elapsed:>10}  {job.comment}")
    if jobs and not yes:
        typer.confirm(f"cancel these {len(jobs)} jobs?", abort=True)
    cancel(jobs, here)
    typer.echo(f"{len(jobs)} jobs cancelled" if jobs else "no jobs of this folder's runs are left")
    line = [sys.executable, "-m", "snakemake", "--unlock", "--quiet", "all", *_arguments(configfile, config)]
    raise typer.Exit(subprocess.run(line).returncode)
