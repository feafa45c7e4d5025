"""The workflow on a SLURM cluster: what it makes, what it asks for, and what is refused."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from support.checkouts import lm_checkout, semantic
from support.cluster_runs import PROFILES, black_boxes, gpus, refused
from support.local_slurm import job_facts, output

from fute.cluster.site import refusal

pytestmark = pytest.mark.cluster


def test_grouped_jobs_ask_for_the_gpu_of_one(checkout, send):
    """Three jobs of a GPU each in one group: one allocation with one GPU, one job's memory, the sum of the times."""
    boxes = {f"eats-{i}": {"diary": f"eats-{i}.diary", "megabytes": 1} for i in range(3)}
    files = black_boxes(checkout, **boxes)
    grouped = ("--groups", "label_plugin=label", "--set-resources", "label_plugin:gpu=1", "label_plugin:mem_mb=700")
    controller = send(checkout, *grouped, "label_plugin:runtime=3", "--", *files.values())
    said = controller.finish()
    assert "sent: a job of several steps has been submitted" in said
    assert re.search(r"^\[4/4\] .+  \(one of 3 steps in one job\)$", said, re.MULTILINE), "the terminal tells what ends"
    (job,) = controller.jobs()
    facts = job_facts(job)
    assert gpus(facts) == 1 and facts["NumCPUs"] == "1" and facts["NumTasks"] == "1"
    assert facts["MinMemoryNode"] == "700M" and facts["TimeLimit"] == "00:09:00"
    assert all((checkout / file).is_file() for file in files.values())


def test_no_job_asks_for_more_time_than_its_partition_gives(checkout, send):
    """A group's sum of times, 9 minutes, is cut to the partition's limit; sbatch would refuse it or let it pend."""
    boxes = {f"eats-{i}": {"diary": f"eats-{i}.diary", "megabytes": 1} for i in range(3)}
    files = black_boxes(checkout, **boxes)
    subprocess.run(["scontrol", "update", "PartitionName=tests", "MaxTime=7"], check=True)
    try:
        asked = ("--set-resources", "label_plugin:runtime=3", "label_plugin:mem_mb=700")
        controller = send(checkout, "--groups", "label_plugin=label", *asked, "--", *files.values())
        controller.finish()
        (job,) = controller.jobs()
        assert job_facts(job)["TimeLimit"] == "00:07:00"
    finally:
        subprocess.run(["scontrol", "update", "PartitionName=tests", "MaxTime=UNLIMITED"], check=True)


def test_gpus_are_asked_for_by_gres(checkout, send):
    (file,) = black_boxes(checkout, eats={"diary": "eats.diary", "megabytes": 1}).values()
    controller = send(checkout, "--set-resources", "label_plugin:gres=gpu:test:2", "--", file)
    controller.finish()
    facts = job_facts(controller.jobs()[0])
    assert facts["TresPerNode"] == "gres:gpu:test:2" and facts["NumTasks"] == "1" and facts["NumCPUs"] == "1"


def test_a_job_of_two_gpus_has_one_task(checkout, send):
    """The executor asks for a task a GPU, with the CPUs of a job each, unless told otherwise."""
    (file,) = black_boxes(checkout, eats={"diary": "eats.diary", "megabytes": 1}).values()
    controller = send(checkout, "--set-resources", "label_plugin:gpu=2", "--", file)
    controller.finish()
    facts = job_facts(controller.jobs()[0])
    assert gpus(facts) == 2 and facts["NumTasks"] == "1" and facts["NumCPUs"] == "1"


def test_job_arrays_are_refused(checkout, cluster):
    said = refused(checkout, *PROFILES, "--slurm-array-jobs", "all")
    assert "job arrays are refused" in said and "killed array task" in said


def test_placeholders_are_refused(checkout, cluster):
    said = refused(checkout, "--profile", "profiles/slurm")
    assert "slurm_account is still your-account" in said and "sacctmgr" in said
    profile = checkout / "profiles/slurm/profile.yaml"
    profile.write_text(profile.read_text().replace("your-account", '""'))
    said = refused(checkout, "--profile", "profiles/slurm")
    assert "slurm_partition is still your-cpu-partition, your-gpu-partition" in said and "sinfo -s" in said


def test_what_the_cluster_has_not_is_refused(checkout, cluster):
    """Against the real sinfo and sacctmgr; nothing is submitted, and no job waits for ever."""
    for setting, why in (
        ("slurm_partition=tset", "slurm_partition 'tset' is not on this cluster; it has tests"),
        ("slurm_account=lab", "slurm_account is 'lab', but this cluster keeps no accounts"),
        (
            "mem_mb=9000000",
            "asks for 9,000,000 MB of memory on one node, but the nodes of partition tests that can run jobs have",
        ),
        ("gpu=3", "3 GPUs on one node, but partition tests has 2 x test a node"),
        ("gpu_model=h100", "gpu_model 'h100' is not in partition tests, whose nodes have 2 x test"),
        ("gpu_model=a100-40gb", "Snakemake's executor takes letters, digits, `_` and `.` only"),
    ):
        gpu = [] if setting.startswith("gpu=") else ["embed_batch:gpu=1"]
        assert why in refused(checkout, *PROFILES, "--set-resources", *gpu, f"embed_batch:{setting}"), setting


def test_sbatch_says_whether_it_would_take_a_job(cluster):
    """Against the real one, which submits nothing."""
    known = output("squeue", "--noheader", "--states=all", "--format=%i")
    assert refusal(["--partition=tests", "--time=1", "--mem=100"]) == ""
    assert refusal(["--partition=tests", "--time=1", "--mem=9000000"]).startswith("sbatch failed: ")
    assert output("squeue", "--noheader", "--states=all", "--format=%i") == known


def test_a_plan_needs_no_account(checkout, cluster):
    """Looking before submitting works with the profile as it ships."""
    assert checkout.planned("--profile", "profiles/slurm")["embed_batch"] == 1


def test_the_language_model_experiment_on_the_cluster(ran, weights, tmp_path):
    """In images without a network it gives what a plain run gives; grouped jobs ask for the GPU of one."""
    assert {fact["JobState"] for fact in ran.facts} == {"COMPLETED"}, ran.said[-3000:]
    labelling = [fact for fact in ran.facts if "label_language_model" in fact["Comment"]]
    assert len(labelling) == 1, "four models label in one process, and their labels are taken out in its job"
    assert gpus(labelling[0]) == 1 and labelling[0]["NumCPUs"] == "1"
    assert all(gpus(fact) <= 1 and fact["NumNodes"] == "1" for fact in ran.facts)
    assert len(ran.facts) < 30, "66 jobs of the workflow"
    assert ran.checkout.planned(*PROFILES) == {}
    plain = lm_checkout(tmp_path / "project", weights)
    print("\nthe same on this machine as it is", flush=True)
    plain.run()
    found, expected = semantic(ran.checkout), semantic(plain)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def test_several_processes_in_a_job_without_devices(checkout, send):
    """SLURM grants two GPUs that torch does not see: accelerate's two processes meet on the CPU."""
    target = "results/finetuned/tiny-bert/mini-topics.lock.json"
    controller = send(
        checkout, "--config", "processes=2", "--set-resources", "finetune_model:gpu=2", "--", target
    )  # fmt: skip
    controller.finish()
    assert gpus(job_facts(controller.jobs()[-1])) == 2
    made = checkout.hashes("results/finetuned/**/*.json")
    shutil.rmtree(checkout / "results/finetuned")
    checkout.snakemake("--config", "processes=2", "--", target)
    assert checkout.hashes("results/finetuned/**/*.json") == made
    assert output("squeue", "--noheader").strip() == ""
