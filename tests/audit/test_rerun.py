"""Jobs done again, and repeated for their noise, on a run of the light steps (tests/workflow has a whole one)."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path

import pytest
from support.audited_run import CONFIG, MODEL, Run

from fute.audit.config_and_locks import IMAGES
from fute.audit.findings import AuditError
from fute.audit.rerun.compare import DEFAULTS
from fute.audit.rerun.noise import NOISE, read_tolerances

TEST, TRAIN = "results/data/mini-films/test.jsonl.gz", "results/data/mini-films/train.jsonl.gz"
UNSUP, COUNTS = "results/unsup/sa.jsonl.gz", "results/data/mini-films/counts.json"
LOCK = f"results/models/{MODEL}.lock.json"
# the configuration's default targets are a whole experiment, of which this run has the data only
NAMES = (UNSUP, TEST, TRAIN)
SPLITS = "src/fute/data/splits.py"


@pytest.fixture
def project(clone: Run, tmp_path: Path) -> Run:
    """A copy of the whole checkout that a test may edit."""
    next((clone / "containers").glob("*.sif")).rename(tmp_path / "image.sif")  # it is none that could be started
    return clone


def images_of(run: Run) -> list[Path]:
    """Where the images of the run's lock belong."""
    entries = json.loads((run / IMAGES).read_text())["images"].values()
    return [run / IMAGES.parent / entry["file"] for entry in entries]


def rerun(run: Run, *arguments: str) -> tuple[int, dict]:
    done = run.audit("rerun", "--config", CONFIG, "--json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def state(run: Run) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of every file of the results."""
    files = (path for path in (run / "results").rglob("*") if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_jobs_done_again_are_identical_and_nothing_real_is_touched(project: Run, tmp_path: Path):
    before = state(project)
    code, report = rerun(project, *NAMES, "--scratch", str(tmp_path / "scratch"))
    assert code == 0 and report["findings"] == []
    # both outputs of U, two of the test split, three of the training split
    assert report["counts"] == {"identical": 7} and report["facts"]["jobs"] == 3
    assert report["facts"]["without image"] == [project.image], "the image is not there"
    assert state(project) == before and not list((project / ".snakemake").rglob("metadata/*"))
    made = [
        path for path in (tmp_path / "scratch").rglob("*.jsonl.gz") if path.stat().st_size and not path.is_symlink()
    ]
    assert len(made) == 4, "U, test, train and dev were really made again"
    done = project.audit("rerun", UNSUP, "--config", CONFIG, "--scratch", str(tmp_path / "scratch"))
    assert done.returncode == 2 and "is not empty" in re.sub(r"[\s│]+", " ", done.stderr)


def test_a_fault_in_a_step_is_found_where_it_begins(project: Run):
    project.edit(SPLITS, "random.Random(seed).shuffle(order)", "random.Random(seed + 1).shuffle(order)")
    code, report = rerun(project, TEST, UNSUP)
    drifted = {each["artifact"]: each for each in report["findings"]}
    # other rows are sampled for the test; U has a sampler of its own
    assert code == 1 and set(drifted) == {TEST}
    assert report["facts"]["first divergent"] == [TEST]
    for name, each in drifted.items():
        assert each["verdict"] == "drifted" and each["cause"] == "code" and name in each["message"]
        assert f"first divergent: {TEST}" in each["message"]


def test_a_job_is_done_again_in_its_image(project: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With a stand-in for Apptainer that notes how it is called and runs the command as it stands."""
    (tmp_path / "image.sif").rename(next(iter(images_of(project))))
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "apptainer").write_text(
        f"""#!/bin/bash
if [ "$1" = --version ]; then echo "apptainer version 1.4.5"; exit; fi
echo "$APPTAINER_BIND $@" >> {tmp_path}/calls
while [ "$1" != bash ]; do shift; done
exec "$@"
"""
    )
    (tools / "apptainer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    code, report = rerun(project, UNSUP)
    assert code == 0, report["findings"]
    assert report["counts"] == {"identical": 2} and "without image" not in report["facts"]
    bound, call = (tmp_path / "calls").read_text().split(maxsplit=1)
    assert f"{project.folder}:{project.folder}:ro" in bound.split(","), "what is recorded is only read"
    assert " containers/" in call and "sample_unsup" in call


def test_an_image_that_cannot_be_started_is_said(project: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "image.sif").rename(next(iter(images_of(project))))
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "apptainer").write_text(
        """#!/bin/bash
if [ "$1" = --version ]; then echo "apptainer version 1.4.5"; exit; fi
echo "FATAL:   could not open image: image format not recognized" >&2
exit 255
"""
    )
    (tools / "apptainer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    code, report = rerun(project, UNSUP)
    assert code == 2 and {each["verdict"] for each in report["findings"]} == {"not rerunnable here"}
    assert all("image format not recognized" in each["message"] for each in report["findings"])


def test_where_nothing_was_measured_the_noise_stays(project: Run):
    (project / NOISE).write_text("kept")
    (project / TEST).unlink()
    done = project.audit("noise", TRAIN, "--repeats", "2", "--config", CONFIG)
    assert done.returncode == 2 and f"its input {TEST} is missing" in done.stdout
    assert (project / NOISE).read_text() == "kept"


def test_an_input_that_is_not_the_recorded_one_is_not_used(project: Run):
    (project / TEST).write_bytes(b"other")
    code, report = rerun(project, TRAIN)
    assert code == 2 and report["counts"] == {"not rerunnable here": 3}
    assert f"its input {TEST} is not the one it was made from" in report["findings"][0]["message"]


def test_another_configuration_is_not_the_run(project: Run):
    project.edit(CONFIG, "test_rows: 12", "test_rows: 11")
    code, report = rerun(project, TEST)
    assert code == 2
    assert "the configuration is not that of the run: params: test_rows 12, then 11" in report["findings"][0]["message"]


def test_a_step_that_fails_says_why(project: Run):
    path = project / "src/fute/data/sample_unsup_step.py"
    path.write_text(path.read_text() + '\nraise RuntimeError("nothing works here")\n')
    code, report = rerun(project, UNSUP)
    assert code == 2
    assert "ended with an error: RuntimeError: nothing works here" in report["findings"][0]["message"]


def test_a_name_that_is_no_artifact(project: Run):
    done = project.audit("rerun", "results/nothing.csv", "--config", CONFIG)
    assert done.returncode == 2 and "results/nothing.csv: no rule of this configuration made it" in done.stderr


def test_noise_is_measured_and_used(project: Run):
    done = project.audit("noise", UNSUP, "--repeats", "2", "--config", CONFIG, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["counts"] == {"identical": 2}
    found = json.loads((project / NOISE).read_text())
    assert found["repeats"] == 2 and found["floor"]["exact"] == {"artifacts": 2, "distances": {}}
    assert str(project.folder) not in (project / NOISE).read_text()
    _, report = rerun(project, UNSUP)
    assert report["facts"]["tolerances"].startswith("2 times the noise of 2 repeats")


def test_a_step_that_throws_dice_is_noticed(project: Run):
    project.edit(SPLITS, "random.Random(seed).shuffle(order)", "random.Random().shuffle(order)")
    done = project.audit("noise", TEST, "--repeats", "2", "--config", CONFIG, "--json")
    found = {each["artifact"]: each for each in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1 and set(found) == {TEST}
    assert found[TEST]["cause"] == "nondeterminism" and "repeats have different bytes" in found[TEST]["message"]


def test_tolerances_of_a_noise_file(tmp_path: Path):
    path = tmp_path / "noise.json"
    assert read_tolerances(path).of == DEFAULTS
    floor = {"labels": {"artifacts": 1, "distances": {"flips": 0.002, "class shift": 0.0}}}
    path.write_text(json.dumps({"schema": 1, "repeats": 3, "floor": floor}))
    found = read_tolerances(path)
    assert found.of["labels"] == {"flips": 0.004, "class shift": 0.0}
    assert found.of["vectors"] == DEFAULTS["vectors"] and "labels" in found.source
    good = {"schema": 1, "repeats": 3, "floor": floor}
    distances = ({"flips": math.nan, "class shift": 0.0}, {"flips": -1.0, "class shift": 0.0})
    damaged = [good | {"floor": {"labels": {"distances": each}}} for each in distances]
    damaged += [good | {"schema": 2}, good | {"floor": 3}, {"schema": 1, "floor": floor}]
    for broken in ("{", "[]", *map(json.dumps, damaged)):
        path.write_text(broken)
        with pytest.raises(AuditError, match=r"noise\.json: is damaged"):
            read_tolerances(path)
