"""Copies of the project in folders of their own, for tests that run Snakemake."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "tests/workflow/tiny.yaml"
LM_CONFIG = "tests/workflow/tiny-lm.yaml"
REAL_MODEL = "smollm2-135m"
MODEL, LM_MODEL, LM_SURROGATE = "tiny-llama", "tiny-bert", "tiny-t5"
MODEL_LOCK = f"results/models/{MODEL}.lock.json"
# of every process of a test's workflow; what its steps set themselves is the same, for the fork server's sake
ENVIRONMENT = {
    **{"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
    **{"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    **{"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error", "PYTHONNOUSERSITE": "1"},
}


def first_in_path(folder: Path) -> dict[str, str]:
    """PATH with a folder before all others."""
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def say(text: str) -> None:
    """A line for whoever waits: what a test process writes to its standard output is lost under xdist."""
    print(f"\n{text}", file=sys.stderr, flush=True)


class Checkout:
    """A copy of the project in a folder of its own, on which Snakemake is run with one configuration."""

    def __init__(self, folder: Path, config: str = CONFIG) -> None:
        self.folder, self.config = folder, config
        self.variables: dict[str, str] = {}  # of its environment, beside those of all checkouts
        self.first: dict[str, str] = {}

    def __truediv__(self, path: str) -> Path:
        return self.folder / path

    def environment(self) -> dict[str, str]:
        # a workflow's own variables must not come from the one that runs the tests
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("FUTE_", "SNAKEMAKE", "PYTHONPATH"))}
        return kept | ENVIRONMENT | {"PYTHONPATH": "src"} | self.variables

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        line = ["python", "-m", "snakemake", "--configfile", self.config, "--cores", "2", *arguments]
        done = subprocess.run(
            line, cwd=self.folder, env=self.environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(line)} failed:\n{done.stdout[-6000:]}")
        return done

    def run(self, *targets: str) -> None:
        started = time.monotonic()
        self.snakemake(*targets)
        say(f"ran {' '.join(targets) or 'all'} in {time.monotonic() - started:.0f} s")

    def dry_run(self, *targets: str) -> str:
        """Output of a dry run."""
        return self.snakemake("--dry-run", *targets).stdout

    def planned(self, *targets: str) -> dict[str, int]:
        """Rule -> number of jobs that a dry run would start; targets that only print are left out."""
        text = self.dry_run(*targets)
        if "Nothing to be done" in text:
            return {}
        table = text.split("Job stats:")[-1].split("\n\n")[0]
        jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
        return {name: count for name, count in jobs.items() if name not in ("total", "all")}

    def hashes(self, pattern: str = "results/**/*") -> dict[str, str]:
        """sha256 of every artifact, without logs, measured times, sidecars and the model."""
        skip = ("results/logs", "results/benchmarks", "results/models", "results/paper/report.html")
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.folder.glob(pattern))
            if path.is_file()
            and not (name := path.relative_to(self.folder).as_posix()).startswith(skip)
            and not name.endswith(".prov.json")
            and "/efficiency-" not in name
        }

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self / path).read_text(encoding="utf8")
        assert text.count(old) == 1, f"{path} holds {old!r} {text.count(old)} times"
        (self / path).write_text(text.replace(old, new), encoding="utf8")


def copy_project(folder: Path) -> Checkout:
    """What git would check out, uncommitted edits included."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return Checkout(folder)


def copied(run: Checkout, folder: Path) -> Checkout:
    """A copy of a checkout with its results, which a test may edit and damage; weights, which are large, are linked."""

    def put(source: str, target: str) -> None:
        (os.link if source.endswith(".safetensors") and "/models/" in source else shutil.copy2)(source, target)

    shutil.copytree(run.folder, folder, copy_function=put)
    made = Checkout(folder, run.config)
    made.first = run.first
    return made


def audit(run: Checkout, *arguments: str) -> tuple[int, dict]:
    """Exit code and report of `fute audit ...`, run as a reader would."""
    line = ["python", "-m", "fute", "audit", *arguments, "--json"]
    done = subprocess.run(line, cwd=run.folder, env=run.environment(), text=True, capture_output=True)
    return done.returncode, json.loads(done.stdout)


def semantic(checkout: Checkout) -> dict[str, bytes]:
    """Every artifact of a run but figures and what holds measured times, decompressed."""
    found = {}
    for path in sorted((checkout / "results").rglob("*")):
        name = path.relative_to(checkout.folder).as_posix()
        if not path.is_file() or name.startswith(("results/logs", "results/benchmarks", "results/models")):
            continue
        if name.endswith((".prov.json", ".pdf", ".png", "report.html")) or "efficiency" in name or ".partial/" in name:
            continue
        found[name] = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return found


def fetched_model() -> Path:
    """The real model's folder, fetched once into this checkout's results by the workflow itself."""
    path = ROOT / "results/models" / REAL_MODEL
    lock = path.with_name(f"{REAL_MODEL}.lock.json")
    logs = ROOT / "results/logs"
    logs.mkdir(parents=True, exist_ok=True)
    with FileLock(logs / "tests.lock"):  # several test processes share this checkout
        if not lock.is_file():
            say("fetching the model")
            line = ["python", "-m", "snakemake", "--cores", "2", str(lock.relative_to(ROOT))]
            subprocess.run(line, cwd=ROOT, env=Checkout(ROOT).environment(), check=True, capture_output=True)
    return path


def save_model(kind: str, folder: Path) -> Path:
    """A small random model (`support.small_lms`), in a process of its own: the test's need not load torch."""
    given = [str(fetched_model())] if kind == "smollm2" else []
    line = ["python", "-m", "support.small_lms", kind, str(folder), *given]
    subprocess.run(line, cwd=ROOT, env=Checkout(ROOT).environment() | {"PYTHONPATH": "src:tests"}, check=True)
    return folder


def tiny_checkout(folder: Path, weights: Path) -> Checkout:
    """A copy of the project with a small model of SmolLM2's form in its registry."""
    made = copy_project(folder)
    with (made / "config/models.yaml").open("a") as registry:
        registry.write(f"\n{MODEL}:\n  title: a small SmolLM2, random\n  parameters_m: 7\n  folder: {weights}\n")
    return made


def lm_checkout(folder: Path, weights: Path) -> Checkout:
    """A copy of the project with two random models and a domain target in its registries."""
    made = copy_project(folder)
    made.config = LM_CONFIG
    models = yaml.safe_load((made / "config/models.yaml").read_text())
    for name, family in ((LM_MODEL, "bert"), (LM_SURROGATE, "t5")):
        models[name] = {"title": f"{name}, random", "folder": str(weights / family), "parameters_m": 1}
    (made / "config/models.yaml").write_text(yaml.safe_dump(models))
    datasets = yaml.safe_load((made / "config/datasets.yaml").read_text())
    datasets["mini-clinic"] = datasets["mini-paraphrases"] | {"title": "Mini clinic", "domain": "medical"}
    (made / "config/datasets.yaml").write_text(yaml.safe_dump(datasets, sort_keys=False))
    shutil.copytree(made / "resources/builtin/mini-paraphrases", made / "resources/builtin/mini-clinic")
    return made
