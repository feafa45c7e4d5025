"""What Snakemake was asked for on its command line, and what it then made, for people."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from fute.wording import listed

SHOWN = 3
"""Folders that are named for each phase, and files where there is none."""


def command_line_targets(argv: Sequence[str]) -> list[str]:
    """Targets of a Snakemake command line; Snakemake itself knows them only once the Snakefile has been read."""
    if "snakemake" not in argv[0]:
        return []
    known, rest = _parsed(argv)
    return [str(target) for target in (*(known.targets or ()), *rest) if not str(target).startswith("-")]


def batches_sent_for(argv: Sequence[str]) -> frozenset[str]:
    """Names of the batches that the Snakemake of a cluster job was sent to make; none for any other."""
    if "--target-jobs" not in argv:
        return frozenset()
    known, _ = _parsed(argv)
    return frozenset(job.wildcards_dict["batch"] for job in known.target_jobs if "batch" in job.wildcards_dict)


def _parsed(argv: Sequence[str]) -> tuple[Namespace, list[str]]:
    from snakemake.cli import get_argument_parser

    return get_argument_parser().parse_known_args(argv[1:])


def made(targets: Sequence[str], phases: Mapping[str, Sequence[str]]) -> str:
    """One line per phase that was asked for (`paper` where nothing was): how many files, and where."""
    asked = [name for name in targets if name in phases] or ([] if targets else ["paper"])
    lines = []
    for name in asked:
        folders = sorted({str(Path(file).parent) for file in phases[name]})
        lines.append(f"{name}: {len(phases[name])} files in {listed(folders, SHOWN)}")
    return "\n".join(lines) or f"made {listed(targets, SHOWN)}"
