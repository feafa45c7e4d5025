"""The audit page: what a run holds, what was checked, where its tables and figures come from, what it cost.

One HTML file in the report's look, without scripts, images or network.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import PurePosixPath

from jinja2 import Environment, StrictUndefined

from fute import __version__
from fute.audit.claims.check import KINDS, Outcome
from fute.audit.claims.show import failure, grouped
from fute.audit.findings import DRIFT, INCOMPLETE, OK, WORDS
from fute.audit.manifest import Manifest
from fute.audit.paths import ResultsFolder
from fute.audit.publish.audits import Audits
from fute.audit.publish.page_history import chains_section, costs_section, receipts_section
from fute.audit.publish.page_rows import row, table
from fute.durations import duration
from fute.paper.grids import Group
from fute.paper.html_template import TEMPLATE
from fute.paper.report import Section

MOST_FINDINGS = 200
SAID = {
    OK: "Nothing of what was checked is wrong.",
    DRIFT: "Something drifted: it is not what was recorded.",
    INCOMPLETE: "Something is missing or could not be checked.",
}


def render_page(audits: Audits, results: ResultsFolder) -> str:
    """The page as text; names from records are escaped."""
    manifest = audits.manifest
    sections = [
        Section("run", "What was audited", pairs=_facts(audits)),
        _coverage(manifest),
        _verdicts(audits),
        _claims(audits),
        chains_section(manifest),
        costs_section(manifest, results),
        receipts_section(results),
        _findings(audits),
    ]
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE)
    lede = "Every artifact of the run hashed again, every record followed to its inputs, every number to its artifact."
    note = "" if audits.verified.exit_code == OK else SAID[audits.verified.exit_code]
    return page.render(title=f"Audit of {manifest.config.name}", lede=lede, note=note, sections=sections)


def _facts(audits: Audits) -> list[tuple[str, str]]:
    manifest = audits.manifest
    facts = [
        ("Configuration", f"{manifest.config.name} ({manifest.config.file or 'settings of its own'})"),
        ("Root hash", manifest.root),
        ("Targets", ", ".join(manifest.targets) or "all of the run"),
        ("Artifacts with a record", f"{len(manifest.entries):,}"),
        ("Verification", WORDS[audits.verified.exit_code]),
        ("Claims", WORDS[audits.claims.exit_code]),
    ]
    threads: dict[str, set[str]] = defaultdict(set)
    for environment in manifest.environments.values():
        gpus = ", ".join(environment.get("gpu", [])) or "no GPU"
        versions = ", ".join(f"{name} {version}" for name, version in sorted(environment.get("packages", {}).items()))
        machine = f"{environment.get('cpu', '?')}, {gpus}; Python {environment.get('python', '?')}, {versions}"
        threads[machine].add(environment.get("threads", "?"))
    for machine, counts in threads.items():
        facts.append(("Made with", f"{machine}; threads: {', '.join(sorted(counts))}"))
    return [*facts, ("Audited with", f"fute {__version__}")]


def _stage(name: str) -> str:
    return PurePosixPath(name).parts[1]


def _coverage(manifest: Manifest) -> Section:
    kinds = {
        "Recorded": manifest.entries, "Stale": manifest.stale, "No record": manifest.unrecorded,
        "Missing": manifest.missing, "Surplus": manifest.surplus,
    }  # fmt: skip
    counts = {kind: Counter(map(_stage, names)) for kind, names in kinds.items()}
    stages = dict.fromkeys(stage for found in counts.values() for stage in sorted(found))
    rows = [row(stage, *(f"{counts[kind][stage]:,}" for kind in kinds)) for stage in stages]
    rows.append(row("All", *(f"{found.total():,}" for found in counts.values())))
    text = (
        "The workflow's graph says which artifacts there should be. Stale ones were made with other settings, code or "
        "inputs than the graph would use; surplus ones belong to nothing that was asked for."
    )
    grid = table("Artifacts by stage.", ["Stage", *kinds], [Group("", rows)])
    return Section("coverage", "Coverage of the graph", [text], tables=[grid])


def _verdicts(audits: Audits) -> Section:
    report = audits.verified
    rows = [row(verdict, f"{count:,}") for verdict, count in report.counts().items()]
    grid = table("Files by verdict.", ["Verdict", "Files"], [Group("", rows)])
    read = f"{report.facts['MB']:,} MB were read in {duration(report.facts['seconds'])}."
    return Section("verdicts", "Verification", [SAID[report.exit_code], read], tables=[grid])


def _claims(audits: Audits) -> Section:
    rows = [
        row(title, *(f"{audits.claims.counts(kind).get(str(outcome), 0):,}" for outcome in Outcome))
        for kind, title in KINDS.items()
    ]
    grid = table("Numbers by outcome.", ["What is claimed", *map(str, Outcome)], [Group("", rows)])
    text = (
        "Every number of the tables, of the documents and of the paper is tied to an artifact. That our run reproduces "
        "itself and that it agrees with the publication are two things."
    )
    return Section("claims", "Claims", [text], tables=[grid])


def _findings(audits: Audits) -> Section:
    """What verification found, numbers that failed, and claims that were not compared."""
    answers = audits.claims.answers
    found = [f"{each.verdict} ({each.cause}): {each.message}" for each in audits.verified.findings]
    found += [f"FAIL: {a.claim}: {failure(a)}" for a in answers if a.outcome is Outcome.FAIL]
    found += [
        f"{outcome}: {claim}{f' ({count} numbers)' if count > 1 else ''}: {why}"
        for (claim, outcome, why), count in grouped(answers).items()
        if outcome not in (Outcome.PASS, Outcome.FAIL)
    ]
    if len(found) > MOST_FINDINGS:
        found[MOST_FINDINGS:] = [f"and {len(found) - MOST_FINDINGS} more; --json of the commands lists all"]
    return Section("findings", "Findings", [] if found else ["None."], sentences=found)
