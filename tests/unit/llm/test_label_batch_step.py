"""Labelling with a stand-in engine: chunks, resuming, shared cells, calibration, errors."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from support import categories

from fute.artifacts import Step, read_jsonl
from fute.config.engines import EngineSettings
from fute.config.llm_baselines import PAPER_BASELINES
from fute.config.prompts import Prompt, followup, user_message
from fute.data.rows import Row
from fute.llm import label_batch_step as labelling
from fute.llm.class_scores import calibrate, decided
from fute.llm.engine import Perplexity, ScoreResult, SpellUnavailable
from fute.llm.extract_labels_step import ExtractSettings, extract_labels
from fute.llm.label_batch_step import BatchSpec, LabelCell, SelectCell, chunks, items_of, label_batch
from fute.llm.labelled_rows import drawn
from fute.llm.long_texts import LongTextError, cut_words
from fute.llm.self_select_step import self_select
from fute.llm.unlabelled import UnlabelledError
from fute.plan.llm_labels import label_key

SETTINGS = EngineSettings(engine="transformers", batch_size=3)
WORDS = {"negative": ["no"], "positive": ["yes"]}


def prompt(number: int, template: str, **more) -> Prompt:
    return categories.prompt("sa", id=f"sa-{number}", number=number, template=template, verbalizers=WORDS, **more)


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


def extract(name: str, corpus: str, calibration: str = "none", offset_in: Path | None = None) -> list[dict]:
    settings = ExtractSettings(
        key=key(name, corpus), prompt=name, number=1, classes=tuple(WORDS), calibration=calibration
    )
    extract_labels(
        settings, corpus_id=corpus, batch=Path("batches/b.jsonl.gz"), corpus=Path(f"{corpus}.jsonl.gz"),
        lock=Path("lock.json"), output=Path(f"l/{corpus}.jsonl.gz"),
        **({"offset_in": offset_in} if offset_in else {"offset_out": Path("l/o.json")}),
    )  # fmt: skip
    return read_jsonl(Path(f"l/{corpus}.jsonl.gz"))


class Server(StandInEngine):
    """A server: it returns some tokens only, and may refuse to give likelihoods. scored: text -> (scores, seen)."""

    def __init__(self, answers=None, echo: bool = True, **more) -> None:
        super().__init__(**more)
        self.answers, self.echo = answers or {}, echo
        self.likelihoods: list[str] = []

    def score(self, requests):
        plain = super().score(requests)
        answers = [self.answers.get(r.id.rpartition(" ")[2]) for r in requests]
        return [
            result if answer is None else dataclasses.replace(
                result, log_scores=answer[0], seen=answer[1], first_token=answer[2], coverage=0.0)
            for result, answer in zip(plain, answers, strict=True)
        ]  # fmt: skip

    def perplexity(self, texts):
        self.likelihoods += [name for name, _ in texts]
        if not self.echo:
            raise SpellUnavailable("text x: the server does not echo")
        return super().perplexity(texts)


NOTHING = ((-0.1, -0.1), (False, False), "<think>")


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
    [{"template": "{text} Nice?"}, {"verbalizers": {"negative": ("no",), "positive": ("Yes",)}}, {"cot": True}],
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
    alone, both = (
        chunks(items_of(batch, rows), StandInEngine())
        for batch in (spec(("sa-1", "u")), spec(("sa-1", "u"), ("sa-2", "u")))
    )
    assert all(dict(both)[name] == items for name, items in alone)
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
    batch = batch.model_copy(update={"labels": cells})
    found = chunks(items_of(batch, rows), engine)
    assert [{i.cell.prompt for i in items} for _, items in found] == [{"sa-1", "sa-2"}, {"sa-4"}]
    users = [item.request.user for item in found[0][1]]
    assert users == sorted(users)


def test_a_batch_is_labelled_and_extracted(place, monkeypatch):
    engine = StandInEngine()
    chosen = SelectCell(key="s" * 64, category="sa", question="decide", prompts=("sa-1", "sa-2", "sa-3"))
    run(monkeypatch, engine, spec(("sa-1", "u"), ("sa-3", "u"), ("sa-2", "u"), ("sa-1", "d"), selects=(chosen,)))
    assert engine.closed
    assert len(engine.asked) == 8 + 8 + 5, "sa-3 has the words of sa-1 and is not asked again"
    keys = Path("batches/b.keys").read_text().splitlines()
    assert f"{key('sa-1', 'u')}\tsa-1/u sa-3/u" in keys
    rows = extract("sa-1", "u", "unsup")
    assert [row["id"] for row in rows] == [f"u/{i}" for i in range(8)], "in the corpus's order"
    raw = np.array([row["log_scores"] for row in rows])
    offset = json.loads(Path("l/o.json").read_text())["offset"]
    np.testing.assert_allclose(offset, raw.mean(axis=0), atol=1e-6)
    for row, scores in zip(rows, raw - raw.mean(axis=0), strict=True):
        np.testing.assert_allclose(row["probabilities"], np.exp(scores) / np.exp(scores).sum(), atol=1e-5)
        assert row["prediction"] == ("negative", "positive")[int(np.argmax(scores))]
    row = extract("sa-1", "d", "unsup", offset_in=Path("l/o.json"))[0]
    expected = np.array(row["log_scores"]) - offset
    np.testing.assert_allclose(row["probabilities"], np.exp(expected) / np.exp(expected).sum(), atol=1e-5)
    assert row["nll_tokens"] == 7 and row["mean_nll"] > 0
    self_select(key=chosen.key, prompts=chosen.prompts, batch=Path("batches/b.jsonl.gz"), output=Path("l/s.json"))
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
    whole, again = (json.loads(Path(folder, "b.keys.prov.json").read_text()) for folder in ("whole", "batches"))
    assert again["run"]["resumed"] and "resumed" not in whole["run"], "its time is not that of the whole"


def test_answers_may_hold_any_character(place, monkeypatch):
    said = "one\u2028two\u0085three\x0b\r\n"

    class Odd(StandInEngine):
        def score(self, requests):
            return [dataclasses.replace(result, text=said) for result in super().score(requests)]

    run(monkeypatch, Odd(), spec(("sa-1", "u")))
    assert {row["text"] for row in extract("sa-1", "u")} == {said}


def test_a_changed_corpus_is_noticed(place, monkeypatch):
    run(monkeypatch, StandInEngine(), spec(("sa-1", "u")))
    with Step("fute.batching", settings={}) as step:
        step.jsonl(Path("u.jsonl.gz"), [Row("u/0", ("another",)).to_json()])
    with pytest.raises(ValueError, match=r"was made from another version of u\.jsonl\.gz"):
        extract("sa-1", "u")
    assert not Path("l/u.jsonl.gz").exists()


def test_a_corpus_that_changes_while_it_is_labelled_is_noticed(place, monkeypatch):
    """The ids are those that they were, so only the hash tells."""

    class Slow(StandInEngine):
        def score(self, requests):
            with Step("fute.batching", settings={}) as step:
                step.jsonl(Path("u.jsonl.gz"), [Row(f"u/{i}", ("another",)).to_json() for i in range(8)])
            return super().score(requests)

    run(monkeypatch, Slow(), spec(("sa-1", "u")))
    with pytest.raises(ValueError, match=r"was made from another version of u\.jsonl\.gz"):
        extract("sa-1", "u")


@pytest.mark.parametrize("scores", [(-20.5, -0.000001), (-0.693147, -0.693146), (-40.0, -0.1)])
def test_stored_probabilities_keep_the_best_class_and_the_logarithms_of_small_ones(place, monkeypatch, scores):
    """ZPS-Log adds logarithms, and GlobalE and ZPS count the likeliest class."""
    run(monkeypatch, Server({f"u/{i}": (scores, (True, True), "yes") for i in range(8)}), spec(("sa-1", "u")))
    row = extract("sa-1", "u")[0]
    assert row["prediction"] == "positive" and int(np.argmax(row["probabilities"])) == 1
    np.testing.assert_allclose(row["probabilities"], softmax(scores), rtol=1e-7)


# --- rows without a label -------------------------------------------------------------------------------


@pytest.fixture
def many(place):
    """Ten more rows in U, so that one of them is no more than a tenth."""
    with Step("fute.batching", settings={}) as step:
        step.jsonl(Path("u.jsonl.gz"), [Row(f"u/{i}", (f"text {i}",)).to_json() for i in range(20)])


def test_a_row_without_a_seen_class_has_no_label(many, monkeypatch):
    bounded = ((-2.0, -0.2), (False, True), "yes")
    run(monkeypatch, Server({"u/3": NOTHING, "u/5": bounded}), spec(("sa-1", "u")))
    rows = extract("sa-1", "u")
    assert rows[3]["prediction"] is None and rows[3]["uncalibrated"] is None
    assert rows[3]["bounded"] == ["negative", "positive"] and rows[3]["first_token"] == "<think>"
    assert rows[5]["prediction"] == "positive" and rows[5]["bounded"] == ["negative"]
    assert "bounded" not in rows[0] and "first_token" not in rows[0] and "seen" not in rows[3]
    facts = json.loads(Path("l/u.jsonl.gz.prov.json").read_text())["record"]["facts"]
    assert facts == {"unlabelled": 1}


def test_a_bound_above_the_best_seen_class_is_no_label(many, monkeypatch):
    run(monkeypatch, Server({"u/3": ((-0.5, -1.5), (False, True), "The")}), spec(("sa-1", "u")))
    assert extract("sa-1", "u")[3]["prediction"] is None


def test_calibration_shifts_bounds_and_is_taken_from_complete_rows(many, monkeypatch):
    # complete rows favour the first class by far, so that calibration lifts the second
    favours = {f"u/{i}": ((-0.1, -6.0), (True, True), "no") for i in range(20)}
    shifted_above = ((-0.4, -2.0), (True, False), "no")  # the bound may hide a better class once shifted
    unseen = ((-2.0, -0.4), (False, True), "yes")
    run(monkeypatch, Server(favours | {"u/3": shifted_above, "u/5": unseen}), spec(("sa-1", "u")))
    rows = extract("sa-1", "u", "unsup")
    offset = json.loads(Path("l/o.json").read_text())
    assert offset["offset"] == [-0.1, -6.0] and offset["texts"] == 18
    assert rows[3]["prediction"] is None and rows[3]["uncalibrated"] == "negative"
    assert rows[5]["prediction"] == rows[5]["uncalibrated"] == "positive"


def test_calibration_needs_a_complete_row(place, monkeypatch):
    bounded = {f"u/{i}": ((-0.1, -6.0), (True, False), "no") for i in range(8)}
    run(monkeypatch, Server(bounded), spec(("sa-1", "u")))
    assert {row["prediction"] for row in extract("sa-1", "u")} == {"negative"}
    with pytest.raises(ValueError, match=r"prompt sa-1 on u: on none of the 8 texts .* set llm\.calibration: none"):
        extract("sa-1", "u", "unsup")


def test_more_than_a_tenth_without_a_label_ends_the_batch_at_once(many, monkeypatch):
    engine = Server({f"u/{i}": (*NOTHING[:2], "The" if i < 2 else "<think>") for i in range(20)})
    with pytest.raises(UnlabelledError, match=r"prompt sa-1 on u: 3 of 20 texts have no label .*'The' \(67%\), '<th"):
        run(monkeypatch, engine, spec(("sa-1", "u"), ("sa-1", "d")))
    asked = len([name for name in engine.asked if " u/" in name])
    assert asked == 3, "one chunk, and no more is paid for"


def test_too_many_rows_without_a_label_after_calibration_are_an_error(many, monkeypatch):
    favours = {f"u/{i}": ((-0.1, -6.0), (True, True), "no") for i in range(20)}
    hidden = {f"u/{i}": ((-0.4, -2.0), (True, False), "no") for i in range(3)}
    run(monkeypatch, Server(favours | hidden), spec(("sa-1", "u")))
    assert extract("sa-1", "u")[0]["prediction"] == "negative"
    with pytest.raises(UnlabelledError, match=r"3 of 20 texts .*'no' \(100%\).*; or set llm\.calibration: none"):
        extract("sa-1", "u", "unsup")


# --- likelihoods ----------------------------------------------------------------------------------------


def without_spell(*cells: tuple[str, str]) -> BatchSpec:
    batch = spec(*cells)
    shared = {cell.prompt: f"answers of {cell.prompt}" for cell in batch.labels}
    return batch.model_copy(update={"labels": tuple(
        cell.model_copy(update={"perplexity": False, "key": f"{cell.prompt} {cell.corpus} without",
                                "answers": shared[cell.prompt]}) for cell in batch.labels)})  # fmt: skip


def with_spell(*cells: tuple[str, str]) -> BatchSpec:
    batch = spec(*cells)
    return batch.model_copy(update={"labels": tuple(
        cell.model_copy(update={"answers": f"answers of {cell.prompt}"}) for cell in batch.labels)})  # fmt: skip


def test_a_server_without_echo_costs_one_request(place, monkeypatch):
    engine = Server(echo=False)
    with pytest.raises(SpellUnavailable, match=r"does not echo\. To leave it out, write llm: {baselines: "):
        run(monkeypatch, engine, with_spell(("sa-1", "u"), ("sa-1", "d")))
    assert engine.asked == [] and len(engine.likelihoods) == 1


def test_the_error_names_all_other_baselines():
    assert yaml.safe_load(labelling.WITHOUT_SPELL) == {
        "llm": {"baselines": [n for n in PAPER_BASELINES if n != "spell"]}
    }


def test_the_first_likelihood_is_not_asked_for_twice(place, monkeypatch):
    engine = Server()
    run(monkeypatch, engine, with_spell(("sa-1", "u"), ("sa-1", "d")))
    assert sorted(engine.likelihoods) == [f"sa-1 on d/{i}" for i in range(5)]


def test_answers_are_kept_when_likelihoods_fail_and_spell_is_left_out(place, monkeypatch):
    class Later(Server):
        def perplexity(self, texts):
            self.echo = len(self.likelihoods) < 2
            return super().perplexity(texts)

    cells = (("sa-1", "d"), ("sa-2", "d"))
    first, second = Later(), Server(echo=False)
    with pytest.raises(SpellUnavailable):
        run(monkeypatch, first, with_spell(*cells), "batches/a.jsonl.gz")
    assert first.asked
    run(monkeypatch, second, without_spell(*cells), "batches/b.jsonl.gz")
    assert not set(first.asked) & set(second.asked), "nothing is paid for twice"
    assert len(first.asked) + len(second.asked) == 10 and second.likelihoods == []
    run(monkeypatch, Server(), without_spell(*cells), "alone/c.jsonl.gz")
    assert read_jsonl(Path("batches/b.jsonl.gz")) == read_jsonl(Path("alone/c.jsonl.gz"))


# --- long texts -----------------------------------------------------------------------------------------


class Characters:
    """A tokenizer with one token for each character; the template adds three."""

    def __init__(self, max_length: int) -> None:
        self.max_length, self.limit = max_length, max_length + 16

    def render(self, *turns, system=None):
        return "<s>" + "".join(turns)

    def encode(self, texts):
        return [list(text) for text in texts]

    encode_texts = encode


class Local(StandInEngine):
    def __init__(self, max_length: int) -> None:
        super().__init__()
        self.prompts = Characters(max_length)

    def score(self, requests):
        self.asked_users = [*getattr(self, "asked_users", []), *(r.user for r in requests)]
        assert all(len(r.user) + 3 <= self.prompts.max_length for r in requests)
        return super().score(requests)


def long_texts(how: str) -> BatchSpec:
    return spec(("sa-1", "u"), ("sa-2", "u")).model_copy(update={"long_texts": how})


@pytest.fixture
def one_long(place):
    """U with one text that is much longer than the others, without any blank."""
    texts = ["text 0", "电影" * 300, "text 2", "a text 3"]
    with Step("fute.batching", settings={}) as step:
        step.jsonl(Path("u.jsonl.gz"), [Row(f"u/{i}", (text,)).to_json() for i, text in enumerate(texts)])


def test_texts_that_are_too_long_are_named_at_once_before_any_request(one_long, monkeypatch):
    engine = Local(200)
    with pytest.raises(
        LongTextError, match=r"2 of 8 requests .* longest \d+: sa-\d on u/1 .*sa-\d on u/1.*: cut"
    ) as error:
        run(monkeypatch, engine, long_texts("error"))
    assert engine.asked == [] and "\n" not in str(error.value)


def test_long_texts_are_cut_at_the_text_alone(one_long, monkeypatch):
    engine = Local(200)
    run(monkeypatch, engine, long_texts("cut"))
    head, *lines = read_jsonl(Path("batches/b.jsonl.gz"))
    assert head["cut_texts"] == 2
    assert [line["id"] for line in lines if line.get("cut")] == ["u/1", "u/1"]
    longest = sorted(engine.asked_users, key=len)[-2:]
    assert [len(user) + 3 for user in longest] == [200, 200], "as much of the text as fits"
    whole = {user_message(PROMPTS[name], ("MARK",)).replace("MARK", "电影" * 300) for name in ("sa-1", "sa-2")}
    for user in longest:
        assert any(user.replace("电影", "").replace("电", "") == full.replace("电影", "") for full in whole)


def test_the_index_says_which_limits_a_cell_is_free_of(one_long, monkeypatch):
    run(monkeypatch, Local(2000), long_texts("error"))
    lines = [line.split("\t") for line in Path("batches/b.keys").read_text().splitlines()]
    assert all(line[2] == line[0] and 600 < int(line[3]) < 2000 for line in lines) and len(lines) == 2
    run(monkeypatch, Local(200), long_texts("cut"))
    assert all(line.count("\t") == 1 for line in Path("batches/b.keys").read_text().splitlines())


def test_an_instruction_is_never_cut(one_long, monkeypatch):
    with pytest.raises(LongTextError, match=r"8 of 8 requests .* instructions alone are too long"):
        run(monkeypatch, Local(20), long_texts("cut"))


@pytest.mark.parametrize(("most", "texts"), [(200, ""), (20, r"Their instructions .*shorten the prompts\. ")])
def test_a_choice_among_prompts_has_no_text_to_cut(place, monkeypatch, most, texts):
    chosen = SelectCell(key="s" * 64, category="sa", question="decide", prompts=("sa-1", "sa-2", "sa-3"))
    batch = long_texts("cut" if texts else "error").model_copy(update={"selects": (chosen,)})
    with pytest.raises(LongTextError, match=rf"Nothing was asked\. {texts}Self-Select .* out of llm\.baselines\.$"):
        run(monkeypatch, Local(most), batch)


@pytest.mark.parametrize(
    ("text", "words", "cut"),
    [
        ("a  b\nc d", 3, "a b c"),
        ("a  b\nc", 3, "a  b\nc"),  # what fits stays as it is
        ("a b", None, "a b"),
        ("电影很无聊。" * 9, 8, "电影很无聊。电影"),
        ("x" * 400, 8, "x" * 320),
        ("电影 很", 8, "电影 很"),
    ],
)
def test_cutting_words(text, words, cut):
    assert cut_words(text, words) == cut


# --- answers of finished batches ------------------------------------------------------------------------


def test_likelihoods_that_are_asked_for_later_cost_no_answer_again(place, monkeypatch, capsys):
    cells = (("sa-1", "d"), ("sa-2", "d"))
    first, second = StandInEngine(), Server()
    run(monkeypatch, first, without_spell(*cells), "batches/a.jsonl.gz")
    shutil.rmtree("batches/a.partial")
    told: list[str] = []
    monkeypatch.setattr(labelling.Track, "advance", lambda track, n=1: told.append(f"{n} of {track.total}"))
    run(monkeypatch, second, with_spell(*cells), "batches/b.jsonl.gz")
    assert told == ["3 of 10", "2 of 10"] * 2, "the likelihoods are what is waited for"
    assert "20 requests in 8 chunks, 10 requests already finished" in capsys.readouterr().out
    assert second.asked == [] and sorted(set(second.likelihoods)) == sorted(first.asked)
    run(monkeypatch, StandInEngine(), with_spell(*cells), "alone/c.jsonl.gz")
    assert Path("batches/b.jsonl.gz").read_bytes() == Path("alone/c.jsonl.gz").read_bytes()
    shutil.rmtree("batches/b.partial")
    third = Server()
    run(monkeypatch, third, with_spell(*cells), "batches/d.jsonl.gz")
    assert third.asked == third.likelihoods == [], "finished batches give their likelihoods, too"


def test_another_limit_asks_for_the_chunks_it_touches_alone(place, monkeypatch):
    texts = ["text 0", "x" * 300, "text 2", "a text 3", "text 4", "text 5"]
    with Step("fute.batching", settings={}) as step:
        step.jsonl(Path("u.jsonl.gz"), [Row(f"u/{i}", (text,)).to_json() for i, text in enumerate(texts)])
    first, second = Local(200), Local(250)
    run(monkeypatch, first, long_texts("cut"), "batches/a.jsonl.gz")
    shutil.rmtree("batches/a.partial")
    run(monkeypatch, second, long_texts("cut"), "batches/b.jsonl.gz")
    assert len(first.asked) == 12 and len(second.asked) == 6, "one chunk of three for each prompt"
    assert {name for name in second.asked if name.endswith("u/1")} == {"sa-1 on u/1", "sa-2 on u/1"}
    run(monkeypatch, Local(250), long_texts("cut"), "alone/c.jsonl.gz")
    assert Path("batches/b.jsonl.gz").read_bytes() == Path("alone/c.jsonl.gz").read_bytes()


def test_answers_of_another_model_are_not_taken(place, monkeypatch):
    run(monkeypatch, StandInEngine(), spec(("sa-1", "u")), "batches/a.jsonl.gz")
    Path("lock.json").write_text('{"other": 1}')
    engine = StandInEngine()
    run(monkeypatch, engine, spec(("sa-1", "u")), "batches/b.jsonl.gz")
    assert len(engine.asked) == 8


def test_no_answer_is_taken_from_a_batch_that_is_not_what_its_record_says(place, monkeypatch, capsys):
    cells = (("sa-1", "d"), ("sa-2", "d"))
    run(monkeypatch, StandInEngine(), without_spell(*cells), "batches/a.jsonl.gz")
    shutil.rmtree("batches/a.partial")
    Path("batches/a.jsonl.gz").write_bytes(b"no gzip")
    engine = StandInEngine()
    run(monkeypatch, engine, with_spell(*cells), "batches/b.jsonl.gz")
    assert len(engine.asked) == 10
    assert "a.jsonl.gz: is not what its record says, so no answers are taken" in capsys.readouterr().out


def test_a_batch_that_is_declared_finished_gives_no_answers(place, monkeypatch):
    """`fute audit rerun` leaves empty batches for what it does not compute again."""
    Path("batches").mkdir()
    for name in ("declared.jsonl.gz", "declared.keys.prov.json"):
        Path("batches", name).touch()
    Path("batches/declared.keys").write_text("k\tsa-9/u\n")
    engine = StandInEngine()
    run(monkeypatch, engine, spec(("sa-1", "u")))
    assert len(engine.asked) == 8


def test_a_chain_of_thought_counts_with_its_reasoning(one_long, monkeypatch):
    reasoning = prompt(4, "{text} Good? Think.", cot=True)
    cells = (LabelCell(key="k4", prompt="sa-4", corpus="u"),)
    batch = BatchSpec(engine=SETTINGS, prompts={"sa-4": reasoning}, labels=cells)
    short = len(user_message(reasoning, ("a text 3",))) + 3 + len(followup(reasoning))
    with pytest.raises(LongTextError, match=rf"1 of 4 requests .*sa-4 on u/1 \(\d+ of at most {short + 512}\)"):
        run(monkeypatch, Local(short + 512), batch)
    with pytest.raises(LongTextError, match=rf"2 of 4 requests .*u/3 \({short + 512} of at most {short + 511}\)"):
        run(monkeypatch, Local(short + 511), batch)


@given(
    st.lists(st.floats(-20, 0), min_size=2, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.lists(st.floats(0, 5), min_size=4, max_size=4),
    st.lists(st.floats(-10, 0), min_size=4, max_size=4),
)
def test_a_label_is_the_true_one_or_none(true, seen, slack, offset):
    """Whatever a server hides, and whatever calibration shifts: a bound is at least the true score."""
    n = len(true)
    told = [score if was_seen else score + more for score, was_seen, more in zip(true, seen, slack, strict=False)]
    shifted_true, shifted = calibrate(true, offset[:n]), calibrate(told, offset[:n])
    label = decided(shifted, seen[:n])
    assert label is None or shifted_true[label] == max(shifted_true)
    assert (label is None) or seen[label]
    assert not all(seen[:n]) or label == int(np.argmax(shifted_true))


def test_some_rows_of_a_corpus_are_labelled(place, monkeypatch):
    """Which, their ids decide: more of them hold the fewer ones, and the extraction takes the same."""
    ids = [row["id"] for row in read_jsonl(Path("u.jsonl.gz"))]
    asked = {}
    for count in (3, 5, 8, 20):
        engine, cell = StandInEngine(), LabelCell(key="k", prompt="sa-1", corpus="u", rows=count)
        run(monkeypatch, engine, BatchSpec(engine=SETTINGS, prompts=PROMPTS, labels=(cell,)), f"b{count}/b.jsonl.gz")
        settings = ExtractSettings(
            key="k", prompt="sa-1", number=1, classes=tuple(WORDS), calibration="none", rows=count
        )
        corpus, output = Path("u.jsonl.gz"), Path(f"l{count}.jsonl.gz")
        extract_labels(
            settings, corpus_id="u", batch=Path(f"b{count}/b.jsonl.gz"), corpus=corpus, lock=Path("lock.json"),
            output=output, offset_out=Path("o.json"),
        )  # fmt: skip
        asked[count] = [row["id"] for row in read_jsonl(output)]
        assert len(engine.asked) == len(asked[count]) == min(count, 8)
        assert asked[count] == [name for name in ids if name in asked[count]], "in the corpus's order"
    assert set(asked[3]) < set(asked[5]) < set(ids) == set(asked[20]) and asked[3] != ids[:3]


@pytest.mark.parametrize("count", [1, 40])
def test_rows_are_drawn_evenly(count):
    """By the hash of each id, so from all places: chi-squared of 5 fifths of the places at four degrees of freedom."""
    places = [place for seed in range(200) for place in drawn([f"{seed}/{i}" for i in range(100)], count)]
    shares = np.bincount(np.array(places) // 20, minlength=5)
    assert len(places) == 200 * count
    assert ((shares - shares.mean()) ** 2 / shares.mean()).sum() < 18.5  # one of a thousand
