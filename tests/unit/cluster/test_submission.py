"""Submission of jobs, by the plugin's real executor to a stand-in for sbatch and squeue."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
from snakemake.iocontainers import ResourceList
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from fute.cluster import submission
from fute.cluster.site import Accounts, Association, Partition, Qos
from fute.config.cluster import ClusterConfig

COMMENT, RUN = "rule_embed_batch_wildcards_t5_b1", "fute_run"
PARTITIONS = {"gpu": Partition(600, {"a100": 4}, default=True), "cpu": Partition(None, {}, memory_mb=64000)}
ACCOUNTS = Accounts([Association("lab", "", frozenset({"short"}))], {"short": Qos({"MaxWall": 30})})


class Log(list):
    """What was logged, with its level."""

    def __getattr__(self, level):
        return lambda text, **_: self.append((level, text))


class Job:
    """A job as the executor sees it; a group if it has members."""

    def __init__(self, *members, **resources):
        self.jobs, self.resources = members, ResourceList(fromdict={"mem_mb": 1000, "runtime": 60} | resources)
        self.name, self.jobid, self.threads = "embed_batch", 7, 2
        self.rule = SimpleNamespace(name=self.name)
        if not members:
            self.wildcards = ["t5", "b1"]

    def is_group(self):
        return bool(self.jobs)

    def log_info(self):
        """Snakemake's own tells the terminal of the job."""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Stand-in for SLURM: each call of sbatch gives the next answer, the last one for ever; its lines are kept."""
    folder = tmp_path / "site"
    (folder / "bin").mkdir(parents=True)
    (folder / "queue").touch()
    (folder / "bin/sbatch").write_text(
        f'#!/bin/sh\ncd {folder}\necho "$@" >> calls\nn=$(wc -l < calls)\n'
        '[ -e answer$n ] || n=$(ls answer* | wc -l)\n[ -e arrive$n ] && cat arrive$n >> queue\n'
        'case "$(cat answer$n)" in [0-9]*) cat answer$n;; *) cat answer$n >&2; exit 1;; esac\n'
    )  # fmt: skip
    (folder / "bin/squeue").write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/asked\ncase "$*" in *%k*|*%T*) cat {folder}/queue;; '
        f"*) cut -d '|' -f 1 {folder}/queue;; esac\n"
    )
    for command in ("sbatch", "squeue"):
        (folder / "bin" / command).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(plugin, "time", SimpleNamespace(sleep=lambda seconds: None, time=time.time))
    monkeypatch.setattr(submission, "FIRST_PAUSE_S", 0.01)

    def answers(*texts: str) -> Path:
        for number, text in enumerate(texts, 1):
            (folder / f"answer{number}").write_text(text + "\n")
        return folder

    return answers


@pytest.fixture
def cluster():
    """What is stated of the site."""
    return ClusterConfig(max_runtime=900)


@pytest.fixture
def executor(tmp_path, monkeypatch, cluster):
    """An executor of the plugin's class under guard; what it reports is in `sent`, `failed` and `done`."""
    monkeypatch.setattr(plugin, "query_job_status", plugin.query_job_status)  # `guard` changes it; put back after

    class Guarded(plugin.Executor):
        pass

    submission.guard(Guarded, PARTITIONS, ACCOUNTS, cluster)
    made = object.__new__(Guarded)
    made.__dict__ |= {
        "workflow": SimpleNamespace(executor_settings=plugin.ExecutorSettings(), workdir_init=tmp_path),
        "logger": Log(), "run_uuid": RUN, "slurm_logdir": tmp_path / "logs", "array_jobs": set(), "sent": [],
        "failed": [], "_failed_nodes": set(), "_partitions": None, "_fallback_account_arg": "",
        "_fallback_partition": "gpu",
        "_submitted_job_clusters": set(), "_main_event_loop": None, "format_job_exec": lambda job: "true",
        "_job_submission_executor": ThreadPoolExecutor(max_workers=2),
        "report_job_submission": lambda info: made.sent.append(info),
        "report_job_error": lambda info, msg, aux_logs=(): made.failed.append((info.job, msg)), "done": [],
        "report_job_success": lambda info: made.done.append(info.job), "status_rate_limiter": contextlib.nullcontext(),
        "_status_query_calls": 0, "_status_query_failures": 0, "_status_query_total_seconds": 0.0,
        "_status_query_min_seconds": None, "_status_query_max_seconds": 0.0, "_status_query_cycle_rows": [],
        "_next_seconds_between_status_checks": 40, "_preemption_warning": False,
    }  # fmt: skip
    yield made
    made.cancel_jobs([])
    made._job_submission_executor.shutdown()


def submit(executor, *jobs):
    """Send jobs as Snakemake does, and wait for the threads."""
    executor.run_jobs(list(jobs))
    executor._job_submission_executor.shutdown()


def lines(folder):
    return (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []


def test_a_job_is_submitted(site, executor):
    folder, job = site("41"), Job(slurm_partition="gpu")
    submit(executor, job)
    assert [(info.job, info.external_jobid) for info in executor.sent] == [(job, "41")] and not executor.failed
    assert f"--comment {COMMENT} " in lines(folder)[0] and " -t 60 " in lines(folder)[0]


@pytest.mark.parametrize("members", [(), (Job(), Job())], ids=["job", "group"])
def test_an_exception_of_the_thread_is_reported(site, executor, members):
    """The plugin alone loses it: the job would stay in Snakemake's list of running jobs for ever."""
    site("41")
    job = Job(*members, gpu=1, gpu_model="a100-40gb")
    submit(executor, job)
    ((of, why),) = executor.failed
    assert of is job and not executor.sent
    assert "Invalid GPU model format: a100-40gb" in why
    # Snakemake drops the message of a group's error
    logged = [text for level, text in executor.logger if level == "error"]
    assert bool(members) == any("A group of 2 jobs (embed_batch) cannot be submitted: Invalid" in t for t in logged)


def test_an_error_of_any_kind_is_reported_with_its_kind(site, executor):
    site("41")
    executor.format_job_exec = lambda job: {}["missing"]
    submit(executor, Job())
    assert [why for _, why in executor.failed] == ["it cannot be submitted: KeyError: 'missing'\n"]


@pytest.mark.parametrize("members", [(), (Job(), Job())], ids=["job", "group"])
def test_every_job_is_announced_before_it_is_sent(site, executor, members):
    """The plugin alone announces none: the terminal names no step that ends."""
    folder, job, sent_before = site("41"), Job(*members), []
    job.log_info = lambda: sent_before.append(lines(folder))
    submit(executor, job)
    assert sent_before == [[]] and executor.sent


def test_a_refusal_is_a_failed_attempt_with_slurms_words(site, executor):
    folder = site("sbatch: error: Batch job submission failed: Invalid account or account/partition combination")
    submit(executor, Job())
    assert len(executor.failed) == 1 and "Invalid account or account/partition" in executor.failed[0][1]
    assert len(lines(folder)) == 1


@pytest.mark.parametrize(
    "answer",
    [
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates "
        "accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates policy",
        "sbatch: error: Batch job submission failed: Unexpected message received",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "sbatch: error: Batch job submission failed: Required partition not available (inactive or drain)",
    ],
    ids=["qos", "assoc", "unexpected", "timeout", "away", "drain"],
)
def test_a_full_or_busy_cluster_is_waited_for(site, executor, answer):
    folder, job = site(answer, answer, answer, "44"), Job()
    submit(executor, job)
    assert [info.external_jobid for info in executor.sent] == ["44"]
    assert executor.failed == [], "no attempt is counted, so that no more memory and time are asked for"
    assert len(lines(folder)) == 4 and len(set(lines(folder))) == 1
    warned = [text for level, text in executor.logger if "counts as no attempt" in text]
    assert [text.split(" is sent again in ")[1].split(" s")[0] for text in warned] == ["0.01", "0.02", "0.04"]
    assert all("Job 7 (embed_batch)" in text for text in warned)


def test_a_job_that_arrived_though_sbatch_failed_is_not_sent_twice(site, executor, tmp_path):
    folder = site("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", "43")
    (folder / "arrive1").write_text("42|project 7, checked by the site's plug-in\n")
    submit(executor, Job())
    (info,) = executor.sent
    assert info.external_jobid == "42" and len(lines(folder)) == 1, "whatever the site made of its comment"
    assert info.aux["slurm_logfile"] == tmp_path / "logs/rule_embed_batch/t5_b1/42.log"
    assert f"--name={RUN}" in (folder / "asked").read_text()


def test_an_arrived_job_of_another_submission_is_not_taken(site, executor):
    folder = site("42", "sbatch: error: Socket timed out on send/recv operation", "43")
    (folder / "arrive1").write_text(f"42|{COMMENT}\n")
    submit(executor, Job(), Job())
    assert sorted(info.external_jobid for info in executor.sent) == ["42", "43"] and not executor.failed


def test_no_other_job_is_sent_before_it_is_known_whether_one_has_arrived(site, executor):
    """Else the one could be taken for the other."""
    folder, first, second = site("sbatch: error: Socket timed out on send/recv operation", "43"), Job(), Job()
    first.name = "first"
    (folder / "arrive1").write_text("42|\n")
    submit(executor, first, second)
    assert [(info.job, info.external_jobid) for info in executor.sent] == [(first, "42"), (second, "43")]


def test_cancelling_ends_the_wait_and_sends_nothing_more(site, executor, monkeypatch):
    monkeypatch.setattr(submission, "FIRST_PAUSE_S", 60)
    folder = site("sbatch: error: QOSMaxSubmitJobPerUserLimit")
    executor.run_jobs([Job(), Job(), Job()])
    deadline = time.monotonic() + 10
    while len(lines(folder)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    begun = time.monotonic()
    executor.cancel_jobs([])
    executor._job_submission_executor.shutdown()
    assert time.monotonic() - begun < 5 and len(lines(folder)) == 2
    assert not executor.sent and not executor.failed


def test_a_job_under_way_when_all_are_cancelled_is_cancelled_too(site, executor, monkeypatch):
    site("41")
    started, go = threading.Event(), threading.Event()
    executor.format_job_exec = lambda job: (started.set(), go.wait(10), "true")[2]
    cancelled = []
    monkeypatch.setattr(
        plugin, "cancel_slurm_jobs", lambda jobs, *_: cancelled.append([j.external_jobid for j in jobs])
    )
    executor.run_jobs([Job()])
    assert started.wait(10)
    executor.cancel_jobs([])
    go.set()
    executor._job_submission_executor.shutdown()
    assert cancelled == [[], ["41"]] and not executor.sent


@pytest.mark.parametrize(
    ("partition", "runtime", "asked"),
    [("gpu", 1280, 600), ("", 1280, 600), ("cpu", 1280, 900), ("cpu", 800, 800), ("gpu,cpu", 1000, 900)],
)
def test_no_job_asks_for_more_time_than_there_is(site, executor, partition, runtime, asked):
    """The sum of a group's times, too: 600 minutes are the partition's limit, 900 those of cluster.max_runtime."""
    folder = site("41")
    group = Job(Job(), Job(), slurm_partition=partition, runtime=runtime, gpu=1, gpu_model="a100", tasks_per_gpu=0)
    submit(executor, group)
    (line,) = lines(folder)
    assert f" -t {asked} " in line and " --gpus=a100:1 " in line and "--ntasks-per-gpu" not in line
    assert executor.sent[0].job is group and group.resources.runtime == runtime


@pytest.mark.parametrize(("partition", "asked"), [("cpu", 64000), ("gpu", 90000), ("gpu,cpu", 64000)])
def test_a_retry_asks_for_no_more_memory_than_a_node_has(site, executor, partition, asked):
    """The first attempt fits, or the run is not started; where the site states no memory, SLURM says if it fits."""
    folder, job = site("41"), Job(slurm_partition=partition, mem_mb=90000)
    submit(executor, job)
    assert f" --mem {asked} " in lines(folder)[0] and executor.sent[0].job is job


@pytest.mark.parametrize("cluster", [ClusterConfig(memory_request="none")])
@pytest.mark.parametrize(("partition", "memory"), [("cpu", 90000), ("gpu", 1000)])
def test_a_site_may_take_no_memory_in_requests(site, executor, partition, memory):
    """One setting for all rules, whatever they ask for and however much the nodes have."""
    folder = site("41")
    submit(executor, Job(Job(), Job(), slurm_partition=partition, mem_mb=memory, runtime=40))
    assert "--mem" not in lines(folder)[0] and " -t 40 " in lines(folder)[0] and executor.sent


def test_no_job_asks_for_more_time_than_its_qos_gives(site, executor):
    """SLURM would take it, and let it wait for ever."""
    folder = site("41")
    submit(executor, Job(qos="short", runtime=40))
    assert " -t 30 " in lines(folder)[0]


def test_a_failed_node_is_excluded_by_its_name(site, executor):
    """If SLURM took its job back before sacct was asked, sacct names none, and sbatch would fail for all later jobs."""
    folder = site("41")
    executor._failed_nodes |= {"node7", "None assigned"}
    submit(executor, Job())
    assert " --exclude=node7 " in lines(folder)[0] and "assigned" not in lines(folder)[0]


def ask(executor, site, sacct: str, squeue: str = "", status: int = 0) -> list[str]:
    """Ids of the jobs that the executor goes on waiting for, of one that sacct speaks of and one that it does not."""
    folder = site("41")
    script = folder / "bin/sacct"
    script.write_text(f"#!/bin/sh\ncase $* in *Reason*) exit;; esac\necho '{sacct}'\nexit {status}\n")
    script.chmod(0o755)
    (folder / "queue").write_text(squeue)
    executor.workflow.executor_settings.status_command = "sacct"

    async def asked() -> list[str]:
        active = [SubmittedJobInfo(job, job, {"slurm_logfile": folder / f"{job}.log"}) for job in ("7", "8")]
        return [info.external_jobid async for info in executor.check_active_jobs(active)]

    return asyncio.run(asked())


def test_a_job_that_somebody_cancelled_has_failed(site, executor):
    """The plugin alone takes it for one that runs, and waits for ever: sacct names who it was."""
    assert ask(executor, site, "7|CANCELLED by 1000") == ["8"]
    assert [job for job, _ in executor.failed] == ["7"] and "'CANCELLED'" in executor.failed[0][1]


@pytest.mark.parametrize("status", [0, 1])
def test_no_job_is_forgotten_where_slurm_gives_no_answer(site, executor, status):
    """The plugin alone drops all jobs after one failed question, and the run never ends."""
    assert ask(executor, site, "7|COMPLETED" if not status else "", status=status) == (["7", "8"] if status else ["8"])
    assert executor.done == ([] if status else ["7"]) and not executor.failed
    said = [text for _, text in executor.logger if "asked again, until it does" in text]
    assert bool(said) == bool(status) and all(text.startswith("sacct does not say") for text in said)


@pytest.mark.parametrize("status", [0, 1])
def test_a_command_that_never_tells_of_a_job_is_named(site, executor, status):
    """An empty answer is one in SLURM's eyes, so a run would wait for ever, and in silence."""
    said = lambda: [text for _, text in executor.logger if "has told nothing of this run's jobs" in text]  # noqa: E731
    for _ in range(submission.MANY - 1):
        assert ask(executor, site, "", status=status) == ["7", "8"]
    assert said() == []
    assert ask(executor, site, "", status=status) == ["7", "8"]
    assert len(said()) == 1 and "For 8 times sacct has told" in said()[0] and "slurm-status-command" in said()[0]
    for _ in range(submission.MANY - 1):
        ask(executor, site, "", status=status)
    ask(executor, site, "7|RUNNING")
    ask(executor, site, "", status=status)
    assert len(said()) == 1


@pytest.mark.parametrize(("longest", "waits"), [(None, 180), (50, 50)])
def test_squeue_is_asked_before_it_forgets(site, executor, longest, waits):
    """The plugin alone lets up to 180 s pass, and waits for ever for a job that squeue has forgotten by then."""
    submission.guard(type(executor), PARTITIONS, ACCOUNTS, ClusterConfig(), longest)
    for _ in range(20):
        ask(executor, site, "7|RUNNING")
    assert executor.next_seconds_between_status_checks == waits


@pytest.mark.parametrize(
    ("queue", "waits"),
    [("", ["8"]), ("7|PREEMPTED\n", ["8"]), ("7|COMPLETING\n", ["7", "8"]), ("7|PENDING\n", ["7", "8"])],
    ids=["gone", "ended", "ends", "again"],
)
def test_a_preempted_job_that_is_not_started_again_has_failed(site, executor, queue, waits):
    """Where partitions cancel what they preempt; the plugin alone waits for ever."""
    assert ask(executor, site, "7|PREEMPTED", queue) == waits
    assert [job for job, _ in executor.failed] == [job for job in ("7", "8") if job not in waits]
    assert not executor.done
