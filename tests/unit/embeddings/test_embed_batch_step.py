"""From rows and labels to pairs, and one vector out of its batch."""

from __future__ import annotations

import json
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fute.artifacts import Step
from fute.config.gate import GateConfig
from fute.config.surrogate import SurrogateSettings
from fute.data.rows import Answer, Row
from fute.embeddings import Embedding, EmbeddingError, save
from fute.embeddings.embed_batch_step import _zip, embed_batch
from fute.embeddings.extract_embedding_step import INDEX, extract_embedding, learned_from, member
from fute.embeddings.pairs import dataset_pairs, item_pairs, label_target, model_pairs, sources_of
from fute.specs.embeddings import EmbeddingSpec, Item
from fute.surrogate.labelled import ClassTarget, EndsTarget, Labelled, NumberTarget, SoftTarget, SpanTarget
from fute.surrogate.text2text import Pair, PairError
from tests.support.stand_ins import save_stand_in

CLASSES = ("negative", "positive")
ROWS = [Row(f"t/{i}", (f"text {i}",), task="t") for i in range(12)]
LABELS = [{"id": row.id, "prediction": CLASSES[i % 3 == 0], "prompt": 3} for i, row in enumerate(ROWS)]


def item(**changes) -> Item:
    values = {"key": "k" * 64, "kind": "mte", "category": "sa", "source": "m/sa-3", "variant": None, "pairs": 8}
    values |= {"target": "label", "seed": 42, "classes": CLASSES}
    return Item(**values | changes)


def test_an_mte_takes_u_in_its_order_with_the_predicted_class_names():
    pairs = model_pairs(item(), ROWS, LABELS, 42)
    assert pairs == [Pair((f"text {i}",), CLASSES[i % 3 == 0]) for i in range(8)]
    assert len(model_pairs(item(pairs=None), ROWS, LABELS, 42)) == 12


def test_texts_without_a_label_are_left_out_before_pairs_are_counted():
    said = [label | ({"prediction": None} if i in (0, 5) else {}) for i, label in enumerate(LABELS)]
    kept = [i for i in range(12) if i not in (0, 5)]
    assert model_pairs(item(), ROWS, said, 42) == [Pair((f"text {i}",), CLASSES[i % 3 == 0]) for i in kept[:8]]
    assert len(model_pairs(item(pairs=None), ROWS, said, 42)) == 10
    null = model_pairs(item(variant="null-1", pairs=None), ROWS, said, 42)
    assert [p.x for p in null] == [(f"text {i}",) for i in kept]
    heads = model_pairs(item(pairs=None), ROWS, said, 42, "heads")
    assert [(p.x[0], p.target.index) for p in heads] == [(f"text {i}", int(i % 3 == 0)) for i in kept]
    with pytest.raises(ValueError, match="m/sa-3: none of its 12 labels of U is a label"):
        model_pairs(item(), ROWS, [label | {"prediction": None} for label in LABELS], 42)


def test_a_null_permutes_the_labels_over_the_same_texts():
    plain, null, other = (model_pairs(item(variant=v), ROWS, LABELS, 42) for v in (None, "null-1", "null-2"))
    assert [p.x for p in plain] == [p.x for p in null]
    assert Counter(p.y for p in plain) == Counter(p.y for p in null)
    assert len({tuple(p.y for p in pairs) for pairs in (plain, null, other)}) == 3
    assert null == model_pairs(item(variant="null-1"), ROWS, LABELS, 42)


def test_targets_can_be_letters_or_verbalizers():
    assert {p.y for p in model_pairs(item(target="abc"), ROWS, LABELS, 42)} == {"A", "B"}
    words = model_pairs(item(target="verbalizer", verbalizers=("no", "yes")), ROWS, LABELS, 42)
    assert [p.y for p in words] == ["yes" if i % 3 == 0 else "no" for i in range(8)]


def test_labels_of_other_texts_are_refused():
    with pytest.raises(ValueError, match="not those of U"):
        model_pairs(item(), ROWS, LABELS[::-1], 42)


def test_a_small_dataset_gives_its_rows_again():
    rows = [Row(f"d/{i}", (f"x{i}",), label=CLASSES[i % 2]) for i in range(5)]
    once = dataset_pairs(rows, None, 42)
    assert Counter(once) == Counter(Pair((f"x{i}",), CLASSES[i % 2]) for i in range(5))
    assert dataset_pairs(rows, 12, 42) == [*once, *once, *once[:2]]
    assert dataset_pairs(rows, 3, 42) == once[:3]
    assert dataset_pairs(rows, None, 7) != once, "another seed, another order"


def test_the_classes_of_a_dataset_can_be_letters():
    """The same letters as a black box's: those of the classes' order, not of the rows'."""
    rows = [Row("d/1", ("x",), label="positive"), Row("d/2", ("y",), label="negative")]
    letters = {pair.x: pair.y for pair in dataset_pairs(rows, None, 42, classes=CLASSES, letters=True)}
    assert letters == {("x",): "B", ("y",): "A"}
    by_model = {pair.y for pair in model_pairs(item(target="abc"), ROWS[:1], LABELS[:1], 42)}
    assert by_model == {"AB"[CLASSES.index(LABELS[0]["prediction"])]}
    with pytest.raises(ValueError, match="is not one of negative, positive"):
        dataset_pairs([Row("d/1", ("x",), label="mixed")], None, 42, classes=CLASSES, letters=True)


def test_a_head_is_told_classes_numbers_and_answers():
    def target(row: Row):
        (pair,) = dataset_pairs([row], None, 42, "heads", CLASSES)
        assert isinstance(pair, Labelled) and pair.x == row.segments
        return pair.target

    assert target(Row("d/1", ("x",), label="positive")) == ClassTarget(1, 2)
    assert target(Row("d/1", ("x", "y"), label="1.8", value=1.75)) == NumberTarget(1.75)
    answers = (Answer("bcd", 1), Answer("e", 4))
    assert target(Row("d/1", ("q", "abcde"), label="bcd", answers=answers)) == SpanTarget(1, 4)
    assert target(Row("d/1", ("q", "abcde"), label="unanswerable", answers=())) == SpanTarget(0, 0)
    with pytest.raises(ValueError, match=r"row d/1: label 'neutral' is not one of the classes negative, positive"):
        target(Row("d/1", ("x",), label="neutral"))
    with pytest.raises(ValueError, match="row d/1"):
        target(Row("d/1", ("x",)))


SAID = [
    label | {"classes": ["positive", "negative"], "probabilities": [round(0.05 * i, 2), round(1 - 0.05 * i, 2)]}
    for i, label in enumerate(LABELS)
]


def test_a_black_box_tells_a_head_its_class_or_its_probabilities():
    """In the order of the item's classes, whatever the order of the label file's."""
    hard = model_pairs(item(), ROWS, SAID, 42, "heads")
    assert hard == [Labelled(ROWS[i].segments, ClassTarget(int(i % 3 == 0), 2)) for i in range(8)]
    soft = model_pairs(item(target="soft"), ROWS, SAID, 42, "heads")
    expected = [SoftTarget((round(1 - 0.05 * i, 2), round(0.05 * i, 2))) for i in range(8)]
    assert [pair.target for pair in soft] == expected
    null = model_pairs(item(target="soft", variant="null-1"), ROWS, SAID, 42, "heads")
    assert Counter(p.target for p in null) == Counter(expected) and null != soft
    assert [p.x for p in null] == [p.x for p in soft]


def test_a_black_box_tells_a_head_its_number_or_its_answers_ends():
    number = {"id": "t/0", "prediction": "1.8", "value": 1.75}
    assert label_target(number, (), soft=False) == NumberTarget(1.8)
    assert label_target(number, (), soft=True) == NumberTarget(1.75)
    for wrong in ({"prediction": "unknown"}, {"prediction": "nan"}):
        with pytest.raises(PairError, match=f"'{wrong['prediction']}' is not a finite number"):
            label_target(number | wrong, (), soft=False)
    with pytest.raises(PairError, match="None is not a finite number"):
        label_target(number | {"value": None}, (), soft=True)
    answer = {"id": "t/0", "prediction": "a film", "span": {"start": [0, 4], "end": [1, 3]}}
    assert label_target(answer, (), soft=True) == EndsTarget((0, 4), (1, 2)), "the end is the one after the last"
    assert label_target(answer | {"span": None}, (), soft=True) == SpanTarget(0, 0)


@pytest.mark.parametrize(
    ("label", "classes", "message"),
    [
        ({}, (), "m/sa-3: label of t/0: a head cannot learn 'positive' without its value or its span"),
        ({}, CLASSES, "m/sa-3: label of t/0: a head cannot learn 'positive' without the probability of 'negative'"),
        ({"classes": ["good", "positive"], "probabilities": [0, 1]}, CLASSES, "without the probability of 'negative'"),
        ({"prediction": "sport"}, None, "label of t/0: 'sport' is not one of negative, positive"),
    ],
)
def test_a_label_that_does_not_say_what_a_head_learns_is_named(label, classes, message):
    said = [{"id": row.id, "prediction": "positive"} | label for row in ROWS]
    hard = classes is None
    how = item(classes=CLASSES if hard else classes, target="label" if hard else "soft")
    with pytest.raises(ValueError, match=message):
        model_pairs(how, ROWS, said, 42, "heads")


def test_a_vector_of_soft_labels_notices_other_probabilities(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = [label | {"probabilities": [0.5, 0.5]} for label in SAID]
    for name, lines in (("said", SAID), ("other", other)):
        with Step("fute.batching", settings={}) as step:
            step.jsonl(Path(f"{name}.jsonl.gz"), lines)
    for name in ("labels", "soft_labels"):
        index = {"k1": {name: learned_from(name, Path("said.jsonl.gz"))}}
        _zip(Path("b.zip"), {member("k1"): b"vector", INDEX: json.dumps(index).encode()})
        monkeypatch.setattr("fute.embeddings.extract_embedding_step.record_of", lambda data: {})
        extract_embedding(
            "k1", batch=Path("b.zip"), files={"labels": Path("said.jsonl.gz")}, output=Path(f"{name}.out")
        )
        files = {"labels": Path("other.jsonl.gz")}
        if name == "labels":
            extract_embedding("k1", batch=Path("b.zip"), files=files, output=Path("again.out"))
        else:
            with pytest.raises(ValueError, match=r"was made from another version of other\.jsonl\.gz"):
                extract_embedding("k1", batch=Path("b.zip"), files=files, output=Path("again.out"))


def test_an_items_pairs_have_the_form_of_the_surrogate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = {"train": [Row(f"d/{i}", (f"x{i}",), label=CLASSES[i % 2]) for i in range(6)], "unsup": ROWS}
    rows["dev"] = rows["train"][:2]
    lines = {name: [row.to_json() for row in part] for name, part in rows.items()} | {"labels": SAID}
    with Step("fute.batching", settings={}) as step:
        for name, part in lines.items():
            step.jsonl(Path(f"{name}.jsonl.gz"), part)
    keys = {"train": "train:d", "dev": "dev:d", "unsup": "unsup:sa", "labels": "labels:m/sa-3"}
    files = {keys[name]: Path(f"{name}.jsonl.gz") for name in lines}
    for form, kind in (("text2text", Pair), ("heads", Labelled)):
        own = item_pairs(item(kind="dte", source="d"), True, files, GateConfig(), form)
        assert len(own.learned) == 8 and len(own.dev) == 2 and own.held_out == own.dev
        assert {type(pair) for pair in (*own.learned, *own.dev)} == {kind}
        said = item_pairs(item(target="soft" if form == "heads" else "label"), False, files, GateConfig(), form)
        assert said.dev is None and {type(pair) for pair in (*said.learned, *said.held_out)} == {kind}
        ungated = item_pairs(item(kind="dte", source="d"), True, files, GateConfig(held_out=0), form)
        assert ungated.dev == own.dev and ungated.held_out == []
    for target, name in (("label", "labels"), ("soft", "soft_labels")):
        assert set(sources_of(item(target=target), files)) == {"unsup", name}


def test_held_out_pairs_are_not_learned_from(tmp_path, monkeypatch):
    """Rows that `pairs` leaves over come first, then the last ones; a dataset's rows for early stopping if enough."""
    monkeypatch.chdir(tmp_path)
    with Step("fute.batching", settings={}) as step:
        for name, count in (("train", 40), ("dev", 6), ("few", 3), ("none", 0)):
            rows = [Row(f"d/{i}", (f"{name} {i}",), label=CLASSES[i % 2]) for i in range(count)]
            step.jsonl(Path(f"{name}.jsonl.gz"), [row.to_json() for row in rows])
        step.jsonl(Path("unsup.jsonl.gz"), [row.to_json() for row in ROWS])
        step.jsonl(Path("labels.jsonl.gz"), LABELS)

    def split(pairs: int | None, least: int, dev: str = "none", early: bool = False, kind: str = "dte"):
        files = {"train:d": Path("train.jsonl.gz"), "dev:d": Path(f"{dev}.jsonl.gz")}
        files |= {"unsup:sa": Path("unsup.jsonl.gz"), "labels:m/sa-3": Path("labels.jsonl.gz")}
        one = item(kind="dte", source="d", pairs=pairs) if kind == "dte" else item(pairs=pairs)
        found = item_pairs(one, early, files, GateConfig(held_out=0.1, least=least, most=16))
        assert not {pair.x for pair in found.learned} & {pair.x for pair in found.held_out}
        return found

    left_over = split(20, 10)
    assert len(left_over.learned) == 20 and len(left_over.held_out) == 10
    rows = [Row(f"d/{i}", (f"train {i}",), label=CLASSES[i % 2]) for i in range(40)]
    assert left_over.learned == dataset_pairs(rows, 20, 42)
    last = split(None, 10)
    assert len(last.learned) == 30 and len(last.held_out) == 10
    repeats = split(50, 10)
    assert len(repeats.learned) == 50 and len({p.x for p in repeats.learned}) == 30 and len(repeats.held_out) == 10
    assert len(split(None, 16).held_out) == 10, "at most a quarter"
    from_dev = split(None, 5, dev="dev")
    assert len(from_dev.learned) == 40 and {p.x[0][:3] for p in from_dev.held_out} == {"dev"} and from_dev.dev is None
    assert {p.x[0][:3] for p in split(None, 7, dev="dev").held_out} == {"tra"}, "too few"
    assert [{p.x[0][:3] for p in split(n, 1, dev="few").held_out} for n in (20, 40)] == [{"few"}, {"tra"}], (
        "3 of 2 or 4"
    )
    early = split(None, 7, dev="dev", early=True)
    assert early.held_out == early.dev and len(early.learned) == 40
    of_u = split(8, 3, kind="mte")
    assert [p.x[0] for p in of_u.learned] == [f"text {i}" for i in range(8)]
    assert [p.x[0] for p in of_u.held_out] == ["text 8", "text 9", "text 10"]
    assert [p.x[0] for p in split(12, 3, kind="mte").held_out] == ["text 9", "text 10", "text 11"]


@pytest.fixture
def batch(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, number in (("sa-3", 3), ("sa-9", 9)):
        with Step("fute.batching", settings={}) as step:
            step.jsonl(Path(f"{name}.jsonl.gz"), [label | {"prompt": number} for label in LABELS])
    Path("lock.json").write_text("{}")
    index = {
        "k1": {
            "labels": learned_from("labels", Path("sa-3.jsonl.gz")),
            "surrogate": learned_from("surrogate", Path("lock.json")),
        }
    }
    made = Embedding(np.ones(3, np.float32), "tupate", {}, {"pairs": 12, "loss_end": 0.5}, np.ones((1, 3)))
    save(made, Path("vector.safetensors"))
    vector = Path("vector.safetensors").read_bytes()
    _zip(Path("b.zip"), {member("k1"): vector, INDEX: json.dumps(index).encode()})
    return Path("b.zip")


def test_prompts_of_equal_words_share_a_vector(batch):
    for name in ("sa-3", "sa-9"):
        files = {"labels": Path(f"{name}.jsonl.gz"), "surrogate": Path("lock.json")}
        extract_embedding("k1", batch=batch, files=files, output=Path(f"out/{name}.safetensors"))
        assert Path(f"out/{name}.safetensors").read_bytes() == Path("vector.safetensors").read_bytes()
        sidecar = json.loads(Path(f"out/{name}.safetensors.prov.json").read_text())
        assert sidecar["record"]["facts"] == {"pairs": 12, "loss_end": 0.5}


def test_other_labels_or_another_surrogate_are_noticed(batch):
    with Step("fute.batching", settings={}) as step:
        step.jsonl(Path("other.jsonl.gz"), [label | {"prediction": "negative"} for label in LABELS])
    Path("other.json").write_text('{"files": {}}')
    for files in ({"labels": Path("other.jsonl.gz")}, {"surrogate": Path("other.json")}):
        with pytest.raises(ValueError, match=r"was made from another version of other\.json"):
            extract_embedding("k1", batch=batch, files=files, output=Path("out.safetensors"))
    with pytest.raises(ValueError, match="holds no vector"):
        extract_embedding("k2", batch=batch, files={}, output=Path("out.safetensors"))
    assert not Path("out.safetensors").exists()


def test_a_batch_has_the_same_bytes_whenever_it_is_written(tmp_path):
    members = {"b": b"2", "a": b"1"}
    _zip(tmp_path / "one.zip", members)
    _zip(tmp_path / "two.zip", dict(reversed(members.items())))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert zipfile.ZipFile(tmp_path / "one.zip").read("b") == b"2"


def test_vectors_of_a_batch_are_not_read_whole(tmp_path):
    """Of T5-base each may have 0.9 GB. The bytes are those of vectors in memory."""
    data = np.random.default_rng(0).bytes(2**24)
    (tmp_path / "vector").write_bytes(data)
    tracemalloc.start()
    _zip(tmp_path / "file.zip", {"a": tmp_path / "vector", "b": tmp_path / "vector", "c": b"1"})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**22
    with zipfile.ZipFile(tmp_path / "memory.zip", "w") as archive:
        for name, content in (("a", data), ("b", data), ("c", b"1")):
            archive.writestr(zipfile.ZipInfo(name), content)
    assert (tmp_path / "file.zip").read_bytes() == (tmp_path / "memory.zip").read_bytes()


def test_a_vector_that_cannot_be_made_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    """All others of its batch are made before the error that names it, and are not made again without it."""
    monkeypatch.chdir(tmp_path)
    model = save_stand_in(Path("model"), "encoder-decoder")
    Path("lock.json").write_text("{}")
    files = {"unsup:sa": Path("unsup.jsonl.gz"), "labels:m/sa-3": Path("labels.jsonl.gz")}
    with Step("fute.batching", settings={}) as step:
        rows = [Row(row.id, ("the film was great",), task="t") for row in ROWS]
        step.jsonl(files["unsup:sa"], [row.to_json() for row in rows])
        step.jsonl(files["labels:m/sa-3"], LABELS)
    recipe = {"epochs": 1, "batch_size": 4, "min_steps": 1}
    items = [item(key=str(n) * 64, recipe=n) for n in (0, 1, 2)]
    spec = EmbeddingSpec(
        method="taskemb", surrogate="t5", settings=SurrogateSettings(family="encoder-decoder"), items=items,
        recipes=(recipe, recipe | {"learning_rate": 1e30}, recipe | {"learning_rate": 1e-2}),
    )  # fmt: skip
    inputs = {"model": model, "lock": Path("lock.json"), "files": files}
    with pytest.raises(EmbeddingError, match=r"^mte:m/sa-3: .* not finite .*; 2 of the batch's 3 vectors .* kept$"):
        embed_batch(spec, **inputs, output=Path("results/all.zip"))
    assert not Path("results/all.zip").exists()
    wrong = [item(key=f"{n:x}" * 64, recipe=1, variant=f"null-{n}") for n in range(3, 9)]
    capsys.readouterr()
    with pytest.raises(EmbeddingError, match=r"\(and 2 more: .*0 of the batch's 6 vectors"):
        embed_batch(spec.model_copy(update={"items": tuple(wrong)}), **inputs, output=Path("results/wrong.zip"))
    assert capsys.readouterr().out.count("cannot be made") == 3, "what fails for all is not tried for all"
    good = spec.model_copy(update={"items": (items[0], items[2])})
    capsys.readouterr()
    embed_batch(good, **inputs, output=Path("results/good.zip"))
    assert "2 vectors, 2 of them already finished" in capsys.readouterr().out
    embed_batch(good, **inputs, output=Path("afresh/good.zip"))
    assert Path("afresh/good.zip").read_bytes() == Path("results/good.zip").read_bytes()
    whole, again = (json.loads(Path(at, "good.keys.prov.json").read_text())["run"] for at in ("afresh", "results"))
    assert again["resumed"] and "resumed" not in whole
