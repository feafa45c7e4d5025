"""The commands that need no workflow, as a machine reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.large_run import write_run
from typer.testing import CliRunner

from fute.commands import app


def test_reports_are_one_json_object_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names = write_run(tmp_path, [10, 20])
    Path("resources").mkdir()
    Path("resources/claims.yaml").write_text(
        "claims:\n- {id: a, kind: reproduction, about: x, said: {value: '2'},"
        " shown: {file: results/data/0/0.bin.prov.json, pointer: /record/size}}\n"
    )
    runner = CliRunner()
    verified = runner.invoke(app, ["audit", "verify", "--json"])
    claims = runner.invoke(app, ["audit", "claims", "--json"])
    report = json.loads(verified.stdout)
    assert verified.exit_code == 0 and report["counts"] == {"identical": len(names)}
    told = json.loads(claims.stdout)
    assert claims.exit_code == told["exit_code"] == 1 and told["answers"][0]["outcome"] == "FAIL"
    Path("claims.json").write_text(claims.stdout)
    done = runner.invoke(app, ["audit", "receipt", "--report", "claims.json", "--json"])
    audits = json.loads(done.stdout)["audits"]
    assert done.exit_code == 1 and [(each["command"], each["exit_code"]) for each in audits] == [
        ("verify", 0), ("claims", 1), ("claims", 1),
    ]  # fmt: skip
    assert audits[1] == audits[2]
