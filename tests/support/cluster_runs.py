"""Runs of the workflow on the cluster that the tests start."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from support.checkouts import Checkout
from support.local_slurm import LocalSlurm, job_facts

PROFILES = ("--profile", "profiles/slurm", "--profile", "tests/cluster/profile")
IN_IMAGES = ("--profile", "profiles/apptainer", "--apptainer-args=--net --network none")


class Controller:
    """A Snakemake that sends jobs to the cluster, running beside the test."""

    def __init__(self, checkout: Checkout, cluster: LocalSlurm, *arguments: str) -> None:
        self.checkout, self.cluster = checkout, cluster
        self.log = checkout.folder / f"controller-{time.time_ns()}.log"
        line = [sys.executable, "-m", "snakemake", "--configfile", checkout.config, *PROFILES, *arguments]
        # jobs run the `python` of these tests
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.process = subprocess.Popen(
            line, cwd=checkout.folder, env=checkout.environment() | {"PATH": os.environ.get("CLUSTER_PATH", path)},
            stdout=self.log.open("w"), stderr=subprocess.STDOUT,
        )  # fmt: skip

    def text(self) -> str:
        return self.log.read_text()

    def jobs(self) -> list[str]:
        """SLURM's ids of the jobs that were sent, in order."""
        return re.findall(r"submitted with SLURM jobid (\d+)", self.text())

    def until(self, what: str, condition: Callable[[], object], seconds: float = 120) -> None:
        """Wait for a condition while the controller runs."""

        def met() -> bool:
            assert self.process.poll() is None, f"Snakemake ended before {what}:\n{self.text()[-6000:]}"
            return bool(condition())

        self.cluster.wait(f"{what}:\n{self.text()[-3000:]}", met, seconds)

    def finish(self, seconds: float = 300) -> str:
        """Wait for its end, which must be good; what it said."""
        assert self.process.wait(timeout=seconds) == 0, self.text()[-8000:]
        return self.text()

    def kill(self) -> None:
        """SIGKILL, as from a login node that ends long processes."""
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class OnCluster:
    """A finished run; said: by its controller; facts: of its SLURM jobs."""

    checkout: Checkout
    said: str
    facts: list[dict[str, str]]


def gpus(fact: dict[str, str]) -> int:
    """GPUs that a job asked for."""
    return sum(int(value.rsplit(":", 1)[1]) for name, value in fact.items() if name == "TresPerJob" and "gpu" in value)


def record(checkout: Checkout, path: str) -> dict:
    return json.loads((checkout / f"{path}.prov.json").read_text())["record"]


def state(job: str) -> str:
    """SLURM's word for where a job is."""
    return job_facts(job)["JobState"]


def start_now(job: str) -> None:
    """SLURM lets a requeued job wait for two minutes; this one does not."""
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)


def refused(checkout: Checkout, *arguments: str) -> str:
    """What Snakemake says when it refuses to start."""
    line = [sys.executable, "-m", "snakemake", "--configfile", checkout.config, *arguments]
    done = subprocess.run(
        line, cwd=checkout.folder, env=checkout.environment(), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 1 and "submitted" not in done.stdout
    assert not (checkout / "results").exists(), "nothing was made"
    return done.stdout


def diary(checkout: Checkout, name: str) -> list[int]:
    """Process ids of the attempts of a black box so far."""
    path = checkout / f"{name}.diary"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def black_boxes(checkout: Checkout, **options: dict[str, object]) -> dict[str, str]:
    """Put functions of `rough` into the configuration as its black boxes; name -> label file."""
    path = checkout / checkout.config
    config = yaml.safe_load(path.read_text())
    config["threads"] = 1
    config["lm"]["plugins"] = {
        name: {"callable": f"rough:{name.split('-')[0]}", "folder": "tests/cluster/plugins", "options": more}
        for name, more in options.items()
    }
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return {name: f"results/labels/{name}/own/lm.jsonl.gz" for name in options}
