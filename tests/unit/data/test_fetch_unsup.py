"""`fute fetch-unsup` against a stand-in for the hub on this machine: tiny files in the real repositories' layout."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pytest
from pyarrow import parquet

from fute.config.sections import ConfigError
from fute.config.unsup import UnsupSettings
from fute.config.unsup_sources import ScriptSource, load_unsup_sources
from fute.data.crossfit_forms import FORMS
from fute.data.crossfit_tasks import LM_EXCLUDED, SCRIPTS
from fute.data.fetch_unsup import metaicl_line
from fute.data.rows import BadRow
from fute.data.unsup_files import read_unsup

ROOT = Path(__file__).parents[3]
SOURCES = load_unsup_sources(ROOT / "config/unsup.yaml")
COMMIT = "1" * 40  # of the stand-in's branches


def jsonl(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table(**columns: list[Any]) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def metaicl(task: str, *rows: dict[str, Any]) -> tuple[str, bytes]:
    lines = jsonl(*({"task": task, "output": "yes", "options": []} | row for row in rows))
    return f"{SOURCES.repo}/{SOURCES.revision}/data/{task}/{task}_16384_100_train.jsonl", lines


def converted(repo: str, folder: str, data: bytes) -> tuple[str, bytes]:
    return f"{repo}/{COMMIT}/{folder}/0000.parquet", data


FILES = dict(
    [
        metaicl("ag_news", {"input": "Oil rises"}, {"input": "Lisbon wins"}),
        metaicl("codah", {"input": "I eat", "options": ["soup.", "a wall."]}),
        metaicl("emo", {"input": "fine [SEP] thanks"}),
        converted(
            "UCLNLP/adversarial_qa", "adversarialQA/train", table(question=["Who?"], context=["Ada\nwrote."], id=["1"])
        ),
        converted("achrafothman/aslg_pc12", "default/train", table(text=[f" text {n}\n" for n in range(10)])),
    ]
)
GATED = "deepmind/aqua_rat"


class Hub(ThreadingHTTPServer):
    """Answers as the hub does; `faults` are given first, status by (method, last part of the path)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[tuple[str, str]] = Counter()
        self.faults: dict[tuple[str, str], list[int]] = {}
        self.slow: str = ""  # a file of which half is sent before a long wait


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        self.server.asked[self.command, name] += 1
        if waiting := self.server.faults.get((self.command, name)):
            return self.answer(waiting.pop(0), b"", {"Retry-After": "0"})
        if GATED in self.path:
            return self.answer(403, b"", {"X-Error-Code": "GatedRepo"})
        if self.path.startswith("/api/datasets/"):
            repo = "/".join(self.path.split("/")[3:5])
            names = [path.removeprefix(f"{repo}/{COMMIT}/") for path in FILES if path.startswith(f"{repo}/")]
            if not names:
                return self.answer(401, b"", {"X-Error-Code": "RepoNotFound"})
            siblings = [{"rfilename": file} for file in names]
            return self.answer(200, json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode())
        path = self.path.removeprefix("/datasets/").replace("/resolve/", "/")
        if path not in FILES:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        data, revision = FILES[path], path.split("/")[2]
        return self.answer(200, data, {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": revision})

    def answer(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            slow = self.server.slow and self.path.endswith(self.server.slow)
            self.wfile.write(data[: len(data) // 2] if slow else data)
            if slow:
                self.wfile.flush()
                time.sleep(60)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def start(hub: Hub, folder: Path, *scripts: str, **more: str) -> subprocess.Popen[str]:
    """Fetch these scripts in a process of its own: the hub's client reads its address when it is imported."""
    code = f"""
from pathlib import Path
import huggingface_hub.constants
huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 4096  # of 10 MB: these files are tiny
from fute.config.unsup_sources import load_unsup_sources
from fute.data import fetch_unsup as f
from fute.data import hub_patience
hub_patience.WAITS = (0, 0)
try:
    for script in f.fetch_unsup(load_unsup_sources(Path("config/unsup.yaml")), {scripts!r}, Path({str(folder)!r})):
        print(*script, sep="|", flush=True)
except f.FetchError as error:
    print("error:", error)
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
    environment |= {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(folder.parent / "hf"),
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", **more,
    }  # fmt: skip
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE)


def fetch(hub: Hub, folder: Path, *scripts: str, **more: str) -> list[str]:
    folder.mkdir(exist_ok=True)
    said = start(hub, folder, *scripts, **more).communicate(timeout=60)[0].splitlines()
    return [line for line in said if "asking again" not in line]


def texts(folder: Path, script: str) -> list[str]:
    return [json.loads(line)["text"] for line in (folder / f"{script}.jsonl").read_text().splitlines()]


def test_scripts_come_from_metaicl_and_from_tables_in_crossfits_form(hub, tmp_path):
    folder = tmp_path / "crossfit"
    said = fetch(hub, folder, "agnews", "codah", "adversarial_qa", "aslg_pc12", "crows_pairs", "limit", "aqua_rat",
                 "commongen")  # fmt: skip
    assert said[:4] == ["agnews|fetched|2|0|", "codah|fetched|1|0|", "adversarial_qa|fetched|1|0|",
                        "aslg_pc12|fetched|8|0|"]  # fmt: skip
    assert said[4] == ("crows_pairs|missing|0|0|allenai/metaicl-data does not have crows_pairs_16384_100_train.jsonl")
    assert said[5] == "limit|missing|0|0|no table with a licence was found on the hub"
    assert said[6].startswith("aqua_rat|missing|0|0|deepmind/aqua_rat is gated: accept its licence on https://")
    assert said[7].startswith("commongen|missing|0|0|allenai/common_gen is not on the hub, or is private")
    assert texts(folder, "agnews") == ["Oil rises", "Lisbon wins"]
    assert texts(folder, "codah") == ["I eat (A) soup. (B) a wall."]
    assert texts(folder, "adversarial_qa") == ["question: Who? context: Ada wrote."]
    order = list(range(10))
    numpy.random.RandomState(42).shuffle(order)  # CrossFit keeps the first 80 % of a shuffle with this seed
    assert texts(folder, "aslg_pc12") == [f"text {n}" for n in sorted(order[:8])]
    settings = UnsupSettings(kind="crossfit_full", path="crossfit")
    tasks = read_unsup(settings, tmp_path).tasks
    assert set(tasks) == {"agnews", "codah", "adversarial_qa", "aslg_pc12"}  # and nothing unfinished
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.jsonl" for name in tasks)


def test_what_is_there_is_not_asked_for_again(hub, tmp_path):
    folder = tmp_path / "crossfit"
    folder.mkdir()
    (folder / "emo.tsv").write_text("from CrossFit's own code\tyes\n")
    assert fetch(hub, folder, "agnews", "emo") == ["agnews|fetched|2|0|", "emo|here|1|0|"]
    asked = hub.asked.copy()
    assert fetch(hub, folder, "agnews", "emo") == ["agnews|here|2|0|", "emo|here|1|0|"]
    assert hub.asked == asked
    assert read_unsup(UnsupSettings(kind="crossfit_full", path="crossfit"), tmp_path).tasks["emo"] == [
        "from CrossFit's own code"
    ]


def test_a_busy_hub_is_asked_again(hub, tmp_path):
    file = "ag_news_16384_100_train.jsonl"
    hub.faults = {("GET", file): [500, 429, 503], ("HEAD", "emo_16384_100_train.jsonl"): [429]}
    folder = tmp_path / "crossfit"
    assert fetch(hub, folder, "agnews", "emo") == ["agnews|fetched|2|0|", "emo|fetched|1|0|"]
    assert not any(hub.faults.values())  # all were given
    assert texts(folder, "agnews") == ["Oil rises", "Lisbon wins"]


def test_a_hub_that_stays_away_ends_it_with_one_line(hub, tmp_path):
    hub.faults = {("GET", "emo_16384_100_train.jsonl"): [500] * 9}
    folder = tmp_path / "crossfit"
    said = fetch(hub, folder, "agnews", "emo", "codah")
    assert said[0] == "agnews|fetched|2|0|"
    assert said[1:] == [
        "error: the hub does not give allenai/metaicl-data (status 500): run this again, on a node with a network, or "
        "set HF_ENDPOINT to a mirror; what was fetched is kept"
    ]
    hub.faults = {}
    assert fetch(hub, folder, "agnews", "emo", "codah")[0] == "agnews|here|2|0|"


def test_a_file_that_cannot_be_read_is_missing_by_row_and_the_rest_is_fetched(hub, tmp_path, monkeypatch):
    name, _ = metaicl("emo")
    monkeypatch.setitem(FILES, name, b'{"task": "emo", "input": "a", "options": []}\n{"task": "emo", "input"')
    said = fetch(hub, tmp_path / "crossfit", "emo", "agnews")
    assert said[0].startswith("emo|missing|0|0|") and "emo_16384_100_train.jsonl, row 2: is not JSON" in said[0]
    assert said[1] == "agnews|fetched|2|0|"


@pytest.mark.parametrize("script", ["agnews", "aslg_pc12"])
def test_a_client_that_may_not_ask_says_so(hub, tmp_path, script):
    said = fetch(hub, tmp_path / "crossfit", script, HF_HUB_OFFLINE="1")
    assert said == ["error: HF_HUB_OFFLINE is set: unset it, on a node with a network"]


@pytest.fixture
def slow_emo(hub) -> Iterator[int]:
    """The hub sends half of emo's file and waits; the bytes of that half."""
    name, rows = metaicl("emo", *({"input": f"text {n}"} for n in range(20_000)))
    before, FILES[name] = FILES[name], rows
    hub.slow = name.rsplit("/", 1)[-1]
    yield len(rows) // 2
    FILES[name] = before


def start_and_wait_for_half(hub: Hub, folder: Path, half: int) -> subprocess.Popen[str]:
    """A fetch of agnews and emo that has agnews and hangs in the middle of emo."""
    folder.mkdir()
    process = start(hub, folder, "agnews", "emo")
    deadline = time.monotonic() + 30
    begun = folder / ".download/emo"  # that of agnews is removed meanwhile
    while not any(path.stat().st_size >= half // 2 for path in begun.rglob("*.incomplete")):
        assert time.monotonic() < deadline, "no download was begun"
        time.sleep(0.05)
    return process


def test_after_a_kill_only_the_rest_is_fetched(hub, slow_emo, tmp_path):
    """SIGKILL after half a file: nothing stands under the script's name; the next run leaves nothing unfinished."""
    folder = tmp_path / "crossfit"
    process = start_and_wait_for_half(hub, folder, slow_emo)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert sorted(path.name for path in folder.glob("*.jsonl")) == ["agnews.jsonl"]
    hub.slow = ""
    assert fetch(hub, folder, "agnews", "emo") == ["agnews|here|2|0|", "emo|fetched|20000|0|"]
    assert texts(folder, "emo")[-1] == "text 19999"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_two_fetches_into_one_folder_take_turns(hub, slow_emo, tmp_path):
    """The second waits, goes on where the first was killed, and asks for nothing that it has."""
    folder = tmp_path / "crossfit"
    first = start_and_wait_for_half(hub, folder, slow_emo)
    second = start(hub, folder, "agnews", "emo", "codah")
    assert second.stdout.readline().startswith(f"{folder}: another process fetches into it; waiting")
    assert second.poll() is None and not (folder / "codah.jsonl").exists()
    hub.slow = ""
    first.send_signal(signal.SIGKILL)
    first.wait()
    said = second.communicate(timeout=60)[0].splitlines()
    assert said == ["agnews|here|2|0|", "emo|fetched|20000|0|", "codah|fetched|1|0|"] and second.returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == ["agnews.jsonl", "codah.jsonl", "emo.jsonl"]


SPACED = ScriptSource(task="t", choices="spaced")


@pytest.mark.parametrize(("source", "row", "line", "apart"), [
    (ScriptSource(task="t"), {"input": " a [SEP] b ", "options": ["x", "y"]}, "a [SEP] b", True),  # classes, no choices
    (SPACED, {"input": "Why? [SEP] He ran. [SEP]", "options": ["fun", "fear"]},
     "Why? [SEP] He ran. [SEP] (A) fun (B) fear", True),
    (ScriptSource(task="t", choices="spaced", question=""),
     {"input": 'He said "go." They went.Where did J. K. go?', "options": ["out", "in"]},
     'Where did J. K. go? (A) out (B) in [SEP] He said "go." They went.', True),
    (ScriptSource(task="t", choices="spaced", question=""),  # a passage that ends without a full stop
     {"input": "It rained.They left. He stayed homeWhy?", "options": ["a", "b"]},
     "It rained.They left. He stayed homeWhy? (A) a (B) b", False),
    (ScriptSource(task="t", choices="tight", question=""), {"input": "It rained.Why?", "options": ["a", "b"]},
     "Why?(A)a(B)b [SEP] It rained.", True),
    (ScriptSource(task="t", choices="spaced", question="question: ", before_passage=""),
     {"input": " context: A question: none. Bquestion: Who?", "options": ["a", "b"]},
     "question: Who? (A) a (B) b context: A question: none. B", True),
    (ScriptSource(task="t", choices="spaced", question="suppose "), {"input": "Rain falls.suppose it is dry",
     "options": ["more", "less"]}, "suppose it is dry (A) more (B) less [SEP] Rain falls.", True),
])  # fmt: skip
def test_metaicls_form_is_turned_back_into_crossfits(source, row, line, apart):
    assert metaicl_line(row, source, "f, row 1") == (line, apart)


@pytest.mark.parametrize("row", [{}, {"input": 1}, {"input": "a", "options": "b"}, {"input": "a", "options": [1]}])
def test_rows_of_another_form_are_refused(row):
    with pytest.raises(BadRow, match=r"f, row 1, field 'input, options'"):
        metaicl_line(row, SPACED, "f, row 1")


@pytest.mark.parametrize(("script", "row", "line"), [
    ("acronym_identification", {"tokens": ["a", "neural", "net", "(", "NN", ")"], "labels": [4, 0, 2, 4, 1, 4]},
     "a neural net ( NN ) [SEP] acronym: NN"),
    ("acronym_identification", {"tokens": ["NN", "CNN"], "labels": [1, 1]}, None),
    ("aqua_rat", {"question": "1+1?", "options": ["A)2", "B)3"]}, "1+1? (A) 2 (B) 3"),
    ("commongen", {"concepts": ["ski", "snow"]}, "ski, snow"),
    ("duorc", {"question": "Who?", "plot": "A man.", "no_answer": False}, "question: Who? context: A man."),
    ("duorc", {"question": "Who?", "plot": "A man.", "no_answer": True}, None),
    ("e2e_nlg_cleaned", {"meaning_representation": "name[Aromi]"}, "name[Aromi]"),
    ("empathetic_dialogues", {"prompt": "I fell_comma_ hard", "context": "sad", "utterance": "oh"},
     "I fell, hard [SEP] sad"),
    ("empathetic_dialogues", {"prompt": "I", "context": "sad", "utterance": "hit:1"}, None),
    ("kilt_wow", {"input": "hi"}, "hi"),
    ("math_qa", {"Problem": "1+1", "options": "a ) 38 , b ) 27 , c ) 2 , d ) 0 , e ) none of these"},
     "1+1 (A) 38 (B) 27 (C) 2 (D) 0 (E) none of these"),
    ("wiki_split", {"simple_sentence_1": "A .", "simple_sentence_2": "B ."}, "sentence 1: A . [SEP] sentence 2: B ."),
])  # fmt: skip
def test_tables_give_the_lines_of_crossfits_scripts(script, row, line):
    assert FORMS[script](row) == line


def test_the_settings_cover_every_script_and_84_of_the_109_by_metaicl():
    assert set(SOURCES.scripts) == set(SCRIPTS)
    of_language_models = [script for script in SCRIPTS if script not in LM_EXCLUDED]
    assert len(of_language_models) == 109
    assert sum(SOURCES.scripts[script].task is not None for script in of_language_models) == 84
    assert {script for script, source in SOURCES.scripts.items() if source.repo} == set(FORMS)
    tasks = [source.task for source in SOURCES.scripts.values() if source.task]
    assert len(tasks) == len(set(tasks)) == 96


@pytest.mark.parametrize(("entry", "said"), [
    ("{task: a, repo: b}", "give one of task, repo and missing"),
    ("{repo: a/b, columns: [c]}", "repo needs columns and licence"),
    ("{missing: a, choices: spaced}", "choices and question belong to task"),
    ("{task: a, choice: spaced}", "did you mean choices"),
])  # fmt: skip
def test_settings_that_contradict_themselves_are_refused(tmp_path, entry, said):
    path = tmp_path / "unsup.yaml"
    path.write_text(f"repo: a/b\nrevision: {COMMIT}\nscripts:\n  emo: {entry}\n")
    with pytest.raises(ConfigError, match=f"unsup.yaml: scripts.emo.*{said}"):
        load_unsup_sources(path)
