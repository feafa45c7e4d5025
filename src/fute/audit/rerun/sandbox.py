"""A folder in which one job of a finished run is done again, with the checkout's rules and the recorded inputs.

It is a copy of the checkout made of links, with its own `results/`, which holds links to the job's recorded inputs and
nothing else. Steps write by renaming, so nothing is written through a link.

For a job that reads a cell of a batch the cell is computed again, too: every other cell of the configuration is
declared finished, so that the workflow plans a new batch with this cell alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fute.artifacts import SIDECAR, sidecar_path
from fute.audit.batches import is_batch, planned_keys
from fute.audit.config_and_locks import IMAGES, read_images
from fute.audit.findings import AuditError
from fute.audit.paths import RESULTS, ResultsFolder
from fute.audit.planned_jobs import Graph, Job
from fute.batching import KEYS, LOCK, keys_text
from fute.config.own_entries import with_folders

# sorts after real batches, whose names are hexadecimal digits: an existing one is taken first
DECLARED = "recorded"
SETTINGS = "rerun.json"


class FailedRun(RuntimeError):
    """A job ended with an error; holds the last line of its log."""


def checked_scratch(folder: Path) -> Path:
    """`folder` itself if it is empty or new and outside the results. Raises AuditError."""
    if folder.resolve().is_relative_to(Path(RESULTS).resolve()):
        raise AuditError(f"{folder} lies in {RESULTS}/, where rerun writes nothing; give --scratch another folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AuditError(f"{folder} is not empty; give --scratch a new folder")
    return folder


class Sandbox:
    """One such folder, of the checkout in the current folder. folder: is made, must not exist."""

    def __init__(self, folder: Path, graph: Graph) -> None:
        self.folder, self.project, self.graph = folder.resolve(), Path.cwd(), graph
        self.folder.mkdir(parents=True)
        for path in sorted(self.project.iterdir()):
            holds_it = self.folder.is_relative_to(path.resolve())
            if path.name != RESULTS and not path.name.startswith(".") and not holds_it:
                (self.folder / path.name).symlink_to(path)
        self.results = self.folder / RESULTS
        self.results.mkdir()
        (self.folder / SETTINGS).write_text(json.dumps(_settings(graph, self.project)), encoding="utf8")
        self._real = ResultsFolder(self.project / RESULTS)
        if (benchmarks := self._real.folder / "benchmarks").is_dir():  # measured times, which reports print
            shutil.copytree(benchmarks, self.results / "benchmarks")

    def link(self, names: Iterable[str]) -> None:
        """Link artifacts with their records, a lock with its folder of weights, `.keys` with their batch."""
        for name in names:
            for each in self._beside(name):
                target = self.folder / each
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    target.symlink_to(self._real.path(each).resolve())

    def _beside(self, name: str) -> list[str]:
        files = [name, name + SIDECAR]
        if name.endswith(LOCK):
            files.append(name.removesuffix(LOCK))
        if name.endswith(KEYS):
            folder = self._real.path(name).parent
            batch = name.rpartition("/")[2].removesuffix(KEYS)
            own = [path.name for path in folder.glob(f"{batch}.*") if not path.name.endswith((".partial", ".tmp"))]
            files += [f"{name.rpartition('/')[0]}/{each}" for each in sorted(own)]
        return [each for each in files if self._real.path(each).exists()]

    def declare_finished(self, job: Job) -> None:
        """Put all cells except those that `job` reads into a declared finished batch."""
        read = set(planned_keys(job)) if any(is_batch(name) for name in job.inputs) else set()
        for step in self.graph.plan.step_batches():
            if not (declared := {cell: key for cell, key in step.keys.items() if key not in read}):
                continue
            data = self.folder / step.files.replace("*", DECLARED)
            data.parent.mkdir(parents=True, exist_ok=True)
            data.touch()
            keys = data.with_name(DECLARED + KEYS)
            keys.write_text(keys_text(declared), encoding="utf8")
            sidecar_path(keys).touch()

    def run(self, job: Job, image: str | None, cores: int | None, profile: Path | None) -> None:
        """Do one job and the batch that it reads. cores: None for all. profile: of Snakemake. Raises FailedRun."""
        line = [sys.executable, "-m", "snakemake", "--configfile", SETTINGS, "--cores", str(cores or "all")]
        of_batches = sorted({step.rule for step in self.graph.plan.step_batches()})
        line += ["--nolock", "--allowed-rules", job.rule, *of_batches]
        if profile:
            line += ["--profile", str(profile)]
        if image and in_image(image):
            line += ["--software-deployment-method", "apptainer"]
        done = subprocess.run(
            [*line, "--", job.outputs[0]], cwd=self.folder, env=environment(os.environ, self.project), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode != 0:
            raise FailedRun(_end_of(done.stdout, self.results / "logs", job))

    def new_batches(self) -> list[Path]:
        """Data files of the batches that were computed here."""
        records = self.results.rglob(f"batches/*{KEYS}{SIDECAR}")
        return [path for each in records if not each.is_symlink() and each.stat().st_size for path in _data_of(each)]


def _settings(graph: Graph, project: Path) -> dict[str, Any]:
    """The run's settings, with full paths where they were given relative to the checkout or to the run's file."""
    settings, run = dict(graph.settings), graph.plan.run
    if "registry" in settings:
        settings["registry"] = with_folders(run.config.registry, run.folders, project)
    if root := run.config.data.root:
        settings["data"] = {**settings["data"], "root": str((project / Path(root).expanduser()).resolve())}
    return settings


def _data_of(sidecar: Path) -> list[Path]:
    name = sidecar.name.removesuffix(KEYS + SIDECAR)
    return [path for path in sidecar.parent.glob(f"{name}.*") if not path.name.endswith((SIDECAR, KEYS, ".partial"))]


def environment(known: Mapping[str, str], project: Path) -> dict[str, str]:
    """The environment without variables of an outer workflow; images can read the checkout, not write to it."""
    own = {name: value for name, value in known.items() if not name.startswith(("FUTE_", "SNAKEMAKE"))}
    # a variable, since command-line arguments would replace those of a site's profile
    binds = [*filter(None, [own.get("APPTAINER_BIND")]), f"{project}:{project}:ro"]
    return own | {"APPTAINER_BIND": ",".join(binds)}


def in_image(sha256: str) -> bool:
    """Whether an image and Apptainer are on this machine."""
    entry = read_images().get(sha256)
    return bool(entry) and shutil.which("apptainer") is not None and (IMAGES.parent / entry["file"]).is_file()


def _end_of(output: str, logs: Path, job: Job) -> str:
    """The last line with words of the newest step's log, else the last error that Snakemake printed."""
    for log in sorted(logs.rglob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True):
        if lines := _lines(log.read_text(encoding="utf8", errors="replace")):
            return lines[-1]
    errors = [line for line in _lines(output) if re.match(r"(FATAL:|\w*(Error|Exception)\b).*[^:]$", line)]
    return (errors or _lines(output) or [job.rule])[-1]


def _lines(text: str) -> list[str]:
    """Lines with words, without the frames around command-line errors."""
    return [line.strip("│ \t") for line in text.splitlines() if re.search(r"\w", line)]
