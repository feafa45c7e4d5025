"""Where a run's data come from: a source per dataset, a root for U, and what is said of data that are not there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from fute.cluster.job_needs import BUILTIN_ROWS, JobNeeds
from fute.config.run import parse_run, read_yaml
from fute.plan import Plan

ROOT = Path(__file__).parents[3]
BUILTIN = ROOT / "resources/builtin"


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def plan(file: str = "config.yaml", **data: Any) -> Plan:
    values = read_yaml(ROOT / file)
    return Plan(parse_run(values | {"data": values["data"] | data}, ROOT / "config", "my.yaml"), (), Path("no-results"))


def keys(planned: Plan) -> dict[str, str]:
    return {path: item.key for path, item in planned.vector_batches.items.items()}


def test_one_dataset_from_elsewhere_leaves_the_others_as_they_are(tmp_path):
    before = plan()
    shutil.copytree(BUILTIN / "mini-films", tmp_path / "mini-films")
    mixed = plan(sources={"mini-films": "files"}, root=str(tmp_path))
    assert mixed.data.missing == {} and mixed.data.missing_text() == ""
    assert mixed.data.source("mini-films")["source"] == "files"
    assert mixed.data.source("mini-films")["files"] == before.data.source("mini-films")["files"]
    assert mixed.data.dataset_settings("mini-films")["source"] == "files"
    moved = {path for path, key in keys(before).items() if keys(mixed)[path] != key}
    assert moved and {path.rsplit("/", 1)[1].split(".")[0] for path in moved} == {"mini-films"}
    # U is the project's own still, and comes from another folder than that dataset
    assert mixed.data.unsup_root == Path("resources/builtin") and mixed.data.root == tmp_path
    assert mixed.data.unsup_source("sa") == before.data.unsup_source("sa")


def test_what_a_dataset_is_called_and_how_large_it_is_said_to_be_moves_nothing(tmp_path):
    """Words of the tables: no row is another, so nothing is labelled, learned or fine-tuned again."""
    registries = shutil.copytree(ROOT / "config", tmp_path / "config")
    entries = registries / "datasets.yaml"
    text = entries.read_text(encoding="utf8")
    assert text.count("  title: Mini films (demo)\n") == 1
    entries.write_text(
        text.replace("  title: Mini films (demo)\n", "  title: Cinema\n  vu_size: 0.1\n  max_unlabelled: 0.2\n"),
        encoding="utf8",
    )

    def keys_of(registries: Path) -> list[dict[Any, str]]:
        made = Plan(parse_run(read_yaml(ROOT / "config.yaml"), registries), (), tmp_path)
        assert made.run.datasets["mini-films"].title == (
            "Mini films (demo)" if registries == ROOT / "config" else "Cinema"
        )
        tuned = {(model, cell): run.key for model, runs in made.lm.finetune.runs.items() for cell, run in runs.items()}
        return [
            keys(made),
            made.llm.labels.cells,
            tuned,
            {cell: run.key for cell, run in made.lm.transfer.runs.items()},
        ]

    assert keys_of(registries) == keys_of(ROOT / "config")


def test_u_comes_from_the_root_of_a_run_that_reads_the_hub(tmp_path):
    shutil.copy(BUILTIN / "pool.jsonl", tmp_path)
    made = plan(source="hub", sources={name: "builtin" for name in plan().data.datasets}, root=str(tmp_path))
    assert made.data.missing == {} and made.data.unsup_root == tmp_path


def test_needs_of_a_job_follow_the_source_of_its_dataset(tmp_path):
    needs = JobNeeds(plan("config/paper-lm.yaml", sources={"rte": "builtin"}))
    assert (needs.train_rows("rte"), needs.train_rows("sst2")) == (BUILTIN_ROWS, 67349)
    assert (needs.texts("rte"), needs.texts("sst2")) == (BUILTIN_ROWS, 872)


def test_all_that_is_missing_is_named_at_once_and_a_plan_is_made(tmp_path, monkeypatch):
    made = plan("config/paper-lm.yaml")
    assert list(made.data.missing) == ["newsqa", "comqa", "cq", "U for lm"]
    head, *lines = made.data.missing_text().splitlines()
    assert head == "data: 4 of the 26 sources of this run cannot be read, and it needs all of them:"
    assert len(lines) == 4 and "set data.root, e.g. --config data='{root: DIR}'; NewsQA's terms" in lines[0]
    assert "U for lm: crossfit: no *.tsv or *.jsonl in it" in lines[3] and "data.root is not given" in lines[3]
    # everything can be looked at: jobs, batches, costs
    assert len(made.lm.transfer.runs) == 22 * 21 + 66 and len(keys(made)) == len(set(keys(made).values()))

    (tmp_path / "crossfit").mkdir()
    (tmp_path / "crossfit/emo.tsv").write_text("a text\tan answer\n")
    for folder in ("newsqa", "com_qa"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.jsonl").write_text("{}\n")
    (tmp_path / "newsqa/dev.jsonl").write_text("{}\n")
    there = plan("config/paper-lm.yaml", root=str(tmp_path))
    assert list(there.data.missing) == ["comqa", "cq"]
    assert f"{tmp_path}/com_qa/dev.jsonl: does not exist" in there.data.missing["comqa"]
    assert "train.jsonl: does not exist, nor one that ends in" in there.data.missing["cq"]
    assert ", neither does dev.jsonl; its own release" in there.data.missing["cq"]
    assert "data.root is not given" not in there.data.missing_text()


def test_a_run_with_data_has_other_keys_than_one_without(tmp_path):
    """What a plan without data names as a batch is never taken for a result."""
    shutil.copytree(BUILTIN / "mini-films", tmp_path / "mini-films")
    given = {"sources": {"mini-films": "files"}}
    without, there = keys(plan(**given)), keys(plan(**given, root=str(tmp_path)))
    assert {path for path in without if without[path] != there[path]} >= {
        path for path in without if path.endswith("/dte/mini-films.safetensors")
    }
