"""The plan of the language-model experiment: the paper's in numbers, what another dataset adds, what a file needs."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.finished_batches import finish

from fute import paths
from fute.blackbox.label_plugin_step import PluginError
from fute.cluster.cost import heavy_jobs
from fute.cluster.job_needs import COMPARED_WEIGHTS, JobNeeds
from fute.cluster.resources import BASE_MB, START_MINUTES
from fute.config.lm_experiment import LmDatasets
from fute.config.run import parse_run, read_yaml
from fute.config.sections import ConfigError
from fute.data.rows import SourceError
from fute.plan import Plan
from fute.plan.batches import StepBatches
from fute.specs.dataset_vectors import DatasetVectorSpec
from fute.specs.embeddings import EmbeddingSpec
from fute.specs.finetuning import ExtractFinetuned, FinetuneSpec, LabelSpec
from fute.specs.source_scores import ExtractSourceScores, SourceScoreSpec
from fute.specs.transfer import TransferSpec

ROOT = Path(__file__).parents[3]
MODEL, VECTORS = "bert-base", "results/embeddings/t5-base"
TRIO = ["rte", "stsb", "squad1"]
POOL = {"kind": "pool", "path": "pool.jsonl"}


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Small files in the place of the paper's data: planning reads their bytes and not their rows."""
    root = tmp_path_factory.mktemp("data")
    (root / "crossfit").mkdir()
    (root / "crossfit/emo.tsv").write_text("a text\tan answer\n")
    (root / "pool.jsonl").write_text("{}\n")
    for name, entry in read_yaml(ROOT / "config/datasets.yaml").items():
        if "hub" in entry or "obtain" in entry:
            files = entry.get("files", {})
            folder = root / files.get("folder", name)
            folder.mkdir(exist_ok=True)
            for split in (files.get("splits") or entry["splits"]).values():
                (folder / f"{split}.jsonl.gz").write_bytes(gzip.compress(f"{name} {split}".encode(), mtime=0))
    return root


@pytest.fixture
def plan(data: Path, tmp_path: Path) -> Callable[..., Plan]:
    def make(
        *targets: str, where: Path = tmp_path, sent_for: frozenset[str] = frozenset(), **changes: Any
    ) -> Plan:  # fmt: skip
        values = read_yaml(ROOT / "config/paper-lm.yaml") | {"data": {"source": "files", "root": str(data)}}
        return Plan(parse_run(values | changes, ROOT / "config", "my.yaml"), targets, where, sent_for=sent_for)

    return make


def lm(**changes: Any) -> dict[str, Any]:
    """A section of three datasets, one model and all defaults, with changes."""
    datasets = {"cr": ["rte", "stsb"], "qa": ["squad1"], "domain": ["mqp"]}
    return {"models": [MODEL], "datasets": datasets, "transfer": {"model": MODEL}} | changes


RUNGS = {"a": 1, "b": 2, "c": 3}


def ladder(boxes: dict[str, dict[str, float]], **more: Any) -> dict[str, Any]:
    return lm(planted={"ladders": {"l": {"boxes": boxes, **more}}})


def steps_of(workflow: Plan) -> tuple[list[StepBatches], ...]:
    """Batches of the steps `finetune_model`, `label_language_model`, `embed_dataset`."""
    part = workflow.lm
    return [*part.finetune.batches.values()], [*part.label_batches.values()], [part.baselines.vector_batches]


def new_datasets(workflow: Plan) -> list[set[str]]:
    """Datasets of the new batches of these steps, of all models; with the seed of a fine-tuning where it is not 42."""
    return [
        {cell.removesuffix("@42") for batches in step for cells in batches.new.values() for cell in cells}
        for step in steps_of(workflow)
    ]


def new_cells(workflow: Plan) -> tuple[set[str], set[str]]:
    """Transfer cells and vectors of new batches."""
    vectors = {
        path for part in workflow.vector_batches.batches.values() for cells in part.new.values() for path in cells
    }
    return {cell for cells in workflow.lm.transfer.batches.new.values() for cell in cells}, vectors


# --- what there is --------------------------------------------------------------------------------------


def test_the_papers_run_in_numbers(plan):
    workflow = plan()
    part = workflow.lm
    assert (len(workflow.data.lm_sources), len(workflow.data.lm_targets)) == (22, 25)
    # three models on 22 datasets, and BERT directly on the domain targets
    assert len(part.finetune.models) == 3 * 22 + 3 and len(part.black_boxes) == 66
    # the paper's 553 fine-tunings of BERT: 22 direct, 462 pairs, 3 direct and 66 pairs of the domain targets
    assert len(part.transfer.pairs) == 22 * 21 + 66 == len(part.transfer.runs) == len(set(part.transfer.files()))
    assert len(part.transfer.score_files()) == 553
    assert len(workflow.vector_batches.items) == 2 * (66 + 25)
    assert len(part.vector_files("dte")) == 2 * 25 and len(part.vector_files("mte")) == 2 * 66
    keys = [*(run.key for run in part.transfer.runs.values()), *(i.key for i in workflow.vector_batches.items.values())]
    assert len(set(keys)) == len(keys)
    # 24 runs a job; a job a vector
    assert len(part.transfer.batches.new) == 22
    assert [len(plan.new) for plan in workflow.vector_batches.batches.values()] == [91, 91]
    assert workflow.llm is None
    assert part.baselines.score_settings()["sizes"]["snli"] == 570 and part.baselines.count_files() == {}


def test_batches_hold_what_their_steps_take(plan):
    workflow = plan(lm=lm())
    (batch,) = workflow.lm.transfer.batches.new
    spec = TransferSpec.model_validate_json(workflow.lm.transfer.spec(batch))
    assert {(run.source, run.target) for run in spec.runs} == set(workflow.lm.transfer.pairs) and len(spec.runs) == 9
    assert {name.split(":")[0] for name in workflow.lm.transfer.inputs(batch)} == {"finetuned", "train", "test"}
    assert spec.target("squad1").recipe.max_tokens == 384 and spec.target("mqp").recipe.max_tokens == 128
    tuned = workflow.lm.finetune.batches[MODEL]
    batch = tuned.batch_of["stsb@42"]
    (item,) = FinetuneSpec.model_validate_json(workflow.lm.finetune.spec(MODEL, batch)).items
    assert (item.task.task, item.task.scale.high, item.recipe.epochs) == ("regression", 5, 3)
    assert (item.seed, item.kept, item.key) == (42, True, tuned.keys["stsb@42"])
    assert workflow.lm.finetune.inputs(MODEL, batch).keys() == {"train:stsb", "test:stsb"}
    batch = workflow.lm.label_batches[MODEL].batch_of["stsb"]
    (item,) = LabelSpec.model_validate_json(workflow.lm.label_spec(MODEL, batch)).items
    assert (item.dataset, item.key) == ("stsb", workflow.lm.label_batches[MODEL].keys["stsb"])
    assert workflow.lm.label_inputs(MODEL, batch) == {"stsb": f"results/finetuned/{MODEL}/stsb.lock.json"}


def test_one_process_takes_one_dataset_or_as_many_as_it_is_told(plan):
    """By default a cluster fine-tunes on all datasets at once; models do not share a process."""
    sizes = {}
    for size in (1, 3, None):
        workflow = plan(lm=lm(models=[MODEL, "gpt2"], datasets_per_process=size))
        sizes[size] = [sorted(len(names) for part in step for names in part.new.values())
                       for step in steps_of(workflow)]  # fmt: skip
    # BERT on three sources and the target of another domain, GPT-2 on the sources; no labels of a target
    assert sizes[1] == [[1] * 7, [1] * 6, [1] * 4]
    assert sizes[3] == [[1, 3, 3], [3, 3], [1, 3]]
    assert sizes[None] == [[3, 4], [3, 3], [4]]
    assert plan().lm.settings.datasets_per_process == 1


def test_a_process_without_a_limit_makes_all_transfer_runs(plan):
    transfer = plan(lm={"transfer": {"runs_per_process": None, "seeds": [1, 2, 3]}}).lm.transfer
    (batch,) = transfer.batches.new
    assert len(transfer.batch_runs(batch)) == len(transfer.runs) > 1000


def test_an_mte_is_learned_from_what_a_fine_tuned_model_says_of_u(plan):
    target = f"{VECTORS}/tupate/mte/{MODEL}/rte.safetensors"
    workflow = plan(target)
    assert not workflow.vector_batches.batches["taskemb"].new
    (batch,) = workflow.vector_batches.batches["tupate"].new
    assert workflow.vector_batches.inputs("tupate", batch) == {
        f"labels:{MODEL}/rte": f"results/labels/{MODEL}/rte/lm.jsonl.gz",
        "states:lm": f"{VECTORS.replace('/t5-base', '')}/t5-base/states/lm.safetensors",
        "unsup:lm": "results/unsup/lm.jsonl.gz",
    }
    (item,) = EmbeddingSpec.model_validate_json(workflow.vector_batches.spec("tupate", batch)).items
    assert (item.category, item.target, item.classes) == ("lm", "label", ())


def test_a_job_that_is_started_again_plans_the_batches_that_it_was_sent_for(plan):
    """SLURM starts a group of jobs again, some of whose batches are finished: each is planned as at the first start."""
    section = lm(datasets_per_process=1)
    first = plan(lm=section)
    methods = {name: part.new for name, part in first.vector_batches.batches.items()}
    tuned = first.lm.finetune.batches[MODEL].new
    finish(first)
    assert not any(part.new for part in plan(lm=section).vector_batches.batches.values())
    sent_for = frozenset([*tuned, *(batch for new in methods.values() for batch in new)])
    again = plan(lm=section, sent_for=sent_for)
    assert {name: part.new for name, part in again.vector_batches.batches.items()} == methods
    assert again.lm.finetune.batches[MODEL].new == tuned
    for method, new in methods.items():
        for batch in new:
            assert again.vector_batches.spec(method, batch) == first.vector_batches.spec(method, batch)
    one, *others = tuned
    assert set(plan(lm=section, sent_for=frozenset([one])).lm.finetune.batches[MODEL].new) == {one} and others


# --- what a request asks for ----------------------------------------------------------------------------


def test_one_transfer_file_asks_for_its_run_alone(plan):
    workflow = plan(f"results/transfer/{MODEL}/snli/rte.json")
    assert new_cells(workflow) == ({"snli>rte@42"}, set())
    (batch,) = workflow.lm.transfer.batches.new
    assert workflow.lm.transfer.inputs(batch) == {
        "finetuned:snli": f"results/finetuned/{MODEL}/snli.lock.json",
        "test:rte": "results/data/rte/test.jsonl.gz",
        "train:rte": "results/data/rte/train.jsonl.gz",
    }


@pytest.mark.parametrize(
    ("target", "models"),
    [
        (f"results/finetuned/{MODEL}/rte.lock.json", {"rte"}),
        (f"results/finetuned/{MODEL}/rte.score.json", {"rte"}),
        (f"results/labels/{MODEL}/rte/lm.jsonl.gz", {"rte"}),
        (f"results/baselines/vectors/{MODEL}/rte.tupate.safetensors", {"rte"}),
        (f"results/transfer/{MODEL}/rte/stsb.json", {"rte"}),
        (f"{VECTORS}/tupate/mte/{MODEL}/stsb.safetensors", {"stsb"}),
        (f"{VECTORS}/tupate/dte/rte.safetensors", set()),
        ("results/labels/best/own/lm.jsonl.gz", {"rte"}),
        ("results/labels/worst/own/lm.jsonl.gz", set()),
        ("planted", {*TRIO}),
        ("labels", {*TRIO, "mqp"}),
    ],
)
def test_a_file_asks_for_the_models_that_it_needs(plan, tmp_path, target, models):
    """Even where one process takes all datasets."""
    workflow = plan(target, lm=planted(tmp_path) | {"datasets_per_process": None})
    assert new_datasets(workflow) == [models, models - {"mqp"}, models]


def test_a_fine_tuned_model_asks_for_no_transfer_and_no_vector(plan):
    assert new_cells(plan(f"results/finetuned/{MODEL}/rte.lock.json")) == (set(), set())
    assert new_cells(plan(f"results/labels/{MODEL}/rte/lm.jsonl.gz")) == (set(), set())


def test_a_phase_asks_for_everything(plan):
    cells, vectors = new_cells(plan("transfer"))
    assert len(cells) == 528 and len(vectors) == 182


def planted(tmp_path: Path, **more: Any) -> dict[str, Any]:
    """A section with a ladder of plug-ins that start from a fine-tuned model, and a test of retrieval."""
    (tmp_path / "own.py").write_text("def say(texts, outputs=()):\n    return ['yes' for _ in texts]\n")
    plugin = {"callable": "own:say", "folder": str(tmp_path)}
    return lm(
        plugins={"best": {**plugin, "box": f"{MODEL}/rte"}, "worst": plugin, "unused": plugin},
        planted={
            "ladders": {"flips": {"boxes": {"rte": {"best": 1, f"{MODEL}/stsb": 0.5, "worst": 0}}, **more}},
            "retrievals": {"own": {"model": MODEL, "datasets": ["rte", "stsb", "squad1"], "methods": ["taskemb"]}},
        },
    )


@pytest.mark.parametrize("target", ["planted", "planted_figure", "results/evaluation/planted.csv"])
def test_planted_tests_ask_for_the_vectors_that_they_compare(plan, tmp_path, target):
    workflow = plan(target, lm=planted(tmp_path, methods=["tupate"]))
    cells, vectors = new_cells(workflow)
    boxes = {"tupate": ["best/own", f"{MODEL}/stsb", "worst/own"], "taskemb": [f"{MODEL}/{d}" for d in TRIO]}
    wanted = {f"{VECTORS}/{method}/mte/{box}.safetensors" for method, each in boxes.items() for box in each}
    targets = {"tupate": ["rte"], "taskemb": TRIO}
    wanted |= {f"{VECTORS}/{method}/dte/{name}.safetensors" for method, each in targets.items() for name in each}
    assert cells == set() and vectors == wanted == set(workflow.lm.planted_files())
    assert workflow.lm.planted_labels() == {f"{MODEL}/{d}": f"results/labels/{MODEL}/{d}/lm.jsonl.gz" for d in TRIO}
    assert workflow.lm.planted_rows() == {name: f"results/data/{name}/train.jsonl.gz" for name in TRIO}


def test_nulls_are_embedded_but_no_candidates(plan, tmp_path):
    workflow = plan("planted", lm=planted(tmp_path, methods=["tupate"], nulls={"rte": ["unused", f"{MODEL}/squad1"]}))
    wanted = {f"{VECTORS}/tupate/mte/{box}.safetensors" for box in ("unused/own", f"{MODEL}/squad1")}
    assert wanted <= set(workflow.lm.planted_files())
    (made,) = workflow.lm.planted.ladders["flips"].ladders
    assert {box[0] for box in made.boxes}.isdisjoint({"unused"}) and ("unused", "own") in made.nulls


def test_a_quality_that_is_a_score_asks_for_the_score_file(plan):
    boxes = {"rte": {f"{model}/rte": "score" for model in ("bert-base", "gpt2", "t5-base")}}
    section = ladder(boxes) | {"models": ["bert-base", "gpt2", "t5-base"]}
    assert plan("planted", lm=section).lm.planted_scores() == {
        f"{model}/rte": f"results/finetuned/{model}/rte.score.json" for model in ("bert-base", "gpt2", "t5-base")
    }


def test_a_run_without_planted_tests_compares_no_vectors_for_them(plan):
    assert plan(lm=lm()).lm.planted_files() == []


def test_a_box_that_others_start_from_moves_them(plan, tmp_path):
    """Another recipe of the fine-tuned model is another plug-in, too, and those that do not start from it stay."""
    finetune = {"cr": {"epochs": 5}}
    before, after = (plan(lm=planted(tmp_path) | more).lm.items for more in ({}, {"finetune": finetune}))
    moved = {name for name, item in before.items() if after[name].key != item.key}
    assert f"{VECTORS}/tupate/mte/best/own.safetensors" in moved
    assert not any("worst" in name or "dte" in name for name in moved)
    outputs = plan(lm=planted(tmp_path)).lm
    assert outputs.plugin_outputs("best") == [f"results/labels/{MODEL}/rte/lm.jsonl.gz"]
    assert outputs.plugin_outputs("worst") == []


# --- what changes what ----------------------------------------------------------------------------------


def test_a_dataset_more_adds_its_own_and_moves_nothing(plan):
    before = plan(lm=lm())
    finish(before)
    datasets = {"cr": ["rte", "stsb", "cola"], "qa": ["squad1"], "domain": ["mqp"]}
    cells, vectors = new_cells(plan(lm=lm(datasets=datasets)))
    # to each of the four others, and from the three sources
    assert cells == {
        *(f"cola>{name}@42" for name in ("rte", "stsb", "squad1", "mqp")),
        *(f"{name}>cola@42" for name in ("rte", "stsb", "squad1")),
    }
    assert vectors == {f"{VECTORS}/{m}/{k}cola.safetensors"
                       for m in ("taskemb", "tupate") for k in ("dte/", f"mte/{MODEL}/")}  # fmt: skip
    assert new_datasets(plan(lm=lm(datasets=datasets))) == [{"cola"}] * 3


@pytest.mark.parametrize(
    ("changes", "made_again"),
    [
        ({}, [set(), set(), set()]),
        ({"datasets_per_process": None}, [set(), set(), set()]),
        ({"finetune": {"qa": {"epochs": 2}}}, [{"squad1"}] * 3),
        ({"transfer": {"model": MODEL, "seeds": [42, 43]}}, [{f"{d}@43" for d in (*TRIO, "mqp")}, set(), set()]),
        ({"baselines": {"tupate": {"length": 8}}}, [set(), set(), {*TRIO, "mqp"}]),
        ({"baselines": {"methods": ["textemb", "tupate"]}}, [set(), set(), {*TRIO, "mqp"}]),
    ],
)
def test_what_a_setting_makes_again(plan, changes, made_again):
    """Fine-tunings, labels of U, vectors of datasets; finished ones stay in their batches, however many share one."""
    finish(plan(lm=lm()))
    assert new_datasets(plan(lm=lm(**changes))) == made_again


def test_without_taskemb_a_recipe_moves_the_vectors_of_datasets_by_how_texts_are_read(plan):
    kept = {"methods": ["textemb", "tupate"]}
    finish(plan(lm=lm(baselines=kept)))
    for recipe, vectors in (({"epochs": 2}, set()), ({"max_tokens": 64}, {"squad1"})):
        after = new_datasets(plan(lm=lm(baselines=kept, finetune={"qa": recipe})))
        assert after == [{"squad1"}, {"squad1"}, vectors]
    assert new_datasets(plan(lm=lm(baselines=kept | {"labelled_rows": 9}))) == [set(), set(), set()]


def test_other_rows_to_evaluate_on_move_no_vector_of_a_dataset(plan, data):
    """They move the fine-tuned models, each of which is scored as it is made, and what these say of U."""
    where = {"source": "files", "root": str(data)}
    section = lm(baselines={"methods": ["textemb", "tupate"]})
    finish(plan(lm=section, data=where))
    after = plan(lm=section, data=where | {"test_rows": 50})
    assert new_datasets(after) == [{*TRIO, "mqp"}, {*TRIO}, set()]
    assert {path for path in new_cells(after)[1] if "/dte/" in path} == set()
    assert len(new_cells(after)[1]) == 2 * len(TRIO), "MTEs by two methods"


def test_settings_of_a_baseline_that_the_run_has_not_make_nothing_again(plan):
    finish(plan(lm=lm(baselines={"methods": ["textemb"]})))
    other = {"methods": ["textemb"], "taskemb": {"rows": 8}, "tupate": {"length": 8}}
    assert new_datasets(plan(lm=lm(baselines=other))) == [set(), set(), set()]


def test_another_u_labels_again_and_fine_tunes_nothing(plan):
    finish(plan(lm=lm()))
    assert new_datasets(plan(lm=lm(), unsup={"lm": POOL})) == [set(), {*TRIO}, set()]


def test_a_dataset_more_in_the_papers_run(plan):
    """The 22nd: a source to 24 targets, a target of 21 sources; the MTEs of three models and a DTE, by two methods."""
    section = read_yaml(ROOT / "config/paper-lm.yaml")["lm"]
    sources = LmDatasets()
    fewer = plan(lm=section | {"datasets": {"cr": [name for name in sources.cr if name != "cola"]}})
    finish(fewer)
    whole = plan()
    cells, vectors = new_cells(whole)
    assert len(cells) == 24 + 21 and all("cola" in cell for cell in cells)
    assert len(vectors) == 2 * (3 + 1) and all("cola" in path for path in vectors)
    assert set(whole.lm.finetune.models) - set(fewer.lm.finetune.models) == {
        (m, "cola") for m in whole.lm.settings.models
    }
    files = [set(part.lm.baselines.vector_files().values()) for part in (fewer, whole)]
    assert {path.split("/")[-1].split(".")[0] for path in files[1] - files[0]} == {"cola"}


def test_a_seed_more_adds_runs_and_no_vector(plan):
    before = plan(lm=lm())
    finish(before)
    after = plan(lm=lm(transfer={"model": MODEL, "seeds": [42, 43]}))
    assert all(run.kept == (run.seed == 42) for runs in after.lm.finetune.runs.values() for run in runs.values())
    assert len(after.lm.finetune.batch_files(MODEL, "stsb")) == 2
    taken = [ExtractFinetuned.model_validate_json(part.lm.finetune.extract_settings(MODEL, "stsb"))
             for part in (before, after)]  # fmt: skip
    assert taken[0].keys == {42: taken[1].keys[42]} and taken[1].seeds == (42, 43)
    cells, vectors = new_cells(after)
    assert cells == {f"{s}>{t}@43" for s, t in after.lm.transfer.pairs} and vectors == set()
    assert len(after.lm.transfer.batch_files("rte", "stsb")) == 2, "one batch of each time"


def test_a_seed_before_the_first_leaves_another_model(plan):
    """The model of a seed whose score alone was kept is made again where it is to be kept."""
    finish(plan(lm=lm(transfer={"model": MODEL, "seeds": [42, 43]})))
    other = plan(lm=lm(transfer={"model": MODEL, "seeds": [43]}))
    assert new_datasets(other) == [{f"{d}@43" for d in (*TRIO, "mqp")}, {*TRIO}, {*TRIO, "mqp"}]


def test_a_recipe_moves_what_was_fine_tuned_by_it(plan):
    finish(plan(lm=lm()))
    cells, vectors = new_cells(plan(lm=lm(finetune={"qa": {"epochs": 2}})))
    assert cells == {c for c in plan().lm.transfer.runs if c in {
        "squad1>rte@42", "squad1>stsb@42", "squad1>mqp@42", "rte>squad1@42", "stsb>squad1@42"}}  # fmt: skip
    assert vectors == {f"{VECTORS}/{m}/mte/{MODEL}/squad1.safetensors" for m in ("taskemb", "tupate")}


def test_other_rows_of_a_dataset_move_what_is_learned_from_them(plan, data, tmp_path):
    """As a target, as a source, and as the black box that was fine-tuned on it."""
    root = tmp_path / "data"
    shutil.copytree(data, root)
    where = {"data": {"source": "files", "root": str(root)}}
    finish(plan(lm=lm(), **where))
    assert new_cells(plan(lm=lm(), **where)) == (set(), set())
    (root / "rte/train.jsonl.gz").write_bytes(gzip.compress(b"other rows", mtime=0))
    cells, vectors = new_cells(plan(lm=lm(), **where))
    assert cells == {f"rte>{name}@42" for name in ("stsb", "squad1", "mqp")} | {
        f"{name}>rte@42" for name in ("stsb", "squad1")}  # fmt: skip
    assert vectors == {f"{VECTORS}/{method}/{kind}rte.safetensors"
                       for method in ("taskemb", "tupate") for kind in ("dte/", f"mte/{MODEL}/")}  # fmt: skip
    assert new_datasets(plan(lm=lm(), **where)) == [{"rte"}] * 3


def test_kept_heads_move_every_run_and_no_vector(plan):
    finish(plan(lm=lm()))
    after = plan(lm=lm(transfer={"model": MODEL, "keep_head": True}))
    assert new_cells(after) == (set(after.lm.transfer.runs), set())


def test_a_surrogates_length_moves_every_vector_and_no_run(plan):
    finish(plan(lm=lm()))
    workflow = plan(lm=lm(), surrogate={"settings": {"family": "encoder-decoder", "max_input_tokens": 128}})
    cells, vectors = new_cells(workflow)
    assert cells == set() and vectors == set(workflow.vector_batches.items)


def test_a_plugins_code_moves_its_vectors(plan, tmp_path):
    (tmp_path / "own.py").write_text("def say(texts): return ['a'] * len(texts)\n")
    section = lm(plugins={"mine": {"callable": "own:say", "folder": str(tmp_path)}})
    before = plan(lm=section)
    finish(before)
    assert before.lm.black_boxes[-1] == ("mine", "own") and "own" in before.tasks
    (tmp_path / "own.py").write_text("def say(texts): return ['b'] * len(texts)\n")
    cells, vectors = new_cells(plan(lm=section))
    assert (cells, vectors) == (
        set(), {f"{VECTORS}/{method}/mte/mine/own.safetensors" for method in ("taskemb", "tupate")}
    )  # fmt: skip


def test_a_model_a_plugin_and_a_matrix_that_are_not_there_are_named_one_by_one(plan, tmp_path):
    folder, matrix = tmp_path / "model", tmp_path / "matrix.csv"
    section = lm(models=["own"], transfer={"model": "own", "matrix": "file", "file": str(matrix)})
    section |= {"plugins": {"mine": {"callable": "box:say", "folder": str(tmp_path)}}}

    def check() -> None:
        plan(lm=section, registry={"models": {"own": {"title": "Own", "folder": str(folder)}}}).check()

    with pytest.raises(SourceError, match=r"model holds no config\.json"):
        check()
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}")
    with pytest.raises(PluginError, match=r"box\.py is missing"):
        check()
    (tmp_path / "box.py").write_text("def say(texts): return texts\n")
    with pytest.raises(SourceError, match=r"lm\.transfer\.file: .*matrix\.csv is no file"):
        check()
    matrix.write_text("source,target\n")
    check()


def test_a_published_matrix_needs_no_transfer(plan):
    section = lm(transfer={"model": MODEL, "matrix": "file", "file": "matrix.csv"})
    part = plan(lm=section).lm
    assert part.transfer.files() == [] and part.transfer.batches.new == {}
    sources = ((MODEL, "rte"), (MODEL, "stsb"), (MODEL, "squad1"))
    assert part.finetune.models == (*sources, (MODEL, "mqp")), "TaskEmb reads a model tuned on the domain target"
    section |= {"baselines": {"methods": ["textemb", "tupate"]}}
    assert plan(lm=section).lm.finetune.models == sources, "nothing else does"


def test_vectors_are_made_of_every_target_by_the_methods_asked_for(plan):
    part = plan(lm=lm()).lm
    files = part.baselines.vector_files()
    assert len(files) == 3 * 4
    assert files["taskemb:mqp"] == f"results/baselines/vectors/{MODEL}/mqp.taskemb.safetensors"
    batch_of = part.baselines.vector_batches.batch_of
    specs = {
        name: DatasetVectorSpec.model_validate_json(part.baselines.vector_spec(batch_of[name]))
        for name in part.data.lm_targets
    }
    (item,) = specs["squad1"].items
    assert (item.max_tokens, specs["squad1"].taskemb.size_for(item.task.task), specs["squad1"].seed) == (384, 12, 42)
    assert part.baselines.vector_inputs(batch_of["mqp"]) == {
        "train:mqp": "results/data/mqp/train.jsonl.gz", "finetuned:mqp": f"results/finetuned/{MODEL}/mqp.lock.json"
    }  # fmt: skip
    recipes = {name: spec.tupate.recipe_for(spec.items[0].task.task) for name, spec in specs.items()}
    lengths = {name: recipe.epochs * recipe.learning_rate for name, recipe in recipes.items()}
    assert lengths == pytest.approx({"rte": 0.6, "stsb": 0.6, "squad1": 0.15, "mqp": 0.6})
    few = plan(lm=lm(baselines={"methods": ["textemb"]})).lm.baselines
    assert few.curve_files() == {} and len(few.vector_files()) == 4
    none = plan(lm=lm(baselines={"methods": ["curvegrad"]})).lm.baselines
    assert none.vector_files() == {} and set(none.curve_files()) == {"rte", "stsb", "squad1"}


def test_where_sources_are_cut_to_one_size_the_tables_say_what_datasize_is(plan, data):
    def cut(**changes):
        return plan(data={"source": "files", "root": str(data), "train_rows": 300}, lm=lm(**changes))

    plain = plan(lm=lm())
    assert plain.lm.baselines.size_remark() == "" and plain.table_texts("table1") == plain.captions["table1"]
    published = cut()
    for name in ("table1", "table2"):
        caption = published.table_settings(name)["caption"]
        assert "at most 300 training rows here" in caption and "sizes of the published datasets" in caption
    assert published.table_texts("table3") == published.captions["table3"]
    unknown = {"cr": ["rte", "stsb", "imdb"], "qa": ["squad1"], "domain": []}
    assert "it is a constant and ranks nothing" in cut(datasets=unknown).table_texts("table1")["caption"]
    assert cut(baselines={"methods": ["textemb"]}).lm.baselines.size_remark() == ""


@pytest.mark.parametrize(
    ("relevance", "said"),
    [
        ({"gain": "gain_shifted"}, "is not the performance but the transfer gain"),
        ({"gain": "linear", "scale": "unit"}, "counts linearly, not exponentially"),
        ({"scale": "unit"}, "lies between 0 and 1"),
    ],
)
def test_the_tables_say_what_ndcg_takes_as_relevance(plan, relevance, said):
    changed = plan(lm=lm(relevance=relevance))
    for name in ("table1", "table2"):
        assert said in changed.table_texts(name)["caption"]


def test_label_strings_of_the_sources_reach_the_geometry(plan):
    settings = plan(lm=lm()).lm.geometry_settings()
    assert settings["labels"] == {
        "rte": ("entailment", "not_entailment"), "stsb": ("number",), "squad1": ("span",)
    }  # fmt: skip


def test_scores_of_labelled_rows_are_made_where_they_are_asked_for(plan):
    plain = plan(lm=lm()).lm.baselines
    assert plain.pair_methods == () and plain.methods == ("datasize", "curvegrad", "textemb", "taskemb", "tupate")
    asked = plan(lm=lm(baselines={"methods": ["datasize", "logme", "gbc"], "labelled_rows": 100}))
    own = asked.lm.baselines
    (batch,) = own.score_batches.new
    spec = SourceScoreSpec.model_validate_json(own.score_spec(batch))
    assert spec.methods == ("logme", "gbc") and spec.rows == 100 and spec.max_tokens == 128
    assert spec.targets == {"rte": "classification", "stsb": "regression", "mqp": "classification"}, "spans: no score"
    pairs = [("rte", "stsb"), ("rte", "mqp"), ("stsb", "rte"), ("stsb", "mqp")]
    pairs += [("squad1", name) for name in ("rte", "stsb", "mqp")]
    assert {(pair.source, pair.target) for pair in spec.pairs} == set(pairs) and len(spec.pairs) == 7
    tuned = {f"finetuned:{name}": f"results/finetuned/{MODEL}/{name}.lock.json" for name in TRIO}
    rows = {f"train:{name}": f"results/data/{name}/train.jsonl.gz" for name in ("rte", "stsb", "mqp")}
    assert own.score_inputs(batch) == own.score_inputs() == tuned | rows
    table = ExtractSourceScores.model_validate_json(own.extract_score_settings())
    assert (table.sources, table.targets) == (("rte", "squad1", "stsb"), ("mqp", "rte", "squad1", "stsb"))
    assert table.keys == {pair.cell: pair.key for pair in spec.pairs} and len(set(table.keys.values())) == 7
    assert own.score_batch_files() == [f"results/baselines/sources/{MODEL}/batches/{batch}.jsonl.gz"]
    (scored,) = (step for step in asked.step_batches() if step.rule == "score_sources")
    assert scored.files == f"results/baselines/sources/{MODEL}/batches/*.jsonl.gz"
    assert scored.keys == {pair.cell: pair.key for pair in spec.pairs}
    needs = JobNeeds(asked)
    # 100 rows of two texts of 64 tokens for every pair
    assert needs.score_sources(MODEL, batch).tokens == 7 * 100 * 128
    heavy = [rule for rule, _ in heavy_jobs(asked, needs)]
    assert heavy.count("score_sources") == 1 and "embed_dataset" not in heavy


def test_task_vectors_compare_every_source_with_every_targets_own_model(plan):
    section = lm(
        baselines={"methods": ["task-vector"]}, transfer={"model": MODEL, "matrix": "file", "file": "matrix.csv"}
    )
    own = plan(lm=section).lm.baselines
    (batch,) = own.score_batches.new
    spec = SourceScoreSpec.model_validate_json(own.score_spec(batch))
    assert {task for task in spec.targets.values()} == {"classification", "regression", "span"} and len(spec.pairs) == 9
    inputs = own.score_inputs(batch)
    assert inputs["model"] == f"results/models/{MODEL}.lock.json"
    assert inputs["finetuned:mqp"] == f"results/finetuned/{MODEL}/mqp.lock.json", "the domain target's own model, too"
    assert (MODEL, "mqp") in plan(lm=section).lm.finetune.models
    need = JobNeeds(plan(lm=section)).score_sources(MODEL, batch)
    assert need.tokens == 0 and need.memory_mb() > BASE_MB + 3 * 4 * 110, "three models of 110 million weights"


def test_scores_of_sources_ask_for_a_gpu_where_a_model_reads_rows(plan):
    def need(*methods: str):
        baselines = {"methods": list(methods), "labelled_rows": 100}
        asked = plan(gpus=2, lm=lm(baselines=baselines))
        (batch,) = asked.lm.baselines.score_batches.new
        return JobNeeds(asked).score_sources(MODEL, batch)

    weights, rows, both = need("task-vector"), need("logme"), need("logme", "task-vector")
    assert (weights.gpus, rows.gpus, both.gpus) == (0, 1, 1)
    assert both.memory_mb() == weights.memory_mb() > rows.memory_mb()
    # nine pairs of 110 million weights
    assert weights.estimate == pytest.approx(START_MINUTES + 9 * 110e6 / COMPARED_WEIGHTS / 60)


def test_a_file_of_its_own_asks_for_no_scores_of_labelled_rows(plan):
    section = lm(baselines={"methods": ["logme"]})
    for target in (f"results/labels/{MODEL}/rte/lm.jsonl.gz", f"results/transfer/{MODEL}/rte/stsb.json", "planted"):
        assert plan(target, lm=section).lm.baselines.score_batches.new == {}
    for target in ("results/baselines/source_scores.csv", "results/baselines/lm_baselines.csv"):
        assert len(plan(target, lm=section).lm.baselines.score_batches.new) == 1


def scored(workflow: Plan) -> set[str]:
    """Pairs of new batches."""
    return {pair for pairs in workflow.lm.baselines.score_batches.new.values() for pair in pairs}


RTE, STSB, MQP = ({f"{name}>{target}" for name in TRIO if name != target} for target in ("rte", "stsb", "mqp"))
"""Pairs of the targets that have scores."""
TO_SPANS = {"rte>squad1", "stsb>squad1"}


@pytest.mark.parametrize(
    ("changes", "made_again"),
    [
        ({}, set()),
        ({"datasets_per_process": None}, set()),
        ({"transfer": {"model": MODEL, "seeds": [42, 43]}}, set()),
        ({"datasets": {"cr": ["rte", "stsb"], "qa": ["squad1"], "domain": []}}, set()),
        # to each target with classes or numbers, and from each source
        ({"datasets": {"cr": ["rte", "stsb", "cola"], "qa": ["squad1"], "domain": ["mqp"]}},
         {"cola>rte", "cola>stsb", "cola>mqp", "rte>cola", "stsb>cola", "squad1>cola"}),
        ({"datasets": {"cr": ["rte", "stsb"], "qa": ["squad1"], "domain": ["mqp", "medqa"]}},
         {"rte>medqa", "stsb>medqa", "squad1>medqa"}),
        # the model of the dataset with spans is another; those of the others are the same
        ({"finetune": {"qa": {"epochs": 2}}}, {"squad1>rte", "squad1>stsb", "squad1>mqp"}),
        # numbers have LogME alone, which is there
        ({"baselines": {"methods": ["logme", "gbc"]}}, RTE | MQP),
        ({"baselines": {"methods": ["logme"], "labelled_rows": 100}}, RTE | STSB | MQP),
        ({"baselines": {"methods": ["logme", "task-vector"]}}, RTE | STSB | MQP | TO_SPANS),
    ],
)  # fmt: skip
def test_what_makes_scores_of_labelled_rows_again(plan, changes, made_again):
    """A dataset more is scored in pairs with the others, in one process; finished pairs stay in their batches."""
    baselines = {"baselines": {"methods": ["logme"]}}
    before = plan(lm=lm(**baselines))
    finish(before)
    assert scored(before) == RTE | STSB | MQP
    after = plan(lm=lm(**baselines | changes))
    assert scored(after) == made_again and len(after.lm.baselines.score_batches.new) == bool(made_again)
    assert len(after.lm.baselines.score_batch_files()) == 1 + bool(made_again) - (made_again >= RTE | STSB | MQP)


@pytest.mark.parametrize(
    ("changes", "made_again"),
    [
        ({"baselines": {"methods": ["task-vector"], "labelled_rows": 100}}, set()),
        ({"transfer": {"model": MODEL, "seeds": [42, 43]}}, set()),
        # the model of the dataset with spans is another: a source for three targets, and a target of two sources
        ({"finetune": {"qa": {"epochs": 2}}}, {*(f"squad1>{name}" for name in ("rte", "stsb", "mqp")), *TO_SPANS}),
    ],
)
def test_what_makes_task_vectors_cosines_again(plan, changes, made_again):
    before = plan(lm=lm(baselines={"methods": ["task-vector"]}))
    finish(before)
    assert scored(before) == RTE | STSB | MQP | TO_SPANS
    assert scored(plan(lm=lm(**{"baselines": {"methods": ["task-vector"]}} | changes))) == made_again


def test_scores_of_the_papers_pairs_are_one_process(plan):
    """Of 22 sources for the targets with classes or numbers: 12 of the sources, and three of other domains."""
    section = read_yaml(ROOT / "config/paper-lm.yaml")["lm"]
    own = plan(lm=section | {"baselines": {"methods": ["logme"]}}).lm.baselines
    assert len(own.source_pairs) == 12 * 21 + 3 * 22 and len(own.score_batches.new) == 1


def test_the_costs_of_the_experiment_count_the_baselines_vectors(plan):
    scores = "results/baselines/lm_baselines.csv"
    files = plan(lm=lm()).efficiency_files("lm")
    assert scores in files and sum("baselines/vectors" in path for path in files) == 4
    assert scores not in plan(lm=lm(baselines={"methods": ["datasize"]})).efficiency_files("lm")


def test_a_baselines_vector_asks_for_no_task_embedding(plan):
    assert new_cells(plan(f"results/baselines/vectors/{MODEL}/rte.tupate.safetensors")) == (set(), set())


def test_a_dataset_of_both_experiments_is_one_file(plan):
    both = {"llm": {"datasets": {"sa": ["sst2"]}}, "unsup": {"sa": POOL, "lm": POOL}, "controls": {"methods": []}}
    shared = lm(datasets={"cr": ["sst2", "rte"], "qa": [], "domain": []})
    workflow, alone = plan(**both, lm=shared), plan(**both, lm=None)
    path = f"{VECTORS}/tupate/dte/sst2.safetensors"
    assert workflow.vector_batches.items[path] == alone.vector_batches.items[path] == workflow.lm.items[path]
    assert path in workflow.llm.items and workflow.data.datasets == ("sst2", "rte")
    assert workflow.llm.labels.cells == alone.llm.labels.cells
    batches = workflow.vector_batches.batches["tupate"].new.values()
    assert sum(path in cells for cells in batches) == 1


# --- mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (lm(models=["bert-huge"], transfer={"model": "bert-huge"}), "my.yaml: lm.models: 'bert-huge' is not in"),
        (lm(transfer={"model": "gpt2"}), "my.yaml: lm: transfer.model 'gpt2' is not among models"),
        (lm(datasets={"cr": ["rte", "squad1"], "qa": []}), "my.yaml: lm.datasets.cr: 'squad1' is of group 'qa'"),
        (lm(datasets={"cr": ["rte", "mqp"], "domain": []}), "my.yaml: lm.datasets.cr: 'mqp' is of group 'domain'"),
        (lm(datasets={"domain": ["rte"], "cr": [], "qa": ["drop", "cq"]}), "my.yaml: lm.datasets.domain: 'rte' is"),
        (lm(datasets={"cr": ["rtee", "rte"]}), "my.yaml: lm.datasets.cr: 'rtee' is not in config/datasets.yaml"),
        (lm(datasets={"cr": ["rte", "rte"]}), "my.yaml: lm.datasets: 'rte' is named twice"),
        (lm(datasets={"cr": ["rte"], "qa": []}), "name at least two datasets in cr and qa"),
        (lm(transfer={"model": MODEL, "matrix": "file"}), "lm.transfer: matrix 'file' needs file"),
        (lm(transfer={"model": MODEL, "seeds": [1, 1]}), "seeds [1, 1] repeat one"),
        (lm(finetune={"cr": {"epoch": 3}}), "my.yaml: lm.finetune.cr.epoch: unknown key"),
        (lm(plugins={MODEL: {"callable": "a:b", "folder": "."}}), f"plugins and models both name '{MODEL}'"),
        (lm(plugins={"p": {"callable": "a:b", "folder": ".", "dataset": "cq"}}), "plugins.p.dataset 'cq' is none of"),
        (lm(plugins={"p": {"callable": "a:b", "folder": ".", "box": "x/rte"}}), "plugins.p.box 'x/rte' is no model/"),
        (ladder({"cq": {"a": 1, "b": 2, "c": 3}}), "planted.ladders.l: 'cq' is none of this section's datasets"),
        (ladder({"rte": {"a": 1, "b": 2, "c": 3}}), "planted.ladders.l: 'a' is neither a plug-in nor a model/dataset"),
        (ladder({"rte": {"a": 1, "b": 1, "c": 1}}), "all boxes for 'rte' have the same quality"),
        (ladder({"rte": {"a": 1, "b": 2, f"{MODEL}/stsb": "score"}}), f"'{MODEL}/stsb' has no score on 'rte'"),
        (ladder({"rte": RUNGS}, nulls={"rte": ["n"]}), "the nulls ['n'] give no centre; give two or more"),
        (ladder({"rte": RUNGS}, nulls={"rte": ["n", "a"]}), "'a' is a box and a null of 'rte'"),
        (ladder({"rte": RUNGS}, nulls={"stsb": ["n", "m"]}), "nulls are of ['stsb'], boxes of ['rte']"),
        (
            ladder({"rte": {f"{MODEL}/rte": 1, f"{MODEL}/stsb": 0}}, nulls={"rte": ["n", "m"]}),
            "planted.ladders.l: 'n' is neither a plug-in nor a model/dataset",
        ),
        (
            lm(planted={"retrievals": {"r": {"model": MODEL, "datasets": TRIO, "nulls": ["n"]}}}),
            "the nulls ['n'] give no centre; give two or more different ones",
        ),
        (
            lm(planted={"retrievals": {"r": {"model": MODEL, "datasets": TRIO, "nulls": ["n", f"{MODEL}/rte"]}}}),
            f"'{MODEL}/rte' is a candidate and a null",
        ),
        (ladder({"rte": {"a": 1}}), "'rte' has 1 box, so nothing can be ordered; give two or more"),
        (
            ladder({"rte": {"a": 1, "b": 2, "c": 3}, "stsb": {"a": 1, "b": 2, "c": 3, "d": 4}}),
            "the targets of one test must have equally many boxes",
        ),
        (
            lm(planted={"retrievals": {"r": {"model": MODEL, "datasets": ["rte", "stsb", "mqp"]}}}),
            f"planted.retrievals.r: {MODEL}/mqp is no model/dataset",
        ),
        (lm(baselines={"methods": ["textemb", "textemb"]}), "['textemb', 'textemb'] repeat one"),
        (lm(finetune={"cr": {"steps": 2}}), f"finetune.cr of {MODEL} has steps 2; raise it, or leave"),
        (lm(baselines={"methods": ["text"]}), "my.yaml: lm.baselines.methods"),
        (lm(baselines={"tupate": {"cr": {"epoch": 3}}}), "my.yaml: lm.baselines.tupate.cr.epoch: unknown key"),
        (None, "there is no experiment to run"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_file_and_key(plan, section, message):
    with pytest.raises(ConfigError) as error:
        plan(lm=section)
    assert message in str(error.value)


def test_u_and_form_must_fit(plan):
    with pytest.raises(ConfigError, match=r"my\.yaml: unsup: no entry for 'lm'"):
        plan(unsup={"sa": POOL})
    plugin = {"callable": "own:say", "folder": "."}
    with pytest.raises(ConfigError, match=r"my\.yaml: lm\.plugins\.mine: a head learns classes"):
        plan(lm=lm(plugins={"mine": plugin}), surrogate=HEADS, controls={"abc": False})


HEADS = {"name": "t5-base", "settings": {"family": "encoder-decoder", "form": "heads"}}


def mte_targets(workflow: Plan) -> dict[str, tuple[str, tuple[str, ...]]]:
    items = workflow.lm.items.values()
    return {item.source.split("/")[1]: (item.target, item.classes) for item in items if item.kind == "mte"}


def test_heads_learn_classes_numbers_and_the_ends_of_spans(plan):
    classes = ("entailment", "not_entailment")
    text = plan(lm=lm())
    assert set(mte_targets(text).values()) == {("label", ())}
    no_letters = {"surrogate": HEADS, "controls": {"abc": False}}
    hard, soft = (plan(lm=lm(), mte_target=target, **no_letters) for target in ("label", "soft"))
    assert mte_targets(hard) == {"rte": ("label", classes), "stsb": ("label", ()), "squad1": ("soft", ())}
    assert mte_targets(soft) == {"rte": ("soft", classes), "stsb": ("soft", ()), "squad1": ("soft", ())}
    keys = [{path: item.key for path, item in part.lm.items.items()} for part in (text, hard, soft)]
    assert not set(keys[0].values()) & set(keys[1].values())
    span = f"{VECTORS}/tupate/mte/{MODEL}/squad1.safetensors"
    assert {path for path in keys[1] if keys[1][path] == keys[2][path]} == {p for p in keys[1] if "/dte/" in p} | {
        span, span.replace("tupate", "taskemb")}  # fmt: skip


def test_the_authors_preset_on_the_papers_run(plan):
    workflow = plan(preset="fute_code")
    config = workflow.run.config
    assert workflow.lm.settings.transfer.keep_head and not plan().lm.settings.transfer.keep_head
    assert config.surrogate.settings.form == "heads" and config.taskemb.mte.reduction == "square_of_mean"
    assert config.taskemb.dte.early_stops and config.taskemb.dte_for("span").learning_rate == 3e-5
    targets = mte_targets(workflow)
    assert {target for target, _ in targets.values()} == {"soft"}
    assert targets["boolq"][1] == ("False", "True") and targets["drop"][1] == ()
    assert len(workflow.vector_batches.items) == 2 * (66 + 25)


def test_a_model_with_recipes_of_its_own_leaves_the_others_theirs(plan):
    models = {"models": [MODEL, "gpt2"], "finetune": {"cr": {"steps": 50}, "models": {"gpt2": {"cr": {"steps": 20}}}}}
    found = plan(lm=lm(**models)).lm
    batch_of = {model: plan.batch_of["rte@42"] for model, plan in found.finetune.batches.items()}
    steps = {model: FinetuneSpec.model_validate_json(found.finetune.spec(model, batch)).items[0].recipe.steps
             for model, batch in batch_of.items()}  # fmt: skip
    assert steps == {MODEL: 50, "gpt2": 20}
    assert "rte" in {run.target for run in found.transfer.runs.values()}
    (batch,) = found.transfer.batches.new
    assert TransferSpec.model_validate_json(found.transfer.spec(batch)).target("rte").recipe.steps == 50
    with pytest.raises(ConfigError, match=r"finetune\.models\.t5-base is not among models"):
        plan(lm=lm(finetune={"models": {"t5-base": {}}}))


def test_jobs_of_one_thread_need_no_machine_of_their_own(plan):
    several, one = plan(lm=lm(), threads=2).lm.finetune, plan(lm=lm(threads=1), threads=2).lm.finetune
    assert (several.threads, several.torch) == (2, 1) and (one.threads, one.torch) == (1, 0)


def test_labelcov_knows_the_classes_of_a_models_dataset(plan):
    workflow = plan(lm=lm(), llm=None, methods=["labelcov"])
    items = workflow.vector_batches.items
    assert items[paths.mte("minilm-l6", "labelcov", MODEL, "rte")].classes == ("entailment", "not_entailment")
    assert items[paths.mte("minilm-l6", "labelcov", MODEL, "squad1")].classes == ()
    assert items[paths.dte("minilm-l6", "labelcov", "mqp")].classes
    assert workflow.lm.evaluation_settings()["other_models"] == {"labelcov": "minilm-l6"}
