"""Presets: what `fute_code` sets, that a run's own values win over it, and what reaches the plan and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.least_run import POOL, refused, values

from fute.config.presets import PRESETS, with_preset
from fute.config.run import parse_run, read_yaml
from fute.config.settings import Config
from fute.plan import Plan
from fute.plan.report_texts import report_settings
from fute.specs.embeddings import EmbeddingSpec

ROOT = Path(__file__).parents[3]


def code(**changes: Any) -> Config:
    return Config.model_validate(values(preset="fute_code", **changes))


def test_the_papers_preset_changes_nothing():
    assert Config.model_validate(values(preset="paper")) == Config.model_validate(values())
    assert Config.model_validate(values()).preset == "paper"


def test_the_authors_codes_numbers():
    config = code()
    assert config.surrogate.settings.form == "heads" and config.mte_target == "soft"
    assert config.surrogate.name == "t5-base" and config.surrogate.settings.max_input_tokens == 496
    mte, dte = config.taskemb.mte, config.taskemb.dte
    assert (mte.epochs, mte.batch_size, mte.learning_rate, mte.max_epochs) == (3, 128, 2e-5, None)
    assert (dte.batch_size, dte.learning_rate, dte.max_epochs, dte.patience) == (32, 2e-5, 120, 4)
    assert mte.reduction == dte.reduction == "square_of_mean"
    assert mte.dropout == dte.dropout == 0.1, "the authors fine-tune T5 in training mode"
    span = config.taskemb.dte_for("span")
    assert span == dte.model_copy(update={"learning_rate": 3e-5, "max_epochs": 60})
    mte, dte = config.tupate.mte, config.tupate.dte
    assert (mte.epochs, mte.batch_size, mte.learning_rate) == (3, 128, 1e-3)
    assert (dte.batch_size, dte.learning_rate, dte.max_epochs, dte.patience) == (32, 1e-2, 120, 4)
    for recipe in (mte, dte, config.tupate.dte_for("span")):
        assert (recipe.dropout, recipe.dropout_min_steps, recipe.backbone_dropout) == (0.15, 0, 0.1)
    assert config.tupate.dte_for("span").learning_rate == 5e-3
    assert config.tupate.dte_for("classification") == dte
    assert config.baselines.zps_sa_flip and config.baselines.self_select_list_as_scores
    for recipe in (config.taskemb.mte, config.taskemb.dte, mte, dte):
        assert (recipe.weight_decay, recipe.warmup, recipe.clip) == (0.01, 0.05, 1.0)


@pytest.mark.parametrize("method", ["taskemb", "tupate"])
def test_in_the_paper_a_dataset_of_spans_has_the_recipe_of_all(method):
    section = Config.model_validate(values()).method(method)
    assert section.dte_for("span") is section.dte


def test_a_stated_key_wins_alone():
    config = code(
        tupate={
            "pairs": 7,
            "mte": {"epochs": 1},
            "dte": {"max_epochs": None, "patience": None},
            "dte_span": {"max_epochs": None},
        },
        surrogate={"name": "smollm2-135m", "settings": {"family": "causal"}},
        mte_target="label",
    )
    assert config.tupate.mte.epochs == 1 and config.tupate.mte.learning_rate == 1e-3
    assert config.tupate.mte.backbone_dropout == 0.1 and config.tupate.pairs == 7
    assert config.tupate.dte.learning_rate == 1e-2 and not config.tupate.dte.early_stops
    assert config.tupate.dte_for("span") == config.tupate.dte.model_copy(update={"learning_rate": 5e-3})
    assert config.surrogate.settings.family == "causal" and config.surrogate.settings.form == "heads"
    assert config.mte_target == "label" and config.taskemb == code().taskemb


def test_the_paper_run_takes_the_preset_from_the_command_line():
    stated = read_yaml(ROOT / "config" / "paper.yaml")
    config = parse_run(stated | {"preset": "fute_code"}, ROOT / "config").config
    assert config.surrogate.settings.dtype == "bfloat16" and config.surrogate.settings.form == "heads"
    expected = code().taskemb
    assert config.taskemb.mte == expected.mte.model_copy(update={"reduce": "rows"})
    assert config.taskemb.dte.early_stops and config.taskemb.dte.reduce == "rows"
    assert config.tupate == code().tupate


def test_the_preset_brings_no_experiment_into_a_run():
    assert code().lm is None and code(lm=None).lm is None
    assert code(lm={}, unsup={"lm": POOL}, llm=None).lm.transfer.keep_head
    assert not code(lm={"transfer": {"keep_head": False}}, unsup={"lm": POOL}, llm=None).lm.transfer.keep_head


def test_language_models_alone_have_one_pass_over_u():
    alone, both = code(lm={}, unsup={"lm": POOL}, llm=None), code(lm={}, unsup={"lm": POOL})
    for method in ("taskemb", "tupate"):
        assert (alone.method(method).mte.epochs, both.method(method).mte.epochs) == (1, 3)
    assert alone.tupate.dte == both.tupate.dte and alone.taskemb.mte.reduction == "square_of_mean"
    assert code(lm={}, unsup={"lm": POOL}, llm=None, tupate={"mte": {"epochs": 2}}).tupate.mte.epochs == 2


def test_merging_leaves_both_sides_as_they_were():
    before = json.dumps(PRESETS)
    mine = {"preset": "fute_code", "tupate": {"mte": {"epochs": 1}}}
    found = with_preset(mine)
    found["tupate"]["mte"]["epochs"] = 99
    found["taskemb"]["dte"]["epochs"] = 99
    assert json.dumps(PRESETS) == before and mine["tupate"] == {"mte": {"epochs": 1}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "fute-code"}, "my.yaml: preset: Input should be 'paper' or 'fute_code'"),
        ({"preset": ["fute_code"]}, "my.yaml: preset: Input should be"),
        ({"mte_target": "soft"}, "mte_target 'soft' needs surrogate.settings.form: heads"),
        ({"preset": "fute_code", "mte_target": "verbalizer"}, "'verbalizer' is text, and a head gives none"),
        ({"preset": "fute_code", "controls": {"abc": True}}, "controls.abc writes labels as letters"),
        ({"preset": "fute_code", "methods": ["textemb"]}, "textemb reads states at y"),
        (
            {"preset": "fute_code", "taskemb": {"mte": {"labels": "sampled"}, "dte": {"labels": "sampled"}}},
            "taskemb labels 'sampled'",
        ),
        ({"preset": "fute_code", "tupate": {"dte_span": {"rate": 1}}}, "change dte_span too: rate: unknown key"),
        (
            {"preset": "fute_code", "tupate": {"dte": {"max_epochs": None, "patience": None}}},
            "tupate: dte with dte_span's {'learning_rate': 0.005, 'max_epochs': 60} is no recipe",
        ),
        ({"tupate": {"dte_span": {"length": 3}}}, "mte.length and dte_span.length differ"),
        ({"preset": "fute_code", "taskemb": {"mte": {"reduction": "mean_of_squares"}}}, "mte.reduction and dte"),
        ({"surrogate": {"settings": {"family": "causal", "form": "head"}}}, "surrogate.settings.form: Input should"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    assert message in refused(**changes)


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)

    def make(**changes: Any) -> Plan:
        content = read_yaml(ROOT / "tests/support/both.yaml") | {"lm": None}
        return Plan(parse_run(content | changes, ROOT / "config"), (), tmp_path)

    return make


CODE = {
    "preset": "fute_code",
    "data": {"source": "builtin", "dev_share": 0.2, "test_rows": 48},
    "controls": {"methods": ["tupate"], "null_draws": 1, "abc": False},
    "taskemb": {},
    "tupate": {},
}


def test_a_plan_of_the_preset_carries_form_and_soft_targets(plan):
    demo, workflow = plan(), plan(**CODE)
    batch = next(iter(workflow.vector_batches.batches["tupate"].new))
    spec = EmbeddingSpec.model_validate_json(workflow.vector_batches.spec("tupate", batch))
    assert spec.settings.form == "heads" and spec.settings.family == "causal"
    assert {item.target for item in spec.items if item.kind == "mte"} == {"soft"}
    assert {item.target for item in spec.items if item.kind == "dte"} == {"label"}
    assert {spec.method_settings(item).backbone_dropout for item in spec.items} == {0.1}
    assert not workflow.vectors.shares_states("tupate")
    changed = {
        path for path, item in workflow.vector_batches.items.items() if item.key != demo.vector_batches.items[path].key
    }
    assert changed == set(workflow.vector_batches.items)
    assert workflow.llm.labels.cells == demo.llm.labels.cells, "labels do not depend on how they are embedded"


def test_the_slips_of_the_baselines_reach_their_step_on_sa_only(plan):
    demo, workflow = plan(), plan(**CODE)
    assert demo.llm.baseline_flags("mini-films") == ""
    assert workflow.llm.baseline_flags("mini-films") == "--zps-flip --list-as-scores"
    assert workflow.llm.baseline_flags("mini-everyday") == "--list-as-scores"
    fixed = plan(**CODE, baselines={"zps_sa_flip": False})
    assert fixed.llm.baseline_flags("mini-films") == "--list-as-scores"


def test_the_report_names_preset_and_form(plan):
    demo, code_run = (report_settings(plan(**changes))["settings"] for changes in ({}, CODE))
    assert demo["Preset"].startswith("paper (") and "text-to-text form" in demo["Surrogate"]
    assert code_run["Preset"].startswith("fute_code (") and "form of new heads" in code_run["Surrogate"]
