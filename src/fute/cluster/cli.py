"""Commands around a run on a cluster: `fute prefetch`, `fute plan`, `fute cluster clean`.

As in `fute.cli`, a command imports what it needs: every step of the workflow reads this file.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fute.plan import Plan

app = typer.Typer()
cluster = typer.Typer(no_args_is_help=True, help="Jobs of this folder's runs on a SLURM cluster.")
app.add_typer(cluster, name="cluster")

ConfigFile = Annotated[Path, typer.Option(help="the run's settings")]
Values = Annotated[list[str], typer.Option("--config", help="KEY=VALUE over the file's, as for Snakemake; repeated")]


def _planned(configfile: Path, values: list[str]) -> tuple[Plan, tuple[str, ...]]:
    """A run's plan by its file and values given on the command line, and these as Snakemake's arguments."""
    import yaml

    from fute.config.run import parse_run, read_yaml
    from fute.plan import Plan

    read = dict(read_yaml(configfile))
    for pair in values:
        key, separator, value = pair.partition("=")
        if not separator:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE")
        parsed = yaml.safe_load(value)
        both = isinstance(parsed, dict) and isinstance(read.get(key), dict)
        read[key] = read[key] | parsed if both else parsed
    return Plan(parse_run(read, Path("config"), str(configfile))), ("--config", *values) if values else ()


@app.command()
def prefetch(
    configfile: ConfigFile = Path("config.yaml"), config: Values = [],  # noqa: B006
    cores: Annotated[int, typer.Option(help="downloads and readings at a time")] = 4,
    profile: Annotated[list[str], typer.Option(help="of Snakemake, e.g. profiles/apptainer; repeated")] = [],  # noqa: B006
) -> None:  # fmt: skip
    """Bring a run's models and datasets here, on a node with a network."""
    from fute.cluster.prefetch import prefetch as step

    made, arguments = _planned(configfile, config)
    profiles = [word for name in profile for word in ("--profile", name)]
    step(made, configfile, cores, (*arguments, *profiles))


@app.command()
def plan(
    configfile: ConfigFile = Path("config.yaml"), config: Values = [],  # noqa: B006
    cost: Annotated[bool, typer.Option("--cost", help="also GPU-hours, tokens and disk")] = False,
    quota: Annotated[float | None, typer.Option(help="gigabytes you may use")] = None,
) -> None:  # fmt: skip
    """Say what a run would do: jobs by rule, and with --cost what they cost."""
    from fute.cluster.cost import disk_bytes, heavy_jobs, planned_jobs, print_costs, rule_costs
    from fute.cluster.job_needs import JobNeeds

    made, arguments = _planned(configfile, config)
    jobs = planned_jobs(configfile, arguments)
    if not cost:
        for rule, count in sorted(jobs.items(), key=lambda item: -item[1]):
            typer.echo(f"{count:6d} {rule}")
        typer.echo(f"{sum(jobs.values()):6d} jobs")
        return
    needs = JobNeeds(made)
    costs = rule_costs(jobs, list(heavy_jobs(made, needs)), Path("results/benchmarks"))
    print_costs(made, costs, disk_bytes(made, needs), quota)


@cluster.command()
def clean(
    configfile: ConfigFile = Path("config.yaml"), config: Values = [],  # noqa: B006
    yes: Annotated[bool, typer.Option("--yes", help="cancel without asking")] = False,
) -> None:  # fmt: skip
    """Cancel jobs that a killed Snakemake left behind, then unlock this folder."""
    from fute.cluster.slurm import SlurmError, cancel, controllers, orphans

    here = Path.cwd()
    if alive := controllers(here):
        raise SlurmError(f"Snakemake runs here still (process {', '.join(map(str, alive))}): stop it first (Ctrl-C)")
    jobs = orphans(here)
    for job in jobs:
        typer.echo(f"{job.id:>10} {job.state:<12} {job.elapsed:>10}  {job.comment}")
    if jobs and not yes:
        typer.confirm(f"cancel these {len(jobs)} jobs?", abort=True)
    cancel(jobs, here)
    typer.echo(f"{len(jobs)} jobs cancelled" if jobs else "no jobs of this folder's runs are left")
    line = [sys.executable, "-m", "snakemake", "--unlock", "--configfile", str(configfile), "--quiet"]
    subprocess.run([*line, *(("--config", *config) if config else ())], check=True)
