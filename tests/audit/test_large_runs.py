"""What verification costs: its rate beside sha256sum's over the same files, its memory, and 100,000 artifacts."""

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

from fute.audit.hashing import cores

MB = 1_000_000
SHARE = 0.8
"""The least part of sha256sum's rate."""
ROUNDS = 3
MEMORY_MB = 24
"""What eight times as many bytes may add to the memory of a verification."""
MANY = 100_000 if LONG else 20_000

# the peak of this process alone: ru_maxrss begins with what the process that started it had
PEAK = """
import re, sys
from pathlib import Path
from fute.cli import main
try:
    main()
finally:
    print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024, file=sys.stderr)
"""


def verify(project: Path, *arguments: str) -> tuple[float, dict, int]:
    """Seconds, report and peak memory in MB of one `fute audit verify` in a process of its own."""
    started = time.monotonic()
    line = [sys.executable, "-c", PEAK, "audit", "verify", "--json", *arguments]
    source = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run(
        line, cwd=project, env=os.environ | {"PYTHONPATH": str(source)}, text=True, capture_output=True
    )
    seconds = time.monotonic() - started
    assert done.stdout, done.stderr[-2000:]
    return seconds, json.loads(done.stdout), int(done.stderr.split()[-1])


@pytest.fixture(scope="module")
def bulky(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    project = tmp_path_factory.mktemp("bulky")
    say("writing 900 MB")
    return project, write_run(project, [20_000] * 1500 + [3 * MB] * 90 + [150 * MB] * 4)


def sha256sum(project: Path, names: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(
        ["xargs", "sha256sum"], cwd=project, input="\n".join(names).encode(), check=True, capture_output=True
    )
    return time.monotonic() - started


def test_it_hashes_no_slower_than_sha256sum(bulky: tuple[Path, list[str]]):
    """Whole commands, one after the other in turn, on the same files in the page cache; the best of each counts."""
    project, names = bulky
    size = sum((project / name).stat().st_size for name in names) / MB
    plain, ours = [], []
    for _ in range(ROUNDS):
        plain.append(sha256sum(project, names))
        seconds, report, _ = verify(project)
        ours.append(seconds)
        assert report["counts"] == {"identical": len(names)}
    share = min(plain) / min(ours)
    say(
        f"{size:.0f} MB: sha256sum {size / min(plain):.0f} MB/s, verify on {cores()} cores"
        f" {size / min(ours):.0f} MB/s, {share:.2f} of it"
    )
    assert share >= SHARE


def test_memory_is_flat(bulky: tuple[Path, list[str]], tmp_path: Path):
    write_run(tmp_path, [20_000] * 1500)
    few, many = verify(tmp_path)[2], verify(bulky[0])[2]
    say(f"peak memory: {few} MB for 30 MB of files, {many} MB for 900 MB")
    assert many - few <= MEMORY_MB


@pytest.mark.long
def test_many_artifacts_one_of_them_damaged(tmp_path: Path):
    say(f"writing {MANY} artifacts")
    names = write_run(tmp_path, [64] * MANY, linked=True)
    damaged = tmp_path / names[MANY * 7 // 9]
    damaged.unlink()
    damaged.write_bytes(b"x")
    seconds, report, memory = verify(tmp_path)
    size = (tmp_path / "results/audit/manifest.json").stat().st_size / MB
    say(f"{MANY} artifacts, manifest {size:.0f} MB: {seconds:.0f} s, {memory} MB")
    assert report["counts"] == {"identical": MANY - 1, "drifted": 1} and report["exit_code"] == 1
    assert [each["artifact"] for each in report["findings"]] == [names[MANY * 7 // 9]]
    assert memory < 1000
