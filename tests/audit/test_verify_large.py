"""Cost of verification: its rate beside that of sha256sum over the same files, its memory, and many artifacts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.checkouts import say
from support.large_run import write_run
from support.thoroughness import LONG

from fute.audit.manifest import MANIFEST
from fute.audit.paths import ResultsFolder
from fute.audit.verify import verify_folder

MB = 1_000_000
SHARE = 0.8
"""Least part of sha256sum's rate."""
ROUNDS = 3
MEMORY_MB = 24
"""Most memory that eight times as many bytes may add."""
MANY = 100_000 if LONG else 20_000
KB_EACH = 10
"""Most memory that an artifact may add."""

# the peak of this process alone: ru_maxrss starts with that of the parent process
PEAK = """
import re, sys
from pathlib import Path
from fute.cli import main
try:
    main()
finally:
    print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024, file=sys.stderr)
"""


def verify(project: Path) -> tuple[dict, int]:
    """Report and peak memory in MB of one `fute audit verify` in a process of its own."""
    line = [sys.executable, "-c", PEAK, "audit", "verify", "--json"]
    source = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run(
        line, cwd=project, env=os.environ | {"PYTHONPATH": str(source)}, text=True, capture_output=True
    )
    assert done.stdout, done.stderr[-2000:]
    return json.loads(done.stdout), int(done.stderr.split()[-1])


@pytest.fixture(scope="module")
def bulky(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    project = tmp_path_factory.mktemp("bulky")
    say("writing 240 MB")
    return project, write_run(project, [20_000] * 1500 + [3 * MB] * 40 + [90 * MB])


@pytest.fixture(scope="module")
def few_mb(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Peak memory in MB of verifying 30 MB in 1,500 files."""
    project = tmp_path_factory.mktemp("small")
    write_run(project, [20_000] * 1500)
    return verify(project)[1]


def sha256sum(project: Path, names: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(
        ["xargs", "sha256sum"], cwd=project, input="\n".join(names).encode(), check=True, capture_output=True
    )
    return time.monotonic() - started


def test_it_hashes_no_slower_than_sha256sum(bulky: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch):
    """In turn on the same files in the page cache; the best of each counts. The start of Python is left out."""
    project, names = bulky
    monkeypatch.chdir(project)
    size = sum((project / name).stat().st_size for name in names) / MB
    plain, ours = [], []
    for _ in range(ROUNDS):
        plain.append(sha256sum(project, names))
        report = verify_folder(ResultsFolder(Path("results")), Path(MANIFEST))
        ours.append(report.facts["seconds"])
        assert report.counts() == {"identical": len(names)}
    share = min(plain) / min(ours)
    say(
        f"{size:.0f} MB: sha256sum {size / min(plain):.0f} MB/s, verify on {len(os.sched_getaffinity(0))} cores"
        f" {size / min(ours):.0f} MB/s, {share:.2f} of it"
    )
    assert share >= SHARE


def test_memory_is_flat(bulky: tuple[Path, list[str]], few_mb: int):
    many_mb = verify(bulky[0])[1]
    say(f"peak memory: {few_mb} MB for 30 MB of files, {many_mb} MB for 240 MB")
    assert many_mb - few_mb <= MEMORY_MB


@pytest.mark.long
def test_many_artifacts_one_of_them_damaged(tmp_path: Path, few_mb: int):
    say(f"writing {MANY} artifacts")
    names = write_run(tmp_path, [64] * MANY, linked=True)
    damaged = tmp_path / names[MANY * 7 // 9]
    damaged.unlink()
    damaged.write_bytes(b"x")
    report, memory_mb = verify(tmp_path)
    size = (tmp_path / MANIFEST).stat().st_size / MB
    say(f"{MANY} artifacts, manifest {size:.0f} MB: {report['facts']['seconds']} s, {memory_mb} MB")
    assert report["counts"] == {"identical": MANY - 1, "drifted": 1} and report["exit_code"] == 1
    assert [each["artifact"] for each in report["findings"]] == [names[MANY * 7 // 9]]
    assert memory_mb - few_mb <= MANY * KB_EACH / 1000
