"""A SLURM cluster on this machine, and checkouts whose jobs run on it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support import local_images
from support.checkouts import Checkout, lm_checkout
from support.cluster_runs import IN_IMAGES, Controller, OnCluster
from support.local_slurm import LocalSlurm, install, job_facts, output
from support.small_lms import save_small


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSlurm]:
    install()
    made = LocalSlurm(tmp_path_factory.mktemp("slurm"))
    try:
        made.start()
        yield made
    finally:  # a configuration left behind would slow every Snakemake on this machine
        made.stop()


@pytest.fixture(scope="session")
def site() -> Path:
    """A project copy whose `containers` folder holds the three images and their lock."""
    if os.geteuid() == 0:  # a sandbox's root may lack capabilities that Apptainer asks for
        os.environ.setdefault("APPTAINER_NO_PRIVS", "1")
    return local_images.build_all()


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for family in ("bert", "t5"):
        save_small(folder / family, family)
    return folder


@pytest.fixture(scope="session")
def ran(site: Path, cluster: LocalSlurm, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> OnCluster:
    """The language-model experiment in small after a run on SLURM, in images without a network."""
    made = lm_checkout(tmp_path_factory.mktemp("ran") / "project", weights)
    local_images.use_images(made, site)
    print("\nthe language-model experiment on SLURM in images without a network", flush=True)
    controller = Controller(made, cluster, *IN_IMAGES)
    try:
        said = controller.finish(900)
    finally:
        controller.kill()
    return OnCluster(made, said, [job_facts(job) for job in controller.jobs()])


@pytest.fixture
def checkout(tmp_path: Path, weights: Path) -> Checkout:
    """A fresh copy of the project with two random models in its registry."""
    return lm_checkout(tmp_path / "project", weights)


@pytest.fixture
def send(cluster: LocalSlurm) -> Iterator[Callable[..., Controller]]:
    """Starts controllers; those that still run when the test ends are killed, and all jobs cancelled."""
    started: list[Controller] = []

    def start(checkout: Checkout, *arguments: str) -> Controller:
        started.append(Controller(checkout, cluster, *arguments))
        return started[-1]

    yield start
    for controller in started:
        if controller.process.poll() is None:
            controller.kill()
    subprocess.run(["scancel", "--me"], check=True)
    cluster.wait("jobs do not end", lambda: not output("squeue", "--noheader").strip())
    # what SLURM started on a node that it then took for lost, it does not end
    folders = {str(controller.checkout.folder) for controller in started}
    for process in psutil.process_iter(["cwd"]):
        if process.info["cwd"] in folders:
            process.kill()
