"""`fute fetch-unsup`: fetch the CrossFit scripts that a run's U is drawn from, and say which are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fute.config.unsup_sources import load_unsup_sources
from fute.data.crossfit import LANGUAGE_MODELS, texts_in_paper
from fute.data.crossfit_tasks import SCRIPTS
from fute.data.fetch_unsup import FetchError, Script, fetch_unsup
from fute.plan import Plan

SOURCES = Path("config/unsup.yaml")
PER_SCRIPT = LANGUAGE_MODELS.unsup.max_per_script
"""Most lines of a script that the paper's U for language models takes."""
IN_PAPER = {script: texts for script in SCRIPTS if (texts := texts_in_paper(script, LANGUAGE_MODELS.unsup))}
"""Script -> its texts in the paper's U for language models, 104,162 in all."""


def fetch(plan: Plan) -> int:
    """Fetch every script of the run that is not there, and print a line for each; return how many are missing.

    Raises FetchError for a run without U of CrossFit's scripts, and if the hub cannot be read.
    """
    folders = plan.data.script_folders()
    if not folders:
        raise FetchError("no U of this run is of kind crossfit_full; there is nothing to fetch")
    missing = 0
    for folder, names in folders.items():
        print(f"{folder}: {len(names)} scripts")
        scripts = []
        for script in fetch_unsup(load_unsup_sources(SOURCES), names, folder):
            print(line(script), flush=True)
            scripts.append(script)
        print("\n".join(summary(scripts)), flush=True)  # `fute prefetch` becomes another program after it
        missing += sum(script.state == "missing" for script in scripts)
    return missing


def line(script: Script) -> str:
    """What came of one script: its lines, and how many texts it gives to the paper's U and to ours."""
    head = f"  {script.name:28}{script.state:8}"
    if script.state == "missing":
        return f"{head} {script.why}"
    joined = f", {script.joined} with passage and question as one text" if script.joined else ""
    in_paper = f", in the paper {IN_PAPER[script.name]}" if script.name in IN_PAPER else ""
    return f"{head} {script.lines} lines{joined}; at most {PER_SCRIPT}: {min(script.lines, PER_SCRIPT)}{in_paper}"


def summary(scripts: Sequence[Script]) -> list[str]:
    """The scripts together, beside the paper's U for language models; then what is missing, by name."""
    ours = sum(min(script.lines, PER_SCRIPT) for script in scripts if script.name in IN_PAPER)
    missing = [script.name for script in scripts if script.state == "missing"]
    lines = [
        f"{len(scripts) - len(missing)} of {len(scripts)} scripts are here; the paper's {len(IN_PAPER)} for language "
        f"models give {ours:,} texts, in the paper {sum(IN_PAPER.values()):,}"
    ]
    if missing:
        lines += [
            f"missing: {', '.join(missing)}",
            "a run without them says so in its report; make {script}.tsv with CrossFit's own code to have them",
        ]
    return lines
