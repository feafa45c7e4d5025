"""`accelerate launch` for one training step, every value explicit: nothing is read from a user's home.

python -m fute.launch --processes N -- STEP ARGS...   runs   fute STEP ARGS...   on N processes

One process is this one: the step takes its place, so that signals reach it. Several run under accelerate, on CUDA
devices or, where torch sees none, on the CPU with gloo. For the latter accelerate's launcher has no flag: with
`--cpu` it starts one process. With `--multi_gpu` it starts N by torchrun, and ACCELERATE_USE_CPU in their
environment makes them CPU processes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping

FIRST_PORT = 20000
PORTS = 20000


def port(environment: Mapping[str, str]) -> int:
    """A port for the processes of one job: from the SLURM job id, so that two jobs on a node do not meet."""
    job = environment.get("SLURM_JOB_ID")
    return FIRST_PORT + (int(job) if job else os.getpid()) % PORTS


def threads(processes: int, environment: Mapping[str, str]) -> int:
    """Threads of each process: its share of the job's OMP_NUM_THREADS, or of all cores, at least one."""
    return max(1, int(environment.get("OMP_NUM_THREADS") or os.cpu_count() or 1) // processes)


def command(step: list[str], processes: int, environment: Mapping[str, str], module: str = "fute") -> list[str]:
    """The command line that runs `python -m module STEP` on so many processes."""
    if processes == 1:
        return [sys.executable, "-m", module, *step]
    return [
        sys.executable, "-m", "accelerate.commands.launch",
        "--num_machines", "1", "--machine_rank", "0", "--num_processes", str(processes),
        "--main_process_port", str(port(environment)),
        "--num_cpu_threads_per_process", str(threads(processes, environment)),
        "--mixed_precision", "no", "--dynamo_backend", "no", "--multi_gpu",
        "--module", module, *step,
    ]  # fmt: skip


def variables(processes: int, environment: Mapping[str, str], *, use_cpu: bool) -> dict[str, str]:
    """The environment of the processes."""
    forced = {"ACCELERATE_USE_CPU": "true"} if use_cpu else {}
    return {**environment, "OMP_NUM_THREADS": str(threads(processes, environment)), **forced}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fute.launch", description=__doc__)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("step", nargs="+", help="a fute step with its arguments, after --")
    given = parser.parse_args()
    if given.processes < 1:
        parser.error(f"--processes {given.processes}: give at least one")
    devices = 0
    if given.processes > 1:
        import torch  # slow to load, and not needed for one process

        devices = torch.cuda.device_count()
        if devices and given.processes > devices:
            parser.error(f"--processes {given.processes}, but torch sees {devices} CUDA devices")
    line = command(given.step, given.processes, os.environ)
    os.execve(line[0], line, variables(given.processes, os.environ, use_cpu=given.processes > 1 and not devices))


if __name__ == "__main__":
    main()
