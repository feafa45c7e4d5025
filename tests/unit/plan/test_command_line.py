"""What a finished run says that it made."""

from __future__ import annotations

from fute.plan.command_line import made

PHASES = {"paper": ["p/a.csv", "p/b.csv"], "labels": [f"l/{n}/x.gz" for n in range(5)]}


def test_phases_are_said_with_their_folders():
    assert made([], PHASES) == "paper: 2 files in p"
    assert made(["labels"], PHASES) == "labels: 5 files in l/0, l/1, l/2 and 2 more folders"


def test_of_many_files_the_first_are_named():
    """`fute prefetch` asks for one file per model, U and split: 54 in a run of the paper."""
    assert made(["a", "b"], PHASES) == "made a, b"
    assert made([f"f{n}" for n in range(54)], PHASES) == "made f0, f1, f2 and 51 more files"
