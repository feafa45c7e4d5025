"""Planning is quick, about as fast as for a bare workflow of as many jobs, and needs no data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import planning
from support.checkouts import ROOT, copy_project
from support.planning import Plan, bare, ratio

pytestmark = pytest.mark.workflow

# 1.30 and 1.54 were measured by the same code within hours on one machine, busy and quiet
PLANNING = 1.7
"""Planning the paper's run, whose jobs have up to five inputs, over a bare workflow of as many with one each."""
READING = 1.5
"""Reading our Snakefile, and all it imports, over reading an empty one."""


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return planning.paper(tmp_path_factory.mktemp("planning") / "project")


def test_planning_the_papers_run(paper, tmp_path):
    jobs = paper.run().jobs
    # three LLMs, 26 prompts: labels on U and three datasets each, two vectors and the controls
    assert jobs > 3 * 26 * (4 + 2 + 4)
    assert ratio(PLANNING, paper, bare(tmp_path / "bare", jobs), jobs) <= PLANNING


def test_reading_the_snakefile(paper, tmp_path):
    (tmp_path / "Snakefile").write_text("")
    ours = Plan(paper.folder, (*paper.arguments, "--list-rules"))
    assert ratio(READING, ours, Plan(tmp_path, ("--list-rules",)), 0, least=1) <= READING


def test_planning_what_is_all_there(paper, tmp_path):
    # the last test: it changes the project
    plain = bare(tmp_path / "bare", paper.finish())
    plain.finish()
    assert ratio(PLANNING, paper, plain, 0) <= PLANNING


def test_a_run_is_looked_at_before_its_data_are_there_and_not_begun(tmp_path):
    clone = copy_project(tmp_path / "clone")
    for clone.config, missing in (
        ("config/paper.yaml", ["U for sa", "U for nli"]),
        ("config/paper-lm.yaml", ["newsqa", "comqa", "cq", "U for lm"]),
    ):
        said = clone.dry_run()
        assert "sources of this run cannot be read" in said and all(f"\n  {name}" in said for name in missing)
        jobs = clone.planned()
        assert jobs["normalise_train"] == {"config/paper.yaml": 6, "config/paper-lm.yaml": 25}[clone.config]
        assert clone.planned("--profile", "profiles/slurm") == jobs, "its groups, too"
    line = [sys.executable, "-m", "fute", "plan", "--cost", "--configfile", clone.config]
    done = subprocess.run(line, cwd=clone.folder, env=clone.environment(), text=True, capture_output=True)
    assert done.returncode == 0 and "GPU-hours" in done.stdout
    assert done.stderr.startswith("data: 4 of the 26 sources of this run cannot be read")
    begun = clone.snakemake(check=False)
    assert begun.returncode == 1 and "WorkflowError" in begun.stdout
    assert all(begun.stdout.count(f"\n  {name}") == 2 for name in missing), "once as the plan's warning"
    assert not (clone / "results").exists() and "Traceback" not in begun.stdout


def test_paths_of_ones_own_may_have_any_marks(tmp_path):
    """Braces are wildcards and places for values to Snakemake, and a shell reads all others."""
    clone = copy_project(tmp_path / "a {b} 'c' %s $d")
    clone.config = f"{tmp_path}/{{e}} f.yaml"
    clone.variables = {"TMPDIR": f"{tmp_path}/t {{i}} 'j'"}
    Path(clone.variables["TMPDIR"]).mkdir()
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())
    settings["lm"]["transfer"] |= {"matrix": "file", "file": f"{tmp_path}/h 'g'.csv"}
    Path(clone.config).write_text(yaml.safe_dump(settings))
    Path(settings["lm"]["transfer"]["file"]).write_text("target,source,score\n")
    said = clone.dry_run("--printshellcmds", "--", "transfer", "audit")
    assert "--config '../{e} f.yaml' --settings" in said
    clone.snakemake("--", "results/unsup/lm.jsonl.gz")


def test_the_package_of_another_checkout_is_refused(tmp_path):
    """Its hashes would stand in the records of steps that run this checkout's code."""
    clone = copy_project(tmp_path / "clone")
    clone.config, clone.variables = "config.yaml", {"PYTHONPATH": str(ROOT / "src")}
    assert clone.planned(), "a copy has the same package"
    (clone / "src/fute/new.py").touch()
    done = clone.snakemake("--dry-run", check=False)
    assert done.returncode != 0 and f"the package fute of another checkout, {ROOT / 'src/fute'}" in done.stdout
