"""A training step on several processes: its command line, its port, and that it computes what one process does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate.commands import launch as accelerate_launch
from accelerate.commands.config import config_args
from accelerate.utils.launch import prepare_multi_gpu_env
from support import twin
from support.checkouts import ENVIRONMENT, ROOT

from fute import launch
from fute.launch import FIRST_PORT, PORTS, command, port, threads, variables
from fute.surrogate.checkpoint import Checkpoint

STEP = ["embed_batch", "--output", "x.zip"]


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
    line = command(STEP, 2, {"SLURM_JOB_ID": "5", "OMP_NUM_THREADS": "8"})
    assert line[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert flag(line, "--num_machines") == "1" and flag(line, "--machine_rank") == "0"
    assert flag(line, "--num_processes") == "2"
    assert flag(line, "--main_process_port") == str(FIRST_PORT + 5)
    assert flag(line, "--num_cpu_threads_per_process") == "4"
    assert flag(line, "--mixed_precision") == "no" and flag(line, "--dynamo_backend") == "no"
    assert line[-6:] == ["--multi_gpu", "--module", "fute", *STEP]


@pytest.mark.parametrize("gpu_ids", ["0", "0,1"])
def test_settings_of_accelerate_in_the_users_home_choose_no_gpus(gpu_ids, tmp_path, monkeypatch):
    """Where SLURM gave GPUs 2 and 3, these would be another job's."""
    own = tmp_path / "default_config.yaml"
    own.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_GPU\nnum_machines: 1\nnum_processes: 4\n"
        f"main_process_ip: 10.0.0.7\nmixed_precision: bf16\ngpu_ids: '{gpu_ids}'\n"
    )
    monkeypatch.setattr(accelerate_launch, "default_config_file", str(own))
    monkeypatch.setattr(config_args, "default_config_file", str(own))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    line = command(STEP, 2, {"SLURM_JOB_ID": "5"})
    args, *_ = accelerate_launch._validate_launch_command(
        accelerate_launch.launch_command_parser().parse_args(line[line.index("accelerate.commands.launch") + 1 :])
    )
    given = prepare_multi_gpu_env(args)
    assert given["CUDA_VISIBLE_DEVICES"] == "2,3" and given["ACCELERATE_MIXED_PRECISION"] == "no"
    assert args.nproc_per_node == "2"


def test_one_process_is_the_step_itself():
    assert command(STEP, 1, {}) == [sys.executable, "-m", "fute", *STEP]


@pytest.mark.parametrize(
    ("processes", "given", "expected"), [(1, "8", 8), (2, "8", 4), (3, "8", 2), (4, "2", 1), (2, None, 3), (1, "", 6)]
)
def test_processes_share_the_threads(processes, given, expected, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    environment = {} if given is None else {"OMP_NUM_THREADS": given}
    assert threads(processes, environment) == expected
    assert variables(processes, environment, use_cpu=False) == {"OMP_NUM_THREADS": str(expected)}


@pytest.mark.parametrize(
    ("processes", "devices", "use_cpu"), [(1, 0, None), (1, 8, None), (2, 0, "true"), (2, 2, None), (2, 8, None)]
)
def test_devices_decide_between_cpu_and_gpus(monkeypatch, processes, devices, use_cpu):
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    monkeypatch.setattr(sys, "argv", ["launch", "--processes", str(processes), "--", *STEP])
    run = []
    monkeypatch.setattr(os, "execve", lambda *call: run.append(call))
    launch.main()
    ((program, line, environment),) = run
    assert program == sys.executable and line == command(STEP, processes, os.environ)
    assert environment.get("ACCELERATE_USE_CPU") == use_cpu


@pytest.mark.parametrize(
    ("processes", "devices", "message"), [(0, 0, "at least one"), (3, 2, "torch sees 2 CUDA devices")]
)
def test_refusals(monkeypatch, capsys, processes, devices, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    monkeypatch.setattr(sys, "argv", ["launch", "--processes", str(processes), "--", *STEP])
    with pytest.raises(SystemExit):
        launch.main()
    assert message in capsys.readouterr().err


def test_the_step_takes_the_place_of_one_process():
    line = [sys.executable, "-m", "fute.launch", "--processes", "1", "--", "no-such-step"]
    environment = os.environ | {"PYTHONPATH": str(Path(launch.__file__).parents[1])}
    process = subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 2 and "No such command 'no-such-step'" in said


@pytest.fixture
def start(tmp_path, quick_starts):
    """Starts the script on two CPU processes with one thread each."""
    folders = os.pathsep.join(str(ROOT / name) for name in ("src", "tests"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    given = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": "2", "PYTHONPATH": folders, "TMPDIR": str(temporary)}
    environment = variables(2, given, use_cpu=True)

    def launched(how: str) -> subprocess.Popen:
        _, *rest = command([how, str(tmp_path)], 2, environment)
        line = ["python", *("support.twin" if word == "fute" else word for word in rest)]
        return subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True)

    return launched


def test_two_processes_compute_what_one_does_and_stop_together(start, tmp_path):
    process = start("preempt")
    deadline = time.monotonic() + 600
    while not (tmp_path / "far").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=600)
    assert process.returncode != 0 and "stopped by SIGTERM after step " in said

    found = torch.load(tmp_path / "found.pt")
    assert (found["world"], found["threads"]) == (2, 1)
    for name, options in twin.WAYS.items():
        alone, both = twin.trained(**options), found[name]
        cosine = torch.cosine_similarity(alone["change"].double(), both["change"].double(), dim=0)
        assert cosine > 0.99999, name
        assert both["steps"] == alone["steps"] and both["best_epoch"] == alone["best_epoch"]
        assert both["losses"] == pytest.approx(alone["losses"], rel=1e-5)
        assert both["dev_losses"] == pytest.approx(alone["dev_losses"], rel=1e-4)
    assert len(found["early stopping, odd rows and batches"]["dev_losses"]) < 30, "it did stop early"

    seen = []
    whole = twin.trained(**twin.LONG)
    again = twin.trained(
        **twin.LONG, checkpoint=Checkpoint(tmp_path / "state", "long"), progress=lambda done, *_: seen.append(done)
    )
    assert 25 < seen[0] < 160, "what two processes left, one goes on with"
    assert torch.cosine_similarity(whole["change"].double(), again["change"].double(), dim=0) > 0.99999


def test_a_process_that_fails_fails_the_launch_says_why_and_leaves_no_file(start, tmp_path):
    process = start("fail")
    _, said = process.communicate(timeout=600)
    assert process.returncode != 0 and "RuntimeError: process 1 has a fault of its own" in said
    assert os.listdir(tmp_path / "temporary") == [], "not even torchrun's folder of logs"
