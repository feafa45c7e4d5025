"""Cells of a batch done again, on a run whose LLM is a server in this process: an exact function of the prompt."""

from __future__ import annotations

import hashlib
import json
import math
import random
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.audited_run import CONFIG, MODEL, SETTINGS, Run
from support.checkouts import copy_project, say

from fute.artifacts import read_jsonl
from fute.audit.rerun.noise import NOISE

PROMPTS = (1, 3, 7)
BASELINES = f"results/baselines/{MODEL}/mini-films.json"
UNSUP, TEST = (f"results/labels/{MODEL}/sa-7/{corpus}.jsonl.gz" for corpus in ("sa", "mini-films"))
SELECT = f"results/baselines/{MODEL}/self-select-sa.json"


class Server:
    """An OpenAI-compatible server; jitter: standard deviation of what it adds to a log-odds, another each time."""

    def __init__(self) -> None:
        self.jitter, self.asked, self.times = 0.0, [], Counter()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body)
                data = json.dumps(outer.answer(body)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, body: dict) -> dict:
        text = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        share = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32
        self.times[text] += 1
        odds = 4 * (share - 0.5) + random.Random(f"{text}/{self.times[text]}").gauss(0, self.jitter)
        if "prompt" in body:
            logprobs = {"token_logprobs": [None, -share]}
            return {"choices": [{"logprobs": logprobs}], "usage": {"prompt_tokens": 2}}
        good, bad = -math.log1p(math.exp(-odds)), -math.log1p(math.exp(odds))
        top = {"yes": good - 1, "positive": good - 1, "no": bad - 1, "negative": bad - 1}
        top = [{"token": token, "logprob": value} for token, value in top.items()]
        content = [{"token": "yes", "top_logprobs": top}]
        choice = {"message": {"content": "3, 1, 2"}, "logprobs": {"content": content}, "finish_reason": "stop"}
        return {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture(scope="module")
def labelled(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run as it was made; tests only read it."""
    say("labelling with a server")
    folder = tmp_path_factory.mktemp("labelled") / "project"
    copy_project(folder)
    weights = folder.parent / "weights"
    weights.mkdir()
    (weights / "config.json").write_text('{"model_type": "none"}')
    (weights / "model.safetensors").write_bytes(b"weights")
    with (folder / "config/models.yaml").open("a") as registry:
        registry.write(f"\n{MODEL}:\n  folder: {weights}\n")
    engine = f"engine: {{engine: openai, base_url: '{server.url}', api_model: exact}}\n  calibration: unsup"
    settings = SETTINGS.format(model=MODEL).replace("engine: {engine: transformers, dtype: bfloat16}", engine)
    assert engine in settings
    (folder / CONFIG).write_text(settings.replace("prompts: {sa: [1]}", f"prompts: {{sa: {list(PROMPTS)}}}"))
    run = Run(folder, CONFIG)
    run.run("labels", BASELINES)
    return run


@pytest.fixture
def project(labelled: Run, server: Server, tmp_path: Path) -> Iterator[Run]:
    """A copy of the whole checkout that a test may edit."""
    shutil.copytree(labelled.folder, tmp_path / "project", ignore=shutil.ignore_patterns(".snakemake"))
    server.asked.clear()
    server.times.clear()
    yield Run(tmp_path / "project", CONFIG)
    server.jitter = 0.0


def batch_of(run: Run) -> str:
    [batch] = (run / f"results/labels/{MODEL}/batches").glob("*.jsonl.gz")
    return batch.relative_to(run.folder).as_posix()


def rerun(run: Run, *arguments: str, code: int = 0) -> dict:
    done = run.audit("rerun", "--config", CONFIG, "--json", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_only_the_cell_is_computed_again(project: Run, server: Server):
    report = rerun(project, TEST)
    assert report["counts"] == {"identical": 1}
    rows = len(read_jsonl(project / TEST))
    # one score and one perplexity a row; U, of which the calibration is stored, is not labelled again
    assert len(server.asked) == 2 * rows
    server.asked.clear()
    assert rerun(project, SELECT)["counts"] == {"identical": 1}
    assert len(server.asked) == 1


def test_a_sample_is_spread_over_stages(project: Run, server: Server):
    report = rerun(project, "--sample", "4", "--seed", "4")
    assert report["findings"] == [] and server.asked, "a cell is among them"
    assert list(report["facts"]["stages"].values()) == [1, 1, 1, 1]


@pytest.mark.parametrize("name", [UNSUP, TEST])
def test_a_fault_in_the_labelling_is_the_batchs(project: Run, name: str):
    project.edit(
        "src/fute/llm/label_batch_step.py", "for score in result.log_scores]", "for score in result.log_scores[::-1]]"
    )
    batch = batch_of(project)
    report = rerun(project, name, code=1)
    assert report["facts"]["first divergent"] == [batch]
    for each in report["findings"]:
        assert each["verdict"] == "drifted" and each["cause"] == "code"
        assert "label_batch: the code of fute.llm.label_batch_step is not that of the run" in each["message"]
        assert f"first divergent: {batch}" in each["message"]
    if name == TEST:  # what the fault touches is drawn first
        assert rerun(project, "--sample", "1", code=1)["facts"]["first divergent"] == [batch]


def test_a_fault_in_the_extraction_is_not_the_batchs(project: Run):
    project.edit(
        "src/fute/llm/extract_labels_step.py",
        "shifted = calibrate(scores, offset)",
        "shifted = calibrate(-scores, offset)",
    )
    report = rerun(project, TEST, code=1)
    assert report["facts"]["first divergent"] == [TEST]
    assert (
        "extract_labels: the code of fute.llm.extract_labels_step is not that of the run"
        in report["findings"][0]["message"]
    )


def test_a_fault_upstream_is_named_before_what_follows_from_it(project: Run):
    """Each is done again from its recorded inputs, and each has the fault: one function writes all rows."""
    line = "canonical_json(row) + "
    project.edit("src/fute/artifacts.py", line, line.replace("row", '{**row, "prediction": "none"}'))
    u, test = "results/unsup/sa.jsonl.gz", "results/data/mini-films/test.jsonl.gz"
    report = rerun(project, test, TEST, u, code=1)
    assert {each["artifact"] for each in report["findings"]} == {u, test, TEST}
    assert report["facts"]["first divergent"] == sorted([test, u])
    [of_labels] = [each for each in report["findings"] if each["artifact"] == TEST]
    assert of_labels["message"].endswith(f"first divergent: {test}, {u}") and report["findings"][-1] == of_labels


def test_a_prompt_of_other_words_is_not_the_run(project: Run):
    project.edit("config/prompts/sa.yaml", "Is this review positive or negative?", "Is it positive or negative?")
    report = rerun(project, TEST, code=2)
    assert "the configuration is not that of the run" in report["findings"][0]["message"]
    # the key follows the code as well, so only what was labelled tells
    path = project / "src/fute/llm/label_batch_step.py"
    path.write_text(path.read_text() + "\n# edited\n")
    report = rerun(project, TEST, code=2)
    assert "was made with other settings: prompts.sa-7.template" in report["findings"][0]["message"]
    found = json.loads(project.audit("explain", TEST, "--config", CONFIG, "--json").stdout)["pending"]
    assert [each["rule"] for each in found] == ["label_batch", "extract_unsup_labels", "extract_test_labels"]
    [why] = [why for why in found[0]["reasons"] if why.startswith("params: ")]
    assert "prompts.sa-7.template" in why and "Is this review" in why and "Is it positive" in why


def test_noise_becomes_the_tolerance(project: Run, server: Server):
    server.jitter = 1.0
    report = rerun(project, UNSUP, code=1)
    assert {each["cause"] for each in report["findings"]} == {"nondeterminism"}
    assert report["facts"]["first divergent"] == [batch_of(project)]
    done = project.audit("noise", UNSUP, "--repeats", "2", "--config", CONFIG, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    floor = json.loads((project / NOISE).read_text())["floor"]
    assert floor["labels"]["distances"]["flips"] > 0.01 and floor["metrics"]["distances"]["absolute"] > 1e-6
    found = rerun(project, UNSUP)
    assert found["counts"] == {"within tolerance": 2} and "noise of 2 repeats" in found["facts"]["tolerances"]


def test_a_tampered_batch_is_named_and_not_adopted(project: Run):
    batch = project / batch_of(project)
    data = bytearray(batch.read_bytes())
    data[len(data) // 2] ^= 1
    batch.write_bytes(data)
    done = project.audit("adopt", "labels", BASELINES, "--config", CONFIG, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1 and [each["artifact"] for each in report["findings"]] == [batch_of(project)]
    assert "delete the batch, its .keys, their records and its folder" in report["findings"][0]["message"]
    for path in batch.parent.glob(f"{batch.name.split('.')[0]}.*"):
        path.unlink()
    done = project.audit("adopt", "labels", BASELINES, "--config", CONFIG, "--json")
    assert done.returncode == 0
    # nothing needs it until a file that is taken from it is made again
    assert "label_batch" not in project.planned("labels", BASELINES)
    (project / UNSUP).unlink()
    planned = project.planned("labels", BASELINES)
    assert planned["label_batch"] == 1 and planned["extract_unsup_labels"] == len(PROMPTS)
