"""`accelerate launch` for one training step, every value explicit: nothing is read from a user's home.

python -m fute.launch --processes N -- STEP ARGS...   runs   fute STEP ARGS...   on N processes
"""

from __future__ import annotations

import argparse
import os
import sys

FIRST_PORT = 20000
PORTS = 20000


def port(environment: dict[str, str]) -> int:
    """A port for the processes of one job: from the SLURM job id, so that two jobs on a node do not meet."""
    job = environment.get("SLURM_JOB_ID")
    return FIRST_PORT + (int(job) if job else os.getpid()) % PORTS


def command(step: list[str], processes: int, devices: int, environment: dict[str, str]) -> list[str]:
    """The command line; devices: CUDA devices that torch sees. Without one, the processes run on the CPU."""
    return [
        sys.executable, "-m", "accelerate.commands.launch",
        "--num_machines", "1", "--machine_rank", "0", "--num_processes", str(processes),
        "--main_process_port", str(port(environment)),
        "--num_cpu_threads_per_process", environment.get("OMP_NUM_THREADS", "1"),
        "--mixed_precision", "no", "--dynamo_backend", "no",
        *([] if devices else ["--cpu"]), *(["--multi_gpu"] if devices and processes > 1 else []),
        "--module", "fute", *step,
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fute.launch", description=__doc__)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("step", nargs="+", help="a fute step with its arguments, after --")
    given = parser.parse_args()
    import torch

    devices = torch.cuda.device_count()
    if devices and given.processes > devices:
        parser.error(f"--processes {given.processes}, but torch sees {devices} CUDA devices")
    if not devices and given.processes > 1:
        parser.error("accelerate starts one process on a machine without a GPU: set processes to 1")
    line = command(given.step, given.processes, devices, dict(os.environ))
    os.execv(line[0], line)


if __name__ == "__main__":
    main()
