"""What reruns when: rows of docs/reruns.md, executed. Every one ends with a dry run that plans nothing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.checkouts import MODEL, MODEL_LOCK, Checkout, copied
from support.rerun_table import reruns

pytestmark = pytest.mark.workflow

PROMPTS = "config/prompts/sa.yaml"
PROMPT_3 = 'number: 3\n    template: "{text} Did the reviewer enjoy the movie?"'
METHODS = 2


@pytest.fixture(scope="module")
def edited(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A finished run that the tests of this file edit one after the other."""
    return copied(finished, tmp_path_factory.mktemp("edited") / "project")


@pytest.fixture(autouse=True)
def nothing_is_left_to_do(edited: Checkout):
    yield
    assert edited.planned() == {}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if after.get(name) != before[name]}


def test_a_finished_run_plans_nothing(edited):
    assert edited.planned().keys() == reruns("nothing")


def test_touching_everything_reruns_nothing(edited):
    for path in sorted(edited.folder.rglob("*")):
        if path.is_file() and ".snakemake" not in path.parts:
            path.touch()
    assert edited.planned().keys() == reruns("`touch` of every file")


def test_a_copy_elsewhere_reruns_nothing(edited, tmp_path):
    shutil.copytree(edited.folder, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    assert Checkout(tmp_path / "elsewhere").planned().keys() == reruns("a copy with `.snakemake` elsewhere")


def test_what_no_result_depends_on_reruns_nothing(edited):
    edited.edit(PROMPTS, "note: No. 2 as chain of thought.", "note: No. 2, as a chain of thought.")
    assert edited.planned().keys() == reruns("a prompt's `note`")


def test_an_edit_taken_back_reruns_nothing(edited):
    edited.edit(PROMPTS, PROMPT_3, PROMPT_3.replace("reviewer", "critic"))
    assert edited.planned()["label_batch"] == 1
    edited.edit(PROMPTS, PROMPT_3.replace("reviewer", "critic"), PROMPT_3)
    assert edited.planned().keys() == reruns("an edit taken back")


def test_editing_a_caption_reruns_what_prints_it(edited):
    edited.edit("resources/captions.yaml", "Zero-shot prompt selection. Per LLM:", "Prompt selection. Per LLM:")
    planned = edited.planned()
    assert planned.keys() == reruns("a caption") and set(planned.values()) == {1}
    edited.run()


def test_editing_a_category_reruns_what_uses_the_edited_key(edited):
    registry, line = "config/categories.yaml", "sa:\n  segments: [text]\n"
    edited.edit(registry, line, f"{line}  title: Sentiment\n")
    assert edited.planned().keys() == reruns("a category's `title` in `config/categories.yaml`")
    edited.edit(registry, f"{line}  title: Sentiment\n", f"{line}  metric: macro_f1\n")
    assert edited.planned().keys() == reruns("a category's `metric` there")
    edited.edit(registry, f"{line}  metric: macro_f1\n", line)
    question = "decide whether a movie review is negative or positive"
    edited.edit(registry, question, f"{question} of the movie")
    planned = edited.planned()
    assert planned.keys() == reruns("a category's `question` there") and planned["label_batch"] == 1
    edited.edit(registry, f"{question} of the movie", question)


def test_an_llm_that_the_run_fine_tunes_is_made_and_asked(edited):
    recipe = f"{{model: {MODEL}, prompts: {{sa: [2]}}, datasets: {{sa: [mini-films]}}, layers: 1, epochs: 4}}"
    tuned = ["--config", f"registry={{models: {{own: {{tuned: {recipe}}}}}}}", f"llm={{models: [{MODEL}, own]}}"]
    planned = edited.planned(*tuned)
    assert planned.keys() == reruns("one more LLM, which the run fine-tunes itself (`tuned`), from one that it has")
    assert planned["tune_llm"] == planned["label_batch"] == planned["self_select"] == 1


@contextlib.contextmanager
def edit(checkout: Checkout, path: str) -> Iterator[None]:
    """A line more in a file, for a while."""
    file = checkout / path
    text = file.read_text()
    file.write_text(text + "\n# edited\n")
    yield
    file.write_text(text)


def test_a_model_trained_again_is_read_again(edited):
    given = yaml.safe_load((edited / "config/models.yaml").read_text())[MODEL]["folder"]
    own = edited / "own" / Path(given).name
    shutil.copytree(given, own)
    edited.edit("config/models.yaml", given, str(own))
    edited.run(MODEL_LOCK)
    assert edited.planned() == {}, "the same files in another place"
    (own / "trainer_state.json").write_text("{}")
    assert edited.planned().keys() == reruns("`trainer_state.json` beside that model")
    weights = own / "model.safetensors"
    before, data = weights.stat(), bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert weights.stat().st_size == before.st_size
    planned = edited.planned()
    assert planned.keys() == reruns("a model in a folder of one's own trained again (here LLM and surrogate)")
    data[-1] ^= 1
    weights.write_bytes(data)


def test_editing_one_method_relearns_its_vectors_alone(edited):
    with edit(edited, "src/fute/surrogate/prefix.py"):
        planned = edited.planned()
    assert planned.keys() == reruns("an edit of the prefix's code")
    assert planned["embed_batch"] == planned["dte"] == 1, "one method of the two, one dataset"
    with edit(edited, "src/fute/surrogate/lora.py"):
        assert edited.planned().keys() == reruns("an edit of LoRA's code, in a run without LoRA")


def test_editing_a_table_reruns_no_evaluation(edited):
    with edit(edited, "src/fute/paper/table3_step.py"):
        assert edited.planned().keys() == reruns("an edit of how Table 3 is written")


def test_limits_and_baselines_leave_labels_as_they_are(edited):
    settings, engine, last = "tests/workflow/tiny.yaml", "reasoning_tokens: 4}", "  max_text_words: 16\n"
    edited.edit(settings, engine, "reasoning_tokens: 4, max_length: 5000}")
    assert edited.planned().keys() == reruns("a higher `llm.engine.max_length`")
    edited.edit(settings, last, f"{last}  long_texts: cut\n")
    assert edited.planned().keys() == reruns("`llm.long_texts: cut`, where no text is too long")
    edited.edit(settings, f"{last}  long_texts: cut\n", f"{last}  baselines: [mi, local-e, self-select]\n")
    assert edited.planned().keys() == reruns("`llm.baselines` without `spell`")
    edited.edit(settings, f"{last}  baselines: [mi, local-e, self-select]\n", last)
    edited.edit(settings, "reasoning_tokens: 4, max_length: 5000}", engine)


def test_editing_ndcg_reruns_the_steps_that_call_it_and_no_model(edited):
    before = edited.hashes()
    path = edited / "src/fute/evaluation/metrics.py"
    path.write_text(path.read_text() + "\n# edited\n")
    planned = edited.planned()
    assert planned.keys() == reruns("an edit of `ndcg`")
    edited.run()
    assert changed(before, edited.hashes()) == set(), "a comment changes no result"


def test_editing_a_prompt_relabels_that_prompt_only(edited):
    before = edited.hashes()
    edited.edit(PROMPTS, PROMPT_3, PROMPT_3.replace("reviewer", "viewer"))
    planned = edited.planned()
    assert planned.keys() == reruns("an edit of one prompt's words")
    several = {"embed_batch": METHODS, "mte": METHODS, "figure": 1}
    assert planned == dict.fromkeys(planned, 1) | several
    edited.run()
    moved = changed(before, edited.hashes())
    of_others = {
        n
        for n in moved
        if n.startswith(("results/labels", "results/embeddings")) and "/sa-3/" not in n and "sa-3." not in n
    }
    assert of_others == set(), "labels and vectors of other prompts stay as they were"
    assert {
        f"results/labels/{MODEL}/sa-3/sa.jsonl.gz",
        f"results/labels/{MODEL}/sa-3/mini-films.jsonl.gz",
    } <= moved
    assert labelled_cells(edited) == ["sa-3/mini-films", "sa-3/sa", "self-select/sa"]


def labelled_cells(checkout: Checkout) -> list[str]:
    """Cells of the newest label batch."""
    keys = max((checkout / f"results/labels/{MODEL}/batches").glob("*.keys"), key=lambda path: path.stat().st_mtime_ns)
    return sorted(cell for line in keys.read_text().splitlines() for cell in line.split("\t")[1].split(" "))


def test_adding_a_prompt_computes_one_prompt(edited):
    before = edited.hashes()
    path = edited / PROMPTS
    added = '\n  - id: sa-14\n    number: 14\n    template: "{text}\\nWould you watch it?"\n'
    added += '    verbalizers: {negative: ["no"], positive: ["yes"]}\n'
    path.write_text(path.read_text() + added)
    edited.edit("tests/workflow/tiny.yaml", "[1, 3, 7, 9, 12]", "[1, 3, 7, 9, 12, 14]")
    planned = edited.planned()
    one_prompt = ("label_batch", "extract_unsup_labels", "extract_test_labels", "embed_batch", "mte")
    assert [planned[name] for name in one_prompt] == [1, 1, 1, METHODS, METHODS]
    assert planned.keys() == reruns("a new prompt")
    edited.run()
    assert labelled_cells(edited) == ["sa-14/mini-films", "sa-14/sa", "self-select/sa"]
    kept = {n for n in changed(before, edited.hashes()) if n.startswith(("results/labels", "results/embeddings"))}
    assert kept == set()


def test_editing_the_scoring_code_reruns_all_that_used_it(edited):
    before = edited.hashes("results/labels/*/sa-*/*")
    path = edited / "src/fute/llm/scoring.py"
    path.write_text(path.read_text() + "\n# edited\n")
    planned = edited.planned()
    prompts = 6
    assert planned["label_batch"] == 1 and planned["extract_unsup_labels"] == planned["extract_test_labels"] == prompts
    assert planned["mte"] == prompts * METHODS and planned["embed_batch"] == METHODS
    assert planned.keys() == reruns("an edit of the scoring code")
    edited.run()
    assert edited.hashes("results/labels/*/sa-*/*") == before, "a comment changes no label"


def test_asking_for_one_cell_labels_one_cell(fresh):
    target = f"results/labels/{MODEL}/sa-3/sa.jsonl.gz"
    planned = fresh.planned(target)
    assert planned.keys() == reruns("a request for one label file") and set(planned.values()) == {1}
    said = fresh.snakemake(target).stdout
    assert re.findall(r"^\[(./.)\] +[\d.]+ s  (.*)$", said, re.MULTILINE) == [
        ("1/3", "unlabelled texts U for sa"),
        ("2/3", f"new labels of {MODEL}"),
        ("3/3", f"labels of {MODEL}, prompt sa-3, on U"),
    ]
    assert re.search(r"^3 steps done in ", said, re.MULTILINE) and "Finished job" not in said
    logs = "".join(path.read_text() for path in (fresh / ".snakemake/log").iterdir())
    assert "rule label_batch:" in logs and f"output: {target}" in logs, "Snakemake's own log has all of it"
    assert labelled_cells(fresh) == ["sa-3/sa"]
    assert fresh.planned(target) == {}
    record = json.loads(Path(fresh / f"{target}.prov.json").read_text())["record"]
    assert record["counts"] == {"rows": 12}
