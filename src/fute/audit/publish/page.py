"""The audit page: what a run holds, what was checked, what its tables and figures came from, what it cost.

One HTML file that looks like the report, without scripts, images or network.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from jinja2 import Environment, StrictUndefined

from fute import __version__
from fute.audit.claims.check import KINDS, Outcome, failure, not_compared
from fute.audit.findings import DRIFT, INCOMPLETE, MOST_FINDINGS, OK, WORDS
from fute.audit.lineage import OUTSIDE, RecordMoved, RuleInChain, chain, executions
from fute.audit.manifest import Manifest
from fute.audit.paths import ResultsFolder
from fute.audit.publish.receipts import Audits, BrokenChain, check_receipts, read_receipts
from fute.display_names import duration
from fute.paper.grids import Cell, Grid, Group, Head, Row
from fute.paper.html_template import TEMPLATE
from fute.paper.report import Section
from fute.paper.report_step import timings

IN_WORDS = {
    OK: "Everything that was checked is as recorded.",
    DRIFT: "Something drifted: it is not as recorded.",
    INCOMPLETE: "Something is missing or could not be checked.",
}


def render_page(audits: Audits, results: ResultsFolder) -> str:
    """The page as HTML; names from records are escaped."""
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
    lede = "Every artifact was hashed again, every record followed to its inputs, every number to its artifact."
    notes = [] if audits.verified.exit_code == OK else [IN_WORDS[audits.verified.exit_code]]
    if wrong := audits.claims.counts("reproduction").get(Outcome.FAIL):
        notes.append(f"Numbers that are not those of their artifacts: {wrong:,}.")
    title, note = f"Audit of {manifest.config.name}", " ".join(notes)
    return page.render(map=None, title=title, lede=lede, note=note, sections=sections)


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
    """Folder of the results that an artifact lies in: `labels`, `embeddings`, `evaluation` ..."""
    return name.split("/")[1]


def _coverage(manifest: Manifest) -> Section:
    kinds = {
        "Recorded": manifest.entries, "Stale": manifest.stale, "No record": manifest.unrecorded,
        "Missing": manifest.missing, "Surplus": manifest.surplus,
    }  # fmt: skip
    counts = {kind: Counter(map(_stage, names)) for kind, names in kinds.items()}
    stages = dict.fromkeys(stage for of_kind in counts.values() for stage in sorted(of_kind))
    rows = [_row(stage, *(f"{counts[kind][stage]:,}" for kind in kinds)) for stage in stages]
    rows.append(_row("All", *(f"{of_kind.total():,}" for of_kind in counts.values())))
    text = (
        "The workflow's graph says which artifacts there should be. Stale ones were made with other settings, code or "
        "inputs than the workflow would use now; no target needs the surplus ones."
    )
    grid = _table("Artifacts by stage.", ["Stage", *kinds], [Group("", rows)])
    return Section("coverage", "Coverage of the graph", [text], tables=[grid])


def _verdicts(audits: Audits) -> Section:
    report = audits.verified
    rows = [_row(verdict, f"{count:,}") for verdict, count in report.counts().items()]
    grid = _table("Files by verdict.", ["Verdict", "Files"], [Group("", rows)])
    read = f"{report.facts['MB']:,} MB were read in {duration(report.facts['seconds'])}."
    return Section("verdicts", "Verification", [IN_WORDS[report.exit_code], read], tables=[grid])


def _claims(audits: Audits) -> Section:
    rows = [
        _row(title, *(f"{audits.claims.counts(kind).get(str(outcome), 0):,}" for outcome in Outcome))
        for kind, title in KINDS.items()
    ]
    grid = _table("Numbers by outcome.", ["Claim", *map(str, Outcome)], [Group("", rows)])
    text = (
        "Every number of the tables, the documents and the paper is compared with an artifact. That our run reproduces "
        "itself and that it agrees with the publication are separate claims."
    )
    return Section("claims", "Claims", [text], tables=[grid])


def _findings(audits: Audits) -> Section:
    """Findings of verification, numbers that failed, and claims that were not compared."""
    answers = audits.claims.answers
    sentences = [f"{each.verdict} ({each.cause}): {each.message}" for each in audits.verified.findings]
    sentences += [f"FAIL: {a.claim}: {failure(a)}" for a in answers if a.outcome is Outcome.FAIL]
    sentences += [
        f"{outcome}: {claim}{f' ({count} numbers)' if count > 1 else ''}: {why}"
        for (claim, outcome, why), count in not_compared(answers).items()
    ]
    if len(sentences) > MOST_FINDINGS:
        rest = len(sentences) - MOST_FINDINGS
        sentences[MOST_FINDINGS:] = [f"and {rest} more; fute audit verify and claims with --json list all"]
    return Section("findings", "Findings", [] if sentences else ["None."], sentences=sentences)


def _table(caption: str, heads: list[str], groups: Iterable[Group], words: int = 1) -> Grid:
    """A table whose first `words` columns hold words, the others numbers."""
    line = [Head(text, left=index < words) for index, text in enumerate(heads)]
    return Grid(caption, [line], list(groups))


def _row(name: str, *cells: str, words: int = 1) -> Row:
    """A row of such a table."""
    return Row(name, [Cell(text, left=index < words) for index, text in enumerate(cells, start=1)])


PAPER = ("results/paper/tables/", "results/paper/figures/")


def _link_row(name: str, link: RuleInChain) -> Row:
    return _row(name, ", ".join(link.made_from) or OUTSIDE, f"{link.artifacts:,}", link.hash[:16], words=2)


def _chains(manifest: Manifest) -> Section:
    """Each table and figure with the steps that led to it."""
    files: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for name in manifest.entries:
        if name.startswith(PAPER):
            files[name.startswith(PAPER[1]), PurePosixPath(name).name.split(".")[0]].append(name)
    if not files:
        return Section("chains", "Tables and figures", ["This run made no tables and no figures."])
    order = manifest.downstream_order()
    # figures of the same vectors share one chain
    together: dict[tuple[RuleInChain, ...], dict[str, Row]] = defaultdict(dict)
    for (_, base), names in sorted(files.items()):
        own, *above = chain(manifest, names, order)
        endings = ", ".join(sorted(name.rpartition(".")[2] for name in names))
        together[tuple(above)][base] = _link_row(f"{base} ({endings})", own)
    groups = [
        Group(", ".join(own), [*own.values(), *(_link_row(link.rule, link) for link in above)])
        for above, own in together.items()
    ]
    text = (
        "Each table and figure with the steps that led to it, itself first. The hash is that of the artifact, or one "
        "over the sorted hashes of several; the manifest has every file with its inputs."
    )
    heads = ["Step", "Made from", "Artifacts", "sha256"]
    return Section("chains", "Tables and figures", [text], tables=[_table("Chains.", heads, groups, words=2)])


def _costs(manifest: Manifest, results: ResultsFolder) -> Section:
    """Time and memory of every step, by stage (folder of the results)."""
    title = "Costs by stage"
    try:
        ran = executions(manifest, results)
    except RecordMoved as error:
        return Section("costs", title, [f"Not added up: {error}"])
    wall = {timed.rule: timed.seconds for timed in timings(results.folder / "benchmarks").itertuples()}
    stages: dict[str, dict[str, list]] = {}
    for execution in ran:
        stages.setdefault(_stage(execution.outputs[0]), {}).setdefault(execution.rule, []).append(execution.run)
    groups = []
    for stage, rules in stages.items():
        rows = []
        for rule, runs in rules.items():
            cpu = sum(run.get("cpu_s", 0) for run in runs)
            memory = max(run.get("peak_memory_mb", 0) for run in runs)
            measured = duration(wall[rule]) if rule in wall else "–"
            rows.append(_row(rule, f"{len(runs):,}", duration(cpu), measured, f"{memory:,} MB"))
        total = sum(run.get("cpu_s", 0) for runs in rules.values() for run in runs)
        groups.append(Group(f"{stage}: {duration(total)} of CPU time", rows))
    text = (
        "CPU time and peak memory are from the records. Wall time is measured by Snakemake, for some rules, and may "
        "include runs whose artifacts were replaced later."
    )
    heads = ["Step", "Runs", "CPU time", "Wall time", "Peak memory"]
    return Section("costs", title, [text], tables=[_table("Costs.", heads, groups)])


def _receipts(results: ResultsFolder) -> Section:
    """The chain of receipts, the newest first."""
    title = "Receipts"
    try:
        broken = [finding.message for finding in check_receipts(results).findings]
        chained = [] if broken else read_receipts(results)
    except BrokenChain as error:
        broken = [str(error)]
    if broken:
        return Section("receipts", title, [f"The chain is broken: {broken[0]}"])
    if not chained:
        return Section("receipts", title, ["No audit of these results has a receipt yet; make one: fute audit receipt"])
    rows = []
    for each in reversed(chained):
        outcomes = ", ".join(f"{audit.command} {WORDS[audit.exit_code]}" for audit in each.audits)
        rows.append(_row(str(each.number), each.time, outcomes, each.root[:16], each.sha256[:16], words=3))
    heads = ["Number", "Time", "Audits", "Root hash", "Receipt"]
    return Section("receipts", title, tables=[_table("The newest first.", heads, [Group("", rows)], words=3)])
