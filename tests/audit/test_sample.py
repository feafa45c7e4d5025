"""Which jobs are drawn: seeded, spread over all strata, within the budget."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from fute.artifacts import Step, gzip_bytes, sidecar_path
from fute.audit.findings import AuditError
from fute.audit.paths import ResultsFolder
from fute.audit.planned_jobs import Job
from fute.audit.rerun.sample import draw, named, seconds_of, stratum
from fute.audit.sidecars import read_sidecar


def job(rule: str, **wildcards: str) -> Job:
    name = "-".join([rule, *wildcards.values()])
    return Job(rule, wildcards, (f"results/{name}",), (), {})


JOBS = [
    *(job("label", model=m, task=t, dataset=d) for m in "mn" for t in "pqrs" for d in ("sst2", "cb", "rte")),
    *(job("data", dataset=d) for d in ("sst2", "cb", "rte")),
    job("table3"),
]


def drawn(size: int, seed: int = 1, budget: float = 1e9, cost=lambda job: 1.0, first=lambda job: False):
    return draw(JOBS, size, seed, budget, cost, first)


def test_a_stratum_is_stage_model_prompt_and_dataset():
    assert stratum(JOBS[0]) == ("label", "m", "p", "sst2")
    assert stratum(JOBS[-1]) == ("table3", "", "", "")
    assert stratum(job("mte", surrogate="t5", method="tupate", model="m", task="p"))[:3] == ("mte", "m", "p")
    assert stratum(job("dte", surrogate="t5", method="tupate", dataset="cb")) == ("dte", "t5", "tupate", "cb")


def test_equal_seeds_draw_equal_samples_and_others_others():
    assert drawn(6).jobs == drawn(6).jobs
    assert len({tuple(each.outputs for each in drawn(6, seed=seed).jobs) for seed in range(20)}) > 10


@pytest.mark.parametrize("seed", range(10))
def test_small_samples_hold_every_stage_model_prompt_and_dataset(seed: int):
    found = drawn(3, seed).jobs
    assert {each.rule for each in found} == {"label", "data", "table3"}
    labels = [stratum(each) for each in drawn(12, seed).jobs if each.rule == "label"]
    # three data jobs and one table are all there are of them
    assert len(labels) == 8
    assert Counter(s[1] for s in labels) == {"m": 4, "n": 4} and Counter(s[2] for s in labels) == dict.fromkeys(
        "pqrs", 2
    )
    assert {s[3] for s in labels} == {"sst2", "cb", "rte"}


def test_the_budget_is_kept_and_what_is_too_dear_is_counted():
    cost = {"label": 100.0, "data": 1.0, "table3": 2.0}
    found = drawn(100, budget=250, cost=lambda each: cost[each.rule])
    assert found.seconds == 205 <= 250
    assert Counter(each.rule for each in found.jobs) == {"label": 2, "data": 3, "table3": 1}
    assert found.left_out == 22
    assert drawn(5, budget=0).jobs == ()


def test_what_comes_first_is_drawn_first():
    found = drawn(3, first=lambda each: each.wildcards.get("dataset") == "cb" and each.rule == "data").jobs
    assert found[0].outputs == ("results/data-cb",)


def test_named_artifacts():
    assert named(JOBS, ["results/table3", "results/data-cb", "results/table3"]) == [JOBS[-1], JOBS[-3]]
    with pytest.raises(AuditError, match=r"^results/elsewhere: no rule"):
        named(JOBS, ["results/elsewhere"])


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [({"key": "k1"}, 1 + 5), ({"keys": {"a>b": "k1", "a>c": "k2"}}, 1 + 10), ({"keys": {"1": "k1", "2": "k9"}}, 1 + 5)],
)
def test_a_job_costs_its_share_of_the_batches_that_it_reads(tmp_path, monkeypatch, settings, seconds):
    """A batch of four keys took 20 seconds, the job itself one."""
    monkeypatch.chdir(tmp_path)
    batch, output = Path("results/transfer/m/batches/b.jsonl.gz"), Path("results/x.json")
    with Step("fute.blackbox.transfer_batch_step", settings={}) as step:
        step.bytes(batch, gzip_bytes(b"lines"))
        step.bytes(batch.with_name("b.keys"), b"".join(b"k%d\tcell other\n" % number for number in range(4)))
    with Step("fute.blackbox.extract_transfer_step", settings=settings, inputs=[batch]) as step:
        step.json(output, {})
    for path, wall_s in ((batch, 20), (output, 1)):
        values = json.loads(sidecar_path(path).read_text())
        values["run"]["wall_s"] = wall_s
        sidecar_path(path).write_text(json.dumps(values))
    names, results = [path.as_posix() for path in (batch, output)], ResultsFolder(Path("results"))
    entries = {name: read_sidecar(results, name)[0].record for name in names}
    made = Job("extract_transfer", {}, (names[1],), (names[0],), {})
    assert seconds_of(made, SimpleNamespace(entries=entries), results) == seconds
