"""The audit page: what a run holds, what was checked, where its tables and figures come from, what it cost.

One HTML file in the report's look, without scripts, images or network.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from jinja2 import Environment, StrictUndefined

from fute import __version__
from fute.audit.audits import Audits
from fute.audit.chains import OUTSIDE, chain
from fute.audit.claims.check import KINDS, Outcome
from fute.audit.claims.show import failure, grouped
from fute.audit.executions import RecordMoved, executions
from fute.audit.manifest import Manifest
from fute.audit.paths import ResultsFolder
from fute.audit.receipts import ReceiptError, read_receipts
from fute.audit.verdicts import DRIFT, INCOMPLETE, OK
from fute.paper.grids import Cell, Grid, Group, Head, Row
from fute.paper.page import TEMPLATE
from fute.paper.report import Section, duration
from fute.paper.report_step import timings

PAPER = ("results/paper/tables/", "results/paper/figures/")
MOST_FINDINGS = 200
SAID = {
    OK: "Nothing of what was checked is wrong.",
    DRIFT: "Something drifted: it is not what was recorded.",
    INCOMPLETE: "Something is missing or could not be checked.",
}
WORDS = {OK: "good", DRIFT: "drifted", INCOMPLETE: "incomplete"}


def render_page(audits: Audits, results: ResultsFolder) -> str:
    """The page as text; names from records are escaped."""
    manifest = audits.manifest
    sections = [
        Section("run", "What was audited", pairs=_facts(audits)),
        _coverage(manifest),
        _verdicts(audits),
        _claims(audits),
        _chains(manifest),
        _costs(manifest, results),
        _receipts(results),
        _findings(audits),
    ]
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE)
    lede = "Every artifact of the run hashed again, every record followed to its inputs, every number to its artifact."
    note = "" if audits.verified.exit_code == OK else SAID[audits.verified.exit_code]
    return page.render(title=f"Audit of {manifest.config.name}", lede=lede, note=note, sections=sections)


def _table(caption: str, heads: list[str], groups: Iterable[Group], words: int = 1) -> Grid:
    """A table; the first `words` columns hold words, the others numbers."""
    line = [Head(text, left=index < words) for index, text in enumerate(heads)]
    return Grid(caption, [line], list(groups))


def _row(name: str, *cells: str, left: int = 0) -> Row:
    """A row of which the first `left` cells hold words."""
    return Row(name, [Cell(text, left=index < left) for index, text in enumerate(cells)])


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
    for environment in manifest.environments.values():
        gpus = ", ".join(environment.get("gpu", [])) or "no GPU"
        versions = ", ".join(f"{name} {version}" for name, version in sorted(environment.get("packages", {}).items()))
        threads = f"threads: {environment.get('threads', '?')}"
        python = f"Python {environment.get('python', '?')}"
        facts.append(("Made with", f"{environment.get('cpu', '?')}, {threads}, {gpus}; {python}, {versions}"))
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
    rows = [_row(stage, *(f"{counts[kind][stage]:,}" for kind in kinds)) for stage in stages]
    rows.append(_row("All", *(f"{found.total():,}" for found in counts.values())))
    text = (
        "The workflow's graph says which artifacts there should be. Stale ones were made with other settings, code or "
        "inputs than the graph would use; surplus ones belong to nothing that was asked for."
    )
    grid = _table("Artifacts by stage.", ["Stage", *kinds], [Group("", rows)])
    return Section("coverage", "Coverage of the graph", [text], tables=[grid])


def _verdicts(audits: Audits) -> Section:
    report = audits.verified
    rows = [_row(verdict, f"{count:,}") for verdict, count in report.counts().items()]
    grid = _table("Files by verdict.", ["Verdict", "Files"], [Group("", rows)])
    read = f"{report.facts['MB']:,} MB were read in {duration(report.facts['seconds'])}."
    return Section("verdicts", "Verification", [SAID[report.exit_code], read], tables=[grid])


def _claims(audits: Audits) -> Section:
    rows = [
        _row(title, *(f"{audits.claims.counts(kind).get(str(outcome), 0):,}" for outcome in Outcome))
        for kind, title in KINDS.items()
    ]
    grid = _table("Numbers by outcome.", ["What is claimed", *map(str, Outcome)], [Group("", rows)])
    text = (
        "Every number of the tables, of the documents and of the paper is tied to an artifact. That our run reproduces "
        "itself and that it agrees with the publication are two things."
    )
    return Section("claims", "Claims", [text], tables=[grid])


def _chains(manifest: Manifest) -> Section:
    together: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in manifest.entries:
        if name.startswith(PAPER):
            together[name.rpartition("/")[0], PurePosixPath(name).name.split(".")[0]].append(name)
    if not together:
        return Section("chains", "Tables and figures", ["This run made no tables and no figures."])
    order = manifest.downstream_order()
    groups = []
    for (_, base), names in sorted(together.items(), reverse=True):
        endings = ", ".join(sorted(name.rpartition(".")[2] for name in names))
        rows = [
            _row(link.rule, ", ".join(link.made_from) or OUTSIDE, f"{link.artifacts:,}", link.hash[:16], left=1)
            for link in chain(manifest, names, order)
        ]
        groups.append(Group(f"{base} ({endings})", rows))
    text = (
        "Each table and figure with the steps it came from, itself first. The hash is that of the artifact, or one "
        "over the sorted hashes of several; the single files with their inputs are in the manifest."
    )
    heads = ["Step", "Made from", "Artifacts", "sha256"]
    return Section("chains", "Tables and figures", [text], tables=[_table("Chains.", heads, groups, words=2)])


def _costs(manifest: Manifest, results: ResultsFolder) -> Section:
    title = "Costs by stage"
    try:
        ran = executions(manifest, results)
    except RecordMoved as error:
        return Section("costs", title, [f"Not summed: {error}"])
    wall = {row.rule: row.seconds for row in timings(results.folder / "benchmarks").itertuples()}
    stages: dict[str, dict[str, list]] = {}
    for execution in ran:
        stages.setdefault(execution.stage, {}).setdefault(execution.rule, []).append(execution.run)
    groups = []
    for stage, rules in stages.items():
        rows = []
        for rule, runs in rules.items():
            cpu = sum(run.get("cpu_s", 0) for run in runs)
            memory = max(run.get("peak_memory_mb", 0) for run in runs)
            measured = duration(wall[rule]) if rule in wall else "–"
            rows.append(_row(rule, f"{len(runs):,}", duration(cpu), measured, f"{memory:,} MB"))
        groups.append(Group(stage, rows))
    text = (
        "CPU time and peak memory are from the records; wall time is Snakemake's, for the rules that it measures, and "
        "may hold runs whose artifacts were replaced since."
    )
    heads = ["Step", "Runs", "CPU time", "Wall time", "Peak memory"]
    return Section("costs", title, [text], tables=[_table("Costs.", heads, groups)])


def _receipts(results: ResultsFolder) -> Section:
    title = "Receipts"
    try:
        chained = read_receipts(results)
    except ReceiptError as error:
        return Section("receipts", title, [f"The chain is broken: {error}"])
    if not chained:
        return Section("receipts", title, ["No audit of these results was recorded yet (fute audit receipt)."])
    rows = []
    for each in reversed(chained):
        said = ", ".join(f"{audit.command} {WORDS[audit.exit_code]}" for audit in each.audits)
        rows.append(_row(str(each.number), each.time, said, each.root[:16], each.sha256[:16], left=2))
    heads = ["Number", "Time", "Audits", "Root hash", "Receipt"]
    return Section("receipts", title, tables=[_table("The newest first.", heads, [Group("", rows)], words=3)])


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
