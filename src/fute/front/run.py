"""Run the workflow with a run's settings: Snakemake, and nothing else (`fute run`)."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fute.config.run import read_yaml
from fute.front.places import run_file, snakefile_folder

CORES = ("--cores", "-c", "--jobs", "-j", "--profile", "--workflow-profile", "--executor", "-e", "--unlock")
"""Arguments that say how many jobs run, or that none does."""
OF_MODELS = "results/evaluation/planted.csv"
"""What a run that compares models is asked for; the rest of its experiment is the paper's."""


def command(name: str, arguments: Sequence[str]) -> list[str]:
    """The command of a run. arguments: of Snakemake, which stand last. Raises NoRun, ConfigError."""
    path = run_file(name)
    cores = [] if any(_names(argument, CORES) for argument in arguments) else ["--cores", "all"]
    values = read_yaml(path)
    targets = [OF_MODELS] if isinstance(values, dict) and values.get("lm") and "--" not in arguments else []
    return ["snakemake", "--configfile", str(path), *cores, *arguments, *(["--", *targets] if targets else [])]


def _names(argument: str, options: Sequence[str]) -> bool:
    """Whether an argument is one of these options: `--cores`, `--cores=4`, `-c4`."""
    return any(
        argument == option
        or argument.startswith(f"{option}=")
        or (len(option) == 2 and argument.startswith(option) and not argument.startswith("--"))
        for option in options
    )


def run_snakemake(name: str, arguments: Sequence[str]) -> None:
    """Print the command of a run, then become it, in the project's folder. Raises NoRun, ConfigError."""
    words, folder = command(name, arguments), snakefile_folder()
    print(f"cd {shlex.quote(str(folder))} && {shlex.join(words)}", flush=True)
    os.chdir(folder)
    # the steps call `python`, which must be that of this environment
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.execvp(words[0], words)
