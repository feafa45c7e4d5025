"""What goes wrong on a cluster: killed jobs are failed jobs and are tried again, and nothing finished is lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.cluster_runs import Controller, black_boxes, diary, start_now, state
from support.local_slurm import LocalSlurm, job_facts, output

pytestmark = pytest.mark.cluster

PLUGIN_MB, EATEN_MB = 500, 600
"""Memory of a black box's first attempt, and what the hungry one takes: more than that, less than a second's."""
EAT = "held = bytearray({mb} * 2**20)\nfor i in range(0, len(held), 4096): held[i] = 1\nimport time; time.sleep(6)"


def job_of(name: str) -> str:
    """SLURM's id of the running job that makes a black box's labels."""
    for line in output("squeue", "--noheader", "--states=R", "--format=%i %k").splitlines():
        job, comment = line.split(maxsplit=1)
        if name in comment:
            return job
    raise AssertionError(f"no running job of {name}:\n{output('squeue')}")


def no_steps() -> bool:
    """Whether no job's step is left on this node."""
    return subprocess.run(["pgrep", "slurmstepd"], stdout=subprocess.DEVNULL).returncode == 1


def back_in_the_queue(controller: Controller, job: str) -> None:
    """Wait until a job is pending again, and what its first start left on the node has ended."""
    controller.until("the job is pending", lambda: state(job) == "PENDING")
    # SLURM refuses to start a job whose first steps are still there
    controller.until("its steps have ended", no_steps)


def memory_test(folder: Path) -> str:
    """State of a job that touches more memory than it asked for."""
    (folder / "eat.py").write_text(EAT.format(mb=400))
    done = subprocess.run(
        ["sbatch", "--wait", "--parsable", "--mem=200", "--time=2", f"--output={folder}/eat.log", "--wrap",
         f"srun --ntasks=1 {sys.executable} {folder}/eat.py"],
        capture_output=True, text=True,
    )  # fmt: skip
    return state(done.stdout.strip())


def test_memory_is_watched(cluster, tmp_path):
    """The other tests' premise: SLURM kills what is over its memory here, and only because it is told to."""
    assert memory_test(tmp_path) == "FAILED"
    assert "exceeded memory limit" in (tmp_path / "eat.log").read_text()
    cluster.stop()
    unwatched = LocalSlurm(tmp_path / "unwatched", gather="none")
    unwatched.start()
    try:
        assert memory_test(tmp_path) == "COMPLETED"
    finally:
        unwatched.stop()
        cluster.start()


def test_killed_jobs_fail_and_are_tried_again(checkout, send):
    """By scancel, by SIGKILL of the step, and by SLURM for want of memory."""
    files = black_boxes(
        checkout,
        **{"waits-scancel": {"diary": "waits-scancel.diary"}, "waits-kill": {"diary": "waits-kill.diary"},
           "eats": {"diary": "eats.diary", "megabytes": EATEN_MB}},
    )  # fmt: skip
    memory = f"label_plugin:mem_mb={PLUGIN_MB} * attempt"
    controller = send(checkout, "--set-resources", memory, "--", *files.values())
    controller.until("the first waits", lambda: diary(checkout, "waits-scancel"))
    first = job_of("waits-scancel")
    assert job_facts(first)["MinMemoryNode"] == f"{PLUGIN_MB}M"
    subprocess.run(["scancel", first], check=True)
    controller.until("the second waits", lambda: diary(checkout, "waits-kill"))
    second = job_of("waits-kill")
    os.kill(diary(checkout, "waits-kill")[0], signal.SIGKILL)
    assert not any((checkout / name).exists() for name in files.values() if "waits" in name)
    said = controller.finish()
    assert state(first) == "CANCELLED" and state(second) == "FAILED"
    assert f"SLURM-job '{first}' failed" in said and f"SLURM-job '{second}' failed" in said
    assert said.count("trying again:") == 3
    for name, file in files.items():
        assert len(diary(checkout, name)) == 2 and (checkout / file).exists()
    over = [job for job in controller.jobs() if "eats" in job_facts(job)["Comment"]]
    assert [state(job) for job in over] == ["FAILED", "COMPLETED"]
    assert [job_facts(job)["MinMemoryNode"] for job in over] == [f"{PLUGIN_MB}M", f"{2 * PLUGIN_MB}M"]
    assert checkout.planned(*files.values()) == {}


def test_a_job_is_told_before_its_time_is_over(checkout, send):
    """By SIGTERM, as profiles/slurm asks: it ends by itself, and is tried again."""
    (file,) = black_boxes(checkout, waits={"diary": "waits.diary"}).values()
    controller = send(checkout, "--set-resources", "label_plugin:runtime=1", "--", file)
    controller.finish()
    told, again = controller.jobs()
    assert state(told) == "FAILED" and job_facts(told)["ExitCode"] != "0:0", "not TIMEOUT, and no success"
    assert state(again) == "COMPLETED" and len(diary(checkout, "waits")) == 2


def test_a_job_whose_node_vanishes_is_started_again(checkout, send):
    (file,) = black_boxes(checkout, waits={"diary": "waits.diary"}).values()
    controller = send(checkout, "--", file)
    controller.until("the step waits", lambda: diary(checkout, "waits"))
    (job,) = controller.jobs()
    node = ["scontrol", "update", "NodeName=node1"]
    subprocess.run([*node, "State=DOWN", "Reason=vanished"], check=True)
    try:
        back_in_the_queue(controller, job)
    finally:
        # it may have come back by itself
        if "down" in output("sinfo", "--noheader", "--format=%T"):
            subprocess.run([*node, "State=RESUME"], check=True)
    start_now(job)
    controller.finish()
    assert controller.jobs() == [job] and job_facts(job)["Restarts"] == "1"
    assert state(job) == "COMPLETED" and len(diary(checkout, "waits")) == 2


def test_a_killed_controller_leaves_jobs_that_clean_cancels(checkout, send):
    """Then the run started again is the only one that writes."""
    (file,) = black_boxes(checkout, waits={"diary": "waits.diary"}).values()
    controller = send(checkout, "--", file)
    controller.until("the step waits", lambda: diary(checkout, "waits"))
    clean = [sys.executable, "-m", "fute", "cluster", "clean", "--yes", "--configfile", checkout.config]
    run = {"cwd": checkout.folder, "env": checkout.environment(), "capture_output": True, "text": True}
    refused = subprocess.run(clean, **run)
    assert refused.returncode == 1 and f"process {controller.process.pid}" in refused.stderr
    controller.kill()
    (job,) = controller.jobs()
    locked = subprocess.run([sys.executable, "-m", "snakemake", "--configfile", checkout.config, "--cores", "1"], **run)
    assert locked.returncode == 1 and "cannot be locked" in locked.stdout + locked.stderr
    assert state(job) == "RUNNING"
    done = subprocess.run(clean, **run)
    assert done.returncode == 0, done.stderr
    assert f"{job} RUNNING" in " ".join(done.stdout.split()) and "waits" in done.stdout
    assert state(job) == "CANCELLED" and not Path(f"/proc/{diary(checkout, 'waits')[0]}").exists()
    send(checkout, "--", file).finish()
    assert len(diary(checkout, "waits")) == 2 and checkout.planned(file) == {}


def test_a_requeued_job_goes_on_from_its_checkpoint(checkout, send):
    """SLURM takes a fine-tuning off its node by SIGTERM and starts it again; the result is that of a run in peace."""
    checkout.edit(checkout.config, "{steps: 24,", "{steps: 12000,")
    target = "results/finetuned/tiny-bert/mini-grammar"
    logs = checkout / "results/logs/finetune_model"
    controller = send(checkout, "--", f"{target}.lock.json")
    controller.until("the training runs", lambda: any("step" in log.read_text() for log in logs.glob("*.log")), 180)
    (log,) = logs.glob("*.log")
    job = controller.jobs()[-1]
    subprocess.run(["scontrol", "requeue", job], check=True)
    back_in_the_queue(controller, job)
    # the log of the first start is the second's, but for what it said last
    stopped = re.search(r"stopped by SIGTERM after step (\d+) of 12000; the training's state is in", log.read_text())
    assert stopped, log.read_text()
    kept = list((checkout / "results/finetuned").rglob("*.training*"))
    assert kept, "the checkpoint is there"
    start_now(job)
    controller.finish(400)
    assert job_facts(job)["Restarts"] == "1" and controller.jobs()[-1] == job
    later = [int(step) for step in re.findall(r"step (\d+)/12000", log.read_text())]
    assert later and min(later) > int(stopped[1]), "the second start went on after the first"
    made = checkout.hashes("results/finetuned/**/*")
    shutil.rmtree(checkout / "results/finetuned")
    checkout.snakemake("--", f"{target}.lock.json")
    assert checkout.hashes("results/finetuned/**/*") == made


def test_a_requeued_group_goes_on_though_one_of_its_batches_is_finished(checkout, send):
    """On its node the job plans the batches that it was sent to make, also the one that its first start finished."""
    checkout.edit(checkout.config, "{steps: 24,", "{steps: 4000,")
    checkout.edit(checkout.config, "datasets_per_process: null", "datasets_per_process: 1")
    targets = [f"results/finetuned/tiny-bert/{dataset}.lock.json" for dataset in ("mini-grammar", "mini-paraphrases")]
    group = ("--groups", "finetune_model=finetune", "--group-components", "finetune=2")
    controller = send(checkout, *group, "--", *targets)
    batches, logs = checkout / "results/finetuned/tiny-bert/batches", checkout / "results/logs/finetune_model"

    def one_is_finished_and_the_other_trains() -> bool:
        finished = {path.name.split(".")[0] for path in batches.glob("*.keys.prov.json")}
        begun = {log.stem.rpartition("-")[2] for log in logs.glob("*.log") if "step" in log.read_text()}
        return len(finished) == 1 and len(begun - finished) == 1

    controller.until("one batch is finished and the other trains", one_is_finished_and_the_other_trains, 300)
    job = controller.jobs()[-1]
    subprocess.run(["scontrol", "requeue", job], check=True)
    back_in_the_queue(controller, job)
    start_now(job)
    said = controller.finish(400)
    assert job_facts(job)["Restarts"] == "1" and state(job) == "COMPLETED"
    assert "FAILED" not in said and "trying again" not in said, "no attempt is used up"
    assert checkout.planned(*targets) == {}


def test_jobs_wait_for_a_controller_that_is_away(checkout, send, cluster):
    """SLURM's controller is down while a job is sent: no attempt is counted, and it is sent once."""
    (file,) = black_boxes(checkout, eats={"diary": "eats.diary", "megabytes": 1}).values()
    controller = send(checkout, "--set-resources", "label_plugin:runtime=3", "--", file)
    controller.until("the job is about to be sent", lambda: "trying to guess" in controller.text())
    cluster.controller_stops()
    controller.until("it waits", lambda: "counts as no attempt" in controller.text(), 200)
    cluster.controller_starts()
    said = controller.finish()
    assert len(controller.jobs()) == 1 and len(diary(checkout, "eats")) == 1
    assert "trying again" not in said and "FAILED" not in said
    assert "Unable to contact slurm controller" in said
