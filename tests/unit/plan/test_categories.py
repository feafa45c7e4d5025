"""A category that the project does not ship goes through the planner: ten classes, stated in the run's own file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from fute.config.run import load_run, read_yaml
from fute.config.sections import ConfigError
from fute.plan import Plan

ROOT = Path(__file__).parents[3]
WORDS = ("art", "bread", "cars", "dance", "earth", "film", "games", "health", "ink", "jazz")


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A run in a folder of its own: the demo's model, and a category `topics` with a dataset and two prompts."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "own").mkdir()
    for split in ("train", "test"):
        lines = [json.dumps({"words": f"{split} {i}", "topic": WORDS[i % 10]}) for i in range(20)]
        (tmp_path / f"own/{split}.jsonl").write_text("\n".join(lines) + "\n")
    own = {"title": "Own", "category": "topics", "fields": ["words"], "label_field": "topic",
           "splits": {"train": "train", "test": "test"}, "files": {"folder": "own"}}  # fmt: skip

    def make(category=None, **llm):
        demo = read_yaml(ROOT / "tests/support/both.yaml")
        classes = (category or {}).get("classes", WORDS)
        labels = {"labels": dict(zip(WORDS, classes, strict=True))}
        registry = {
            "categories": {"topics": {"classes": list(WORDS), "metric": "macro_f1"} | (category or {})},
            "datasets": {"own": own | labels},
            "prompts": {"topics": [{"template": f"{n}. {{text}} Topic?"} for n in (1, 2)]},
        }
        values = demo | {
            "registry": registry, "lm": None, "data": {"source": "builtin"},
            "unsup": {"topics": demo["unsup"]["sa"], "sa": demo["unsup"]["sa"]},
            "llm": demo["llm"] | {"datasets": {"topics": ["own"]}, "prompts": {}} | llm,
        }  # fmt: skip
        (tmp_path / "my.yaml").write_text(yaml.safe_dump(values))
        return Plan(load_run(tmp_path / "my.yaml", ROOT / "config"), (), tmp_path)

    return make


def test_ten_classes_reach_every_step(plan):
    made = plan()
    assert made.config.categories == ("topics",)
    chosen = made.llm.selection_settings()
    assert chosen["classes"] == {"topics": WORDS} and chosen["metrics"] == {"topics": "macro_f1"}
    item = next(item for item in made.llm.items.values() if item.source == "own")
    assert item.classes == WORDS
    assert made.data.unsup_settings("topics")["entry"]["segments"] == ("text",)
    (model,) = made.config.llm.models
    (batch,) = made.llm.labels.batches[model].new
    spec = json.loads(made.llm.labels.spec(model, batch))
    assert spec["prompts"]["topics-1"]["classes"] == list(WORDS)
    assert [cell["question"] for cell in spec["selects"]] == ["decide which of these a text is: " + ", ".join(WORDS)]
    assert made.table_settings("table3")["categories"] == (("topics", "TOPICS"),)
    assert made.figure_settings({})["looks"] == [("topics", "TOPICS", None)]


def test_a_run_may_score_a_category_in_another_way(plan):
    assert plan(metrics={"topics": "accuracy"}).llm.selection_settings()["metrics"] == {"topics": "accuracy"}


def test_one_category_may_be_scored_over_whole_words(plan):
    """Words that begin alike need it; the engine of other categories stays as it is."""
    alike = {"classes": [f"topic {letter}" for letter in "abcdefghij"]}
    with pytest.raises(ConfigError, match=r"begin with the same word 'topic'.*its answer: sequence"):
        plan(alike)
    made = plan(alike | {"answer": "sequence"}, datasets={"topics": ["own"], "sa": ["mini-films"]})
    (model,) = made.config.llm.models
    specs = [json.loads(made.llm.labels.spec(model, batch)) for batch in made.llm.labels.batches[model].new]
    assert {next(iter(spec["prompts"].values()))["category"]: spec["engine"]["score"] for spec in specs} == {
        "topics": "sequence",
        "sa": "first_token",
    }
    assert all(len({prompt["category"] for prompt in spec["prompts"].values()}) == 1 for spec in specs)
    before, after = plan(), plan({"answer": "sequence"})
    assert set(before.llm.labels.cells.values()).isdisjoint(after.llm.labels.cells.values())
    assert plan({"answer": "first_token"}).llm.labels.cells == before.llm.labels.cells, "it is the run's own way"
    server = {"engine": "openai", "base_url": "http://localhost:1", "api_model": "m"}
    assert plan({"answer": "sequence"}, engine=server).run.engine_of("topics").score == "sequence"
