"""The graph of a run as Snakemake plans it: which rule makes which file, from what, with which parameters.

The audit asks the workflow itself what should be there. Nothing is run, and neither file times nor
Snakemake's own metadata matter to the answer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake.api import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings, SnakemakeApi
from snakemake.exceptions import RuleException, WorkflowError
from snakemake.settings.enums import Quietness

from fute.artifacts import SIDECAR
from fute.audit.verdicts import INCOMPLETE
from fute.config import Run

TARGETS = "FUTE_TARGETS"


class GraphError(RuntimeError):
    """The workflow cannot be planned; the message is Snakemake's."""

    exit_code = INCOMPLETE


@dataclass(frozen=True)
class Job:
    """One planned job: its rule, wildcards, files without sidecars, and parameters."""

    rule: str
    wildcards: dict[str, str]
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    params: dict[str, Any]


@dataclass(frozen=True)
class Graph:
    """All jobs that some targets need, done or not, and the checked configuration."""

    run: Run
    targets: tuple[str, ...]
    jobs: tuple[Job, ...]

    def producers(self) -> dict[str, Job]:
        """File -> the job that makes it."""
        return {output: job for job in self.jobs for output in job.outputs}

    def leaves(self) -> list[str]:
        """Files that jobs read and none makes: finished batches, and what was there before, sorted."""
        made = self.producers()
        return sorted({name for job in self.jobs for name in job.inputs if name not in made})


def read_graph(config: Path, targets: Sequence[str] = (), *, settings: Mapping[str, Any] | None = None) -> Graph:
    """Plan the workflow in the current folder for some targets (none: the default ones).

    config: its file of settings. settings: what is used instead of the file, if some were overridden.
    Raises GraphError.
    """
    if settings is None and not config.is_file():
        raise GraphError(f"{config} is not there; name the configuration of the run with --config")
    before = os.environ.get(TARGETS)
    os.environ[TARGETS] = " ".join(sorted(targets))
    try:
        given = ConfigSettings(configfiles=[config]) if settings is None else ConfigSettings(config=settings)
        return _planned(given, tuple(targets))
    finally:
        os.environ.pop(TARGETS)
        if before is not None:
            os.environ[TARGETS] = before


def _planned(settings: ConfigSettings, targets: tuple[str, ...]) -> Graph:
    output = OutputSettings(quiet={Quietness.ALL}, dryrun=True, enable_file_logging=False)
    with SnakemakeApi(output) as api:
        try:
            workflow = api.workflow(resource_settings=ResourceSettings(cores=1), config_settings=settings)
            workflow.dag(DAGSettings(targets=frozenset(targets)))
            planned = workflow._workflow
            planned._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True, nolock=True)
            planned._build_dag()
            jobs = tuple(_job(job) for job in planned.dag.jobs if job.output)
            return Graph(planned.globals["RUN"], targets, tuple(sorted(jobs, key=lambda job: job.outputs)))
        except (WorkflowError, RuleException) as error:
            raise GraphError(f"the workflow cannot be planned: {error}") from error


def _job(job: Any) -> Job:
    return Job(
        rule=job.rule.name,
        wildcards=dict(sorted(job.wildcards_dict.items())),
        outputs=tuple(str(name) for name in job.output if not str(name).endswith(SIDECAR)),
        inputs=tuple(str(name) for name in job.input),
        params=dict(job.params.items()),
    )
