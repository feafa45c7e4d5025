"""A run on a SLURM cluster: what is checked before jobs are sent, and jobs that a killed controller left behind.

The executor names every job `{prefix}_{run id}`, gives it the run's folder as its working directory, and says in
its comment which rule and wildcards it is (snakemake-executor-plugin-slurm, submit_string.py).
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from snakemake.workflow import Workflow as SnakemakeWorkflow

PREFIX = "fute"
"""`slurm-jobname-prefix` of profiles/slurm."""
OWN = re.compile(rf"{PREFIX}_[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}")
PLACEHOLDER = re.compile(r"your-[a-z-]+")
SITE = {
    "slurm_account": "`sacctmgr -n show assoc user=$USER format=account` lists yours",
    "slurm_partition": "`sinfo -s` lists them",
}
# a job that was cancelled has KillWait (30 s by default) to end
CANCEL_S = 180


class SlurmError(RuntimeError):
    """Something about the cluster is not as a run needs it; says what to do."""


class Job(NamedTuple):
    """A job of a run: id, state and run time as `squeue` prints them, and what it makes."""

    id: str
    state: str
    elapsed: str
    comment: str


def check_settings(resources: Mapping[str, Iterable[object]], array_jobs: str | None) -> None:
    """Refuse what a run on SLURM cannot go well with; for the moment before the first job is sent.

    resources: name -> the values that jobs of this run ask for. array_jobs: the executor's setting of this name.
    Raises SlurmError for placeholders of the profile, for job arrays, and for memory given by core.
    """
    if array_jobs:
        raise SlurmError(
            f"slurm-array-jobs is {array_jobs!r}, but job arrays are refused: with sacct a killed array task can be "
            "taken for a finished one; drop the option, groups (profiles/slurm) bundle short jobs instead"
        )
    for name, how in SITE.items():
        left = sorted({str(value) for value in resources.get(name, ()) if PLACEHOLDER.fullmatch(str(value))})
        if left:
            raise SlurmError(
                f"{name} is still {', '.join(left)}: put your site's into profiles/slurm/profile.yaml "
                f'({how}; "" where the site needs none), or add a profile of your own with --profile'
            )
    if any(resources.get("mem_mb_per_cpu", ())):
        raise SlurmError(
            "mem_mb_per_cpu is set, and would take the place of every rule's mem_mb: remove it from the profile"
        )


def check_jobs(workflow: SnakemakeWorkflow) -> None:
    """Raises SlurmError, as `check_settings` does, for the planned jobs of a run that SLURM executes; else nothing."""
    if not hasattr(workflow.executor_settings, "array_jobs"):
        return
    jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    asked = {name: {job.resources.get(name) for job in jobs} for name in (*SITE, "mem_mb_per_cpu")}
    check_settings(asked, workflow.executor_settings.array_jobs)


def orphans(folder: Path) -> list[Job]:
    """Jobs of this user, under this project's job names, whose run folder is `folder`; pending or not."""
    text = _run("squeue", "--me", "--noheader", "--format=%i|%T|%M|%j|%Z|%k")
    found = []
    for line in text.splitlines():
        job, state, elapsed, name, where, comment = line.split("|", 5)
        if OWN.fullmatch(name) and Path(where).resolve() == folder.resolve():
            found.append(Job(job, state, elapsed, comment))
    return found


def controllers(folder: Path, processes: Path = Path("/proc")) -> list[int]:
    """Process ids of Snakemake runs in `folder` on this machine; what such a run started for a job is none."""
    found = []
    for entry in processes.glob("[0-9]*"):
        try:
            words = os.fsdecode((entry / "cmdline").read_bytes()).split("\0")
            where = (entry / "cwd").readlink()
        except (OSError, ValueError):
            continue  # it ended, or is another user's
        if _controls(words) and where == folder.resolve() and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return sorted(found)


def _controls(words: list[str]) -> bool:
    """Whether a command line starts a run; one with `--mode` does a job of a run, in a SLURM job or beside it."""
    names = [Path(word).name for word in words[:4]]
    started = names[0] == "snakemake" or (names[0].startswith("python") and "snakemake" in names[1:])
    return started and "--mode" not in words


def cancel(jobs: Iterable[Job], folder: Path) -> None:
    """Cancel jobs and wait until they have ended, so that none writes on. Raises SlurmError where one does not."""
    names = {job.id for job in jobs}
    if not names:
        return
    _run("scancel", *sorted(names))
    deadline = time.monotonic() + CANCEL_S
    while left := names & {job.id for job in orphans(folder)}:
        if time.monotonic() > deadline:
            raise SlurmError(f"jobs {', '.join(sorted(left))} did not end within {CANCEL_S} s; see squeue, then again")
        time.sleep(1)


def _run(*line: str) -> str:
    try:
        return subprocess.run(line, check=True, capture_output=True, text=True, timeout=60).stdout
    except FileNotFoundError:
        raise SlurmError(f"{line[0]} is not on PATH: run this on a node of the SLURM cluster") from None
    except subprocess.CalledProcessError as error:
        raise SlurmError(f"{line[0]} failed: {error.stderr.strip()}") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{line[0]} gave no answer in a minute; is SLURM's controller up?") from None
