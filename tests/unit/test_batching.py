"""The batch plan as a pure function, and the store of finished units."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fute.artifacts import StaleFile, Step
from fute.batching import (
    BatchPlan,
    CellStore,
    FolderBatch,
    UnitStore,
    batch_name,
    finished_batches,
    keys_text,
    names_regex,
    plan_batches,
    tidy,
)

cells = st.dictionaries(st.text("abc", min_size=1, max_size=4), st.sampled_from("0123456789"), max_size=12)


@given(cells, cells, st.none() | st.integers(1, 4))
def test_every_cell_has_one_batch_and_finished_ones_stay(requested, earlier, size):
    finished = {key: f"old-{key}" for key in earlier.values()}
    made = plan_batches(requested, finished, size)
    assert set(made.batch_of) == set(requested)
    for cell, key in requested.items():
        if key in finished:
            assert made.batch_of[cell] == finished[key]
        else:
            assert cell in made.new[made.batch_of[cell]]
    for name, members in made.new.items():
        keys = {requested[cell] for cell in members}
        assert name == batch_name(keys) and not keys & set(finished)
        assert size is None or len(keys) <= size
    if size is None:
        assert len(made.new) <= 1


@given(cells)
def test_equal_keys_share_a_batch(requested):
    made = plan_batches(requested, {}, 1)
    for a, key_a in requested.items():
        for b, key_b in requested.items():
            assert (made.batch_of[a] == made.batch_of[b]) == (key_a == key_b)


names = st.text("0123456789abcdef", min_size=16, max_size=16)


@given(st.sets(names, max_size=40), st.sets(names, max_size=40), st.data())
def test_the_regex_of_new_batches_matches_them_and_no_finished_one(new, finished, data):
    twins = {name[:-1] + ("0" if name[-1] != "0" else "1") for name in new if data.draw(st.booleans())}
    finished = (finished | twins) - new
    pattern = names_regex([BatchPlan({name: name for name in new | finished}, {name: (name,) for name in new})])
    assert all(re.fullmatch(pattern, name) for name in new)
    assert not any(re.fullmatch(pattern, name) for name in finished)


def test_the_regex_stays_short():
    many = [batch_name([str(i)]) for i in range(5000)]
    new = {name: (name,) for name in many}
    assert names_regex([BatchPlan({}, {})]) == "none"
    assert names_regex([BatchPlan({name: name for name in many}, new)]) == "[0-9a-f]*"
    half = names_regex([BatchPlan({name: name for name in many}, dict.fromkeys(many[::2], ("x",)))])
    assert len(half) < 17 * 2500


def _finish(folder: Path, requested: dict[str, str]) -> None:
    """Do what a batch step does for the new batches of a plan."""
    for name, members in plan_batches(requested, finished_batches(folder, ".zip")).new.items():
        (folder / f"{name}.zip").write_bytes(b"data")
        (folder / f"{name}.keys").write_text(keys_text({cell: requested[cell] for cell in members}))
        (folder / f"{name}.keys.prov.json").write_text("{}")


def test_a_finished_plan_plans_nothing_and_an_edit_plans_one_cell(tmp_path):
    requested = {f"prompt-{i}": f"key{i}" for i in range(13)}
    _finish(tmp_path, requested)
    again = plan_batches(requested, finished_batches(tmp_path, ".zip"))
    assert again.new == {}
    edited = requested | {"prompt-5": "key5-edited"}
    made = plan_batches(edited, finished_batches(tmp_path, ".zip"))
    assert list(made.new.values()) == [("prompt-5",)]
    assert all(made.batch_of[c] == again.batch_of[c] for c in requested if c != "prompt-5")
    _finish(tmp_path, edited)
    assert plan_batches(requested, finished_batches(tmp_path, ".zip")).new == {}, "the edit taken back costs nothing"


def test_a_batch_without_its_data_does_not_count(tmp_path):
    requested = {"a": "1"}
    _finish(tmp_path, requested)
    next(tmp_path.glob("*.zip")).unlink()
    assert finished_batches(tmp_path, ".zip") == {}
    _finish(tmp_path, requested)
    next(tmp_path.glob("*.prov.json")).unlink()
    assert finished_batches(tmp_path, ".zip") == {}, "killed before its last file was written"


def test_units_appear_whole_and_are_found_again(tmp_path):
    batch = tmp_path / "batches" / "abc.jsonl.gz"
    store = UnitStore(batch, ".jsonl.gz", ["lock"])
    assert store.missing(["u1", "u2"]) == ["u1", "u2"]
    store.put("u1", lambda path: path.write_text("x"))
    assert UnitStore(batch, ".jsonl.gz", ["lock"]).missing(["u1", "u2"]) == ["u2"]
    assert store.folder.parent == tmp_path / "batches" / "abc.partial"


def test_units_made_from_other_files_are_not_seen(tmp_path):
    batch = tmp_path / "batches" / "abc.jsonl.gz"
    UnitStore(batch, ".jsonl.gz", ["labels", "weights"]).put("u1", lambda path: path.write_text("x"))
    assert UnitStore(batch, ".jsonl.gz", ["weights", "labels"]).missing(["u1"]) == []
    assert UnitStore(batch, ".jsonl.gz", ["other labels", "weights"]).missing(["u1"]) == ["u1"]


def _finished_beside(data: Path, *keys: str) -> None:
    """Leave a finished batch with these keys."""
    data.write_bytes(b"data")
    index = data.with_name(f"{data.name.split('.')[0]}.keys")
    index.write_text(keys_text({f"cell-{key}": key for key in keys}))
    index.with_name(f"{index.name}.prov.json").write_text("{}")


def test_tidy_removes_units_of_finished_batches_only(tmp_path):
    for name in ("done", "open"):
        UnitStore(tmp_path / "batches" / f"{name}.zip", ".zip", ["lock"]).put("u", lambda path: path.write_text("x"))
    _finished_beside(tmp_path / "batches/done.zip", "k")
    assert tidy(tmp_path) == 1
    assert sorted(p.name for p in (tmp_path / "batches").glob("*.partial")) == ["open.partial"]


def test_tidy_removes_what_a_killed_step_left_of_what_is_there_by_now(tmp_path):
    """As large as the artifact. What is being written has no artifact, or as the state of a training no record."""
    kept = [".b.zip.0a1b2c3d.tmp", "batches/a.partial/1/k/.training/.order-1.safetensors.0a1b2c3d.tmp"]
    left = ["batches/.a.zip.0a1b2c3d.tmp", ".a.csv.123.tmp", ".a.csv.prov.json.0a1b2c3d.tmp"]
    there = ["batches/a.zip", "batches/a.zip.prov.json", "a.csv", "a.csv.prov.json", "b.zip.prov.json"]
    there += ["batches/a.partial/1/k/.training/order-1.safetensors"]
    for name in (*kept, *left, *there):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert tidy(tmp_path) == 0
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {*kept, *there}


def test_a_store_takes_units_of_other_batches_made_from_the_same_files(tmp_path):
    first, other = (UnitStore(tmp_path / f"{name}.zip", ".zip", ["lock"]) for name in ("a", "b"))
    first.put("x", lambda path: path.write_text("1"))
    UnitStore(tmp_path / "c.zip", ".zip", ["another lock"]).put("y", lambda path: path.write_text("2"))
    other.adopt(["x", "y"])
    assert other.missing(["x", "y"]) == ["y"] and other.path("x").read_text() == "1"


def _cells(tmp_path: Path, name: str, **made_from: str) -> CellStore:
    return CellStore(tmp_path / f"batches/{name}.zip", ".zip", {key: {"rows": h} for key, h in made_from.items()})


def test_a_batch_takes_cells_of_unfinished_batches_made_from_the_same_files(tmp_path):
    """Units, what belongs to them, and the state of a training; not what a killed process left of a file."""
    first, finished = _cells(tmp_path, "a", x="1", y="2", z="3"), _cells(tmp_path, "c", v="6")
    for unit in ("x/model/w", "x/run", "y/.training", "y/run", "z/.run.1.tmp", "z/.model.tmp/w"):
        first.put(unit, lambda path, unit=unit: path.write_text(unit))
    finished.put("v/run", lambda path: path.write_text("v"))
    _finished_beside(tmp_path / "batches/c.zip", "v")
    other = _cells(tmp_path, "b", x="1", y="another", z="3", v="6")
    units = [f"{key}/run" for key in other.made_from]
    other.adopt(units)
    assert other.missing(units) == ["y/run", "z/run", "v/run"]
    taken = {path.relative_to(other.folder).as_posix() for path in other.folder.rglob("*") if path.is_file()}
    assert {name.split("/", 1)[1] for name in taken} == {"x/model/w", "x/run"}
    assert other.path("x/model/w").samefile(first.path("x/model/w")), "a link and no copy"
    again = _cells(tmp_path, "d", y="2")
    again.put("y/.training", lambda path: path.write_text("own"))
    again.adopt(["y/run"])
    assert again.path("y/run").read_text() == "y/run" and again.path("y/.training").read_text() == "own"


@pytest.mark.parametrize("state", [".training", ".training/order-42.safetensors"])
def test_the_state_of_a_training_that_was_deleted_is_not_taken_again(tmp_path, state):
    """Its message says: delete it to train from the start. It is a file, or of vectors one for each order seed."""
    first, other = (_cells(tmp_path, name, x="1") for name in "ab")
    first.put(f"x/{state}", lambda path: path.write_text("not a state"))
    other.adopt(["x/run"])
    other.path(f"x/{state}").unlink()
    other.adopt(["x/run"])
    assert not other.path(f"x/{state}").exists()


def test_a_batch_of_files_that_are_gone_is_not_written(tmp_path):
    """As where somebody removed a folder while the step ran."""
    rows = tmp_path / "rows"
    rows.write_text("")
    folder = FolderBatch(tmp_path / "batches/0a.lock.json", {key: {"rows": rows} for key in "xy"})
    folder.put("y/labels", lambda path: path.write_text(""))
    with (
        pytest.raises(StaleFile, match=r"x/labels: was made and is gone; run again"),
        Step("fute.blackbox.finetune_model_step", settings={}) as step,
    ):
        folder.write(step, "m", {"1": "x", "2": "y"}, ["x/labels", "y/labels"])
    assert not folder.output.exists()


def test_a_batch_removes_nothing_behind_a_link(tmp_path):
    """As in an unfinished batch of copied results: what it was not made from is removed when it is written."""
    rows, mine = tmp_path / "rows", tmp_path / "home/thesis/chapter"
    mine.parent.mkdir(parents=True)
    for path in (rows, mine):
        path.write_text("")
    folder = FolderBatch(tmp_path / "batches/0a.lock.json", {"x": {"rows": rows}})
    folder.put("x/labels", lambda path: path.write_text(""))
    for link in (folder.folder / "old", folder.path("x").parent / "y"):
        link.symlink_to(tmp_path / "home")
    with Step("fute.blackbox.finetune_model_step", settings={}) as step:
        folder.write(step, "m", {"1": "x"}, ["x/labels"])
    assert mine.is_file() and [path.name for path in folder.folder.rglob("*") if path.is_file()] == ["labels"]
    assert not any(path.is_symlink() for path in folder.folder.rglob("*"))


def test_files_without_which_a_unit_is_not_whole_are_taken_before_it(tmp_path, monkeypatch):
    first, other = (_cells(tmp_path, name, x="1") for name in "ab")
    for unit in ("x/a-run", "x/model/w"):
        first.put(unit, lambda path: path.write_text("1"))

    def killed(source: Path, new: Path) -> None:
        raise KeyboardInterrupt(source.name)

    monkeypatch.setattr("fute.batching.os.link", killed)
    with pytest.raises(KeyboardInterrupt, match="w"):
        other.adopt(["x/a-run"])
    monkeypatch.setattr("fute.batching.os.link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    other.adopt(["x/a-run"])
    assert other.missing(["x/a-run", "x/model/w"]) == [], "copied"


def test_tidy_removes_units_whose_every_cell_is_in_a_finished_batch(tmp_path):
    """As where a batch was broken off, and its cells were made in others."""
    for name, cells in {"both": "xy", "one": "xz"}.items():
        for key in cells:
            _cells(tmp_path, name, **{key: "1"}).put(f"{key}/run", lambda path: path.write_text(""))
    rows = tmp_path / "rows"
    rows.write_text("")
    folder = FolderBatch(tmp_path / "batches/0a.lock.json", {"y": {"rows": rows}})
    folder.put("y/labels", lambda path: path.write_text(""))
    _finished_beside(tmp_path / "batches/1b.zip", "x")
    assert tidy(tmp_path) == 0
    _finished_beside(tmp_path / "batches/2c.lock.json", "y")
    assert tidy(tmp_path) == 2
    assert [path.name for path in (tmp_path / "batches").iterdir() if path.is_dir()] == ["one.partial"]
