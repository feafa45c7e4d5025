"""Run one training step under `accelerate launch` with every value explicit: nothing is read from a user's home.

python -m fute.launch --processes N -- STEP ARGS...   runs   fute STEP ARGS...   on N processes

With N = 1 the step replaces this process, so that signals reach it. More processes run under accelerate, on CUDA
devices or, if torch sees none, on the CPU with gloo. Accelerate's launcher has no flag for the latter: with `--cpu`
it starts one process. With `--multi_gpu` it starts N by torchrun, and ACCELERATE_USE_CPU in their environment makes
them CPU processes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping

FIRST_PORT = 20000
PORTS = 20000


def port(environment: Mapping[str, str]) -> int:
    """Port for the processes of one job: from the SLURM job id, so that two jobs on a node get different ones."""
    job = environment.get("SLURM_JOB_ID")
    return FIRST_PORT + (int(job) if job else os.getpid()) % PORTS


def threads(processes: int, environment: Mapping[str, str]) -> int:
    """Threads per process: its share of the job's OMP_NUM_THREADS, or of all cores; at least one."""
    return max(1, int(environment.get("OMP_NUM_THREADS") or os.cpu_count() or 1) // processes)


def command(step: list[str], processes: int, environment: Mapping[str, str]) -> list[str]:
    """Command line that runs `python -m fute STEP` on so many processes."""
    if processes == 1:
        return [sys.executable, "-m", "fute", *step]
    return [
        sys.executable, "-m", "accelerate.commands.launch",
        "--num_machines", "1", "--machine_rank", "0", "--num_processes", str(processes),
        "--gpu_ids", "all",  # those of the job, whatever the user's own settings of accelerate name
        "--main_process_port", str(port(environment)),
        "--num_cpu_threads_per_process", str(threads(processes, environment)),
        "--log_dir", os.devnull,  # else torchrun leaves a folder without logs in the temporary one
        "--mixed_precision", "no", "--dynamo_backend", "no", "--multi_gpu",
        "--module", "fute", *step,
    ]  # fmt: skip


def variables(processes: int, environment: Mapping[str, str], *, use_cpu: bool) -> dict[str, str]:
    """Environment of the processes: `environment` with their threads, and the CPU forced if `use_cpu`."""
    forced = {"ACCELERATE_USE_CPU": "true"} if use_cpu else {}
    return {**environment, "OMP_NUM_THREADS": str(threads(processes, environment)), **forced}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fute.launch", description=__doc__)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("step", nargs="+", help="after --: a fute step with its arguments")
    options = parser.parse_args()
    if options.processes < 1:
        parser.error(f"--processes {options.processes}: give at least one")
    devices = 0
    if options.processes > 1:
        import torch  # slow to load, and not needed for one process

        devices = torch.cuda.device_count()
        if devices and options.processes > devices:
            parser.error(f"--processes {options.processes}, but torch sees {devices} CUDA devices")
    line = command(options.step, options.processes, os.environ)
    os.execve(line[0], line, variables(options.processes, os.environ, use_cpu=options.processes > 1 and not devices))


if __name__ == "__main__":
    main()
