"""The audit of a whole run by someone who did not make it: adopted after a clone, and a sample of it done again."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest
from support.checkouts import CONFIG, MODEL, Checkout, audit, say
from support.rerun_table import reruns

pytestmark = pytest.mark.workflow

LABELS = f"results/labels/{MODEL}/sa-7/sa.jsonl.gz"
VECTOR = f"results/embeddings/{MODEL}/tupate/mte/{MODEL}/sa-7.safetensors"
GOOD = {"identical", "equivalent", "within tolerance"}


@pytest.fixture
def clone(finished: Checkout, tmp_path: Path) -> Checkout:
    """The checkout elsewhere with copied results: no metadata of Snakemake's, and times in a random order."""

    def put(source: str, target: str) -> None:
        (os.link if re.search(r"/models/.*\.safetensors$", source) else shutil.copyfile)(source, target)

    folder = tmp_path / "clone"
    shutil.copytree(finished.folder, folder, copy_function=put, ignore=shutil.ignore_patterns(".snakemake"))
    files = sorted(path for path in (folder / "results").rglob("*") if path.is_file() and path.stat().st_nlink == 1)
    random.Random(1).shuffle(files)
    for second, path in enumerate(files):
        os.utime(path, (1.7e9 + second, 1.7e9 + second))
    return Checkout(folder)


def state(run: Checkout) -> dict[str, tuple[int, int]]:
    """Size and time of every file of the results."""
    files = (path for path in (run / "results").rglob("*") if path.is_file())
    return {path.as_posix(): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def test_a_clone_is_verified_adopted_and_complete(clone: Checkout):
    assert audit(clone, "manifest", "--config", CONFIG)[0] == 0
    assert audit(clone, "verify")[0] == 0
    assert clone.planned() != {}, "by its times, a copy is stale"
    code, report = audit(clone, "adopt", "--config", CONFIG)
    assert code == 0 and report["findings"] == [] and report["facts"]["missing"] == 0
    assert clone.planned().keys() == reruns("a fresh clone with `results/` copied, after `fute audit adopt`")
    clone.edit(CONFIG, "draws: 50", "draws: 51")
    assert clone.planned() == {"selection": 1, "table3": 1, "report": 1}
    clone.edit(CONFIG, "draws: 51", "draws: 50")
    clone.edit(
        "src/fute/evaluation/metrics.py", "return 1 / np.log2(np.arange(2, n + 2))", "return 1 / np.arange(2, n + 2)"
    )
    assert clone.planned().keys() == reruns("an edit of `ndcg`")


def test_a_tampered_batch_is_not_adopted(clone: Checkout):
    record = json.loads((clone / f"{VECTOR}.prov.json").read_text())["record"]
    [name] = [each["path"] for each in record["inputs"] if each["path"].endswith(".zip")]
    data = bytearray((clone / name).read_bytes())
    data[len(data) // 2] ^= 1
    (clone / name).write_bytes(data)
    code, report = audit(clone, "adopt", "--config", CONFIG)
    assert code == 1 and [each["artifact"] for each in report["findings"]] == [name]
    assert "delete the batch, its .keys, their records and its folder" in report["findings"][0]["message"]


def test_a_sample_done_again_is_the_same(clone: Checkout):
    say("doing ten jobs again, several with a model (about a minute)")
    before = state(clone)
    code, report = audit(clone, "rerun", "--config", CONFIG, "--sample", "10", "--seed", "1")
    assert code == 0, report["findings"]
    assert set(report["counts"]) <= GOOD and report["facts"]["jobs"] == 10
    assert len(report["facts"]["stages"]) == 10, "every job is of another stage, as there are more stages than jobs"
    assert state(clone) == before and not list((clone / ".snakemake").rglob("metadata/*"))


def test_a_fault_in_the_labelling_is_found_and_traced_to_its_batch(clone: Checkout):
    clone.edit(
        "src/fute/llm/label_batch_step.py", "for score in result.log_scores]", "for score in result.log_scores[::-1]]"
    )
    say("labelling one cell again")
    code, report = audit(clone, "rerun", "--config", CONFIG, "--sample", "1")
    assert code == 1
    batches = {path.relative_to(clone.folder).as_posix() for path in (clone / "results/labels").rglob("batches/*.gz")}
    assert set(report["facts"]["first divergent"]) <= batches and len(report["facts"]["first divergent"]) == 1
    for each in report["findings"]:
        assert each["verdict"] == "drifted" and each["cause"] == "code"
        assert "label_batch: the code of fute.llm.label_batch_step is not that of the run" in each["message"]
        assert report["facts"]["first divergent"][0] in each["message"]


def test_a_fault_after_the_labelling_is_not_blamed_on_it(clone: Checkout):
    clone.edit(
        "src/fute/llm/extract_labels_step.py",
        "shifted = calibrate(scores, offset)",
        "shifted = calibrate(-scores, offset)",
    )
    code, report = audit(clone, "rerun", "--config", CONFIG, LABELS)
    assert code == 1 and report["facts"]["first divergent"] == [LABELS]
    assert (
        "extract_labels: the code of fute.llm.extract_labels_step is not that of the run"
        in report["findings"][0]["message"]
    )


def test_noise_of_one_machine(clone: Checkout):
    say("learning one vector twice (half a minute)")
    code, report = audit(clone, "noise", VECTOR, "--repeats", "2", "--config", CONFIG)
    assert code == 0, report["findings"]
    found = json.loads((clone / "results/audit/noise.json").read_text())["floor"]["vectors"]
    assert found["artifacts"] == 1 and set(found["distances"]) == {"cosine distance", "relative L2"}
    assert found["distances"]["relative L2"] < 1e-3


def test_what_an_edited_prompt_would_run_again_and_why(clone: Checkout):
    here = 'number: 7\n    template: "'
    clone.edit("config/prompts/sa.yaml", here, f"{here}Well. ")
    line = ["results/paper/tables/table3.md", "--config", CONFIG]
    code, found = audit(clone, "explain", *line)
    assert code == 0
    rules = [each["rule"] for each in found["pending"]]
    planned = clone.planned("results/paper/tables/table3.md")
    assert set(rules) == {
        "label_batch", "extract_unsup_labels", "extract_test_labels", "self_select", "baseline_scores", "embed_batch",
        "mte", "similarities", "selection", "table3",
    }  # fmt: skip
    assert planned != {} and found["chain"][line[0]]["step"] == "table3"
    batch = found["pending"][rules.index("label_batch")]
    assert any(why.startswith("params: prompts.sa-7.template") and "Well. " in why for why in batch["reasons"])
    costs = {each["step"]: each for each in found["costs"]}
    assert costs["label_batch"]["benchmark_s"] > 0 and costs["label_batch"]["wall_s"] > 0
