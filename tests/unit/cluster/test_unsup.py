"""`fute fetch-unsup`, and what `fute check` and `fute prefetch` say and do of U; the hub is a stand-in."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fute.cluster import unsup
from fute.cluster.check import check_data
from fute.cluster.prefetch import prefetch
from fute.cluster.unsup import IN_PAPER, fetch, line, summary
from fute.commands import app
from fute.config.run import parse_run, read_yaml
from fute.data.fetch_unsup import FetchError, Script
from fute.data.rows import SourceError
from fute.plan import Plan
from fute.plan.data import DataPlan

ROOT = Path(__file__).parents[3]
HAS = {"emo": 30_160, "blimp": 800, "glue_sst2": 16_384}


def plan(root: Path, name: str = "paper-lm", **changes) -> Plan:
    values = read_yaml(ROOT / f"config/{name}.yaml")
    values["data"] = values["data"] | {"root": str(root)}
    return Plan(parse_run(values | changes, ROOT / "config"), (), root / "results")


@pytest.fixture
def hub(monkeypatch):
    """Stand-in for `fetch_unsup`: a hub that has three scripts, each of one line in its file."""

    def fetch_unsup(sources, scripts, folder):
        folder.mkdir(exist_ok=True)
        for name in scripts:
            if name not in HAS:
                yield Script(name, "missing", why="gone")
                continue
            (folder / f"{name}.jsonl").write_text('{"text": "a"}\n')
            yield Script(name, "fetched", HAS[name], joined=3 if name == "blimp" else 0)

    monkeypatch.setattr(unsup, "fetch_unsup", fetch_unsup)
    monkeypatch.chdir(ROOT)


def test_the_papers_counts_are_104162():
    assert len(IN_PAPER) == 109 and sum(IN_PAPER.values()) == 104_162


def test_a_line_and_the_sum_stand_beside_the_papers():
    scripts = [Script(name, "fetched", HAS[name]) for name in HAS] + [Script("mocha", "missing", why="gone")]
    assert line(scripts[1]).split("  ")[-1].strip() == "800 lines; at most 1000: 800, in the paper 800"
    assert line(scripts[2]).endswith("16384 lines; at most 1000: 1000")  # only the LLM experiment reads it
    assert line(scripts[3]).split() == ["mocha", "missing", "gone"]
    assert summary(scripts)[:2] == [
        "3 of 4 scripts are here; the paper's 109 for language models give 1,800 texts, in the paper 104,162",
        "missing: mocha",
    ]
    assert len(summary(scripts[:3])) == 1


@pytest.mark.parametrize(("name", "count"), [("paper-lm", 109), ("paper", 122)])
def test_a_run_asks_for_the_scripts_of_its_u(tmp_path, hub, capsys, name, count):
    missing = fetch(plan(tmp_path, name))
    said = capsys.readouterr().out
    assert f"{tmp_path}/crossfit: {count} scripts" in said and "  blimp" in said
    assert "3 with passage and question as one text" in said
    assert missing == count - (2 if name == "paper-lm" else 3)


def test_nothing_that_was_said_is_lost_when_another_program_takes_over(tmp_path, hub, monkeypatch):
    """What stands in the buffer of a file or pipe at `os.execv` is gone."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(written), encoding="utf8"))
    fetch(plan(tmp_path))
    assert "\na run without them says so in its report" in written.getvalue().decode()


def test_strict_asks_for_all_of_them(tmp_path, hub):
    command = ["fetch-unsup", "--configfile", "config/paper-lm.yaml", "--config", f"data={{root: {tmp_path}}}"]
    assert CliRunner().invoke(app, command).exit_code == 0
    strict = CliRunner().invoke(app, [*command, "--strict"])
    assert strict.exit_code == 1 and str(strict.exception) == "107 scripts are missing, and --strict asks for all"


def test_a_run_without_crossfit_has_nothing_to_fetch(tmp_path, hub):
    with pytest.raises(FetchError, match="no U of this run is of kind crossfit_full"):
        fetch(plan(tmp_path, unsup={"lm": {"kind": "pool", "path": "pool.jsonl"}}))


def unsup_findings(run: Plan, monkeypatch) -> list[str]:
    monkeypatch.setattr("fute.cluster.check._unreachable", lambda *_: "")
    return [str(found) for found in check_data(run) if "crossfit" in str(found)]


def test_check_names_the_command_for_scripts_that_are_not_there(tmp_path, hub, monkeypatch):
    (found,) = unsup_findings(plan(tmp_path), monkeypatch)
    assert found.startswith("fault  data: U for lm: ") and "fetch them (`fute fetch-unsup`)" in found
    fetch(plan(tmp_path))
    (found,) = unsup_findings(plan(tmp_path), monkeypatch)
    assert found.startswith(f"note   U: 107 of 109 scripts are not in {tmp_path}/crossfit (acronym_identification, ")
    assert found.endswith("`fute fetch-unsup` fetches what the hub has; U is drawn without the rest")
    for script in IN_PAPER:
        (tmp_path / f"crossfit/{script}.jsonl").write_text('{"text": "a"}\n')
    assert unsup_findings(plan(tmp_path), monkeypatch) == []


def test_prefetch_fetches_a_u_of_which_nothing_is_there(tmp_path, hub, monkeypatch, capsys):
    started = []
    monkeypatch.setattr(os, "execv", lambda *line: started.append(line))
    monkeypatch.setenv("HF_TOKEN", "hf_planted")
    with pytest.raises(SourceError, match=r"data: 3 of the 26 sources .*\n  newsqa, .*\n  comqa, .*\n  cq, "):
        prefetch(plan(tmp_path), 1, ())
    assert started == []  # what no hub has is said once, before Snakemake begins
    monkeypatch.setattr(DataPlan, "missing", {})
    prefetch(plan(tmp_path), 1, ())
    assert (tmp_path / "crossfit/emo.jsonl").is_file() and len(started) == 1
    (tmp_path / "crossfit/blimp.jsonl").unlink()  # somebody's own choice of scripts stays
    prefetch(plan(tmp_path), 1, ())
    assert not (tmp_path / "crossfit/blimp.jsonl").exists() and len(started) == 2
    (tmp_path / "crossfit/.download").mkdir()  # a fetch was broken off: it goes on
    prefetch(plan(tmp_path), 1, ())
    assert (tmp_path / "crossfit/blimp.jsonl").is_file() and len(started) == 3
