"""Printing an explanation: a tree, a table and a list for people; one JSON object for machines."""

from __future__ import annotations

import json as json_module
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from fute.audit.explain import Cost, Explanation, Link, Pending

MOST_ALIKE = 1
"""Of several inputs that one step made, so many are followed; the rest is counted."""
MOST_OUTPUTS = 3
WIDTH = 240
"""Of what is not printed on a terminal: long names stay whole."""
MOST_REASONS = 5


def print_explanation(found: Explanation, *, json: bool, console: Console | None = None) -> None:
    """Write an explanation to standard output."""
    console = console or Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    if json:
        console.out(json_module.dumps(asdict(found), sort_keys=True, indent=1, ensure_ascii=False), highlight=False)
        return
    console.print(_tree(found.target, found.chain))
    console.print(_costs(found.costs))
    if not found.pending:
        console.print(Text("nothing would run again for it", style="green"))
    for number, pending in enumerate(found.pending, start=1):
        console.print(_pending(number, pending))


def _tree(target: str, chain: Mapping[str, Link]) -> Tree:
    """What an artifact came from; each artifact's own inputs are shown where it comes first."""
    shown: set[str] = set()

    def add(parent: Tree | None, name: str) -> Tree:
        link = chain[name]
        again = name in shown and bool(link.inputs)
        text = Text.assemble(name, (f"  {link.step} {link.sha256[:12]}" if link.step else "", "dim"))
        if link.problem:
            text.append(f"  {link.problem}", style="red")
        text.append("  (above)" if again else "", style="dim")
        node = Tree(text) if parent is None else parent.add(text)
        if again:
            return node
        shown.add(name)
        alike: dict[str, list[str]] = defaultdict(list)
        for source in link.inputs:
            alike[chain[source].step or source].append(source)
        for step, names in alike.items():
            for source in names[:MOST_ALIKE]:
                add(node, source)
            if len(names) > MOST_ALIKE:
                node.add(Text(f"and {len(names) - MOST_ALIKE} more of {step}", style="dim"))
        return node

    return add(None, target)


def _costs(costs: tuple[Cost, ...]) -> Table:
    table = Table(title="what it cost", title_justify="left")
    for name in ("step", "processes", "seconds", "CPU seconds", "peak MB", "measured by Snakemake, s"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for cost in costs:
        measured = "" if cost.benchmark_s is None else f"{cost.benchmark_s:.1f}"
        row = (str(cost.processes), f"{cost.wall_s:.1f}", f"{cost.cpu_s:.1f}", str(cost.peak_memory_mb), measured)
        table.add_row(cost.step, *row)
    total = (sum(cost.processes for cost in costs), sum(c.wall_s for c in costs), sum(c.cpu_s for c in costs))
    table.add_row("all", str(total[0]), f"{total[1]:.1f}", f"{total[2]:.1f}", "", "", style="bold")
    return table


def _pending(number: int, pending: Pending) -> Text:
    names = ", ".join(pending.outputs[:MOST_OUTPUTS]) + (", ..." if len(pending.outputs) > MOST_OUTPUTS else "")
    text = Text.assemble(f"{number}. ", (f"{pending.rule} would run", "yellow"), f": {names}")
    for why in pending.reasons[:MOST_REASONS]:
        text.append(f"\n     {why}")
    if len(pending.reasons) > MOST_REASONS:
        text.append(f"\n     and {len(pending.reasons) - MOST_REASONS} more reasons; --json lists all")
    if pending.because:
        more = f" and {len(pending.because) - 1} more" if len(pending.because) > 1 else ""
        text.append(f"\n     after {pending.because[0]}{more}", style="dim")
    return text
