"""Comparing what a job made again with what is recorded."""

from __future__ import annotations

from pathlib import Path

from fute.audit.findings import Verdict
from fute.audit.rerun.compare import DEFAULTS, Tolerances, compare


def test_a_figure_without_coordinates_beside_it_is_compared_by_its_bytes(tmp_path: Path):
    """The figure of the planted tests has no CSV."""
    one, two = tmp_path / "one/planted.pdf", tmp_path / "two/planted.pdf"
    for path in (one, two):
        path.parent.mkdir()
        path.write_bytes(path.parent.name.encode())
    result = compare("results/paper/figures/planted.pdf", one, two, Tolerances(DEFAULTS, "the defaults"))
    assert result.verdict is Verdict.DRIFTED and "equal byte for byte" in result.words
