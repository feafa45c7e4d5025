"""Verification of a run that was written at once: every change of its files is found, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.large_run import write_run

from fute.audit.findings import Report, Verdict
from fute.audit.manifest import MANIFEST
from fute.audit.paths import ResultsFolder
from fute.audit.verify import verify_folder


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return write_run(tmp_path, [300] * 70 + [2_000_000])


def verify() -> Report:
    return verify_folder(ResultsFolder(Path("results")), Path(MANIFEST))


def test_a_good_run_is_read_whole(names: list[str]):
    report = verify()
    assert report.findings == [] and report.counts() == {"identical": len(names)}
    assert report.facts["MB"] == 2.0
    for path in Path("results").rglob("*"):
        os.utime(path, (1, 1))
    assert verify().findings == []


def test_a_configuration_that_is_not_compared_is_named(names: list[str]):
    assert verify().facts["not compared"] == "the configuration, which no file of the project holds"


def test_all_that_is_damaged_is_found(names: list[str]):
    changed, missing, lost = names[3], names[68], names[70]
    Path(changed).write_bytes(b"x" * 300)
    Path(missing).unlink()
    Path(f"{lost}.prov.json").unlink()
    expected = {changed: Verdict.DRIFTED, missing: Verdict.MISSING, lost: Verdict.UNVERIFIED}
    assert verify().verdicts() == expected
