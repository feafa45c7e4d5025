"""What is refused before jobs are sent, and which jobs and processes are a folder's own."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
import yaml
from snakemake.resources import GroupResources
from snakemake_executor_plugin_slurm import ExecutorSettings
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import SharedFSUsage
from support.rule_files import rules
from typer.testing import CliRunner

from fute.cluster import submission
from fute.cluster.slurm import SlurmError, allow_no_arrays, check_jobs, check_settings, controllers, orphans
from fute.commands import app
from fute.config.cluster import ClusterConfig

ROOT = Path(__file__).parents[3]
GOOD = {"slurm_account": ["lab"], "slurm_partition": ["cpu", "gpu"], "mem_mb_per_cpu": [None]}
UUID = "40ae95b6-25c7-4381-b696-73de19884d9a"


def refused(array_jobs: str | None = None, **resources: list[object]) -> str:
    with pytest.raises(SlurmError) as error:
        check_settings(GOOD | resources, array_jobs)
    return str(error.value)


def test_a_filled_in_profile_is_taken():
    check_settings(GOOD, None)
    check_settings(GOOD | {"slurm_account": [""], "slurm_partition": ["", None]}, "")


def test_what_is_refused_is_named_with_what_to_do():
    assert "slurm_account is still your-account" in refused(slurm_account=["your-account", "lab"])
    said = refused(slurm_partition=["cpu", "your-gpu-partition", "your-cpu-partition"])
    assert "slurm_partition is still your-cpu-partition, your-gpu-partition" in said and "profiles/slurm" in said
    assert "slurm-array-jobs is 'mte'" in refused(array_jobs="mte")
    said = refused(mem_mb_per_cpu=[None, 500])
    assert "mem_mb_per_cpu is set" in said and "set cluster.memory_request: none" in said


def test_a_python_that_no_job_can_be_started_with_is_refused(monkeypatch):
    """Snakemake writes its path into the commands of jobs as it is."""
    folder = "/home/me/my project/.venv/bin"
    monkeypatch.setattr(sys, "executable", f"{folder}/python")
    job = SimpleNamespace(
        workflow=SimpleNamespace(storage_settings=SimpleNamespace(shared_fs_usage=SharedFSUsage.all()))
    )
    assert RemoteExecutor.get_python_executable(job) == f"{folder}/python", "where it is quoted, this check can go"
    assert f"this Python, {folder}/python, has a blank" in refused()


@pytest.mark.parametrize("character", ["$", "`", "\\", '"'])
def test_a_checkout_whose_path_a_shell_would_read_is_refused(tmp_path, monkeypatch, character):
    folder = tmp_path / f"a{character}b"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert f"/a{character}b, has {character} in it" in refused()


def test_without_accounts_squeue_is_asked_and_a_stated_limit_of_time_reaches_the_jobs(tmp_path, monkeypatch):
    """With sacct the run would wait for ever, which is said before the first job."""
    config = "AccountingStorageType = (null)\nMinJobAge = 150 sec"
    said = {"sinfo": "tests*|infinite|64000|idle|(null)", "scontrol": config, "sacct": ""}
    for command, text in said.items():
        (tmp_path / command).write_text(f"#!/bin/sh\necho '{text}'\n")
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    job = SimpleNamespace(is_local=False, resources={"slurm_partition": "tests"})
    settings = ExecutorSettings(status_command="sacct")
    workflow = SimpleNamespace(executor_settings=settings, dag=SimpleNamespace(needrun_jobs=lambda: [job]))
    with pytest.raises(SlurmError, match="keeps no accounts, so sacct would not say which jobs have ended"):
        check_jobs(workflow, ClusterConfig())
    workflow.executor_settings = ExecutorSettings(status_command="squeue")
    guarded = []
    monkeypatch.setattr(submission, "guard", lambda *given: guarded.append(given))
    cluster = ClusterConfig(max_runtime=600)
    assert check_jobs(workflow, cluster) == []
    ((_, partitions, accounts, stated, seconds),) = guarded
    assert (list(partitions), accounts, stated, seconds) == (["tests"], None, cluster, 50)
    (tmp_path / "sinfo").write_text("#!/bin/sh\necho 'tests*|infinite|64000|drained|(null)'\n")
    (said,) = check_jobs(workflow, cluster)
    assert said.startswith("no node of partition tests can run jobs now (`sinfo -R` says why)")
    smk = (ROOT / "rules/common.smk").read_text()
    assert "for warning in check_jobs(workflow, CONFIG.cluster):\n            logger.warning(warning)\n" in smk


@pytest.mark.parametrize("size", [0, 2, 1001])
def test_a_site_may_take_no_job_arrays(tmp_path, monkeypatch, size):
    """The executor alone starts only where it could send some."""
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho 'MaxArraySize            = {size}'\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(plugin, "get_max_array_size", plugin.get_max_array_size)  # put back after
    monkeypatch.setattr(plugin.atexit, "register", lambda _: None)
    executor = object.__new__(plugin.Executor)
    executor.workflow = SimpleNamespace(executor_settings=ExecutorSettings(), workdir_init=tmp_path)
    executor.logger = logging.getLogger()
    if size < 3:
        with pytest.raises(WorkflowError, match="Array job submission is effectively disabled"):
            executor.__post_init__()
    allow_no_arrays()
    executor.__post_init__()
    assert executor.max_array_size == 1000
    assert "\nallow_no_arrays()\n" in (ROOT / "rules/common.smk").read_text()


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """A squeue that prints what a test says."""

    def answer(text: str, status: int = 0) -> None:
        script = tmp_path / "bin/squeue"
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {status}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")

    return answer


def test_orphans_have_the_projects_name_and_this_folder(squeue, tmp_path):
    here = tmp_path / "project"
    here.mkdir()
    (tmp_path / "link").symlink_to(here)
    squeue(
        f"7|RUNNING|1:02|fute_{UUID}|{here}|rule_mte_wildcards_a|b\n8|PENDING|0:00|fute_{UUID}|{tmp_path}/link|group_x\n"
        f"9|RUNNING|0:01|fute_{UUID}|{tmp_path}/other|rule_mte\n"
        f"12|RUNNING|0:03|my-lab_{UUID}|{here}|another profile's\n10|RUNNING|0:01|fute_notes|{here}|mine\n"
        f"11|RUNNING|0:01|{UUID}|{here}|another workflow's"
    )
    found = orphans(here)
    assert [(job.id, job.state) for job in found] == [("7", "RUNNING"), ("8", "PENDING"), ("12", "RUNNING")]
    assert found[0].comment == "rule_mte_wildcards_a|b" and found[0].elapsed == "1:02"


def test_a_node_without_slurm_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match="squeue is not on PATH: run this on a node of the SLURM cluster"):
        orphans(tmp_path)


def test_living_controllers_are_found_and_jobs_are_not(tmp_path):
    """A controller may itself run in a SLURM job; a log that is read is none."""
    waits = [sys.executable, "-c", "import time; time.sleep(60)"]
    log = tmp_path / ".snakemake/log/snakemake.log"
    log.parent.mkdir(parents=True)
    log.touch()
    started = [
        subprocess.Popen(line, cwd=folder, env=os.environ | {"SLURM_JOB_ID": "5"})
        for folder, line in (
            (tmp_path, [*waits, "snakemake", "--jobs", "4"]),
            (tmp_path.parent, [*waits, "snakemake"]),
            (tmp_path, [*waits, "snakemake", "--executor", "slurm-jobstep", "--mode", "remote"]),
            (tmp_path, ["tail", "-f", str(log)]),
        )
    ]
    try:
        time.sleep(0.5)
        assert controllers(tmp_path) == [started[0].pid]
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_folder_that_another_user_has_locked_stays_locked(tmp_path, monkeypatch):
    """Their jobs are not in the answer of `squeue --me`, so none would be cancelled before the lock is removed."""
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    monkeypatch.chdir(tmp_path)
    started = []
    answer = subprocess.CompletedProcess([], 0, "")
    monkeypatch.setattr(subprocess, "run", lambda line, **_: started.append(line[0]) or answer)
    assert CliRunner().invoke(app, ["cluster", "clean"]).exit_code == 0 and started == ["squeue", sys.executable]
    started.clear()
    monkeypatch.setattr(os, "getuid", lambda: 1 << 30)
    refused = CliRunner().invoke(app, ["cluster", "clean"])
    assert isinstance(refused.exception, SlurmError) and "has locked this folder is of user " in str(refused.exception)
    assert started == []


@pytest.fixture(scope="module")
def profile() -> dict:
    return yaml.safe_load((ROOT / "profiles/slurm/profile.yaml").read_text())


def test_the_profile_names_rules_and_groups_that_are_there(profile):
    assert profile["set-resources"].keys() | profile["groups"].keys() <= rules().keys()
    assert set(profile["groups"].values()) == profile["group-components"].keys()


def test_no_rule_names_its_group():
    """With `group` in a rule, the job on the node asks srun for the nodes of all members side by side."""
    assert [name for name, body in rules().items() if "group:" in body] == []


def test_no_job_is_signalled_as_it_starts(profile):
    """SLURM sends the signal of `--signal=TERM@300` up to a minute early; to a job of two minutes, at once."""
    default, short = profile["default-resources"], 0
    for name, body in rules().items():
        asked = default | profile["set-resources"].get(name, {})
        minutes = re.search(r"runtime=(\d+),", body)
        short += bool(minutes and int(minutes[1]) < 6)
        if lead := re.search(r"--signal=TERM@(\d+)", asked["slurm_extra"]):
            assert int(minutes[1] if minutes else asked["runtime"]) * 60 >= 1.5 * (int(lead[1]) + 60), name
    assert short >= 6, "steps of a second ask for two minutes"


def test_a_job_s_gpus_are_on_one_node(profile):
    assert profile["default-resources"]["nodes"] == 1


@pytest.mark.parametrize("name", ["slurm_partition", "slurm_account", "slurm_extra"])
def test_members_of_a_group_ask_for_the_same(profile, name):
    """Snakemake refuses a group whose members have two values of a resource that is a text."""
    asked: dict[str, set[str]] = {}
    for rule, group in profile["groups"].items():
        value = (profile["default-resources"] | profile["set-resources"].get(rule, {}))[name]
        asked.setdefault(group, set()).add(value)
    assert {group: values for group, values in asked.items() if len(values) > 1} == {}


def test_members_of_a_group_of_several_parts_ask_for_gpus_alike(profile):
    """Some of its parts may be half done, and by `gres` jobs with GPUs and without cannot start together."""
    with pytest.raises(WorkflowError, match="Resource gres is a string but not all jobs in group require the same"):
        GroupResources._is_string_resource("gres", ["gpu:1", 0])
    kinds: dict[str, set[bool]] = {}
    for rule, group in profile["groups"].items():
        if profile["group-components"][group] > 1:
            kinds.setdefault(group, set()).add("**gpus(" in rules()[rule])
    assert {group for group, found in kinds.items() if len(found) > 1} == set()
    assert kinds["label"] == {True} and kinds["labels"] == {False}


def test_jobs_of_a_group_run_one_after_the_other(profile):
    """Side by side, their nodes, GPUs and memory would be added up: four of one node would ask for four nodes."""
    default = profile["default-resources"]["torch"]
    for name in profile["groups"]:
        own = re.search(r"torch=([\w.]+),", rules()[name])
        asked = profile["set-resources"].get(name, {}).get("torch", own[1] if own else default)
        assert str(asked) == "1", name
