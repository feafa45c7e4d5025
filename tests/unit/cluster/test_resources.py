"""Memory, time and GPUs of jobs: worked by hand, and for the paper's run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fute import paths
from fute.cluster.cost import RuleCost, disk_bytes, heavy_jobs, measured_seconds, rule_costs
from fute.cluster.job_needs import PROMPT_TOKENS, TEXT_TOKENS, JobNeeds
from fute.cluster.resources import (
    BASE_MB,
    CORE_FLOPS,
    GPU_FLOPS,
    LIMIT_MINUTES,
    START_MINUTES,
    Need,
    inference,
    tensor_parallel,
    training,
)
from fute.config.run import load_run
from fute.plan import Plan

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No results of this checkout are seen."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    (tmp_path / "tests").symlink_to(ROOT / "tests")


@pytest.fixture
def paper(monkeypatch) -> Plan:
    """The paper's run; what its data are does not matter here."""
    monkeypatch.setattr("fute.plan.data.unsup_identity", lambda settings, root: {})
    return Plan(load_run(ROOT / "config/paper.yaml"))


@pytest.mark.parametrize(
    ("billions", "gpus"), [(0.135, 1), (13.016, 1), (28, 1), (28.1, 2), (46.703, 2), (68.977, 4), (112, 4), (180, 8)]
)
def test_gpus_hold_the_weights_with_room_for_the_cache(billions, gpus):
    # two bytes a parameter, 56 of a GPU's 80 GB
    assert tensor_parallel(billions * 1e9) == gpus


def test_inference_by_hand():
    need = inference(1e9, read=50_000_000, written=5_000_000, gpus=2)
    assert need.operations == 2 * 1e9 * 60e6 and need.tokens == 55_000_000
    assert need.estimate == pytest.approx(START_MINUTES + 1.2e17 / 2e14 / 60) == pytest.approx(12)
    assert need.minutes() == LIMIT_MINUTES + 3 * 12 and need.gpu_hours == pytest.approx(2 * 12 / 60)
    assert need.memory_mb() == BASE_MB + 2400
    assert inference(1e9, 50, 5, gpus=0, cores=4, start=0).estimate == pytest.approx(2e9 * 60 / (4 * CORE_FLOPS) / 60)


def test_training_takes_three_times_the_operations_and_eight_times_the_memory_of_weights():
    read, trained = inference(1e8, 1000, 0, gpus=1), training(1e8, 1000, gpus=1)
    assert trained.operations == 3 * read.operations
    assert trained.memory_mb() - BASE_MB == 1600 and GPU_FLOPS > CORE_FLOPS


def test_every_attempt_asks_for_more():
    need = Need(operations=6e15, tokens=1, host_mb=1001, gpus=1)
    assert [need.memory_mb(n) for n in (1, 2, 3)] == [1001, 1502, 2002]
    assert [need.minutes(n) for n in (1, 2, 3)] == [19, 38, 76]


def test_the_papers_models_get_what_they_need(paper):
    needs = JobNeeds(paper)
    assert {name: needs.label_gpus(name) for name in paper.config.llm.models} == {
        "llama-2-13b": 1, "llama-2-70b": 4, "mixtral-8x7b": 2,
    }  # fmt: skip
    (batch, *_) = paper.llm.labels.plans["llama-2-70b"].new
    need = needs.label_batch("llama-2-70b", batch)
    assert 138_000 < need.memory_mb() < 200_000, "its weights are 138 GB"
    assert needs.texts("sa") == 10_000 and needs.texts("sst2") == 872


def test_label_tokens_by_hand(paper):
    """Of one batch: every prompt reads U and three datasets; a chain of thought is written and read again."""
    needs, engine = JobNeeds(paper), paper.config.llm.engine
    names = paper.llm.labels.plans["llama-2-13b"].new
    batch = next(name for name in names if "sa" in paper.llm.labels.corpora("llama-2-13b", name))
    prompts = paper.run.prompts_of("sa")
    texts = sum(needs.texts(corpus) for corpus in paper.llm.labels.corpora_of("sa"))
    prompts = list({paper.llm.labels.cells["llama-2-13b", p.id, "sa"]: p for p in prompts}.values())
    assert len(prompts) == 11, "two of the paper's have the words of others"
    thoughts = sum(engine.reasoning_tokens for p in prompts if p.cot)
    read = texts * (len(prompts) * (TEXT_TOKENS + PROMPT_TOKENS) + thoughts)
    written = texts * (len(prompts) * engine.answer_tokens + thoughts)
    assert needs.label_batch("llama-2-13b", batch).tokens == read + written


def test_an_engines_own_setting_wins(monkeypatch):
    monkeypatch.setattr("fute.plan.data.unsup_identity", lambda settings, root: {})
    run = load_run(ROOT / "config/paper.yaml")
    engine = run.config.llm.engine.model_copy(update={"tensor_parallel_size": 8})
    run.config = run.config.model_copy(update={"llm": run.config.llm.model_copy(update={"engine": engine})})
    assert JobNeeds(Plan(run)).label_gpus("llama-2-13b") == 8


def test_vectors_pass_over_their_pairs(paper):
    """TaskEmb of the paper: one epoch and the Fisher over U's 10,000 texts."""
    needs = JobNeeds(paper)
    path = paths.mte(paper.vectors.surrogate, "taskemb", "llama-2-13b", paper.run.prompts_of("sa")[0].id)
    batch = paper.vector_batches.plans["taskemb"].batch_of[path]
    assert needs.embed_batch("taskemb", batch).tokens == 10_000 * TEXT_TOKENS * 2
    path = paths.dte(paper.vectors.surrogate, "taskemb", "sst2")
    batch = paper.vector_batches.plans["taskemb"].batch_of[path]
    rows = needs.train_rows("sst2")
    assert needs.embed_batch("taskemb", batch).tokens == rows * TEXT_TOKENS * 4, "three epochs and the Fisher"


def test_costs_by_rule(tmp_path):
    fast, slow = Need(6e15, 10, 1, gpus=1), Need(12e15, 20, 1, gpus=2)
    jobs = {"embed_batch": 2, "label_batch": 1, "mte": 7}
    heavy = [("embed_batch", fast), ("embed_batch", fast), ("label_batch", slow)]
    costs = rule_costs(jobs, heavy, tmp_path)
    costs.sort(key=lambda cost: -cost.gpus)
    assert costs[0] == RuleCost("label_batch", 1, 2, pytest.approx(2 * 3 / 60), pytest.approx(3), 20)
    assert costs[1] == RuleCost("embed_batch", 2, 1, pytest.approx(2 * 3 / 60), pytest.approx(6), 20)
    assert costs[2] == RuleCost("mte", 7)
    (tmp_path / "embed_batch").mkdir()
    for name, seconds in (("a", 90), ("b", 150)):
        (tmp_path / f"embed_batch/{name}.tsv").write_text(f"s\th:m:s\n{seconds}.0\t0:02:00\n")
    assert measured_seconds(tmp_path / "embed_batch") == [90, 150]
    measured = next(cost for cost in rule_costs(jobs, heavy, tmp_path) if cost.rule == "embed_batch")
    assert measured == RuleCost("embed_batch", 2, 1, pytest.approx(4 / 60), pytest.approx(4), 20, 2)


def test_the_papers_run_in_all(paper):
    needs = JobNeeds(paper)
    heavy = list(heavy_jobs(paper, needs))
    rules = [rule for rule, _ in heavy]
    vectors = [batch for plan in paper.vector_batches.plans.values() for batch in plan.new]
    assert {rule: rules.count(rule) for rule in set(rules)} == {
        "label_batch": 6, "encoder_states": 2, "embed_batch": len(vectors),
    }  # fmt: skip
    assert all(need.gpus >= 1 and need.minutes() > LIMIT_MINUTES for _, need in heavy)
    assert len(vectors) == len({item.key for item in paper.vector_batches.items.values()})
    disk = disk_bytes(paper, needs)
    assert 250e9 < disk["models"] < 265e9, "weights of 13, 70 and 47 billion parameters in 16 bits"
    assert disk["fine-tuned models"] == 0 and math.isclose(sum(disk.values()), disk["models"], rel_tol=0.05)
