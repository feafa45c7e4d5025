"""Sections of the audit page: where tables and figures come from, what the run cost, who audited it before."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath

from fute.audit.executions import RecordMoved, executions
from fute.audit.findings import WORDS
from fute.audit.lineage import OUTSIDE, Link, chain
from fute.audit.manifest import Manifest
from fute.audit.paths import ResultsFolder
from fute.audit.publish.page_rows import row, table
from fute.audit.publish.receipt_chain import check_receipts
from fute.audit.publish.receipts import BrokenChain, read_receipts
from fute.durations import duration
from fute.paper.grids import Group, Row
from fute.paper.report import Section
from fute.paper.report_step import timings

PAPER = ("results/paper/tables/", "results/paper/figures/")


def _link_row(name: str, link: Link) -> Row:
    return row(name, ", ".join(link.made_from) or OUTSIDE, f"{link.artifacts:,}", link.hash[:16], left=1)


def chains_section(manifest: Manifest) -> Section:
    """Each table and figure, with the steps above it."""
    files: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for name in manifest.entries:
        if name.startswith(PAPER):
            files[name.startswith(PAPER[1]), PurePosixPath(name).name.split(".")[0]].append(name)
    if not files:
        return Section("chains", "Tables and figures", ["This run made no tables and no figures."])
    order = manifest.downstream_order()
    # figures of the same vectors share their chain
    together: dict[tuple[Link, ...], dict[str, Row]] = defaultdict(dict)
    for (_, base), names in sorted(files.items()):
        own, *above = chain(manifest, names, order)
        endings = ", ".join(sorted(name.rpartition(".")[2] for name in names))
        together[tuple(above)][base] = _link_row(f"{base} ({endings})", own)
    groups = [
        Group(", ".join(own), [*own.values(), *(_link_row(link.rule, link) for link in above)])
        for above, own in together.items()
    ]
    text = (
        "Each table and figure with the steps it came from, itself first. The hash is that of the artifact, or one "
        "over the sorted hashes of several; the single files with their inputs are in the manifest."
    )
    heads = ["Step", "Made from", "Artifacts", "sha256"]
    return Section("chains", "Tables and figures", [text], tables=[table("Chains.", heads, groups, words=2)])


def costs_section(manifest: Manifest, results: ResultsFolder) -> Section:
    """What every step took, by stage: folder of the results."""
    title = "Costs by stage"
    try:
        ran = executions(manifest, results)
    except RecordMoved as error:
        return Section("costs", title, [f"Not summed: {error}"])
    wall = {timed.rule: timed.seconds for timed in timings(results.folder / "benchmarks").itertuples()}
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
            rows.append(row(rule, f"{len(runs):,}", duration(cpu), measured, f"{memory:,} MB"))
        total = sum(run.get("cpu_s", 0) for runs in rules.values() for run in runs)
        groups.append(Group(f"{stage}: {duration(total)} of CPU time", rows))
    text = (
        "CPU time and peak memory are from the records; wall time is Snakemake's, for the rules that it measures, and "
        "may hold runs whose artifacts were replaced since."
    )
    heads = ["Step", "Runs", "CPU time", "Wall time", "Peak memory"]
    return Section("costs", title, [text], tables=[table("Costs.", heads, groups)])


def receipts_section(results: ResultsFolder) -> Section:
    """The chain of audits, the newest first."""
    title = "Receipts"
    try:
        broken = [finding.message for finding in check_receipts(results).findings]
        chained = [] if broken else read_receipts(results)
    except BrokenChain as error:
        broken = [str(error)]
    if broken:
        return Section("receipts", title, [f"The chain is broken: {broken[0]}"])
    if not chained:
        return Section("receipts", title, ["No audit of these results was recorded yet (fute audit receipt)."])
    rows = []
    for each in reversed(chained):
        said = ", ".join(f"{audit.command} {WORDS[audit.exit_code]}" for audit in each.audits)
        rows.append(row(str(each.number), each.time, said, each.root[:16], each.sha256[:16], left=2))
    heads = ["Number", "Time", "Audits", "Root hash", "Receipt"]
    return Section("receipts", title, tables=[table("The newest first.", heads, [Group("", rows)], words=3)])
