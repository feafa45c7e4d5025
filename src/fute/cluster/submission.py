"""Submission of jobs to SLURM: no error is lost, a busy cluster is waited for, no job asks for more than it can get,
and every end of a job is noticed.

snakemake-executor-plugin-slurm (2.6.1) submits in threads whose exceptions nobody reads: the job then stays in
Snakemake's list of running jobs for ever. It takes every refusal of sbatch for a failed attempt of the job, and for a
group it drops the message. `guard` stands around its `run_job` and mends the three. Its `run_jobs` announces no job, so
that nobody could say which ones run and end. It excludes a node that failed by the name that sacct gives, which is none
if SLURM has taken the job back meanwhile. It waits for ever for a job that ended after sacct or squeue failed once (it
forgets all jobs then), that sacct calls `CANCELLED by` somebody, that SLURM does not start again after a preemption, or
that squeue has forgotten.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from typing import Any

import snakemake_executor_plugin_slurm as plugin
from snakemake_executor_plugin_slurm import Executor
from snakemake_executor_plugin_slurm.utils import get_job_wildcards
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from fute.cluster.site import Accounts, Partition, SlurmError, most_memory, most_minutes, request, slurm
from fute.config.cluster import ClusterConfig

FULL = re.compile(
    r"\b(?:QOS|Assoc)(?:Max|Grp)SubmitJob\w*|MaxSubmitJobs\w*|Resource temporarily unavailable"
    r"|temporarily unable to accept job|partition not available \(inactive or drain\)"
)
"""Answers by which SLURM takes no more jobs, for a limit or before a maintenance: none was submitted."""
BUSY = re.compile(
    r"Unexpected message received|Socket timed out|Unable to contact slurm controller|Zero Bytes were transmitted"
    r"|backup controller in standby mode|open persistent connection",
    re.IGNORECASE,
)
"""Answers of a controller (or of its database) that has no time or is away; the job may have reached it or not."""
MANY = 8
"""Questions for the states of jobs in a row without an answer, after which a user should look: ten minutes of sacct."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 15, 600


class _Once:
    """An executor during one submission of one job: it keeps what it would report."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.sent: SubmittedJobInfo | None = None
        self.failure = "the executor gave neither a job nor an error"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def _report_job_submission_threadsafe(self, info: SubmittedJobInfo) -> None:
        self.sent = info

    def _report_job_error_threadsafe(self, info: SubmittedJobInfo, msg: str) -> None:
        self.failure = msg


class _Within:
    """A job that asks for other values of some resources."""

    def __init__(self, job: Any, **changed: int) -> None:
        self._job = job
        # the same class, so that its entries are attributes, too
        self.resources = type(job.resources)(fromdict=dict(job.resources.items()) | changed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._job, name)


class Sender:
    """Submits the jobs of one run, within the limits of the site.

    executor: the plugin's class. cluster: what is stated of the site.
    """

    def __init__(
        self,
        executor: type[Executor],
        partitions: Mapping[str, Partition],
        accounts: Accounts | None,
        cluster: ClusterConfig,
    ) -> None:
        self._run_job, self._cancel_jobs = executor.run_job, executor.cancel_jobs
        self._partitions, self._accounts, self._cluster = partitions, accounts, cluster
        # one at a time, so that a job of this run that SLURM has and nobody knows is the one just sent
        self._one = threading.Lock()
        self._known: set[str] = set()
        self._stopped = threading.Event()

    def stop(self, executor: Executor, active: list[SubmittedJobInfo]) -> None:
        """Cancel the run's jobs; none is submitted any more."""
        self._stopped.set()
        self._cancel_jobs(executor, active)

    def send(self, executor: Executor, job: Any) -> None:
        """Submit a job, and report to Snakemake that it is submitted, or why not."""
        try:
            self._send(executor, job)
        except Exception as error:
            self._fail(executor, job, f"{type(error).__name__}: {error}")

    def _send(self, executor: Executor, job: Any) -> None:
        pause, unsure = FIRST_PAUSE_S, False
        with ExitStack() as alone:
            while True:
                if not unsure:
                    alone.enter_context(self._one)
                if self._stopped.is_set():
                    return None
                once, away = self._try(executor, job, unsure)
                if once.sent:
                    self._known.add(str(once.sent.external_jobid))
                    break
                unsure = unsure or away or bool(BUSY.search(once.failure))
                answer = FULL.search(once.failure) or BUSY.search(once.failure)
                if not (answer or away):
                    return self._fail(executor, job, once.failure)
                said = answer[0] if answer else once.failure
                executor.logger.warning(
                    f"SLURM takes no job at the moment ({said}). {_name(job)} is sent again in {pause} s; "
                    "this counts as no attempt."
                )
                if not unsure:  # else no other job is sent before it is known whether this one has arrived
                    alone.close()
                self._stopped.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
        if self._stopped.is_set():
            return self._cancel_jobs(executor, [once.sent])  # it was under way when all others were cancelled
        return executor._report_job_submission_threadsafe(once.sent)

    def _try(self, executor: Executor, job: Any, unsure: bool) -> tuple[_Once, bool]:
        """One submission, unless an earlier one that seemed to fail has arrived. True: SLURM could not say so."""
        once = _Once(executor)
        # what sacct says of a job that waits again: sbatch would take it for a file
        executor._failed_nodes.discard("None assigned")
        if unsure:
            try:
                once.sent = self._arrived(executor, job)
            except SlurmError as error:
                once.failure = str(error)
                return once, True
        if once.sent is None:
            try:
                self._run_job(once, self._within_limits(executor, job))
            except Exception as error:
                known = isinstance(error, WorkflowError)  # its text says all
                once.failure = str(error) if known else f"{type(error).__name__}: {error}"
        # whatever job it was given, Snakemake knows its own
        once.sent = once.sent and SubmittedJobInfo(job, once.sent.external_jobid, once.sent.aux)
        return once, False

    def _arrived(self, executor: Executor, job: Any) -> SubmittedJobInfo | None:
        """The job, if SLURM has it though it did not answer so; its comment may be the site's own."""
        text = slurm("squeue", "--me", "--noheader", "--states=all", f"--name={executor.run_uuid}", "--format=%i")
        for number in text.split():
            if number not in self._known:
                kind = "group" if job.is_group() else "rule"
                log = executor.slurm_logdir / f"{kind}_{job.name}" / get_job_wildcards(job) / f"{number}.log"
                return SubmittedJobInfo(job, number, {"slurm_logfile": log})
        return None

    def _within_limits(self, executor: Executor, job: Any) -> Any:
        """The job, or one that asks for no more time than its partition, its account and the site allow.

        Nor for more memory than a node has: a first attempt that does is refused before, a retry asks for all there is.
        Where the site takes no request for memory, for none.
        """
        wanted = request(job.resources, executor.workflow.executor_settings.qos)
        longest = most_minutes(wanted, self._partitions, self._accounts)
        most = {
            "runtime": min((minutes for minutes in (longest, self._cluster.max_runtime) if minutes), default=None),
            "mem_mb": most_memory(wanted.slurm_partition, self._partitions),
        }
        changed = {name: limit for name, limit in most.items() if limit and (job.resources.get(name) or 0) > limit}
        if self._cluster.memory_request == "none":
            changed["mem_mb"] = 0  # the executor sends no --mem then
        return _Within(job, **changed) if changed else job

    def _fail(self, executor: Executor, job: Any, why: str) -> None:
        if job.is_group():  # Snakemake drops the message
            executor.logger.error(f"{_name(job)} cannot be submitted: {why}")
        executor._report_job_error_threadsafe(SubmittedJobInfo(job), f"it cannot be submitted: {why}\n")


def _name(job: Any) -> str:
    return f"A group of {len(list(job.jobs))} jobs ({job.name})" if job.is_group() else f"Job {job.jobid} ({job.name})"


States = dict[str, str]
"""Id of a job of the run -> its state, as sacct or squeue says it."""
Query = Callable[[str, Any], Awaitable[tuple[States | None, float | None]]]


def understood(query: Query) -> Query:
    """The plugin's question for the states of jobs, with answers from which it sees the end of each.

    A question that failed is answered by no state, so that it is asked again after the usual time. It is put only
    while there are jobs; an answer without any may be too early, many of them are a fault of the site.
    """
    without = 0

    async def ask(command: str, logger: Any) -> tuple[States, float]:
        nonlocal without
        states, seconds = await query(command, logger)
        without = 0 if states else without + 1
        name = command.split()[0]
        if states is None:
            logger.warning(f"{name} does not say which jobs have ended; it is asked again, until it does.")
        if without and without % MANY == 0:
            logger.warning(
                f"For {without} times {name} has told nothing of this run's jobs, and none is seen to end. If it never "
                "does (try it by hand), stop with Ctrl-C and choose the other of sacct and squeue by "
                "slurm-status-command, in a profile of yours."
            )
        if not states:
            return {}, 0.0
        states = {job: state.partition(" ")[0] for job, state in states.items()}  # `CANCELLED by 1000`
        for job in _ended_by_preemption([job for job, state in states.items() if state == "PREEMPTED"]):
            logger.warning(f"Job {job} was preempted, and SLURM does not start it again: it counts as failed.")
            states[job] = "CANCELLED"
        return states, seconds or 0.0

    return ask


def _ended_by_preemption(jobs: list[str]) -> list[str]:
    """Of preempted jobs those that SLURM has no more, or as they were; one that it starts again ends, waits or runs."""
    if not jobs:
        return []
    try:
        text = slurm("squeue", "--me", "--noheader", "--states=all", "--format=%i|%T")
    except SlurmError:
        return []  # it is asked again
    now = dict(line.strip().split("|", 1) for line in text.splitlines() if "|" in line)
    return [job for job in jobs if now.get(job, "PREEMPTED") == "PREEMPTED"]


def _at_most(longest_s: int) -> property:
    """The plugin's seconds until the next question, up to 180, but no more than squeue knows what has ended."""
    usual = RemoteExecutor.next_seconds_between_status_checks
    return property(lambda self: min(usual.fget(self), longest_s), usual.fset)


def guard(
    executor: type[Executor],
    partitions: Mapping[str, Partition],
    accounts: Accounts | None,
    cluster: ClusterConfig,
    longest_s: int | None = None,
) -> None:
    """Let a class of executors announce its jobs, submit and cancel them through a `Sender`, and see their ends.

    cluster: what is stated of the site. longest_s: most seconds between two questions for the states of jobs; None: as
    the plugin asks, up to 180.
    """
    sender, run_jobs = Sender(executor, partitions, accounts, cluster), executor.run_jobs

    def announced(self: Executor, jobs: list[Any]) -> None:
        for job in jobs:
            self.run_job_pre(job)
        run_jobs(self, jobs)

    plugin.query_job_status = understood(plugin.query_job_status)
    if longest_s is not None:
        executor.next_seconds_between_status_checks = _at_most(longest_s)
    executor.run_jobs = announced
    executor.run_job = lambda self, job: sender.send(self, job)
    executor.cancel_jobs = lambda self, active: sender.stop(self, active)
