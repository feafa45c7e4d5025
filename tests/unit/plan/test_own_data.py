"""What docs/own-data.md says of an own dataset and an own black box leads to a plan, word by word."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from fute import paths
from fute.config.run import parse_run, read_yaml
from fute.plan import Plan

ROOT = Path(__file__).parents[3]
DATASET = "my-dataset"


def block(key: str) -> dict[str, Any]:
    """The page's YAML block that begins with a key."""
    text = (ROOT / "docs/own-data.md").read_text(encoding="utf8")
    found = [yaml.safe_load(part) for part in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    (one,) = (part for part in found if key in part and "name" not in part)  # of parts of a run, not of a whole one
    return one


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """The demo's configuration with the page's changes; the page's entry in a copy of the registry."""
    monkeypatch.chdir(ROOT)
    shutil.copytree(ROOT / "resources/builtin", tmp_path / "DIR")
    (tmp_path / f"DIR/{DATASET}").mkdir()
    for split in ("train", "test"):
        lines = [json.dumps({"review": f"{split} {i}", "stars": 1 + 4 * (i % 2)}) for i in range(8)]
        (tmp_path / f"DIR/{DATASET}/{split}.jsonl").write_text("\n".join(lines) + "\n")
    shutil.copytree(ROOT / "config", tmp_path / "config")

    def make(entry: dict[str, Any], **changes: Any) -> Plan:
        registry = tmp_path / "config/datasets.yaml"
        registry.write_text(registry.read_text() + yaml.safe_dump({DATASET: entry}))
        data = block("data")["data"] | {"root": str(tmp_path / "DIR")}
        values = read_yaml(ROOT / "config.yaml") | {"data": data} | changes
        return Plan(parse_run(values, tmp_path / "config", "my.yaml"), (), tmp_path)

    return make


def test_an_own_dataset_is_a_target_of_the_llm_experiment(plan):
    demo = read_yaml(ROOT / "config.yaml")
    workflow = plan(block(DATASET)[DATASET], llm=demo["llm"] | block("data")["llm"], lm=None)
    assert workflow.llm is not None and workflow.data.datasets == (DATASET,)
    assert workflow.data.source(DATASET)["files"][0]["path"] == f"{DATASET}/train.jsonl"


def test_an_own_dataset_and_a_function_join_the_language_models(plan):
    section = read_yaml(ROOT / "config.yaml")["lm"]
    datasets = section["datasets"] | {"cr": [*section["datasets"]["cr"], DATASET]}
    entry = block(DATASET)[DATASET] | {"category": "cr"}
    workflow = plan(entry, llm=None, lm=section | {"datasets": datasets} | block("plugins"))
    files = set(workflow.vector_batches.items)
    assert {f"results/embeddings/smollm2-135m/tupate/{name}.safetensors"
            for name in (f"dte/{DATASET}", f"mte/svm/{DATASET}", f"mte/minilm-l6/{DATASET}")} <= files  # fmt: skip
    assert workflow.lm.plugin_train("svm") == [f"results/data/{DATASET}/train.jsonl.gz"]
    assert paths.transfer_score(workflow.lm.transfer.model, "mini-topics", DATASET) in workflow.lm.transfer.files()
