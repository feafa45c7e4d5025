"""All files of a plan, empty, with the metadata that Snakemake keeps of a finished run: for what planning then costs.

    python tests/support/finished_plan.py [CONFIG [TARGET ...]]

In the folder of a workflow, whose settings are those of the file CONFIG; one without it needs no settings. Prints how
many jobs the plan of the targets has, finished batches being leaves of its graph.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from snakemake.settings.types import ExecutionSettings

from fute import batching, paths
from fute.artifacts import sidecar_path
from fute.audit.planned_jobs import planned
from fute.config.run import load_run
from fute.plan import Plan

if TYPE_CHECKING:
    from snakemake.workflow import Workflow as SnakemakeWorkflow

LONG_AGO = 1_000_000_000
"""Seconds since 1970 at which the first file was made."""


def put(path: Path, second: int, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (LONG_AGO + second, LONG_AGO + second))


def put_batch(batch: str, keys: dict[str, str]) -> None:
    data, index = Path(batch), Path(paths.batch_index(batch))
    put(index, 0, batching.keys_text(keys))
    for path in (data, sidecar_path(data), sidecar_path(index)):
        put(path, 0)


def finish_batches(run: Plan) -> None:
    """The batches of labels and vectors, with the keys of their cells."""
    for step in run.step_batches():
        for batch, cells in step.new.items() if step.rule in ("label_batch", "embed_batch") else ():
            put_batch(step.files.replace("*", batch), {cell: step.keys[cell] for cell in cells})


async def finish_jobs(workflow: SnakemakeWorkflow) -> int:
    jobs = [job for level in workflow.dag.toposorted() for job in level if job.output]
    for second, job in enumerate(jobs, 1):
        for path in job.output:
            put(Path(path), second)
    workflow.iocache.clear()  # it has them as missing
    for job in jobs:
        await workflow.persistence.finished(job)
    return len(jobs)


def main() -> None:
    config, settings = (Path(sys.argv[1]), None) if sys.argv[1:] else (Path(), {})
    targets = sys.argv[2:]
    if settings is None:
        finish_batches(Plan(load_run(config), targets))
    with planned(config, targets, settings=settings) as workflow:
        # Snakemake asks this of whoever writes its metadata
        workflow.execution_settings = ExecutionSettings()
        print(workflow.async_run(finish_jobs(workflow)))


if __name__ == "__main__":
    main()
