"""A small run to audit: the workflow's own data steps and a model of a few bytes, in a checkout of its own."""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

from snakemake.cli import main as snakemake_main

from fute.audit.config_and_locks import IMAGES
from fute.audit.findings import Report
from fute.audit.manifest import MANIFEST, Manifest, read_manifest
from fute.audit.paths import ResultsFolder
from fute.audit.verify import verify_manifest
from fute.cli import main
from fute.images.lock import NAMES
from support.checkouts import ROOT, Checkout, copy_project

CONFIG = "config-audit.yaml"
MODEL = "small"
TARGETS = ("data", f"results/models/{MODEL}.lock.json")
SETTINGS = """
name: audit
title: "A run to audit"
data: {{source: builtin, test_rows: 12, dev_share: 0}}
unsup: {{sa: {{kind: pool, path: pool.jsonl, limit: 12, stratify: family}}}}
llm:
  models: [{model}]
  prompts: {{sa: [1]}}
  datasets: {{sa: [mini-films]}}
  engine: {{engine: transformers, dtype: bfloat16}}
surrogate: {{name: {model}, settings: {{family: causal}}}}
tupate: {{dte: &r {{layers: 1}}, mte: *r}}
"""
# what a machine's owner does not want in a published record; the environment of the run holds it
PLANTED = {
    "HF_TOKEN": "hf_plantedplantedplanted",
    "OPENAI_API_KEY": "sk-planted-planted",
    "HOSTNAME": "planted-node17.cluster",
    "USER": "planteduser",
    "LOGNAME": "planteduser",
}


@cache
def _source_files() -> tuple[str, ...]:
    """The package and the data that ship with it."""
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "resources/builtin").rglob("*")]
    return tuple(path.relative_to(ROOT).as_posix() for path in sorted(files) if path.is_file())


@contextlib.contextmanager
def as_a_process(folder: Path, environment: Mapping[str, str], arguments: list[str]) -> Iterator[None]:
    """Folder, environment and arguments as a process of its own would have them."""
    before, argv, path, python = dict(os.environ), sys.argv, list(sys.path), sys.executable
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.executable = arguments, shutil.which("python")
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        sys.argv, sys.path[:], sys.executable = argv, path, python


def image_name(sha256: str) -> str:
    return f"paper-{sha256[:12]}.sif"


class Run(Checkout):
    """A checkout with results. image: sha256 of the one that its steps run in, as Apptainer's variable says."""

    image = ""

    def environment(self) -> dict[str, str]:
        inside = {"APPTAINER_CONTAINER": f"/home/planteduser/{image_name(self.image)}"} if self.image else {}
        return super().environment() | PLANTED | inside

    def audit(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`fute audit ...` in this folder: in this process, or in its own if the folder has other code."""
        if self._has_other_code():
            line = ["python", "-m", "fute", "audit", *arguments]
            return subprocess.run(line, cwd=self.folder, env=self.environment(), text=True, capture_output=True)
        return self._in_this_process(main, "fute", "audit", *arguments)

    def lock(self) -> subprocess.CompletedProcess[str]:
        """`fute lock` in this folder."""
        return self._in_this_process(main, "fute", "lock", "--configfile", self.config)

    def dry_run(self, *targets: str) -> str:
        if self._has_other_code():
            return super().dry_run(*targets)
        line = ("snakemake", "--configfile", self.config, "--cores", "2", "--dry-run", *targets)
        done = self._in_this_process(snakemake_main, *line)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def _in_this_process(self, command: Callable[[], None], *line: str) -> subprocess.CompletedProcess[str]:
        """A command's exit code and output, without the seconds that it takes to start Python and import Snakemake."""
        output, errors, code = io.StringIO(), io.StringIO(), 0
        with (
            as_a_process(self.folder, self.environment(), list(line)),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            try:
                command()
            except SystemExit as ended:
                code = int(ended.code or 0)
        return subprocess.CompletedProcess(line, code, output.getvalue(), errors.getvalue())

    def _has_other_code(self) -> bool:
        if not (self / "src").is_dir():
            return False
        return filecmp.cmpfiles(ROOT, self.folder, _source_files(), shallow=False) != (list(_source_files()), [], [])

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self / MANIFEST)

    def verify(self, **options: object) -> Report:
        with contextlib.chdir(self.folder):
            return verify_manifest(self.manifest, ResultsFolder(self / "results"), **options)

    def copy(self, folder: Path) -> Run:
        """The same results in another folder, beside what of the project an audit reads."""
        folder.mkdir(parents=True)
        for name in ("results", "config", "containers", "resources"):
            shutil.copytree(self / name, folder / name, symlinks=True)
        shutil.copy(self / CONFIG, folder / CONFIG)
        return Run(folder, CONFIG)


def manifest_of(run: Run, code: int = 0) -> dict:
    """The report of `fute audit manifest` as JSON; code: the exit code that it must have."""
    done = run.audit("manifest", *TARGETS, "--config", CONFIG, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def make_run(folder: Path) -> Run:
    """Run the light steps for real, and make the manifest."""
    copy_project(folder)
    run = Run(folder, CONFIG)
    weights = folder.parent / "planteduser" / "weights"
    weights.mkdir(parents=True)
    (weights / "config.json").write_text('{"model_type": "none"}')
    (weights / "model.safetensors").write_bytes(os.urandom(4096))
    with (folder / "config/models.yaml").open("a") as registry:
        registry.write(f"\n{MODEL}:\n  folder: {weights}\n")
    (folder / CONFIG).write_text(SETTINGS.format(model=MODEL))
    image = b"an image"
    digest = hashlib.sha256(image).hexdigest()
    run.image = digest
    entry = {"file": image_name(digest), "sha256": digest, "bytes": len(image), "inputs": {}}
    (folder / "containers").mkdir(exist_ok=True)
    (folder / "containers" / entry["file"]).write_bytes(image)
    (folder / IMAGES).write_text(json.dumps({"schema_version": 1, "images": dict.fromkeys(NAMES, entry)}))
    run.run(*TARGETS)
    done = run.audit("manifest", *TARGETS, "--config", CONFIG)
    assert done.returncode == 0, done.stdout + done.stderr
    return run
