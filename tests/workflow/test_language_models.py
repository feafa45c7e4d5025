"""The language-model experiment on random models: what it makes, what one file needs, what another dataset adds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from support.broken_inputs import forget_batches, silent_or_noisy, step_calls
from support.checkouts import LM_CONFIG as CONFIG
from support.checkouts import LM_MODEL as MODEL
from support.checkouts import LM_SURROGATE as SURROGATE
from support.checkouts import Checkout, copied, lm_checkout, save_model, say

pytestmark = pytest.mark.workflow

SOURCES, TARGETS = 4, 5
PAIRS = SOURCES * (SOURCES - 1) + SOURCES
A_PAIR = f"results/transfer/{MODEL}/mini-topics/mini-guides.json"


@pytest.fixture(scope="module")
def lm_weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for family in ("bert", "t5"):
        save_model(family, folder / family)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, lm_weights) -> Checkout:
    made = lm_checkout(tmp_path_factory.mktemp("lm") / "project", lm_weights)
    say("running the language-model experiment")
    made.run()
    made.first = made.hashes()
    return made


def test_one_transfer_file_needs_its_own_chain(tmp_path, lm_weights):
    fresh = lm_checkout(tmp_path / "project", lm_weights)
    assert fresh.planned(A_PAIR) == {
        "fetch_model": 1, "normalise_test": 2, "normalise_train": 2, "finetune_model": 1, "extract_finetuned": 1,
        "transfer_batch": 1, "extract_transfer": 1,
    }  # fmt: skip


def test_a_datasets_vectors_need_its_model_and_no_other(tmp_path, lm_weights):
    fresh = lm_checkout(tmp_path / "project", lm_weights)
    assert fresh.planned(f"results/baselines/vectors/{MODEL}/mini-clinic.taskemb.safetensors") == {
        "fetch_model": 1, "normalise_test": 1, "normalise_train": 1, "finetune_model": 1, "extract_finetuned": 1,
        "embed_dataset": 1, "extract_dataset_vectors": 1,
    }  # fmt: skip


def test_an_mte_needs_its_own_chain(tmp_path, lm_weights):
    fresh = lm_checkout(tmp_path / "project", lm_weights)
    mte = f"results/embeddings/{SURROGATE}/tupate/mte/{MODEL}/mini-topics.safetensors"
    assert fresh.planned(mte) == {
        "fetch_model": 2, "normalise_test": 1, "normalise_train": 1, "sample_unsup": 1, "finetune_model": 1,
        "extract_finetuned": 1, "label_language_model": 1, "extract_lm_labels": 1, "encoder_states": 1,
        "embed_batch": 1, "mte": 1,
    }  # fmt: skip


def test_tables_and_figures_are_made_and_nothing_is_left_to_do(run):
    assert run.planned() == {}
    for table in ("table1", "table2"):
        text = (run / f"results/paper/tables/{table}.md").read_text()
        assert "Paper (as printed)" in text and (run / f"results/paper/tables/{table}.tex").stat().st_size > 500
    assert "Seconds" in (run / "results/paper/tables/efficiency-lm.md").read_text()
    figures = sorted(path.name for path in (run / "results/paper/figures").glob("*.pdf"))
    assert figures == ["fig3-centred.pdf", "fig3.pdf", "figa1-centred.pdf", "figa1.pdf"]
    page = (run / "results/paper/report.html").read_text()
    assert all(f'<section id="{name}"' in page for name in ("table1", "table2", "direct", "lm-figures"))
    assert page.count("<img ") == len(figures) and "Table 3" not in page
    points = pd.read_csv(run / "results/evaluation/lm_coordinates.csv")
    assert len(points) == 2 * SOURCES and set(points["model"]) == {MODEL}, "a plug-in is no point of Figure 3"
    similar = pd.read_csv(run / "results/evaluation/lm_similarities.csv")
    assert len(similar) == (SOURCES + 1) * TARGETS and similar["cosine"].between(-1, 1).all()
    targets = pd.read_csv(run / "results/evaluation/lm_targets.csv")
    assert {"FUTE + TuPaTE", "DataSize", "CurveGrad", "TextEmb", "TaskEmb", "TuPaTE", "Random"} <= set(
        targets["method"]
    )
    assert set(targets.loc[targets["method"] == "CurveGrad", "scope"]) == {"in-class"}
    for method in ("TextEmb", "TaskEmb", "TuPaTE"):
        assert set(targets.loc[targets["method"] == method, "scope"]) == set(targets["scope"])


def test_one_process_takes_all_datasets_and_weights_lie_on_the_disk_once(run):
    for step in ("finetune_model", "label_language_model", "embed_dataset"):
        assert len(list((run / f"results/benchmarks/{step}").glob("*.tsv"))) == 1
    lock = json.loads((run / f"results/finetuned/{MODEL}/mini-topics.lock.json").read_text())
    for name in lock["files"]:
        file = run / f"results/finetuned/{MODEL}/mini-topics/{name}"
        assert file.stat().st_nlink == (2 if file.stat().st_size >= 1 << 20 else 1)


def test_the_audit_finds_the_run_complete(run):
    run.snakemake("audit")
    manifest = json.loads((run / "results/audit/manifest.json").read_text())
    assert not {"missing", "unrecorded", "stale", "surplus"} & set(manifest)
    listed = {
        *manifest["entries"],
        *(file for entry in manifest["entries"].values() for file in entry.get("files", {})),
    }
    assert {path for path in run.hashes() if not path.startswith("results/audit/")} <= listed
    shutil.rmtree(run / "results/audit")


def test_the_matrix_holds_every_run(run):
    matrix = pd.read_csv(run / "results/evaluation/transfer.csv")
    assert len(matrix) == PAIRS + TARGETS
    record = json.loads((run / A_PAIR).read_text())
    row = matrix[(matrix["source"] == "mini-topics") & (matrix["target"] == "mini-guides")]
    assert row["score"].item() == pytest.approx(record["mean"])
    direct = matrix[matrix["source"] == "none"]
    assert direct["majority"].notna().all() and len(direct) == TARGETS


def test_a_caption_reprints_its_table(run):
    run.edit("resources/captions.yaml", "Transferability to finance and medical", "Transfer to finance and medical")
    assert run.planned() == {"transfer_table": 1, "report": 1}
    run.edit("resources/captions.yaml", "Transfer to finance and medical", "Transferability to finance and medical")
    assert run.planned() == {}


def test_an_edited_plugin_labels_again_alone(run):
    run.edit("tests/workflow/plugins/word_count.py", "// 8", "// 9")
    planned = run.planned()
    assert planned.keys() == {
        "label_plugin",
        "embed_batch",
        "mte",
        "lm_similarities",
        "lm_evaluation",
        "transfer_table",
        "efficiency",
        "report",
    }
    assert planned["mte"] == planned["embed_batch"] == 1
    run.edit("tests/workflow/plugins/word_count.py", "// 9", "// 8")


def test_another_dataset_adds_its_own_jobs_and_reruns_none(run):
    run.edit(CONFIG, "mini-topics], qa", "mini-topics, mini-similarity], qa")
    planned = run.planned()
    evaluation = {"transfer_matrix": 1, "lm_baselines": 1, "lm_similarities": 1, "lm_evaluation": 1, "lm_geometry": 1}
    assert planned == {
        "normalise_test": 1, "normalise_train": 1, "finetune_model": 1, "label_language_model": 1, "embed_dataset": 1,
        "extract_finetuned": 1, "extract_lm_labels": 1, "extract_dataset_vectors": 1,
        "embed_batch": 1, "mte": 1, "dte": 1, "transfer_batch": 1, "extract_transfer": SOURCES + TARGETS,
        **evaluation, "transfer_table": 2, "lm_figure": 1, "efficiency": 1, "report": 1,
    }  # fmt: skip
    run.edit(CONFIG, "mini-topics, mini-similarity], qa", "mini-topics], qa")


def test_a_seed_more_fine_tunes_and_transfers_and_labels_nothing(run):
    run.edit(CONFIG, "seeds: [42]", "seeds: [42, 43]")
    planned = run.planned()
    assert planned["finetune_model"] == planned["transfer_batch"] == 1 and planned["extract_transfer"] == PAIRS
    assert not {"label_language_model", "embed_dataset", "embed_batch", "dte"} & set(planned)
    run.edit(CONFIG, "seeds: [42, 43]", "seeds: [42]")
    assert run.planned() == {}


def test_every_step_with_broken_inputs_says_so_on_one_line(run, tmp_path):
    damaged = copied(run, tmp_path / "project")
    calls = {call.rule: call for call in step_calls(damaged)}
    wrong = silent_or_noisy(damaged, calls.values())
    forget_batches(damaged)
    batches = [call for call in step_calls(damaged) if call.rule not in calls]
    assert len(calls) >= 17 and {call.rule for call in batches} == {
        "finetune_model", "label_language_model", "embed_dataset", "transfer_batch", "embed_batch", "encoder_states"
    }  # fmt: skip
    wrong += silent_or_noisy(damaged, batches)
    assert not wrong, "\n\n".join(wrong)
