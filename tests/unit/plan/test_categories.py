"""A category that the project does not ship goes through the planner: ten classes of own names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from fute.config import categories, llm_experiment, prompts, settings, unsup
from fute.config.categories import CategoryEntry
from fute.config.run import parse_run, read_yaml
from fute.plan import Plan

ROOT = Path(__file__).parents[3]
WORDS = ("art", "bread", "cars", "dance", "earth", "film", "games", "health", "ink", "jazz")


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """The demo with one category more, `topics`, with a prompt and a dataset of its own."""
    monkeypatch.chdir(ROOT)
    entry = CategoryEntry(classes=WORDS, metric="macro_f1")
    monkeypatch.setitem(categories.ENTRIES, "topics", entry)
    monkeypatch.setitem(categories.CLASSES, "topics", entry.classes)
    monkeypatch.setitem(categories.TITLES, "topics", "TOPICS")
    monkeypatch.setitem(prompts.PLACEHOLDERS, "topics", entry.segments)
    monkeypatch.setitem(unsup.PER_SCRIPT, "topics", entry.unsup.max_per_script)
    monkeypatch.setitem(unsup.LIMIT, "topics", entry.unsup.limit)
    monkeypatch.setattr(settings, "CATEGORIES", (*llm_experiment.CATEGORIES, "topics"))
    shutil.copytree(ROOT / "config", tmp_path / "config")
    shutil.copytree(ROOT / "resources/builtin", tmp_path / "data")
    (tmp_path / "data/own").mkdir()
    for split in ("train", "test"):
        lines = [json.dumps({"words": f"{split} {i}", "topic": WORDS[i % 10]}) for i in range(20)]
        (tmp_path / f"data/own/{split}.jsonl").write_text("\n".join(lines) + "\n")
    own = {"title": "Own", "category": "topics", "fields": ["words"], "label_field": "topic",
           "splits": {"train": "train", "test": "test"}}  # fmt: skip
    registry = tmp_path / "config/datasets.yaml"
    registry.write_text(registry.read_text() + yaml.safe_dump({"own": own}))
    own_prompts = [{"id": f"topic-{n}", "number": n, "template": f"{n}. {{text}} Topic?"} for n in (1, 2)]
    (tmp_path / "config/prompts/topics.yaml").write_text(yaml.safe_dump({"category": "topics", "prompts": own_prompts}))

    def make(**changes):
        demo = read_yaml(ROOT / "config.yaml")
        values = demo | {
            "data": {"source": "files", "root": str(tmp_path / "data"), "dev_share": 0}, "lm": None,
            "unsup": demo["unsup"] | {"topics": demo["unsup"]["sa"]},
            "llm": demo["llm"] | {"datasets": {"topics": ["own"]}, "prompts": {}},
        }  # fmt: skip
        return Plan(parse_run(values | changes, tmp_path / "config", "my.yaml"), (), tmp_path)

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
    (batch,) = made.llm.labels.plans[model].new
    spec = json.loads(made.llm.labels.spec(model, batch))
    assert set(spec["prompts"]["topic-1"]["verbalizers"]) == set(WORDS)
    assert [cell["question"] for cell in spec["selects"]] == ["decide which of these a text is: " + ", ".join(WORDS)]


def test_a_run_may_score_a_category_in_another_way(plan):
    llm = read_yaml(ROOT / "config.yaml")["llm"] | {"datasets": {"topics": ["own"]}, "metrics": {"topics": "accuracy"}}
    assert plan(llm=llm | {"prompts": {}}).llm.selection_settings()["metrics"] == {"topics": "accuracy"}
