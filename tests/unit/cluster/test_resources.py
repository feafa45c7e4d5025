"""Memory, time and GPUs of jobs: worked by hand, and for the paper's run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fute import paths
from fute.audit.config_and_locks import config_sha256
from fute.cluster.cost import RuleCost, disk_bytes, heavy_jobs, measured_seconds, rule_costs
from fute.cluster.job_needs import MOST_KEPT_BYTES, PROMPT_TOKENS, TEXT_TOKENS, JobNeeds
from fute.cluster.resources import (
    BASE_MB,
    CORE_FLOPS,
    GPU_FLOPS,
    LIMIT_MINUTES,
    START_MINUTES,
    Need,
    gpu_request,
    inference,
    tensor_parallel,
    training,
    width,
)
from fute.config.cluster import ClusterConfig
from fute.config.run import load_run, parse_run, read_yaml
from fute.config.sections import ConfigError
from fute.plan import Plan
from fute.surrogate import states

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


@pytest.fixture
def of_site(monkeypatch):
    """Makes the plan of one of the paper's runs at a site with these settings of `cluster`."""
    monkeypatch.setattr("fute.plan.data.unsup_identity", lambda settings, root: {})
    monkeypatch.setattr("fute.plan.data.source_identity", lambda dataset, *_: dataset)

    def plan(
        name: str = "paper", models: dict | None = None, sections: dict | None = None, values: dict | None = None,
        **cluster,
    ) -> Plan:  # fmt: skip
        values = read_yaml(ROOT / f"config/{name}.yaml") | {"cluster": cluster} | (values or {})
        values |= {key: (values.get(key) or {}) | more for key, more in (sections or {}).items()}
        values["data"] = values.get("data", {}) | {"root": "anywhere"}
        run = parse_run(values, ROOT / "config", name)
        run.models.update({key: run.models[key].model_copy(update=change) for key, change in (models or {}).items()})
        return Plan(run)

    return plan


def all_needs(plan: Plan) -> list[tuple[str, Need]]:
    return list(heavy_jobs(plan, JobNeeds(plan)))


@pytest.mark.parametrize(
    ("billions", "gpus"), [(0.135, 1), (13.016, 1), (28, 1), (28.1, 2), (46.703, 2), (68.977, 4), (112, 4), (180, 8)]
)
def test_gpus_hold_the_weights_with_room_for_the_cache(billions, gpus):
    # two bytes a parameter, 56 of a GPU's 80 GB
    assert tensor_parallel(billions * 1e9, 80) == gpus


def test_inference_by_hand():
    need = inference(1e9, read=50_000_000, written=5_000_000, gpus=2)
    assert need.operations == 2 * 1e9 * 60e6 and need.tokens == 55_000_000
    assert need.estimate == pytest.approx(START_MINUTES + 1.2e17 / 2e14 / 60) == pytest.approx(12)
    assert need.minutes() == LIMIT_MINUTES + 3 * 12
    assert need.memory_mb() == BASE_MB + 2400
    assert inference(1e9, 50, 5, gpus=0, cores=4, start=0).estimate == pytest.approx(2e9 * 60 / (4 * CORE_FLOPS) / 60)


def test_training_takes_three_times_the_operations_and_eight_times_the_memory_of_weights():
    read, trained = inference(1e8, 1000, 0, gpus=1), training(1e8, 1000, gpus=1)
    assert trained.operations == 3 * read.operations
    assert trained.memory_mb() - BASE_MB == 1600 and GPU_FLOPS > CORE_FLOPS


def test_each_process_of_a_training_has_a_model_and_states_of_its_own():
    one, four = training(1e8, 1000, gpus=4), training(1e8, 1000, gpus=4, processes=4, held=5e8)
    assert four.memory_mb() == 4 * (one.memory_mb() + 500) and four.operations == one.operations
    assert inference(1e9, 1, 0, gpus=1, held=5e9).memory_mb() == BASE_MB + 2400 + 5000


def test_every_attempt_asks_for_more():
    need = Need(operations=6e15, tokens=1, host_mb=1001, gpus=1)
    assert [need.memory_mb(n) for n in (1, 2, 3)] == [1001, 1502, 2002]
    assert need.memory_mb(10) == 2002, "not 5.5 times as much, which only the largest node has"
    assert [need.minutes(n) for n in (1, 2, 3)] == [19, 38, 76]


def test_the_papers_models_get_what_they_need(paper):
    needs = JobNeeds(paper)
    assert {name: needs.label_gpus(name) for name in paper.config.llm.models} == {
        "llama-2-13b": 1, "llama-2-70b": 4, "mixtral-8x7b": 2,
    }  # fmt: skip
    (batch, *_) = paper.llm.labels.batches["llama-2-70b"].new
    need = needs.label_batch("llama-2-70b", batch)
    assert 138_000 < need.memory_mb() < 200_000, "its weights are 138 GB"
    assert needs.texts("sa") == 10_000 and needs.texts("sst2") == 872


@pytest.mark.parametrize(
    ("memory_gb", "gpus"),
    # weights of 26.0, 137.9 and 93.4 GB, in 0.7 of a GPU's memory
    [(80, {"llama-2-13b": 1, "llama-2-70b": 4, "mixtral-8x7b": 2}),
     (40, {"llama-2-13b": 1, "llama-2-70b": 8, "mixtral-8x7b": 4}),
     (24, {"llama-2-13b": 2, "llama-2-70b": 16, "mixtral-8x7b": 8})],
)  # fmt: skip
def test_gpus_follow_the_memory_of_one(of_site, memory_gb, gpus):
    needs = JobNeeds(of_site(gpu_memory_gb=memory_gb))
    assert {name: needs.label_gpus(name) for name in gpus} == gpus
    (batch, *_) = needs.plan.llm.labels.batches["mixtral-8x7b"].new
    assert needs.label_batch("mixtral-8x7b", batch).gpus == gpus["mixtral-8x7b"]


def test_a_fine_tuned_llm_has_the_size_of_the_one_that_it_is_made_from(of_site):
    """A default size would starve the fine-tuning of a large one, and its labelling of GPUs."""
    recipe = {"model": "mixtral-8x7b", "prompts": {"sa": [1]}, "datasets": {"sa": ["sst2"]}, "steps": 20}
    entries = {"own": {"tuned": recipe}, "small": {"tuned": recipe, "parameters_m": 135}}
    names = {"llm": {"models": ["mixtral-8x7b", *entries]}, "registry": {"models": entries}}
    needs = JobNeeds(of_site(sections=names))
    assert (needs.parameters("own"), needs.active("own")) == (46_703e6, 12_879e6)
    assert needs.tune_llm("own").memory_mb() == BASE_MB + 16 * 46_703
    assert needs.label_gpus("own") == needs.label_gpus("mixtral-8x7b") == 2
    assert needs.parameters("small") == needs.active("small") == 135e6 and needs.label_gpus("small") == 1


def test_a_model_s_own_number_of_gpus_wins(of_site):
    needs = JobNeeds(of_site(tensor_parallel_size={"mixtral-8x7b": 4}))
    assert [needs.label_gpus(name) for name in ("llama-2-13b", "llama-2-70b", "mixtral-8x7b")] == [1, 4, 4]
    with pytest.raises(ConfigError, match=r"tensor_parallel_size: 'mixtral' is not among llm\.models"):
        of_site(tensor_parallel_size={"mixtral": 4})
    with pytest.raises(ConfigError, match="give at least 1"):
        of_site(tensor_parallel_size={"mixtral-8x7b": 0})


def test_a_mixture_of_experts_costs_its_active_parameters_and_holds_all(of_site):
    needs = JobNeeds(of_site())
    assert needs.parameters("mixtral-8x7b") == 46_703e6 and needs.active("mixtral-8x7b") == 12_879e6
    assert needs.active("llama-2-13b") == needs.parameters("llama-2-13b")
    batches = {name: next(iter(needs.plan.llm.labels.batches[name].new)) for name in ("mixtral-8x7b", "llama-2-13b")}
    mixtral, llama = (needs.label_batch(*pair) for pair in batches.items())
    assert mixtral.tokens == llama.tokens
    assert mixtral.operations / llama.operations == pytest.approx(12_879 / 13_016, rel=1e-3)
    assert mixtral.memory_mb() == math.ceil(BASE_MB + 1.2 * 2 * 46_703)


@pytest.mark.parametrize(
    ("settings", "number", "right"),
    [
        ({}, 4, {"gpu": 4}),
        ({}, 0, {"gpu": 0}),
        ({"gpu_model": "a100"}, 4, {"gpu": 4, "gpu_model": "a100"}),
        ({"gpu_model": "a100"}, 0, {"gpu": 0, "gpu_model": ""}),
        ({"gpu_request": "gres"}, 4, {"gres": "gpu:4"}),
        ({"gpu_request": "gres", "gpu_model": "a100"}, 2, {"gres": "gpu:a100:2"}),
        ({"gpu_request": "gres", "gpu_model": "a100"}, 0, {"gres": ""}),
    ],
)
def test_how_a_job_asks_for_gpus(settings, number, right):
    assert gpu_request(ClusterConfig(**settings), number) == right


def test_rows_of_questions_count_as_many_tokens_as_they_are_cut_at(of_site):
    needs = JobNeeds(of_site("paper-lm"))
    assert needs.row_tokens("squad1", 384) == 384 and needs.row_tokens("rte", 384) == 2 * TEXT_TOKENS
    files = {name: paths.dte("t5-base", "tupate", name) for name in ("squad1", "rte")}
    items, lm = needs.plan.vector_batches.items, needs.plan.lm
    seeds = len(needs.plan.vectors.recipes["tupate"][items[files["squad1"]].recipe].order_seeds)
    # a span's recipe may stop early: a tenth of its 60 epochs
    assert needs._learned("tupate", items[files["squad1"]]) == needs.train_rows("squad1") * 384 * 6 * seeds
    recipe = lm.finetune.recipe("bert-base", "squad1")
    trained = (recipe.epochs or 1) * needs.train_rows("squad1") * min(recipe.max_tokens, 384)
    batch = lm.finetune.batches["bert-base"].batch_of["squad1@42"]
    assert needs.finetune_model("bert-base", batch).tokens == trained
    assert recipe.max_tokens == 384


def test_a_run_that_learns_from_fewer_rows_asks_for_less(of_site):
    """A small run was charged as one over the whole datasets."""
    few = {"textemb": {"rows": 16}, "taskemb": {"rows": 8}, "tupate": {"cr": {"epochs": 1}}}
    plan = of_site("paper-lm", sections={"data": {"train_rows": 64}, "lm": {"baselines": few}})
    needs, vectors = JobNeeds(plan), plan.lm.baselines
    assert JobNeeds(of_site("paper-lm")).train_rows("snli") > 100_000 and needs.train_rows("snli") == 64
    batch = vectors.vector_batches.batch_of["snli"]
    (dataset,) = vectors.vector_batches.new[batch]
    assert dataset == "snli" and needs.embed_dataset(vectors.model, batch).tokens == (16 + 8 + 64) * 2 * TEXT_TOKENS


@pytest.mark.parametrize(("method", "minutes"), [("taskemb", 50), ("tupate", 20)])
def test_an_embedding_of_the_papers_run_takes_the_papers_time(of_site, monkeypatch, method, minutes):
    """Measured on one A100 by the paper, for its 104,162 texts."""
    needs = JobNeeds(of_site("paper-lm"))
    assert needs.texts("lm") == 109_000, "1,000 of each of 109 scripts; the paper's have 104,162"
    monkeypatch.setattr(needs, "texts", lambda corpus: 104_162)
    path = paths.mte("t5-base", method, "bert-base", "rte")
    batch = needs.plan.vector_batches.batches[method].batch_of[path]
    need = needs.embed_batch(method, batch)
    (item,) = needs.plan.vector_batches.batch_items(method, batch).values()
    assert item is needs.plan.vector_batches.items[path]
    assert need.estimate == pytest.approx(minutes) and need.gpus == 1
    assert need.minutes() == LIMIT_MINUTES + 3 * minutes


CAUSAL = {"name": "smollm2-135m", "settings": {"family": "causal", "dtype": "bfloat16"}}


def embed_mb(plan: Plan, path: str) -> int:
    method = paths.method_of(path)
    return JobNeeds(plan).embed_batch(method, plan.vector_batches.batches[method].batch_of[path]).memory_mb()


@pytest.mark.parametrize("method", ["tupate_lora", "taskemb"])
def test_states_below_the_last_layers_are_held_in_memory(of_site, method):
    """Of the texts of a vector, and those of single texts, which all black boxes of a process share."""
    assert MOST_KEPT_BYTES == states.MOST_REMEMBERED_BYTES == states.MOST_CROSS_BYTES
    name = method.replace("_", "-")
    path = paths.mte("smollm2-135m", name, "llama-2-13b", "sa-1")

    def plan(layers: int | None = 6, processes: int = 1, form: str = "text2text", **recipe) -> Plan:
        recipes = {kind: {"layers": layers, **recipe} for kind in ("mte", "dte")}
        surrogate = CAUSAL | {"settings": CAUSAL["settings"] | {"form": form}}
        sections = {"surrogate": surrogate, method: recipes, "controls": {"methods": [], "abc": False}}
        return of_site(sections=sections, values={"methods": [name], "processes": processes})

    whole = BASE_MB + 16 * 135
    texts = 10_000 * TEXT_TOKENS * width(135e6) * 2 / 1e6
    assert 1000 < texts < 1200, "a width of 822"
    assert embed_mb(plan(layers=None), path) == whole, "every layer is tuned: no states stay the same"
    assert embed_mb(plan(), path) == math.ceil(whole + texts + 2**31 / 1e6)
    assert embed_mb(plan(processes=2), path) == math.ceil(2 * (whole + texts + 2**31 / 1e6))
    assert embed_mb(plan(form="heads"), path) == math.ceil(whole + texts), "heads have no label among the inputs"
    if method == "tupate_lora":
        assert embed_mb(plan(backbone_dropout=0.1), path) == whole, "dropout changes them from step to step"


def test_states_of_an_encoder_are_held_while_they_are_made(of_site):
    """Those of a large dataset are several times the model; those of U are read from a file by whatever needs them."""
    plan = of_site("paper-lm")
    needs, encoder = JobNeeds(plan), width(223e6 / 2) * 2 * TEXT_TOKENS / 1e6
    assert width(223e6 / 2) == pytest.approx(768, rel=0.01), "T5-base's own"
    whole = BASE_MB + 16 * 223
    snli, rows = paths.dte("t5-base", "tupate", "snli"), needs.train_rows("snli")
    assert rows == 549_367 and embed_mb(plan, snli) == math.ceil(whole + rows * encoder)
    for path in (paths.dte("t5-base", "taskemb", "snli"), paths.mte("t5-base", "tupate", "bert-base", "rte")):
        assert embed_mb(plan, path) == whole
    assert needs.encoder_states("lm").memory_mb() == math.ceil(BASE_MB + 2.4 * 223 + 109_000 * encoder)
    assert disk_bytes(plan, needs)["encoder states"] == pytest.approx(109_000 * encoder * 1e6)
    cpu = of_site("paper-lm", values={"gpus": 0})
    keys = paths.mte("t5-base", "tupate", "bert-base", "rte")
    assert embed_mb(cpu, keys) == math.ceil(whole + 2**31 / 1e6), "keys and values of few texts stay in main memory"


def test_states_of_two_vectors_are_held_at_once(of_site):
    """Those of the vector before it are there until those of the next are made."""
    plan = of_site("paper-lm", values={"embeddings_per_process": None})
    needs, encoder = JobNeeds(plan), width(223e6 / 2) * 2 / 1e6
    of_dtes = [needs._tokens_of_pairs(item) for item in plan.vector_batches.items.values() if item.kind == "dte"]
    *_, second, first = sorted(set(of_dtes))
    expected = math.ceil(BASE_MB + 16 * 223 + (first + second) * encoder)
    assert embed_mb(plan, paths.dte("t5-base", "tupate", "snli")) == expected


def test_only_texts_that_a_method_learns_from_are_encoded(of_site):
    needs = JobNeeds(of_site(sections={"tupate": {"pairs": 500}}))
    assert needs.encoded_tokens("sa") == 500 * TEXT_TOKENS and JobNeeds(of_site()).encoded_tokens("sa") == 640_000


def test_what_a_site_gives_identifies_no_result(of_site):
    """Nothing is computed again, and no lock or code hash changes, because a job asks otherwise for the same."""
    models = {"mixtral-8x7b": {"active_parameters_m": None}, "llama-2-13b": {"parameters_m": 14_000}}
    site = {"gpu_memory_gb": 24, "gpu_request": "gres", "gpu_model": "v100", "max_runtime": 60}
    site |= {"memory_request": "none", "tensor_parallel_size": {"llama-2-70b": 16}}
    plain, there = of_site(), of_site(models=models, **site)
    assert there.config.cluster != plain.config.cluster
    assert config_sha256(there.run) == config_sha256(plain.run)
    for one, other in zip(plain.llm.labels.batches.items(), there.llm.labels.batches.items(), strict=True):
        assert one == other
    keys = [{path: item.key for path, item in plan.vector_batches.items.items()} for plan in (plain, there)]
    assert keys[0] == keys[1] and len(keys[0]) > 400
    assert plain.llm.labels.cells == there.llm.labels.cells
    assert all(there.run.models[name].settings() == plain.run.models[name].settings() for name in models)


def test_a_method_takes_the_time_of_its_own_finished_jobs(tmp_path):
    one, other = (Need(6e15, 10, 1, gpus=1, method=method) for method in ("taskemb", "tupate"))
    measured, record = tmp_path / "benchmarks/embed_batch", tmp_path / "m/batches/4e5f.keys.prov.json"
    for folder in (measured, record.parent):
        folder.mkdir(parents=True)
    for name, seconds in (("0a1b", 600.0), ("2c3d", 600.0), ("4e5f", 3.0)):
        (measured / f"t5-base-taskemb-{name}.tsv").write_text(f"s\th:m:s\n{seconds}\t0:10:00\n")
    record.write_text('{"run": {"resumed": true}}')  # that of the last process alone
    (cost,) = rule_costs({"embed_batch": 3}, [("embed_batch", need) for need in (one, one, other)], tmp_path)
    assert cost.minutes == pytest.approx(10 + 10 + other.estimate) and cost.measured == 2
    assert cost.gpu_hours == pytest.approx(cost.minutes / 60)


def test_label_tokens_by_hand(paper):
    """Of one batch: every prompt reads U and three datasets; a chain of thought is written and read again."""
    needs, engine = JobNeeds(paper), paper.config.llm.engine
    names = paper.llm.labels.batches["llama-2-13b"].new
    batch = next(name for name in names if "sa" in paper.llm.labels.corpora("llama-2-13b", name))
    prompts = paper.run.prompts_of("sa")
    texts = sum(needs.texts(corpus) for corpus in paper.llm.labels.corpora_of("sa"))
    prompts = list({paper.llm.labels.cells["llama-2-13b", p.id, "sa"]: p for p in prompts}.values())
    assert len(prompts) == 11, "two of the paper's have the words of others"
    thoughts = sum(engine.reasoning_tokens for p in prompts if p.cot)
    read = texts * (len(prompts) * (TEXT_TOKENS + PROMPT_TOKENS) + thoughts)
    written = texts * (len(prompts) * engine.answer_tokens + thoughts)
    assert needs.label_batch("llama-2-13b", batch).tokens == read + written


def test_vectors_pass_over_their_pairs(paper):
    """TaskEmb of the paper: one epoch and the Fisher over U's 10,000 texts."""
    needs = JobNeeds(paper)
    path = paths.mte(paper.vectors.surrogate, "taskemb", "llama-2-13b", paper.run.prompts_of("sa")[0].id)
    batch = paper.vector_batches.batches["taskemb"].batch_of[path]
    assert needs.embed_batch("taskemb", batch).tokens == 10_000 * TEXT_TOKENS * 2
    path = paths.dte(paper.vectors.surrogate, "taskemb", "sst2")
    batch = paper.vector_batches.batches["taskemb"].batch_of[path]
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
    (measured := tmp_path / "benchmarks/embed_batch").mkdir(parents=True)
    for name, seconds in (("a", 90), ("b", 150)):
        (measured / f"{name}.tsv").write_text(f"s\th:m:s\n{seconds}.0\t0:02:00\n")
    assert measured_seconds(measured) == [90, 150]
    measured = next(cost for cost in rule_costs(jobs, heavy, tmp_path) if cost.rule == "embed_batch")
    assert measured == RuleCost("embed_batch", 2, 1, pytest.approx(4 / 60), pytest.approx(4), 20, 2)


def test_the_papers_run_in_all(paper):
    needs = JobNeeds(paper)
    heavy = list(heavy_jobs(paper, needs))
    rules = [rule for rule, _ in heavy]
    vectors = [batch for plan in paper.vector_batches.batches.values() for batch in plan.new]
    assert {rule: rules.count(rule) for rule in set(rules)} == {
        "label_batch": 6, "encoder_states": 2, "embed_batch": len(vectors),
    }  # fmt: skip
    assert all(need.gpus >= 1 and need.minutes() > LIMIT_MINUTES for _, need in heavy)
    assert len(vectors) == len({item.key for item in paper.vector_batches.items.values()})
    disk = disk_bytes(paper, needs)
    assert 250e9 < disk["models"] < 265e9, "weights of 13, 70 and 47 billion parameters in 16 bits"
    assert disk["fine-tuned models"] == 0 and math.isclose(sum(disk.values()), disk["models"], rel_tol=0.05)


def test_disk_for_taskemb_of_the_last_layers():
    """Two of SmolLM2's blocks are 28 MB in fp32, and every vector stands in its batch and in a file of its own."""
    plan = Plan(load_run(ROOT / "config/planted.yaml"), (), Path("no results"))
    vectors = [name for name in plan.vector_batches.items if paths.method_of(name) == "taskemb"]
    disk = disk_bytes(plan, JobNeeds(plan))["embeddings"]
    assert 2 * len(vectors) * 28e6 < disk < 3 * 2 * len(vectors) * 28e6
