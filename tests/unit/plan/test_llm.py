"""The plan of a run: which cells there are, what changes their keys, what a request asks for."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from snakemake.utils import update_config
from support.finished_batches import finish

from fute import batching, paths
from fute.cluster.job_needs import JobNeeds
from fute.config.run import Run, load_run, parse_run, read_yaml
from fute.config.sections import ConfigError
from fute.llm.label_batch_step import BatchSpec
from fute.plan import Plan, settings_json
from fute.plan import vectors as vectors_plan
from fute.plan.report_texts import report_settings
from fute.specs.embeddings import EmbeddingSpec
from fute.specs.tuning import TuneSpec

ROOT = Path(__file__).parents[3]
MODEL = "smollm2-135m"
SA, NLI = ("sa-1", "sa-3", "sa-7", "sa-12"), ("nli-1", "nli-5", "nli-9", "nli-12")
TARGETS = {"sa": ("mini-films", "mini-series"), "nli": ("mini-everyday", "mini-notices")}
VECTORS = f"results/embeddings/{MODEL}"
SELECT = "self-select"


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Plan]:
    """The plan of the demo's LLM experiment with some settings changed, its results in an empty folder."""

    def make(*targets: str, registries: Path = ROOT / "config", **changes: Any) -> Plan:
        return Plan(parse_run(demo(changes), registries), targets, tmp_path)

    return make


def demo(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The demo's LLM experiment with changes, merged as Snakemake merges its --config."""
    values: dict[str, Any] = {}
    for more in (read_yaml(ROOT / "tests/support/both.yaml"), {"lm": None}, changes):
        update_config(values, more)
    return values


def edited(folder: Path, old: str, new: str, name: str = "sa") -> Run:
    """The demo's LLM experiment with one edit in a copy of a prompt file."""
    registries = shutil.copytree(ROOT / "config", folder / "edited")
    path = registries / "prompts" / f"{name}.yaml"
    text = path.read_text(encoding="utf8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf8")
    return parse_run(read_yaml(ROOT / "tests/support/both.yaml") | {"lm": None}, registries)


def keys(workflow: Plan) -> dict[str, str]:
    """Cell or file -> key of everything that is labelled or embedded."""
    labels = {f"{task}/{corpus}": key for (_, task, corpus), key in workflow.llm.labels.cells.items()}
    return labels | {path: item.key for path, item in workflow.vector_batches.items.items()}


def moved(before: Plan, after: Plan) -> set[str]:
    old, new = keys(before), keys(after)
    assert set(old) == set(new)
    return {name for name in old if old[name] != new[name]}


def vectors_of(*prompts: str) -> set[str]:
    """The demo's files that are learned from the labels of these prompts on U."""
    found = {f"{VECTORS}/{method}/mte/{MODEL}/{p}.safetensors" for method in ("taskemb", "tupate") for p in prompts}
    return found | {
        f"{VECTORS}/tupate/controls/{MODEL}/{p}.{v}.safetensors" for p in prompts for v in ("null-1", "abc")
    }


def dtes(*methods: str) -> set[str]:
    names = [name for names in TARGETS.values() for name in names]
    found = {f"{VECTORS}/{m}/dte/{name}.safetensors" for m in methods for name in names}
    letters = {f"{VECTORS}/tupate/dte-controls/{name}.abc.safetensors" for name in names}
    return found | letters if "tupate" in methods else found


def new_batches(plans: Mapping[str, batching.BatchPlan]) -> list[str]:
    """Names of the batches that are not finished, of all models or methods."""
    return [name for plan in plans.values() for name in plan.new]


# --- what there is --------------------------------------------------------------------------------------


def test_the_demos_llm_experiment_in_numbers(plan):
    workflow = plan()
    # two categories of 4 prompts x (U and 2 datasets), and the model's own choice in each
    labels = workflow.llm.labels
    assert len(labels.cells) == 2 * (4 * 3 + 1)
    assert len(labels.files()) == 24 == len(set(labels.files()))
    assert len(labels.files("unsup")) == 8 and len(labels.files("test")) == 16
    assert set(labels.files("unsup")) | set(labels.files("test")) == set(labels.files())
    # two methods of 4 DTEs and 8 MTEs; TuPaTE's 8 MTEs have two controls each, its DTEs one
    assert len(workflow.llm.vector_files("dte", "mte")) == 2 * 12
    assert len(workflow.llm.vector_files("controls")) == 8 * 2
    assert len(workflow.llm.vector_files("dte-controls")) == 4
    assert len(workflow.llm.items) == len(workflow.vector_batches.items) == 44
    assert len(workflow.llm.vector_files("mte")) == 16
    assert len(workflow.llm.baseline_files()) == 4
    # one engine start a category, one process a method
    assert len(new_batches(workflow.llm.labels.batches)) == 2 and len(new_batches(workflow.vector_batches.batches)) == 2


def test_the_demo_has_both_experiments(plan):
    workflow, of_llm = plan(lm=read_yaml(ROOT / "tests/support/both.yaml")["lm"]), plan()
    part = workflow.lm
    # two models on six datasets; every source to every other target
    assert len(part.finetune.models) == len(part.black_boxes) == 12 and len(part.transfer.runs) == 30
    assert part.tables == ("table1",), "no domain target, no Table 2"
    # two methods of 6 DTEs and 12 MTEs beside the LLM experiment's
    assert len(workflow.vector_batches.items) == 44 + 2 * 18
    assert keys(workflow).items() >= keys(of_llm).items(), "one experiment moves nothing of the other"
    # one process for all transfer runs, and one a method and experiment for the vectors
    assert len(part.transfer.batches.new) == 1 and len(new_batches(workflow.vector_batches.batches)) == 4


def test_every_file_that_rules_ask_for_is_in_a_batch(plan):
    workflow = plan()
    for prompt in workflow.run.prompts.values():
        for corpus in workflow.llm.labels.corpora_of(prompt.category):
            assert Path(workflow.llm.labels.batch_file(MODEL, prompt.id, corpus)).parent.name == "batches"
    for path in workflow.vector_batches.items:
        folder = f"{VECTORS}/{paths.method_of(path)}/batches/"
        assert workflow.vector_batches.batch_file(path).startswith(folder)


# --- what changes a key ---------------------------------------------------------------------------------


def test_no_two_files_share_a_key(plan):
    found = keys(plan(controls={"methods": ["taskemb", "tupate"], "null_draws": 3}))
    assert len(set(found.values())) == len(found) == 26 + 2 * (4 * 2 + 8 * 5)


def test_editing_a_template_moves_that_prompt_alone(plan, tmp_path):
    after = Plan(edited(tmp_path, 'positive or negative?"\n', 'negative or positive?"\n'), (), tmp_path)
    assert moved(plan(), after) == {
        "sa-7/sa", "sa-7/mini-films", "sa-7/mini-series", f"{SELECT}/sa", *vectors_of("sa-7")
    }  # fmt: skip


def test_editing_a_note_moves_nothing(plan, tmp_path):
    after = Plan(edited(tmp_path, "note: No. 2 as chain of thought.", "note: As no. 2."), (), tmp_path)
    assert moved(plan(), after) == set()


def test_editing_verbalizers_moves_labels_but_not_the_models_own_choice(plan, tmp_path):
    words = 'positive: ["positive"]}\n\n  - id: sa-8'
    after = Plan(edited(tmp_path, words, words.replace('["positive"]', '["great"]')), (), tmp_path)
    assert moved(plan(), after) == {"sa-7/sa", "sa-7/mini-films", "sa-7/mini-series", *vectors_of("sa-7")}


def test_settings_of_u_move_what_reads_u(plan):
    after = plan(unsup={"sa": {"limit": 63}, "nli": {"limit": 64}})
    assert moved(plan(), after) == {f"{prompt}/sa" for prompt in SA} | vectors_of(*SA)


def test_the_number_of_evaluation_rows_moves_no_vector(plan):
    """No text of the test split is trained on, whether it is drawn to be evaluated on or not."""
    cells = {f"{p}/{d}" for c, ps in (("sa", SA), ("nli", NLI)) for p in ps for d in TARGETS[c]}
    assert moved(plan(), plan(data={"test_rows": 12})) == cells


def test_a_recipe_moves_its_own_vectors(plan):
    assert moved(plan(), plan(tupate={"dte": {"epochs": 5}})) == dtes("tupate")
    tupate = {path for path in vectors_of(*SA, *NLI) if "/tupate/" in path}
    assert moved(plan(), plan(tupate={"mte": {"epochs": 5}})) == tupate
    assert moved(plan(), plan(taskemb={"pairs": 15})) == dtes("taskemb") | (vectors_of(*SA, *NLI) - tupate)


def test_a_second_order_seed_moves_no_control(plan):
    after = plan(tupate={"mte": {"order_seeds": [42, 44]}})
    assert moved(plan(), after) == {f"{VECTORS}/tupate/mte/{MODEL}/{p}.safetensors" for p in (*SA, *NLI)}
    controls = [item for path, item in after.vector_batches.items.items() if "/controls/" in path]
    recipes = [after.vectors.recipes["tupate"][item.recipe] for item in controls]
    assert recipes and all(recipe.order_seeds == (42,) for recipe in recipes)


def test_calibration_moves_vectors_and_no_label(plan):
    assert moved(plan(), plan(llm={"calibration": "none"})) == vectors_of(*SA, *NLI)


def test_the_surrogate_moves_every_vector_and_no_label(plan):
    assert moved(plan(), plan(surrogate={"settings": {"max_input_tokens": 95}})) == set(plan().vector_batches.items)


def test_more_room_for_reasoning_moves_the_prompts_that_reason(plan):
    before, after = plan(), plan(llm={"engine": {"reasoning_tokens": 17}})
    reasoning = [name for name, prompt in before.run.prompts.items() if prompt.cot]
    assert 0 < len(reasoning) < len(before.run.prompts)
    corpora = {
        name: (category, *TARGETS[category]) for category in TARGETS for name in (SA if category == "sa" else NLI)
    }
    cells = {f"{name}/{corpus}" for name in reasoning for corpus in corpora[name]}
    assert moved(before, after) == cells | vectors_of(*reasoning)


def test_what_a_server_is_not_told_moves_no_answer_of_it(plan):
    """Its answers are paid for."""

    def served(**more: Any) -> Plan:
        engine = {"engine": "openai", "base_url": "http://localhost:8000/v1", "api_model": "served", **more}
        return plan(llm={"engine": engine, "baselines": ["mi"]})

    assert moved(served(), served(dtype="float32")) == set()
    assert moved(served(), served(top_logprobs=5)) != set()


def test_the_gate_the_shared_states_the_code_and_the_image_move_the_vectors(plan, tmp_path, monkeypatch):
    t5 = {"surrogate": {"name": "t5-base", "settings": {"family": "encoder-decoder"}}}
    vectors = set(plan().vector_batches.items)
    assert moved(plan(), plan(gate={"held_out": 0.1})) == vectors
    run = parse_run(demo({}), ROOT / "config")
    imaged = [Plan(run, (), tmp_path, images={"train": sha}) for sha in "ab"]
    assert moved(*imaged) == vectors
    before = plan(**t5)
    before_keys = {path: item.key for path, item in before.vector_batches.items.items()}
    code = vectors_plan.code
    monkeypatch.setattr(vectors_plan, "code", lambda step, *m: "newer" if step == "encoder_states" else code(step, *m))
    after = {path: item.key for path, item in plan(**t5).vector_batches.items.items()}
    changed = {path for path in after if after[path] != before_keys[path]}
    assert changed and all(before.vector_batches.items[path].kind == "mte" for path in changed)
    monkeypatch.setattr("fute.plan.batches.code", lambda step, *m: "newer" if step == "embed_batch" else code(step, *m))
    assert moved(imaged[0], Plan(run, (), tmp_path, images={"train": "a"})) == vectors


def test_what_shapes_answers_reaches_the_engine_and_they_are_not_anothers(plan, monkeypatch):
    brief = {"system": "Be brief.", "max_text_words": 50, "long_texts": "cut"}
    specs = []
    for llm, code in (({}, None), (brief, None), ({"engine": {"dtype": "float16"}}, None), ({}, "newer")):
        if code:
            monkeypatch.setattr("fute.plan.batches.code", lambda *modules: "newer")
        workflow = plan(llm=llm)
        (batch, *_) = workflow.llm.labels.batches[MODEL].new
        specs.append(BatchSpec.model_validate_json(workflow.llm.labels.spec(MODEL, batch)))
    assert [spec.system for spec in specs] == [None, "Be brief.", None, None]
    assert [(spec.max_text_words, spec.long_texts) for spec in specs[:2]] == [(None, "error"), (50, "cut")]
    answers = [{cell.answers for cell in spec.labels} for spec in specs]
    assert len(answers[0]) == len({cell.prompt for cell in specs[0].labels}) > 1
    assert len(set.union(*answers)) == sum(map(len, answers))


def test_the_engine_moves_all_but_the_dtes(plan):
    every = set(keys(plan()))
    assert moved(plan(), plan(llm={"engine": {"seed": 17}})) == every - dtes("taskemb", "tupate")
    assert moved(plan(), plan(llm={"max_text_words": 50})) == {
        name for name in every if not name.startswith(SELECT)
    } - dtes("taskemb", "tupate")


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "another", "note": "another", "name": "another"},
        {"threads": 3, "embeddings_per_process": 2},
        {"evaluation": {"draws": 10, "tsne_seed": 1}},
        {"llm": {"engine": {"base_url": "http://localhost:1/v1", "max_retries": 1}}},
    ],
)
def test_what_shapes_no_label_and_no_vector_moves_nothing(plan, changes):
    assert moved(plan(), plan(**changes)) == set()


def test_another_folder_with_the_same_texts_moves_nothing(tmp_path):
    found = [keys(local_files(tmp_path / name)) for name in ("here", "there")]
    assert found[0] == found[1]


def test_prompts_of_equal_words_share_labels_and_vectors(plan):
    workflow = plan(llm={"prompts": {"sa": "all"}})
    for corpus in ("sa", *TARGETS["sa"]):
        cell = {
            task: workflow.llm.labels.cells[MODEL, task, corpus]
            for task in (p.id for p in workflow.run.prompts_of("sa"))
        }
        assert cell["sa-3"] == cell["sa-9"] and cell["sa-6"] == cell["sa-10"]
        assert len(set(cell.values())) == 11
    for method in ("taskemb", "tupate"):
        key = {
            p: workflow.vector_batches.items[paths.mte(workflow.vectors.surrogate, method, MODEL, p)].key
            for p in ("sa-3", "sa-9", "sa-6", "sa-10")
        }
        assert key["sa-3"] == key["sa-9"] != key["sa-6"] == key["sa-10"]


def test_equal_words_are_labelled_and_embedded_once(plan):
    workflow = plan(llm={"prompts": {"sa": "all"}}, controls={"abc": False})
    specs = [
        BatchSpec.model_validate_json(workflow.llm.labels.spec(MODEL, b))
        for b in new_batches(workflow.llm.labels.batches)
    ]
    prompts = [cell.prompt for spec in specs for cell in spec.labels if cell.corpus == "sa"]
    assert len(prompts) == 11 and len({"sa-3", "sa-9"} & set(prompts)) == 1
    batch = workflow.llm.labels.batch_file(MODEL, "sa-9", "sa")
    assert batch == workflow.llm.labels.batch_file(MODEL, "sa-3", "sa")
    (name,) = workflow.vector_batches.batches["taskemb"].new
    sources = {item.source for item in workflow.vector_batches.batch_items("taskemb", name).values()}
    assert f"{MODEL}/sa-3" in sources and f"{MODEL}/sa-9" not in sources


def test_a_vector_of_shared_words_asked_for_alone_reads_its_own_labels(plan):
    target = f"{VECTORS}/taskemb/mte/{MODEL}/sa-9.safetensors"
    workflow = plan(target, llm={"prompts": {"sa": "all"}})
    (name,) = new_batches(workflow.vector_batches.batches)
    assert workflow.vector_batches.inputs("taskemb", name) == {
        f"labels:{MODEL}/sa-9": f"results/labels/{MODEL}/sa-9/sa.jsonl.gz",
        "unsup:sa": "results/unsup/sa.jsonl.gz",
    }


# --- what a request asks for ----------------------------------------------------------------------------


def asked(workflow: Plan) -> tuple[set[str], set[str]]:
    """Label cells and vectors of the new batches; they are what was requested, since nothing is finished."""
    cells = {cell for plan in workflow.llm.labels.batches.values() for part in plan.new.values() for cell in part}
    files = {path for plan in workflow.vector_batches.batches.values() for part in plan.new.values() for path in part}
    return cells, files


LABELS_OF_U = f"results/labels/{MODEL}/sa-3/sa.jsonl.gz"
LABELS_OF_TEST = f"results/labels/{MODEL}/sa-3/mini-films.jsonl.gz"
AN_MTE = f"{VECTORS}/tupate/mte/{MODEL}/nli-5.safetensors"
A_DTE = f"{VECTORS}/taskemb/dte/mini-films.safetensors"
A_CONTROL = f"{VECTORS}/tupate/controls/{MODEL}/sa-12.null-1.safetensors"


@pytest.mark.parametrize(
    ("targets", "cells", "files"),
    [
        ([LABELS_OF_U], {"sa-3/sa"}, set()),
        ([LABELS_OF_TEST], {"sa-3/mini-films", "sa-3/sa"}, set()),  # calibrated as on U
        ([AN_MTE], {"nli-5/nli"}, {AN_MTE}),
        ([A_DTE], set(), {A_DTE}),
        ([A_CONTROL], {"sa-12/sa"}, {A_CONTROL}),
        ([A_DTE, AN_MTE, LABELS_OF_U], {"nli-5/nli", "sa-3/sa"}, {A_DTE, AN_MTE}),
        (["results/unsup/sa.jsonl.gz"], set(), set()),
        (["results/data/mini-films/test.jsonl.gz", f"results/models/{MODEL}.lock.json", A_DTE], set(), {A_DTE}),
    ],
)
def test_a_file_asks_for_what_it_needs_alone(plan, targets, cells, files):
    assert asked(plan(*targets)) == (cells, files)


@pytest.mark.parametrize(
    "targets",
    [(), ("labels",), ("all",), (A_DTE, "paper"), ("results/paper/report.html",), ("results/evaluation/table3.csv",)],
)
def test_anything_else_asks_for_everything(plan, targets):
    workflow = plan(*targets)
    every = {f"{task}/{corpus}" for _, task, corpus in workflow.llm.labels.cells}
    assert asked(workflow) == (every, set(workflow.vector_batches.items))


def test_a_request_changes_no_key(plan):
    assert keys(plan(A_DTE)) == keys(plan())


def test_one_vector_a_process(plan):
    workflow = plan(embeddings_per_process=1)
    distinct = {item.key for item in workflow.vector_batches.items.values()}
    assert len(new_batches(workflow.vector_batches.batches)) == len(distinct) == 44
    for method, part in workflow.vector_batches.batches.items():
        assert all(len(workflow.vector_batches.batch_items(method, batch)) == 1 for batch in part.new)


# --- finished batches -----------------------------------------------------------------------------------


def test_finished_batches_are_kept(plan):
    before = plan()
    finish(before)
    after = plan()
    assert new_batches(after.llm.labels.batches) == [] == new_batches(after.vector_batches.batches)
    assert after.llm.labels.batches[MODEL].batch_of == before.llm.labels.batches[MODEL].batch_of
    assert {m: p.batch_of for m, p in after.vector_batches.batches.items()} == {
        m: p.batch_of for m, p in before.vector_batches.batches.items()
    }  # fmt: skip


def test_a_batch_without_its_last_record_is_computed_again(plan):
    before = plan()
    finish(before)
    for path in (before.results / f"labels/{MODEL}/batches").glob("*.keys.prov.json"):
        path.unlink()
    after = plan()
    assert new_batches(after.llm.labels.batches) == new_batches(before.llm.labels.batches)
    assert new_batches(after.vector_batches.batches) == []


def test_an_edited_prompt_is_all_that_is_computed_again(plan, tmp_path):
    before = plan()
    finish(before)
    after = Plan(edited(tmp_path, 'positive or negative?"\n', 'negative or positive?"\n'), (), tmp_path)
    assert asked(after) == ({"sa-7/sa", "sa-7/mini-films", "sa-7/mini-series", f"{SELECT}/sa"}, vectors_of("sa-7"))
    kept = {
        cell: name for cell, name in before.llm.labels.batches[MODEL].batch_of.items() if cell not in asked(after)[0]
    }
    assert kept.items() <= after.llm.labels.batches[MODEL].batch_of.items()


def test_a_file_made_first_is_not_made_again_with_the_rest(plan):
    finish(plan(LABELS_OF_TEST))
    cells, _ = asked(plan())
    assert len(cells) == 26 - 2 and not {"sa-3/sa", "sa-3/mini-films"} & cells


# --- likelihoods, and limits on prompts -----------------------------------------------------------------


def finish_with(workflow: Plan, longest: Mapping[str, int]) -> None:
    """Finish all batches; the label index says of each cell its longest prompt, or nothing where its texts were cut."""
    finish(workflow)
    for batch in new_batches(workflow.llm.labels.batches):
        spec = BatchSpec.model_validate_json(workflow.llm.labels.spec(MODEL, batch))
        cells = {f"{cell.prompt}/{cell.corpus}": cell.key for cell in spec.labels}
        cells |= {f"{SELECT}/{cell.category}": cell.key for cell in spec.selects}
        uncut = {
            cell.key: (cell.base or cell.key, longest[cell.corpus]) for cell in spec.labels if cell.corpus in longest
        }
        index = paths.below(workflow.results, paths.batch_index(paths.label_batch(MODEL, batch)))
        index.write_text(batching.keys_text(cells, uncut))


def test_all_baselines_are_the_default_and_leaving_one_out_that_asks_nothing_moves_nothing(plan):
    assert moved(plan(), plan(llm={"baselines": ["spell", "self-select", "mi"]})) == set()
    assert plan().llm.left_out == ""


def test_baselines_that_know_labels_ask_for_labels_of_training_rows_and_move_nothing(plan):
    before, after = plan(), plan(llm={"baselines": ["mi", "spell", "leep"], "labelled_rows": 12})
    labels = after.llm.labels
    known = {f"{prompt}/{name}.train" for category in ("sa", "nli") for name in TARGETS[category]
             for prompt in {"sa": SA, "nli": NLI}[category]}  # fmt: skip
    old, new = keys(before), keys(after)
    assert {name: key for name, key in new.items() if name not in known and SELECT not in name} == {
        name: key for name, key in old.items() if SELECT not in name
    }
    assert {name for name in new if name.endswith(".train")} == known and not any(".train" in name for name in old)
    corpus = "mini-films.train"
    batch = labels.batches[MODEL].batch_of[f"sa-1/{corpus}"]
    spec = BatchSpec.model_validate_json(labels.spec(MODEL, batch))
    assert {cell.corpus: (cell.rows, cell.perplexity) for cell in spec.labels} == {
        "sa": (None, False), **{name: (None, True) for name in TARGETS["sa"]},
        **{f"{name}.train": (12, False) for name in TARGETS["sa"]},
    }  # fmt: skip
    assert labels.corpora(MODEL, batch)[corpus] == "results/data/mini-films/train.jsonl.gz"
    assert json.loads(labels.extract_settings(MODEL, "sa-1", corpus))["rows"] == 12
    assert "rows" not in json.loads(labels.extract_settings(MODEL, "sa-1", "mini-films"))
    kinds = [set(labels.files(kind)) for kind in ("unsup", "test", "train")]
    assert [len(files) for files in kinds] == [8, 16, 16] and set.union(*kinds) == set(labels.files())
    assert kinds[1] == set(before.llm.labels.files("test"))
    assert after.llm.known_labels(MODEL, "mini-films") == [paths.labels(MODEL, prompt, corpus) for prompt in SA]
    assert before.llm.known_labels(MODEL, "mini-films") == before.llm.known_rows("mini-films") == []
    caption = after.table_texts("table3")["caption"]
    assert report_settings(after)["llm"]["table3_caption"].startswith(caption), "the report says the same"
    assert "LEEP: from what each prompt says of at most 12 labelled training rows" in caption
    assert before.table_texts("table3") == before.captions["table3"]
    of_classes = plan(llm={"metrics": {"sa": "macro_f1"}}).table_texts("table3")["caption"]
    assert of_classes.endswith(" Performance is macro-F1 for SA, accuracy otherwise.")
    more = keys(plan(llm={"baselines": ["mi", "spell", "leep"], "labelled_rows": 13}))
    assert {name for name in more if more[name] != new[name]} == known
    texts = [JobNeeds(workflow).texts(corpus) for workflow in (after, plan(llm={"labelled_rows": 1000}))]
    assert texts == [12, 100]


def test_without_spell_no_likelihood_is_asked_for(plan):
    others = ["mi", "local-e", "self-select"]
    workflow = plan(llm={"baselines": others})
    cells = {f"{p}/{d}" for c, ps in (("sa", SA), ("nli", NLI)) for p in ps for d in TARGETS[c]}
    assert moved(plan(), workflow) == cells
    assert workflow.llm.left_out == "GlobalE, ZPS-Log, ZPS-Prob, ZPS-Vote, SPELL: not asked for."
    assert workflow.llm.left_out in workflow.table_settings("table3")["note"]
    assert workflow.llm.left_out in settings_json(report_settings(workflow))
    assert workflow.llm.baseline_flags("mini-films").endswith("--baselines mi local-e self-select")
    for batch in new_batches(workflow.llm.labels.batches):
        spec = BatchSpec.model_validate_json(workflow.llm.labels.spec(MODEL, batch))
        assert not any(cell.perplexity for cell in spec.labels)


def test_answers_of_a_prompt_have_one_name_with_and_without_likelihoods(plan):
    named = []
    for changes in ({}, {"baselines": ["mi"]}, {"engine": {"max_length": 77}}):
        workflow = plan(llm=changes)
        specs = [
            BatchSpec.model_validate_json(workflow.llm.labels.spec(MODEL, batch))
            for batch in new_batches(workflow.llm.labels.batches)
        ]
        named.append({cell.prompt: cell.answers for spec in specs for cell in spec.labels})
    assert named[0] == named[1] == named[2] and len(set(named[0].values())) == 8
    assert not any(task == SELECT for _, task, _ in plan(llm={"baselines": ["mi"]}).llm.labels.cells)


def test_finished_labels_with_likelihoods_serve_where_spell_is_left_out(plan):
    before = plan()
    finish(before)
    after = plan(llm={"baselines": ["mi", "self-select"]})
    assert new_batches(after.llm.labels.batches) == [] and moved(before, after) == set()


def test_the_limit_on_prompts_moves_nothing_while_no_text_is_cut(plan):
    assert moved(plan(), plan(llm={"engine": {"max_length": 5000}})) == set()


def test_cutting_moves_the_cells_whose_texts_it_touches(plan):
    before = plan()
    finish_with(before, {"sa": 300, "mini-films": 900, "mini-series": 100, "nli": 100, "mini-everyday": 100,
                         "mini-notices": 100})  # fmt: skip
    assert moved(before, plan(llm={"long_texts": "cut", "engine": {"max_length": 900}})) == set()
    films = {f"{prompt}/mini-films" for prompt in SA}
    cut = plan(llm={"long_texts": "cut", "engine": {"max_length": 400}})
    assert moved(before, cut) == films and asked(cut)[0] == films
    finish_with(cut, {})
    assert new_batches(plan(llm={"long_texts": "cut", "engine": {"max_length": 400}}).llm.labels.batches) == []
    further = plan(llm={"long_texts": "cut", "engine": {"max_length": 299}})
    assert moved(cut, further) == films | {f"{prompt}/sa" for prompt in SA} | vectors_of(*SA)
    assert moved(before, plan()) == set(), "an edit taken back costs nothing"


def test_a_cell_that_was_never_cut_keeps_its_key_under_other_limits(plan):
    first = plan(llm={"long_texts": "cut", "engine": {"max_length": 400}})
    finish_with(first, {"sa": 300, "nli": 100, "mini-everyday": 100, "mini-notices": 100, "mini-series": 390})
    for changes in ({"long_texts": "cut", "engine": {"max_length": 4000}}, {"long_texts": "error"}):
        films = {f"{prompt}/mini-films" for prompt in SA}
        assert moved(first, plan(llm=changes)) == films, "the only ones whose texts were cut"


# --- settings that reach the steps ----------------------------------------------------------------------


def specs(workflow: Plan) -> Iterator[str]:
    """Every text that reaches a step as a parameter, but for those of the paper's page."""
    for batch in new_batches(workflow.llm.labels.batches):
        yield workflow.llm.labels.spec(MODEL, batch)
    for method, part in workflow.vector_batches.batches.items():
        for batch in part.new:
            yield workflow.vector_batches.spec(method, batch)
    for prompt in workflow.run.prompts.values():
        yield workflow.llm.labels.extract_settings(MODEL, prompt.id, prompt.category)
    for name in workflow.data.datasets:
        yield settings_json(workflow.data.dataset_settings(name))
        yield settings_json(workflow.data.source(name))
    for category in workflow.config.categories:
        yield settings_json(workflow.data.unsup_settings(category))
        yield settings_json(workflow.data.unsup_source(category))
    for values in (
        workflow.llm.similarity_settings(),
        workflow.llm.selection_settings(),
        workflow.llm.geometry_settings(),
        workflow.table_settings("table3"),
        report_settings(workflow),
    ):
        yield settings_json(values)


def test_label_specs_parse_back_to_what_was_planned(plan):
    workflow = plan()
    for batch, cells in workflow.llm.labels.batches[MODEL].new.items():
        spec = BatchSpec.model_validate_json(workflow.llm.labels.spec(MODEL, batch))
        assert spec.engine == workflow.config.llm.engine
        assert {f"{c.prompt}/{c.corpus}" for c in spec.labels} | {
            f"{SELECT}/{s.category}" for s in spec.selects
        } == set(cells)
        assert all(spec.prompts[name] == workflow.run.prompts[name] for name in spec.prompts)
        for cell in spec.labels:
            assert cell.key == workflow.llm.labels.cells[MODEL, cell.prompt, cell.corpus]
            assert cell.perplexity == (cell.corpus not in ("sa", "nli")), "SPELL reads the evaluation rows"
        for select in spec.selects:
            assert select.prompts == {"sa": SA, "nli": NLI}[select.category]
        assert batch == batching.batch_name([c.key for c in (*spec.labels, *spec.selects)])
        files = {c.corpus: workflow.data.corpus_file(c.corpus) for c in spec.labels}
        assert workflow.llm.labels.corpora(MODEL, batch) == files


def test_embedding_specs_parse_back_to_what_was_planned(plan):
    workflow = plan()
    for method, part in workflow.vector_batches.batches.items():
        ((batch, files),) = part.new.items()
        spec = EmbeddingSpec.model_validate_json(workflow.vector_batches.spec(method, batch))
        assert (spec.method, spec.surrogate, spec.settings) == (method, MODEL, workflow.config.surrogate.settings)
        assert {item.key for item in spec.items} == {workflow.vector_batches.items[path].key for path in files}
        recipes = getattr(workflow.config, method)
        for item in spec.items:
            recipe = spec.method_settings(item)
            if item.variant is not None:
                seeds = getattr(recipes, item.kind).order_seeds
                assert recipe.order_seeds == seeds[:1]
                recipe = recipe.model_copy(update={"order_seeds": seeds})
            assert recipe == getattr(recipes, item.kind)
            assert item.target == ("abc" if item.variant == "abc" else "label")


def test_verbalizers_as_targets_reach_the_step(plan):
    workflow = plan(mte_target="verbalizer", controls={"abc": True})
    item = workflow.vector_batches.items[paths.mte(workflow.vectors.surrogate, "tupate", MODEL, "sa-3")]
    assert (item.target, item.classes, item.verbalizers) == ("verbalizer", ("negative", "positive"), ("no", "yes"))
    abc = workflow.vector_batches.items[paths.control(workflow.vectors.surrogate, "tupate", MODEL, "sa-3", "abc")]
    assert (abc.target, abc.verbalizers) == ("abc", None)
    own = workflow.vector_batches.items[paths.dte_control(workflow.vectors.surrogate, "tupate", "mini-films", "abc")]
    assert (own.kind, own.target, own.classes, own.variant) == ("dte", "abc", abc.classes, "abc")
    dte = workflow.vector_batches.items[paths.dte(workflow.vectors.surrogate, "tupate", "mini-films")]
    assert (dte.target, dte.verbalizers) == ("label", None)


def test_settings_are_canonical_json(plan):
    first, second = list(specs(plan())), list(specs(plan()))
    assert first == second
    for text in first:
        assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert settings_json({"b": 1, "a": (2, 3)}) == settings_json({"a": [2, 3], "b": 1}) == '{"a":[2,3],"b":1}'


def local_files(root: Path) -> Plan:
    """The demo read from a folder of files outside the project."""
    builtin = ROOT / "resources/builtin"
    for name in (name for names in TARGETS.values() for name in names):
        for split in ("train", "test"):
            (root / name).mkdir(parents=True, exist_ok=True)
            data = (builtin / name / f"{split}.jsonl").read_bytes()
            (root / name / f"{split}.jsonl.gz").write_bytes(gzip.compress(data, mtime=0))
    shutil.copy(builtin / "pool.jsonl", root)
    values = read_yaml(ROOT / "tests/support/both.yaml") | {
        "lm": None,
        "data": {"source": "files", "root": str(root), "dev_share": 0},
    }
    return Plan(parse_run(values, ROOT / "config"), (), root / "no results")


def test_no_path_of_this_machine_reaches_a_step(tmp_path):
    for text in specs(local_files(tmp_path)):
        assert str(tmp_path) not in text and str(ROOT) not in text and str(Path.home()) + "/" not in text


# --- figures and the page -------------------------------------------------------------------------------


def test_figures_are_drawn_for_every_method_tupate_first(plan):
    assert plan().figures("fig4") == {
        "fig4": ("fig4", "tupate", "raw"),
        "fig4-taskemb": ("fig4", "taskemb", "raw"),
        "fig4-centred": ("fig4", "tupate", "centred"),
    }
    alone = plan(methods=["taskemb"], controls={"methods": []})
    assert alone.figures("fig3", "figa1") == {name: (name, "taskemb", "raw") for name in ("fig3", "figa1")}


def test_the_page_says_where_a_run_departs_from_the_paper(plan):
    told = report_settings(plan())["settings"]
    assert "calibration" not in told and "the paper has none" in told["Calibration"]
    assert "self-distillation" in told["Special case"]
    assert told["Precision"] == (
        "SmolLM2-135M-Instruct: weights from a file of 4 bits (Q4_1), expanded to bf16; LLM in bfloat16, "
        "surrogate frozen in float32 and trained in float32"
    )
    assert told["Prompts"] == "SA 1, 3, 7, 12; NLI 1, 5, 9, 12"
    assert report_settings(plan(llm={"calibration": "none"}))["settings"]["Calibration"] == "none"
    other = plan(surrogate={"name": "t5-base", "settings": {"family": "encoder-decoder"}})
    assert "Special case" not in report_settings(other)["settings"]
    untrained = report_settings(plan(methods=["labelcov"], controls={"methods": []}))["settings"]
    assert untrained["Surrogate"] == "none" and "Special case" not in untrained
    assert untrained["Precision"].endswith(
        "LLM in bfloat16; MiniLM-L6: weights as published; LabelCov's encoder in float32"
    )


def test_the_page_claims_no_number_format_of_a_server(plan):
    engine = {"engine": "openai", "base_url": "http://localhost:1/v1", "api_model": "m", "dtype": "float16"}
    told = report_settings(plan(llm={"engine": engine}))["settings"]
    assert told["Engine"].startswith("openai, class score by ") and "LLM in the server's format" in told["Precision"]
    assert "float16" not in told["Engine"] + told["Precision"]


def test_the_page_names_the_tables_of_the_run_and_counts_its_baselines(plan):
    def said(workflow: Plan) -> str:
        return report_settings(workflow)["lede"].split("(FUTE): ")[1]

    assert said(plan()) == "prompts, beside 8 baselines (Table 3)."
    assert said(plan(llm={"baselines": ["mi"]})) == "prompts, beside 1 baseline (Table 3)."
    assert said(plan(llm={"baselines": ["mi", "spell"]})) == "prompts, beside 2 baselines (Table 3)."
    whole = Plan(load_run(Path("config/paper-lm.yaml")), (), Path("no results"))
    part = Plan(load_run(Path("config.yaml")), (), Path("no results"))
    assert said(whole) == "models to transfer from (Tables 1 and 2)."
    assert said(part) == "models to transfer from (Table 1); prompts, beside 9 baselines (Table 3)."


def test_datasets_of_shared_origin_exclude_each_others_rows():
    run = load_run(ROOT / "config/paper.yaml")
    workflow = Plan(run, (), Path("no results"))
    assert workflow.data.overlaps("sst2") == ("rotten-tomatoes",) and workflow.data.overlaps("imdb") == ()
    assert [r["dataset"] for r in workflow.data.train_recipe("rotten-tomatoes")["without"]] == ["sst2"]


def test_labelcov_depends_on_its_encoder_and_not_on_the_surrogate(plan):
    own = {"methods": ["tupate", "labelcov"], "controls": {"methods": ["tupate", "labelcov"]}}
    workflow, other = plan(**own), plan(**own, surrogate={"settings": {"max_input_tokens": 40}})
    path = paths.mte("minilm-l6", "labelcov", MODEL, "sa-3")
    items = workflow.vector_batches.items
    assert items[path].key == other.vector_batches.items[path].key
    tupate = paths.mte(MODEL, "tupate", MODEL, "sa-3")
    assert items[tupate].key != other.vector_batches.items[tupate].key
    assert paths.control("minilm-l6", "labelcov", MODEL, "sa-3", "null-1") in items
    assert paths.control("minilm-l6", "labelcov", MODEL, "sa-3", "abc") not in items, "it reads no label strings"
    assert paths.control(MODEL, "tupate", MODEL, "sa-3", "abc") in items
    (batch,) = workflow.vector_batches.batches["labelcov"].new
    spec = EmbeddingSpec.model_validate_json(workflow.vector_batches.spec("labelcov", batch))
    assert spec.surrogate == "minilm-l6" and spec.settings is None and "minilm-l6" in workflow.models
    longer = plan(**own, labelcov={"mte": {"max_tokens": 64}, "dte": {"max_tokens": 64}})
    assert longer.vector_batches.items[path].key != items[path].key
    assert items[path].target == "label"
    soft = plan(**own, labelcov={"mte": {"labels": "soft"}}).vector_batches.items
    assert soft[path].target == "soft" and soft[paths.dte("minilm-l6", "labelcov", "mini-films")].target == "label"
    assert workflow.llm.similarity_settings()["other_models"] == {"labelcov": "minilm-l6"}


# --- an LLM that the run fine-tunes itself --------------------------------------------------------------

RECIPE = {"model": MODEL, "prompts": {"sa": [2]}, "datasets": {"sa": ["mini-films"]}, "layers": 2, "steps": 20}


def tuned(plan: Callable[..., Plan], recipe: Mapping[str, Any] = RECIPE, **changes: Any) -> Plan:
    return plan(registry={"models": {"own": {"tuned": recipe}}}, llm={"models": [MODEL, "own"]}, **changes)


def own_keys(of: Plan) -> dict[str, str]:
    return {f"{task}/{corpus}": key for (model, task, corpus), key in of.llm.labels.cells.items() if model == "own"}


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ({"steps": 21}, {}),
        ({"prompts": {"sa": [3]}}, {}),
        ({"datasets": {"sa": ["mini-series"]}}, {}),
        ({}, {"data": {"train_rows": 7}}),
        ({}, {"seed": 7}),
    ],
    ids=["recipe", "prompts", "datasets", "rows", "seed"],
)
def test_what_a_tuned_llm_is_made_from_is_in_the_keys_of_its_labels(plan, recipe, changes):
    before, after = own_keys(tuned(plan)), own_keys(tuned(plan, RECIPE | recipe, **changes))
    assert before.keys() == after.keys() and not set(before.values()) & set(after.values())


def test_a_note_of_a_prompt_makes_no_tuned_llm_again(tmp_path):
    values = demo({"registry": {"models": {"own": {"tuned": RECIPE}}}, "llm": {"models": [MODEL, "own"]}})
    registries = shutil.copytree(ROOT / "config", tmp_path / "edited")
    before, path = Plan(parse_run(values, registries), (), tmp_path), registries / "prompts/sa.yaml"
    path.write_text(path.read_text().replace("ends in a blank; dropped.\n", "ended in a blank.\n", 1))
    after = Plan(parse_run(values, registries), (), tmp_path)
    notes = [run.run.tuned_with["own"]["sa"][0].note for run in (before, after)]
    assert notes[0] != notes[1] and own_keys(before) == own_keys(after)
    assert before.llm.tuning.spec("own") == after.llm.tuning.spec("own")


def test_a_tuned_llm_is_made_and_what_it_is_made_from_is_fetched(plan):
    made = tuned(plan)
    assert made.run.tuned.keys() == {"own"} and made.models == plan().models
    assert made.llm.tuning.inputs("own") == {"train:mini-films": "results/data/mini-films/train.jsonl.gz"}
    spec = TuneSpec.model_validate_json(made.llm.tuning.spec("own"))
    assert [prompt.id for prompt in spec.prompts["sa"]] == ["sa-2"] and "sa-2" not in made.run.prompts
    assert made.llm.labels.cells.items() > plan().llm.labels.cells.items(), "no other LLM is asked again"
    need = JobNeeds(made).tune_llm("own")
    assert need.tokens == 20 * 32 * (64 + 80) and need.gpus == 0


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"model": "nobody"}, "model own: tuned.model: 'nobody' is no model of the registry with files of its own"),
        ({"model": "own"}, "model own: tuned.model: 'own' is no model"),
        ({"prompts": {"sa": [99]}}, r"model own: tuned.prompts.sa: there is no prompt 99; there are \[1, 2"),
        ({"prompts": {"sa": [12]}}, "model own: tuned.prompts.sa: prompt 12 is a chain of thought"),
        ({"datasets": {"sa": ["mini-notices"]}}, "tuned.datasets.sa: 'mini-notices' is no dataset of this category"),
        ({"datasets": {"nli": ["mini-notices"]}}, "prompts and datasets name different categories"),
        ({"prompts": {"sa": []}}, "sa: name at least one prompt and one dataset"),
    ],
)
def test_an_llm_that_cannot_be_tuned_is_refused(plan, recipe, words):
    with pytest.raises(ConfigError, match=words):
        tuned(plan, RECIPE | recipe)


def test_the_report_says_what_an_llm_was_fine_tuned_on(plan):
    rows = report_settings(tuned(plan))["settings"]
    assert rows["Fine-tuned LLMs"] == (
        "own: SmolLM2-135M-Instruct, 20 steps of 32 at 2e-05, last 2 blocks, SA prompts 2 on training rows of Mini "
        "films (demo)"
    )
    assert "own: smollm2-135m, fine-tuned by this run and rounded to bf16; LLM in bfloat16" in rows["Precision"]
    assert "one of the LLMs and one of the models that an LLM is fine-tuned from" in rows["Special case"]
    assert "Fine-tuned LLMs" not in report_settings(plan())["settings"]


@pytest.mark.parametrize(
    ("llm", "words"),
    [
        ({"models": []}, "llm.models: names no LLM; name one, or write llm: null"),
        ({"prompts": {"sa": []}}, "sa: names no prompt; name some"),
    ],
)
def test_an_experiment_of_nothing_is_refused(plan, llm, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        plan(llm=llm)


def test_a_tuned_llm_is_an_llm_and_nothing_else(plan):
    with pytest.raises(ConfigError, match=r"surrogate\.name: 'own' is fine-tuned by the run, for llm.models alone"):
        tuned(plan, surrogate={"name": "own"})
