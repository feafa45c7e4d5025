"""Batches of a plan as their steps leave them, with other data."""

from __future__ import annotations

from pathlib import Path

from fute import batching, paths
from fute.artifacts import sidecar_path
from fute.plan import Plan


def finish(plan: Plan) -> None:
    """Leave all new batches of a plan in its folder of results: their data, the keys of their cells, and the record."""
    for step in plan.step_batches():
        for batch, cells in step.new.items():
            data = paths.below(plan.results, step.files.replace("*", batch))
            data.parent.mkdir(parents=True, exist_ok=True)
            data.write_bytes(b"data")
            index = Path(paths.batch_index(str(data)))
            index.write_text(batching.keys_text({cell: step.keys[cell] for cell in cells}))
            sidecar_path(index).write_text("{}")
