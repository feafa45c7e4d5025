"""Checks before jobs of a run are submitted to SLURM, and the jobs that a killed Snakemake left behind.

The executor names every job `{prefix}_{run id}`, makes the run's folder its working directory, and puts its rule and
wildcards into its comment (snakemake-executor-plugin-slurm, submit_string.py).
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fute.cluster.site import (
    SlurmError,
    check_site,
    check_status_command,
    closed,
    read_accounts,
    read_partitions,
    request,
    slurm,
)

if TYPE_CHECKING:
    from snakemake.workflow import Workflow as SnakemakeWorkflow

    from fute.config.cluster import ClusterConfig

OWN = re.compile(r"[\w-]+_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
"""Name of a job of a run. Its prefix, `slurm-jobname-prefix` of profiles/slurm, may be another in a user's profile."""
PLACEHOLDER = re.compile(r"your-[a-z-]+")
SITE = {
    "slurm_account": "`sacctmgr -n show assoc user=$USER format=account` lists yours",
    "slurm_partition": "`sinfo -s` lists them",
}
OTHER_CLUSTER = ("cluster", "clusters", "slurm_cluster")
"""Resources by which a job goes to another cluster, which `sinfo` does not show."""
# longer than SLURM's KillWait (30 s by default), the time that a cancelled job gets to end
CANCEL_S = 180


class Job(NamedTuple):
    """A job of a run: id, state and run time as `squeue` prints them, and its comment (rule and wildcards)."""

    id: str
    state: str
    elapsed: str
    comment: str


def check_settings(resources: Mapping[str, Iterable[object]], array_jobs: str | None) -> None:
    """Check the settings of a run on SLURM before the first job is submitted.

    resources: name -> values that jobs of this run request. array_jobs: the executor's setting of this name.
    Raises SlurmError if the profile still has placeholders, for job arrays, for memory per core, and for a Python or
    a checkout whose path jobs cannot be started with.
    """
    if shlex.quote(sys.executable) != sys.executable:
        raise SlurmError(
            f"the path of this Python, {sys.executable}, has a blank or another character that a shell reads: the "
            "executor cannot start jobs with it. Make the environment in a folder without, e.g. bash envs/install.sh "
            "/scratch/me/venv envs/light.txt; the checkout itself may stay where it is"
        )
    if found := set('$`\\"') & set(str(Path.cwd())):
        raise SlurmError(
            f"the path of this checkout, {Path.cwd()}, has {' and '.join(sorted(found))} in it, which the shell that "
            "the executor starts jobs with would read: move the checkout to a folder without"
        )
    if array_jobs:
        raise SlurmError(
            f"slurm-array-jobs is {array_jobs!r}, but job arrays are refused: with sacct a killed array task can be "
            "taken for a finished one; drop the option, groups (profiles/slurm) bundle short jobs instead"
        )
    for name, hint in SITE.items():
        placeholders = sorted({str(value) for value in resources.get(name, ()) if PLACEHOLDER.fullmatch(str(value))})
        if placeholders:
            raise SlurmError(
                f"{name} is still {', '.join(placeholders)}: put your site's into profiles/slurm/profile.yaml "
                f'({hint}; "" where the site needs none), or add a profile of your own with --profile'
            )
    if any(resources.get("mem_mb_per_cpu", ())):
        raise SlurmError(
            "mem_mb_per_cpu is set and would replace every rule's mem_mb: remove it from the profile; where the site "
            "refuses --mem, set cluster.memory_request: none"
        )


def allow_no_arrays() -> None:
    """Let the executor start where SLURM takes no job arrays (`MaxArraySize` below 3): it is not asked for any.

    The plugin reads that size as it starts, before `check_jobs`, and refuses the run.
    """
    if plugin := sys.modules.get("snakemake_executor_plugin_slurm"):  # Snakemake has loaded it, if it is installed
        plugin.get_max_array_size = lambda: 1000  # its own value where SLURM does not say


def check_jobs(workflow: SnakemakeWorkflow, cluster: ClusterConfig) -> list[str]:
    """Check the planned jobs if SLURM executes this run, and let them be submitted as `submission` says; else nothing.

    cluster: what is stated of the site. Returns what stops no run, but should be known. Raises SlurmError.
    """
    settings = workflow.executor_settings
    if not hasattr(settings, "array_jobs"):
        return []
    jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    if not jobs:
        return []
    asked = {name: {job.resources.get(name) for job in jobs} for name in (*SITE, "mem_mb_per_cpu")}
    check_settings(asked, settings.array_jobs)
    partitions = read_partitions()
    longest_s = check_status_command(settings.status_command, settings.init_seconds_before_status_checks)
    if settings.partition_config:  # the executor chooses where a job names none
        partitions = {name: partition._replace(default=False) for name, partition in partitions.items()}
        jobs = [job for job in jobs if job.resources.get("slurm_partition")]
    here = [job for job in jobs if not any(map(job.resources.get, OTHER_CLUSTER))]
    requests = {request(job.resources, settings.qos) for job in here}
    accounts = read_accounts(needed=any(asked.slurm_account or asked.qos for asked in requests))
    check_site(requests, partitions, accounts)
    # only here, since planning needs no executor
    from snakemake_executor_plugin_slurm import Executor

    from fute.cluster.submission import guard

    guard(Executor, partitions, accounts, cluster, longest_s)
    return closed(requests, partitions)


def orphans(folder: Path) -> list[Job]:
    """Jobs of this user, running or pending, with a run's names of jobs and the run folder `folder`."""
    text = slurm("squeue", "--me", "--noheader", "--format=%i|%T|%M|%j|%Z|%k")
    jobs = []
    for line in text.splitlines():
        job, state, elapsed, name, workdir, comment = line.split("|", 5)
        if OWN.fullmatch(name) and Path(workdir).resolve() == folder.resolve():
            jobs.append(Job(job, state, elapsed, comment))
    return jobs


def controllers(folder: Path) -> list[int]:
    """Process ids of Snakemake runs in `folder` on this machine, without the processes that they start for jobs."""
    process_ids = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = os.fsdecode((entry / "cmdline").read_bytes()).split("\0")
            workdir = (entry / "cwd").readlink()
        except (OSError, ValueError):
            continue  # the process ended, or is another user's
        if _controls(words) and workdir == folder.resolve() and int(entry.name) != os.getpid():
            process_ids.append(int(entry.name))
    return sorted(process_ids)


def _controls(words: list[str]) -> bool:
    """True if a command line starts a run; with `--mode` it does one job of a run, in a SLURM job or locally."""
    names = [Path(word).name for word in words[:4]]
    started = names[0] == "snakemake" or (names[0].startswith("python") and "snakemake" in names[1:])
    return started and "--mode" not in words


def check_owner(folder: Path) -> None:
    """Raise SlurmError if another user's run has locked `folder`: its controller and its jobs cannot be seen from here,
    nor cancelled.
    """
    for lock in sorted((folder / ".snakemake/locks").glob("*.lock")):
        if (uid := lock.stat().st_uid) != os.getuid():
            raise SlurmError(
                f"the run that has locked this folder is of {_user(uid)}, whose jobs may still write: they must end it "
                "(Ctrl-C, or `fute cluster clean` in their account). If none of their jobs and no controller is left, "
                "snakemake --unlock --configfile ... removes the lock"
            )


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user with number {uid}"


def cancel(jobs: Iterable[Job], folder: Path) -> None:
    """Cancel jobs and wait until they have ended, so that none still writes. Raises SlurmError if one does not end."""
    names = {job.id for job in jobs}
    if not names:
        return
    slurm("scancel", *sorted(names))
    deadline = time.monotonic() + CANCEL_S
    while remaining := names & {job.id for job in orphans(folder)}:
        if time.monotonic() > deadline:
            raise SlurmError(
                f"jobs {', '.join(sorted(remaining))} did not end within {CANCEL_S} s; look at squeue, then try again"
            )
        time.sleep(1)
