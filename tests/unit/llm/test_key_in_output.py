"""The server's key is in nothing that a failing labelling step prints or leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.answer_server import Server
from support.categories import prompt

from fute.artifacts import Step
from fute.code_hash import PACKAGE
from fute.config.engines import EngineSettings
from fute.data.rows import Row
from fute.llm.label_batch_step import BatchSpec, LabelCell


def prepare(folder: Path, url: str) -> list[str]:
    """The command of a labelling step, in a folder that has its files. The key is in a variable of an odd name."""
    words = {"negative": ["no"], "positive": ["yes"]}
    asked = prompt("sa", id="sa-1", number=1, template="{text}?", verbalizers=words)
    engine = EngineSettings(engine="openai", base_url=url, api_model="m", api_key_env="LLM_PASS", max_retries=1)
    cell = LabelCell(key="k" * 64, prompt="sa-1", corpus="u")
    batch = BatchSpec(engine=engine, prompts={"sa-1": asked}, labels=(cell,))
    (folder / "spec.json").write_text(batch.model_dump_json())
    (folder / "lock.json").write_text("{}")
    with Step("fute.batching", settings={}) as step:
        step.jsonl(folder / "u.jsonl.gz", [Row("u/0", ("a text",)).to_json()])
    step_line = (
        "label_batch --spec spec.json --model none --lock lock.json --corpora u=u.jsonl.gz --output out/b.jsonl.gz"
    )
    return [sys.executable, "-m", "fute", *step_line.split()]


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("sk-\u00e9-planted\r\n-key", "LLM_PASS: character 4 of"),
        ("sk 'planted' \"key\" \\ 0000 \r\n", "was refused, HTTP 401: Incorrect key"),
    ],
)
def test_a_failing_step_leaves_no_key(tmp_path, monkeypatch, key, told):
    monkeypatch.chdir(tmp_path)
    server = Server()
    sent = key.strip()
    busy = (503, {}, {"error": f"busy, and {sent}"})
    refused = (401, {}, {"error": {"message": f"Incorrect key {sent} {sent!r} {json.dumps(sent)}"}})
    server.reply = lambda n, path, body: busy if n == 0 else refused
    log = tmp_path / "step.log"
    try:
        line = prepare(tmp_path, server.url)
        with log.open("wb") as output:
            environment = os.environ | {"LLM_PASS": key, "PYTHONPATH": str(PACKAGE.parent)}
            done = subprocess.run(line, env=environment, stdout=output, stderr=output, timeout=60)
    finally:
        server.close()
    said = log.read_text()
    assert done.returncode == 1 and "Traceback" not in said
    assert told in said.splitlines()[-1]
    if server.headers:
        assert server.headers[0]["Authorization"] == f"Bearer {sent}"
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        text = path.read_text(errors="replace")
        for form in (sent, repr(sent)[1:-1], json.dumps(sent)[1:-1], "planted"):
            assert form not in text, path
