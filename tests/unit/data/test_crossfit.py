"""U: cutting lines, the three layouts, exclusions, the authors' 104,162, limits and stratified draws."""

import csv
import gzip
import hashlib
import json
import random
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.categories import UNSUP

from fute.config.unsup import UnsupSettings
from fute.csv_files import TableError
from fute.data import crossfit
from fute.data.crossfit import cut_words
from fute.data.crossfit_tasks import SCRIPTS, SHORT_SCRIPTS, canonical
from fute.data.rows import BadRow, Row, SourceError
from fute.data.unsup_files import read_unsup, unsup_identity

POOL = {"kind": "pool", "path": "pool.jsonl"}


def segment(line, category):
    return crossfit.segment(line, UNSUP[category].segments)


def form(line, category):
    return crossfit.form(line, UNSUP[category].segments)


def draw_unsup(tasks, category, settings, **more):
    return crossfit.draw_unsup(tasks, category, settings, UNSUP[category], **more)


def settings(**changes):
    return UnsupSettings.model_validate(POOL | changes)


@pytest.mark.parametrize(
    ("line", "lm", "sa", "nli", "nli_form"),
    [
        ("one text", None, None, ("one", "text"), 2),
        ("abc", None, None, ("a", "bc"), 2),
        ("a [SEP] b", ("a", "b"), ("b",), ("a", "b"), 1),
        ("a[SEP]b [SEP] c", ("a", "b"), ("b",), ("a", "b"), 1),
        ("[SEP]  [SEP] b [SEP]", ("b",), ("b",), None, 2),
        ("premise: It rains. hypothesis: It is wet.", None, None, ("premise: It rains.", "hypothesis: It is wet."), 0),
        ("Hypothesis: wet. Premise: rain.", None, None, ("Premise: rain.", "Hypothesis: wet."), 0),
        (
            "premise: p [SEP] hypothesis: h",
            ("premise: p", "hypothesis: h"),
            ("hypothesis: h",),
            ("premise: p", "hypothesis: h"),
            1,
        ),
        ("premise: abc", None, None, ("premis", "e: abc"), 0),
        ("hypothesis: ab", None, None, ("hypothe", "sis: ab"), 2),
    ],
)
def test_segments_by_hand(line, lm, sa, nli, nli_form):
    """lm, sa: None for the line as it is."""
    assert [segment(line, category) for category in ("lm", "sa", "nli")] == [lm or (line,), sa or (line,), nli]
    assert form(line, "nli") == nli_form
    assert form(line, "sa") == (lm is not None and len(lm) == 2) and form(line, "lm") == 0


@pytest.mark.parametrize("line", ["", "  ", "[SEP]", " [SEP] [SEP] "])
@pytest.mark.parametrize("category", ["lm", "sa", "nli"])
def test_lines_without_text_are_dropped(line, category):
    assert segment(line, category) is None


@given(st.text(alphabet="ab :", min_size=2).filter(lambda text: len(text.strip()) > 1))
def test_halves_hold_the_whole_text(text):
    pair = segment(text, "nli")
    assert "".join(pair).replace(" ", "") == text.replace(" ", "")


def test_the_authors_selection_has_122_scripts_of_which_109_119_120_are_read():
    assert len(SCRIPTS) == len(set(SCRIPTS)) == 122
    read = {category: len(set(SCRIPTS) - set(entry.unsup.exclude)) for category, entry in UNSUP.items()}
    assert read == {"lm": 109, "sa": 119, "nli": 120}
    assert set(SHORT_SCRIPTS) <= set(SCRIPTS) - set(UNSUP["lm"].unsup.exclude)


def test_the_papers_104162_follow_from_the_line_counts(tmp_path):
    """122 made-up files with the real training-split sizes (1,200 stands for every size above 1,000)."""
    for script in SCRIPTS:
        lines = SHORT_SCRIPTS.get(script, 1200)
        (tmp_path / f"{script}.tsv").write_text("".join(f"{script} {n}\tout\n" for n in range(lines)))
    one = UnsupSettings(kind="crossfit_full", path=".")
    tasks = read_unsup(one, tmp_path).tasks
    rows, counts = draw_unsup(tasks, "lm", one)
    assert len(rows) == len({row.id for row in rows}) == 104_162
    assert sum(count["paper"] for count in counts) == 104_162
    assert all(count["drawn"] == count["capped"] == count["paper"] for count in counts)
    assert sum(count["excluded"] for count in counts) == 13
    for category, scripts in (("sa", 119), ("nli", 120)):
        rows, counts = draw_unsup(tasks, category, one)
        assert len(rows) == 10_000
        assert sum(count["capped"] for count in counts) == sum(count["paper"] for count in counts) == 100 * scripts


def test_a_script_is_drawn_as_an_independent_shuffle_draws_it():
    lines = {"b": [f"b {n}" for n in range(30)], "a": [f"a {n}" for n in range(7)]}
    rows, counts = draw_unsup(lines, "lm", settings(max_per_script=5, seed=7))
    expected = []
    for task in ("a", "b"):
        order = list(range(len(lines[task])))
        random.Random(7).shuffle(order)
        expected += [Row(f"{task}/{n}", (f"{task} {n}",), task=task) for n in order[:5]]
    random.Random(7).shuffle(expected)
    assert rows == expected
    assert [count["capped"] for count in counts] == [5, 5]
    reordered = dict(reversed(lines.items()))
    assert draw_unsup(reordered, "lm", settings(max_per_script=5, seed=7))[0] == rows
    other = draw_unsup(lines, "lm", settings(max_per_script=5, seed=8))[0]
    assert other != rows


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    cap=st.integers(1, 30),
    limit=st.integers(1, 60),
    category=st.sampled_from(["lm", "sa", "nli"]),
)
def test_counts_add_up(sizes, cap, limit, category):
    tasks = {f"t{i}": [f"text {n}" if n % 5 else "" for n in range(size)] for i, size in enumerate(sizes)}
    full = {task: sum(bool(line) for line in lines) for task, lines in tasks.items()}
    total = sum(min(cap, size) for size in full.values())
    one = settings(max_per_script=cap, limit=limit)
    if total == 0:
        with pytest.raises(SourceError, match="no text is left"):
            draw_unsup(tasks, category, one)
        return
    rows, counts = draw_unsup(tasks, category, one)
    assert len(rows) == min(limit, total) == sum(count["drawn"] for count in counts)
    assert {count["script"]: count["capped"] for count in counts} == {t: min(cap, n) for t, n in full.items()}
    assert all(count["lines"] - count["empty"] == full[count["script"]] for count in counts)
    assert Counter(row.task for row in rows) == {c["script"]: c["drawn"] for c in counts if c["drawn"]}
    assert all(tasks[row.task][int(row.id.rsplit("/", 1)[1])] for row in rows)


def test_natural_forms_come_first_when_there_are_too_many():
    tasks = {
        "halves": [f"some text {n}" for n in range(10)],
        "pairs": [f"a {n} [SEP] b" for n in range(10)],
        "premises": [f"premise: p {n} hypothesis: h" for n in range(10)],
    }
    drawn = {}
    for limit in (10, 15, 25):
        rows, _ = draw_unsup(tasks, "nli", settings(limit=limit))
        drawn[limit] = Counter(row.task for row in rows)
    assert drawn[10] == {"premises": 10}
    assert drawn[15] == {"premises": 10, "pairs": 5}
    assert drawn[25] == {"premises": 10, "pairs": 10, "halves": 5}
    rows, _ = draw_unsup(tasks, "sa", settings(limit=20))
    assert Counter(row.task for row in rows) == {"halves": 10, "premises": 10}


def test_stratified_draws_take_families_then_tasks_in_turn():
    tasks = {f"blimp-{i}": [f"x {n} [SEP] y" for n in range(50)] for i in range(8)}
    tasks |= {"qa-1": [f"question {n}" for n in range(50)], "qa-2": [f"q {n} [SEP] c" for n in range(3)]}
    tasks |= {"news": [f"news {n}" for n in range(2)]}
    families = {task: task.split("-")[0] for task in tasks}
    one = settings(limit=30, stratify="family")
    rows, _ = draw_unsup(tasks, "nli", one, families=families)
    by_task = Counter(row.task for row in rows)
    assert Counter(families[row.task] for row in rows) == {"blimp": 14, "qa": 14, "news": 2}
    assert sorted(by_task[f"blimp-{i}"] for i in range(8)) == [1, 1, 2, 2, 2, 2, 2, 2]
    assert (by_task["qa-1"], by_task["qa-2"]) == (11, 3)  # within the family, pairs before halves
    rows, _ = draw_unsup(tasks, "sa", one, families=families)
    assert Counter(families[row.task] for row in rows) == {"blimp": 14, "qa": 14, "news": 2}
    with pytest.raises(SourceError, match="task 'news': has no family"):
        draw_unsup(tasks, "nli", one, families={t: f for t, f in families.items() if t != "news"})


def test_evaluated_datasets_are_left_out_in_either_spelling():
    names = ["glue-sst2", "glue_sst2", "imdb", "anli", "superglue-cb", "squad-no_context", "break-QDMR", "sick"]
    tasks = {name: ["a b"] for name in [*names, "xsum"]}

    def left(category, **changes):
        _, counts = draw_unsup(tasks, category, settings(**changes))
        return {count["script"] for count in counts if count["excluded"]}

    assert left("sa") == {"glue-sst2", "glue_sst2", "imdb"}
    assert left("nli") == {"anli", "superglue-cb"}
    assert left("lm") == {"glue-sst2", "glue_sst2", "squad-no_context"}
    assert left("lm", exclude_strict=True) == {"glue-sst2", "glue_sst2", "squad-no_context", "break-QDMR"}
    assert left("nli", exclude_strict=True) == {"anli", "superglue-cb", "sick"}
    assert left("sa", exclude=["xsum"]) == {"xsum"}
    assert left("sa", exclude=[]) == set()
    with pytest.raises(SourceError, match="no script or task 'xsun'"):
        left("sa", exclude=["xsun"])


def test_exclusions_are_written_as_names_are_compared():
    for entry in UNSUP.values():
        assert all(name == canonical(name) for name in (*entry.unsup.exclude, *entry.unsup.exclude_strict))


def test_drawn_texts_are_cut_from_the_longest_segment():
    rows, _ = draw_unsup({"t": ["a b c d e [SEP] g h"]}, "nli", settings(max_words=5))
    assert rows[0].segments == ("a b c", "g h")
    assert cut_words(("a  b", "c"), 3) == ("a  b", "c"), "what fits stays as it is"
    assert cut_words(("a b c d",), 2) == ("a b",)


def test_missing_scripts_are_listed_beside_the_papers_numbers(tmp_path):
    (tmp_path / "xsum.jsonl").write_text('{"text": "a text"}\n')
    (tmp_path / "own.tsv").write_text("own text\tout\tmore\n")
    (tmp_path / "wiki-qa.tsv").write_text("another text\tout\n")
    one = UnsupSettings(kind="crossfit_full", path=".")
    _, counts = draw_unsup(read_unsup(one, tmp_path).tasks, "lm", one)
    table = {count["script"]: count for count in counts}
    assert set(table) == {*SCRIPTS, "own", "wiki-qa"} - {"wiki_qa"}
    assert (table["wiki-qa"]["drawn"], table["wiki-qa"]["paper"]) == (1, 1000)
    assert (table["xsum"]["drawn"], table["xsum"]["paper"]) == (1, 1000)
    assert (table["own"]["drawn"], table["own"]["paper"], table["own"]["excluded"]) == (0, 0, True)
    assert (table["lama"]["lines"], table["lama"]["paper"]) == (0, 244)
    assert len({tuple(count) for count in counts}) == 1  # one set of columns


def test_a_pool_takes_families_from_its_rows_or_from_the_table_beside_it(tmp_path):
    rows = [{"task": "b", "text": "b 0"}, {"task": "a", "text": "a 0"}, {"task": "b", "text": "b 1"}]
    with gzip.open(tmp_path / "pool.jsonl.gz", "wt") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    with (tmp_path / "tasks.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["task", "family", "note"], ["a", "fa", "x, y"], ["b", "fb", ""]])
    tasks, families, lock = read_unsup(settings(path="pool.jsonl.gz"), tmp_path)
    assert tasks == {"b": ["b 0", "b 1"], "a": ["a 0"]}
    assert families == {"a": "fa", "b": "fb"}
    assert lock == unsup_identity(settings(path="pool.jsonl.gz"), tmp_path)
    digest = hashlib.sha256((tmp_path / "tasks.csv").read_bytes()).hexdigest()
    assert [(f["path"], f["sha256"]) for f in lock["files"]][1] == ("tasks.csv", digest)
    rows = [row | {"family": "f" + row["task"]} for row in rows]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_unsup(settings(path="own/pool.jsonl"), tmp_path)[:2] == (tasks, families)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"text": "x"}, "task"),
        ({"task": "a"}, "text"),
        ({"task": "a", "text": " "}, "text"),
        ({"task": "a", "text": 1}, "text"),
        ({"task": "a", "text": "x", "family": "other"}, "family"),
    ],
)
def test_bad_pool_rows_name_row_and_field(tmp_path, row, field):
    first = {"task": "a", "text": "x", "family": "one"}
    (tmp_path / "pool.jsonl").write_text(json.dumps(first) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(BadRow, match=rf"pool\.jsonl, row 2, field '{field}'"):
        read_unsup(settings(), tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("task,family\na,one\na,two\n", r"tasks\.csv, row 3, field 'family': is 'two', but task 'a' was in .* 'one'"),
        ("task,family\nnull,\n", r"tasks\.csv, row 2, field 'task, family': is missing or empty"),
        ("task,family\na\n", r"tasks\.csv, row 2: has 1 cells under 2 names"),
        ("", r"tasks\.csv: is empty"),
    ],
)
def test_a_bad_table_of_families_is_said_in_one_line(tmp_path, table, message):
    (tmp_path / "pool.jsonl").write_text('{"task": "a", "text": "x"}\n')
    (tmp_path / "tasks.csv").write_text(table)
    with pytest.raises((BadRow, TableError), match=message):
        read_unsup(settings(), tmp_path)


def test_fewshot_folders_give_train_and_dev_of_the_first_seed(tmp_path):
    for task, k in (("glue-rte", 16), ("break-QDMR", 32)):
        (tmp_path / task).mkdir()
        for seed in (100, 13):
            for split in ("train", "dev", "test"):
                text = "".join(f"{task} {seed} {split} {n}\ty\n" for n in range(2))
                (tmp_path / task / f"{task}_{k}_{seed}_{split}.tsv").write_text(text)
    one = UnsupSettings(kind="crossfit_fewshot", path=".")
    tasks = read_unsup(one, tmp_path).tasks
    expected = [f"{split} {n}" for split in ("train", "dev") for n in range(2)]
    assert tasks == {task: [f"{task} 100 {rest}" for rest in expected] for task in ("break-QDMR", "glue-rte")}
    assert len(unsup_identity(one, tmp_path)["files"]) == 4
    _, counts = draw_unsup(tasks, "lm", one)
    assert [count["excluded"] for count in counts] == [False, True] and "paper" not in counts[0]
    (tmp_path / "glue-rte" / "glue-rte_8_100_train.tsv").write_text("x\ty\n")
    with pytest.raises(SourceError, match="keep one k per task"):
        read_unsup(one, tmp_path)
    (tmp_path / "glue-rte" / "glue-rte_8_100_train.tsv").rename(tmp_path / "glue-rte" / "rte_16_100_train.tsv")
    with pytest.raises(SourceError, match=r"rte_16_100_train\.tsv: is not named glue-rte_"):
        read_unsup(one, tmp_path)


def test_broken_crossfit_files_are_refused(tmp_path):
    one = UnsupSettings(kind="crossfit_full", path=".")
    with pytest.raises(SourceError, match=r"no \*\.tsv or \*\.jsonl in it"):
        read_unsup(one, tmp_path)
    with pytest.raises(SourceError, match=r"no such pool of texts"):
        read_unsup(settings(), tmp_path)
    (tmp_path / "xsum.tsv").write_text("a\tb\nno tab\n")
    with pytest.raises(BadRow, match=r"xsum\.tsv, row 2: has no tab"):
        draw_unsup(read_unsup(one, tmp_path).tasks, "lm", one)
    (tmp_path / "xsum.tsv").write_text("a\tb\n")
    (tmp_path / "xsum.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(SourceError, match=r"xsum\.tsv: is the same script as xsum\.jsonl; keep one"):
        read_unsup(one, tmp_path)
    (tmp_path / "xsum.tsv").unlink()
    for name in ("wiki-qa", "wiki_qa"):
        (tmp_path / f"{name}.tsv").write_text("a\tb\n")
    with pytest.raises(SourceError, match=r"wiki_qa\.tsv: is the same script as wiki-qa\.tsv; keep one"):
        read_unsup(one, tmp_path)
    (tmp_path / "wiki_qa.tsv").unlink()
    (tmp_path / "xsum.jsonl").write_text('{"text": "a"}\n{"input": "a"}\n')
    with pytest.raises(BadRow, match="row 2, field 'text'"):
        draw_unsup(read_unsup(one, tmp_path).tasks, "lm", one)


def test_the_lines_of_one_script_are_in_memory_at_a_time(tmp_path):
    """CrossFit's complete files are gigabytes, and U is drawn on a login node."""
    one = UnsupSettings(kind="crossfit_full", path=".", max_per_script=10)
    memory = {}
    for scripts in (SCRIPTS[:1], SCRIPTS[:6]):
        for script in scripts:
            (tmp_path / f"{script}.tsv").write_text("".join(f"{n} {'word ' * 40}\tout\n" for n in range(5_000)))
        tracemalloc.start()
        draw_unsup(read_unsup(one, tmp_path).tasks, "sa", one)
        memory[len(scripts)] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert memory[6] < 1.3 * memory[1]


@pytest.mark.parametrize("changes", [{"kind": "other"}, {"limit": 0}, {"stratify": "task"}, {"colour": 1}])
def test_settings_refuse_what_they_do_not_know(changes):
    with pytest.raises(ValidationError, match=next(iter(changes))):
        settings(**changes)
