"""Labelling with a stand-in engine: chunks, resuming, shared cells, calibration, errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fute.artifacts import Step, read_jsonl
from fute.config.engines import EngineSettings
from fute.config.prompts import Prompt
from fute.data.rows import Row
from fute.llm import label_batch_step as labelling
from fute.llm.engine import Perplexity, ScoreResult
from fute.llm.extract_labels_step import ExtractSettings, calibration_offset, extract_labels
from fute.llm.label_batch_step import BatchSpec, LabelCell, SelectCell, chunks, cut_words, label_batch, label_key
from fute.llm.self_select_step import self_select

SETTINGS = EngineSettings(engine="transformers", batch_size=3)
WORDS = {"negative": ["no"], "positive": ["yes"]}


def prompt(number: int, template: str, **more) -> Prompt:
    return Prompt(id=f"sa-{number}", number=number, category="sa", template=template, verbalizers=WORDS, **more)


PROMPTS = {p.id: p for p in (prompt(1, "{text} Good?"), prompt(2, "Is it good? {text}"), prompt(3, "{text} Good?"))}


class StandInEngine:
    """Scores a text by its length and the prompt's; notes what it was asked, and fails when told to."""

    chunk_size = 3
    prefers_shared_prefix = False

    def __init__(self, fail_after: int | None = None) -> None:
        self.settings = SETTINGS
        self.asked: list[str] = []
        self.fail_after = fail_after
        self.closed = False

    def score(self, requests):
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise KeyboardInterrupt
        self.asked += [request.id for request in requests]
        return [
            ScoreResult(r.id, (-len(r.user) / 50, -2.0), 0.5, "no", True, len(r.user), (True, True), "no")
            for r in requests
        ]

    def perplexity(self, texts):
        return [Perplexity(name, len(text) / 10, 7) for name, text in texts]

    def generate(self, prompts, max_tokens):
        return ["2"] * len(prompts)

    def identity(self):
        return {"engine": "stand-in"}

    def close(self):
        self.closed = True


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a corpus, a test set and a model lock; `run` labels with a given engine."""
    monkeypatch.chdir(tmp_path)
    for name, rows in (("u", 8), ("d", 5)):
        made = [Row(f"{name}/{i}", (f"text {name} " + "x" * (i * 3 % 7),)) for i in range(rows)]
        with Step("fute.batching", settings={}) as step:
            step.jsonl(Path(f"{name}.jsonl.gz"), [row.to_json() for row in made])
    Path("lock.json").write_text("{}")
    return tmp_path


def spec(*cells: tuple[str, str], selects: tuple[SelectCell, ...] = ()) -> BatchSpec:
    labels = tuple(LabelCell(key=key(p, c), prompt=p, corpus=c, perplexity=c == "d") for p, c in cells)
    return BatchSpec(engine=SETTINGS, prompts=PROMPTS, labels=labels, selects=selects)


def key(name: str, corpus: str) -> str:
    return label_key("model", SETTINGS, None, None, PROMPTS[name], corpus, corpus == "d", "code")


def run(monkeypatch, engine, batch: BatchSpec, output="batches/b.jsonl.gz") -> None:
    monkeypatch.setattr(labelling, "load_engine", lambda settings, path: engine)
    corpora = {name: Path(f"{name}.jsonl.gz") for name in {cell.corpus for cell in batch.labels}}
    label_batch(batch, model=Path("no-weights"), lock=Path("lock.json"), corpora=corpora, output=Path(output))


def test_prompts_of_equal_words_share_a_key():
    assert key("sa-1", "u") == key("sa-3", "u") != key("sa-2", "u")
    assert key("sa-1", "u") != key("sa-1", "d")
    renamed = PROMPTS["sa-1"].model_copy(update={"note": "another note", "number": 9})
    assert label_key("model", SETTINGS, None, None, renamed, "u", False, "code") == key("sa-1", "u")


@pytest.mark.parametrize(
    "changes",
    [
        {"template": "{text} Nice?"},
        {"verbalizers": {"negative": ("no",), "positive": ("Yes",)}},
        {"cot": True},
    ],
)
def test_every_word_of_a_prompt_is_in_its_key(changes):
    edited = PROMPTS["sa-1"].model_copy(update=changes)
    assert label_key("model", SETTINGS, None, None, edited, "u", False, "code") != key("sa-1", "u")


def test_model_engine_corpus_and_code_are_in_the_key():
    base = ("model", SETTINGS, None, None, PROMPTS["sa-1"], "u", False, "code")
    others = [
        ("other", *base[1:]),
        ("model", SETTINGS.model_copy(update={"dtype": "float32"}), *base[2:]),
        (*base[:2], "system", *base[3:]),
        (*base[:3], 20, *base[4:]),
        (*base[:5], "v", *base[6:]),
        (*base[:6], True, "code"),
        (*base[:7], "code2"),
    ]
    assert len({label_key(*arguments) for arguments in [base, *others]}) == len(others) + 1


def test_what_does_not_shape_a_label_is_not_in_its_key():
    slower = SETTINGS.model_copy(update={"timeout_s": 5.0, "max_retries": 1, "gpu_memory_utilization": 0.5})
    assert label_key("model", slower, None, None, PROMPTS["sa-1"], "u", False, "code") == key("sa-1", "u")


def test_chunks_do_not_depend_on_other_cells():
    rows = {"u": [Row(f"u/{i}", ("x" * (9 - i),)) for i in range(7)]}
    alone = chunks(spec(("sa-1", "u")), rows, StandInEngine())
    both = dict(chunks(spec(("sa-1", "u"), ("sa-2", "u")), rows, StandInEngine()))
    assert all(both[name] == items for name, items in alone)
    assert [len(items) for _, items in alone] == [3, 3, 1]
    lengths = [len(item.row.segments[0]) for _, items in alone for item in items]
    assert lengths == sorted(lengths)


def test_shared_prefixes_are_neighbours_and_cot_stays_apart():
    engine = StandInEngine()
    engine.prefers_shared_prefix, engine.chunk_size = True, 100
    reasoning = prompt(4, "{text} Good? Think.", cot=True)
    batch = spec(("sa-1", "u"), ("sa-2", "u")).model_copy(update={"prompts": PROMPTS | {"sa-4": reasoning}})
    cells = (*batch.labels, LabelCell(key="k4", prompt="sa-4", corpus="u"))
    rows = {"u": [Row(f"u/{i}", (f"{'ab'[i % 2]} text {i}",)) for i in range(4)]}
    found = chunks(batch.model_copy(update={"labels": cells}), rows, engine)
    assert [{i.cell.prompt for i in items} for _, items in found] == [{"sa-1", "sa-2"}, {"sa-4"}]
    users = [labelling._request(batch, item).user for item in found[0][1]]
    assert users == sorted(users)


def test_a_batch_is_labelled_and_extracted(place, monkeypatch):
    engine = StandInEngine()
    chosen = SelectCell(key="s" * 64, category="sa", prompts=("sa-1", "sa-2", "sa-3"))
    run(monkeypatch, engine, spec(("sa-1", "u"), ("sa-3", "u"), ("sa-2", "u"), ("sa-1", "d"), selects=(chosen,)))
    assert engine.closed
    assert len(engine.asked) == 8 + 8 + 5, "sa-3 has the words of sa-1 and is not asked again"
    keys = Path("batches/b.keys").read_text().splitlines()
    assert f"{key('sa-1', 'u')}\tsa-1/u sa-3/u" in keys
    settings = ExtractSettings(key=key("sa-1", "u"), prompt="sa-1", number=1, classes=tuple(WORDS), calibration="unsup")
    common = {"batch": Path("batches/b.jsonl.gz"), "lock": Path("lock.json")}
    extract_labels(
        settings,
        corpus_id="u",
        corpus=Path("u.jsonl.gz"),
        output=Path("l/u.jsonl.gz"),
        offset_out=Path("l/o.json"),
        **common,
    )
    rows = read_jsonl(Path("l/u.jsonl.gz"))
    assert [row["id"] for row in rows] == [f"u/{i}" for i in range(8)], "in the corpus's order"
    raw = np.array([row["log_scores"] for row in rows])
    offset = json.loads(Path("l/o.json").read_text())["offset"]
    np.testing.assert_allclose(offset, raw.mean(axis=0), atol=1e-6)
    for row, scores in zip(rows, raw - raw.mean(axis=0), strict=True):
        np.testing.assert_allclose(row["probabilities"], np.exp(scores) / np.exp(scores).sum(), atol=1e-5)
        assert row["prediction"] == ("negative", "positive")[int(np.argmax(scores))]
    settings = settings.model_copy(update={"key": key("sa-1", "d")})
    extract_labels(
        settings,
        corpus_id="d",
        corpus=Path("d.jsonl.gz"),
        output=Path("l/d.jsonl.gz"),
        offset_in=Path("l/o.json"),
        **common,
    )
    row = read_jsonl(Path("l/d.jsonl.gz"))[0]
    expected = np.array(row["log_scores"]) - offset
    np.testing.assert_allclose(row["probabilities"], np.exp(expected) / np.exp(expected).sum(), atol=1e-5)
    assert row["nll_tokens"] == 7 and row["mean_nll"] > 0
    self_select(key=chosen.key, prompts=chosen.prompts, batch=common["batch"], output=Path("l/s.json"))
    assert json.loads(Path("l/s.json").read_text())["ranking"] == ["sa-2"]


def test_a_killed_batch_goes_on_and_gives_the_same_bytes(place, monkeypatch):
    batch = spec(("sa-1", "u"), ("sa-2", "u"), ("sa-2", "d"))
    run(monkeypatch, StandInEngine(), batch, "whole/b.jsonl.gz")
    first = StandInEngine(fail_after=7)
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, first, batch)
    assert first.closed and not Path("batches/b.jsonl.gz").exists() and not Path("batches/b.keys").exists()
    second = StandInEngine()
    run(monkeypatch, second, batch)
    assert not set(first.asked) & set(second.asked), "no finished request is asked for again"
    assert len(first.asked) + len(second.asked) == 8 + 8 + 5
    assert Path("batches/b.jsonl.gz").read_bytes() == Path("whole/b.jsonl.gz").read_bytes()


def test_a_changed_corpus_is_noticed(place, monkeypatch):
    run(monkeypatch, StandInEngine(), spec(("sa-1", "u")))
    with Step("fute.batching", settings={}) as step:
        step.jsonl(Path("u.jsonl.gz"), [Row("u/0", ("another",)).to_json()])
    settings = ExtractSettings(key=key("sa-1", "u"), prompt="sa-1", number=1, classes=tuple(WORDS), calibration="none")
    with pytest.raises(ValueError, match=r"another corpus than u\.jsonl\.gz"):
        extract_labels(
            settings, corpus_id="u", batch=Path("batches/b.jsonl.gz"), corpus=Path("u.jsonl.gz"),
            lock=Path("lock.json"), output=Path("l.jsonl.gz"), offset_out=Path("o.json"),
        )  # fmt: skip
    assert not Path("l.jsonl.gz").exists()


def test_calibration_removes_a_constant_preference():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(50, 3)) + np.array([5.0, 0.0, -5.0])
    shifted = scores - calibration_offset(scores)
    np.testing.assert_allclose(shifted.mean(axis=0), 0, atol=1e-12)
    assert len(set(scores.argmax(axis=1))) == 1 and len(set(shifted.argmax(axis=1))) == 3


def test_cutting_words():
    assert cut_words("a  b\nc d", 3) == "a b c"
    assert cut_words("a  b\nc", 3) == "a  b\nc", "what fits stays as it is"
    assert cut_words("a b", None) == "a b"
