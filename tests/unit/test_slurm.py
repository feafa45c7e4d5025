"""What is refused before jobs are sent, and which jobs and processes are a folder's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from fute.cluster.slurm import SlurmError, check_settings, controllers, orphans

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
    assert "mem_mb_per_cpu" in refused(mem_mb_per_cpu=[None, 500])


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
        f"9|RUNNING|0:01|fute_{UUID}|{tmp_path}/other|rule_mte\n10|RUNNING|0:01|fute_notes|{here}|mine\n"
        f"11|RUNNING|0:01|{UUID}|{here}|another workflow's"
    )
    found = orphans(here)
    assert [(job.id, job.state) for job in found] == [("7", "RUNNING"), ("8", "PENDING")]
    assert found[0].comment == "rule_mte_wildcards_a|b" and found[0].elapsed == "1:02"


def test_a_node_without_slurm_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match="squeue is not on PATH: run this on a node of the SLURM cluster"):
        orphans(tmp_path)


def test_living_controllers_are_found_and_jobs_are_not(tmp_path):
    line = [sys.executable, "-c", "import time; time.sleep(60)", "snakemake"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
    started = [
        subprocess.Popen(line, cwd=folder, env=environment | more)
        for folder, more in ((tmp_path, {}), (tmp_path.parent, {}), (tmp_path, {"SLURM_JOB_ID": "5"}))
    ]
    try:
        time.sleep(0.5)
        assert controllers(tmp_path) == [started[0].pid]
    finally:
        for process in started:
            process.kill()
            process.wait()
