"""Any callable as a black box: the shown ones on real rows, and every breach of the contract by name."""

import json
import sys
from pathlib import Path

import pytest

from fute.artifacts import gzip_bytes, jsonl_bytes, read_jsonl
from fute.blackbox.label_plugin_step import PluginError, checked, label_plugin, loaded_function, plugin_identity
from fute.config.plugins import PluginSettings

CHECKOUT = Path(__file__).resolve().parents[3]
FILMS = CHECKOUT / "resources/builtin/mini-films"


def rows_of(split: str) -> list[dict]:
    raw = [json.loads(line) for path in sorted(FILMS.glob(f"{split}*.jsonl")) for line in path.read_text().splitlines()]
    return [{"id": f"mini-films/{split}/{i}", "segments": [r["text"]], "label": r["label"]} for i, r in enumerate(raw)]


def write(path: Path, rows: list[dict]) -> Path:
    path.write_bytes(gzip_bytes(jsonl_bytes(rows)))
    return path


def settings(name: str, folder: Path = CHECKOUT / "examples", **more) -> PluginSettings:
    return PluginSettings(callable=f"black_boxes:{name}", folder=str(folder), **more)


@pytest.mark.parametrize("name, options", [("svm", {"c": 2.0}), ("decision_tree", {"depth": 4})])
def test_the_shown_black_boxes_label_texts(tmp_path, monkeypatch, name, options):
    monkeypatch.chdir(tmp_path)
    train = rows_of("train")
    test = train + rows_of("test")
    files = (
        write(tmp_path / "train.jsonl.gz", train),
        write(tmp_path / "u.jsonl.gz", [r | {"label": "-"} for r in test]),
    )
    box = settings(name, dataset="mini-films", options=options)
    label_plugin(
        box, source=plugin_identity(box), corpus=files[1], train=files[0], output=Path("labels.jsonl.gz"),
    )  # fmt: skip
    said = read_jsonl(Path("labels.jsonl.gz"))
    right = sum(row["label"] == answer["prediction"] for row, answer in zip(train, said, strict=False))
    assert [row["id"] for row in test] == [answer["id"] for answer in said]
    assert right / len(train) > 0.7, "it has learned something of the training rows"
    assert {answer["prediction"] for answer in said} == {"negative", "positive"}
    assert ("probabilities" in said[0]) == (name == "decision_tree")
    record = json.loads(Path("labels.jsonl.gz.prov.json").read_text())["record"]
    assert "plugin:black_boxes.py" in {entry["path"] for entry in record["inputs"]}
    assert str(CHECKOUT) not in json.dumps(record)


@pytest.mark.parametrize(
    "outputs, message",
    [
        (["a"], "gave 1 outputs for 2 texts"),
        ("ab", "gave 2 outputs for 2 texts; return a list"),
        (None, "gave a NoneType for 2 texts"),
        (["a", 3], r"output 1 has the prediction 3 \(int\)"),
        (["a", {"label": "b"}], r"output 1 has the prediction None \(NoneType\)"),
        (["a", {"prediction": "b", "id": 3}], "output 1 has a field `id`"),
        (["a", {"prediction": "b", "p": float("nan")}], "output 1 is no JSON"),
        (["a", {"prediction": "b", "p": {1, 2}}], "output 1 is no JSON"),
        (["a", "half an emoji \ud83d"], "output 1 is no JSON"),
    ],
)
def test_a_breach_of_the_contract_is_named(outputs, message):
    with pytest.raises(PluginError, match=f"^black box black_boxes:svm: {message}"):
        checked(settings("svm"), outputs, 2)


def test_silence_is_unknown_and_lines_are_joined():
    said = checked(settings("svm"), ["", {"prediction": " a\n b "}], 2)
    assert [answer["prediction"] for answer in said] == ["unknown", "a b"]


def test_a_plugin_is_named_by_its_words_and_not_its_place(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "black_boxes.py").write_text("def svm(texts):\n    return ['x'] * len(texts)\n")
    one, two = (settings("svm", tmp_path / name) for name in ("one", "two"))
    first = plugin_identity(one)
    assert first == plugin_identity(two)
    assert plugin_identity(one.model_copy(update={"options": {"c": 1}})) != first
    for made in ("__pycache__/black_boxes.cpython-311.pyc", ".git/HEAD"):
        (tmp_path / "two" / made).parent.mkdir()
        (tmp_path / "two" / made).write_text("made")
    assert plugin_identity(two) == first
    for name in ("helper.py", "weights.npz", "words/list.txt"):
        before = plugin_identity(two)
        (tmp_path / "two" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "two" / name).write_text("3\n")
        with_it = plugin_identity(two)
        (tmp_path / "two" / name).write_text("4\n")
        assert len({before, with_it, plugin_identity(two)}) == 3, name


def own_box(folder: Path, text: str) -> PluginSettings:
    """A plug-in of this text in a module that no other test imports."""
    folder.mkdir(exist_ok=True)
    name = f"own_box_{folder.parent.name.replace('-', '_')}"
    (folder / f"{name}.py").write_text(text)
    return PluginSettings(callable=f"{name}:say", folder=str(folder))


def test_a_plugin_may_start_from_what_another_black_box_says(tmp_path):
    text = "def say(texts, outputs):\n    return [said['prediction'] + '!' for said in outputs]\n"
    box = own_box(tmp_path / "box", text).model_copy(update={"box": "minilm-l6/rte"})
    rows = rows_of("test")
    corpus = write(tmp_path / "u.jsonl.gz", rows)
    said = write(tmp_path / "said.jsonl.gz", [{"id": row["id"], "prediction": row["label"]} for row in rows])
    files = {"source": plugin_identity(box), "corpus": corpus, "output": tmp_path / "o.jsonl.gz"}
    label_plugin(box, outputs=said, **files)
    assert [row["prediction"] for row in read_jsonl(files["output"])] == [row["label"] + "!" for row in rows]
    record = json.loads((tmp_path / "o.jsonl.gz.prov.json").read_text())["record"]
    assert any(entry["path"].endswith("said.jsonl.gz") for entry in record["inputs"])
    others = write(tmp_path / "others.jsonl.gz", [{"id": row["id"], "prediction": "x"} for row in rows[1:]])
    with pytest.raises(PluginError, match=r"others\.jsonl\.gz is of other texts than U; make it again$"):
        label_plugin(box, outputs=others, **files)
    with pytest.raises(PluginError, match="outputs go with the box that gives them"):
        label_plugin(box, **files)


def test_a_plugin_may_import_from_its_folder_when_it_is_called(tmp_path):
    box = own_box(
        tmp_path / "box", "def say(texts):\n    import own_helper\n    return [own_helper.WORD] * len(texts)\n"
    )
    (tmp_path / "box/own_helper.py").write_text("WORD = 'helped'\n")
    corpus, output = write(tmp_path / "u.jsonl.gz", rows_of("test")), tmp_path / "o.jsonl.gz"
    path = list(sys.path)
    label_plugin(box, source=plugin_identity(box), corpus=corpus, output=output)
    assert {row["prediction"] for row in read_jsonl(output)} == {"helped"} and sys.path == path


def test_a_plugin_that_changed_after_planning_is_not_taken_for_the_planned_one(tmp_path):
    box = own_box(tmp_path / "box", "def say(texts):\n    return ['x'] * len(texts)\n")
    planned = plugin_identity(box)
    (tmp_path / "box/weights.npz").write_bytes(b"trained again")
    corpus = write(tmp_path / "u.jsonl.gz", rows_of("test"))
    with pytest.raises(PluginError, match=r"changed while the run was being prepared; run again$"):
        label_plugin(box, source=planned, corpus=corpus, output=tmp_path / "o.jsonl.gz")
    label_plugin(box, source=plugin_identity(box), corpus=corpus, output=tmp_path / "o.jsonl.gz")


def test_a_plugin_that_writes_into_its_own_folder_is_named(tmp_path):
    text = "from pathlib import Path\ndef say(texts):\n"
    text += "    Path(__file__).with_name('cache.txt').write_text('x')\n    return ['x'] * len(texts)\n"
    box = own_box(tmp_path / "box", text)
    corpus = write(tmp_path / "u.jsonl.gz", rows_of("test"))
    with pytest.raises(PluginError, match=r"cache\.txt changed while it ran; .* let the function write elsewhere$"):
        label_plugin(box, source=plugin_identity(box), corpus=corpus, output=tmp_path / "o.jsonl.gz")
    assert not (tmp_path / "o.jsonl.gz").exists()


def test_files_of_the_results_are_no_part_of_a_plugin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    box = own_box(tmp_path, "def say(texts):\n    return texts\n")
    before = plugin_identity(box)
    Path("results").mkdir()
    Path("results/a.csv").write_text("a")
    assert plugin_identity(box) == before


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "own_boxes.py is missing"),
        ("import nothing_of_this_name\n", r"cannot be imported \(No module named 'nothing_of_this_name'\)"),
        ("other = 3\n", "own_boxes has no function svm"),
        ("svm = 3\n", "own_boxes has no function svm"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_named(tmp_path, monkeypatch, text, message):
    monkeypatch.delitem(sys.modules, "own_boxes", raising=False)
    if text is not None:
        (tmp_path / "own_boxes.py").write_text(text)
    box = PluginSettings(callable="own_boxes:svm", folder=str(tmp_path))
    with pytest.raises(PluginError, match=message), loaded_function(box):
        pass


def test_a_module_of_the_same_name_is_not_taken_for_it(tmp_path):
    (tmp_path / "json.py").write_text("def dumps(texts):\n    return texts\n")
    box = PluginSettings(callable="json:dumps", folder=str(tmp_path))
    with pytest.raises(PluginError, match="another module is called json"), loaded_function(box):
        pass


def test_training_rows_go_with_a_dataset(tmp_path):
    corpus = write(tmp_path / "u.jsonl.gz", rows_of("test"))
    with pytest.raises(PluginError, match="training rows go with a dataset"):
        box = settings("svm", dataset="mini-films")
        label_plugin(box, source=plugin_identity(box), corpus=corpus, output=tmp_path / "o.jsonl.gz")
