"""The command line of a training step on several processes, and its port."""

from __future__ import annotations

import os
import sys

import pytest

from fute.launch import FIRST_PORT, PORTS, command, port

STEP = ["embed-batch", "--output", "x.zip"]


def flag(line: list[str], name: str) -> str:
    assert line.count(name) == 1
    return line[line.index(name) + 1]


def test_the_port_follows_the_slurm_job():
    assert port({"SLURM_JOB_ID": "1234"}) == FIRST_PORT + 1234
    assert port({"SLURM_JOB_ID": str(PORTS + 7)}) == FIRST_PORT + 7
    ports = {port({"SLURM_JOB_ID": str(job)}) for job in range(90_000, 90_100)}
    assert len(ports) == 100, "neighbours on a node have ports of their own"


@pytest.mark.parametrize("environment", [{}, {"SLURM_JOB_ID": ""}])
def test_without_slurm_the_port_follows_the_process(environment):
    assert port(environment) == FIRST_PORT + os.getpid() % PORTS


def test_ports_lie_where_any_user_may_listen():
    for job in ("0", "19999", "20000", "4294967294"):
        assert 1024 < port({"SLURM_JOB_ID": job}) < 65536


def test_every_value_is_explicit():
    line = command(STEP, 2, 4, {"SLURM_JOB_ID": "5", "OMP_NUM_THREADS": "8"})
    assert line[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert flag(line, "--num_machines") == "1" and flag(line, "--machine_rank") == "0"
    assert flag(line, "--num_processes") == "2"
    assert flag(line, "--main_process_port") == str(FIRST_PORT + 5)
    assert flag(line, "--num_cpu_threads_per_process") == "8"
    assert flag(line, "--mixed_precision") == "no" and flag(line, "--dynamo_backend") == "no"
    assert line[-5:] == ["--module", "fute", *STEP]


def test_threads_are_one_unless_the_rule_says_more():
    assert flag(command(STEP, 1, 0, {}), "--num_cpu_threads_per_process") == "1"


@pytest.mark.parametrize(
    ("processes", "devices", "flags"),
    [(1, 0, {"--cpu"}), (1, 1, set()), (1, 8, set()), (2, 2, {"--multi_gpu"})],
)
def test_devices_decide_between_cpu_and_gpus(processes, devices, flags):
    assert set(command(STEP, processes, devices, {})) & {"--cpu", "--multi_gpu"} == flags
