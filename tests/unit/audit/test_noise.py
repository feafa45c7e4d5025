"""Tolerances from a file that came with the results."""

from __future__ import annotations

import json
from pathlib import Path

from fute.audit.rerun.noise import read_tolerances


def test_tolerances_that_are_wider_than_the_defaults_are_named(tmp_path: Path):
    path = tmp_path / "noise.json"
    for distance, wider in ((0.001, ""), (0.4, "; wider than the defaults: labels flips 0.8 for 0.01")):
        floor = {"labels": {"artifacts": 1, "distances": {"flips": distance, "class shift": 0.0}}}
        path.write_text(json.dumps({"schema": 1, "repeats": 3, "floor": floor}))
        assert read_tolerances(path).source == f"2 times the noise of 3 repeats ({path}: labels){wider}"
