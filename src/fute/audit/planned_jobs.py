"""The jobs of a run as Snakemake plans them: which rule makes which file, from what, with which parameters.

The audit asks the workflow itself which files there should be. Nothing is run or written, and neither file times nor
Snakemake's metadata change the answer.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake.api import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings, SnakemakeApi
from snakemake.exceptions import MissingRuleException, RuleException, WorkflowError
from snakemake.settings.enums import Quietness

from fute.artifacts import SIDECAR
from fute.audit.findings import AuditError
from fute.plan import Plan

if TYPE_CHECKING:
    from snakemake.workflow import Workflow as SnakemakeWorkflow

TARGETS = "FUTE_TARGETS"


@dataclass(frozen=True, eq=False)
class Job:
    """One planned job. outputs: without sidecars."""

    rule: str
    wildcards: dict[str, str]
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    params: dict[str, Any]


@dataclass(frozen=True)
class Graph:
    """All jobs that some targets need, finished or not, and the plan of the run that they belong to.

    settings: the configuration as Snakemake read it, overrides included.
    """

    plan: Plan
    settings: Mapping[str, Any]
    targets: tuple[str, ...]
    jobs: tuple[Job, ...]

    def producers(self) -> dict[str, Job]:
        """File -> the job that makes it."""
        return {output: job for job in self.jobs for output in job.outputs}

    def leaves(self) -> list[str]:
        """Files that jobs read and no job makes, sorted: finished batches, and what existed before."""
        made = self.producers()
        return sorted({name for job in self.jobs for name in job.inputs if name not in made})


def read_graph(config: Path, targets: Sequence[str] = (), *, settings: Mapping[str, Any] | None = None) -> Graph:
    """Plan the workflow in the current folder for some targets (none: the default ones).

    config: the run's file. settings: override some or all of its settings, as Snakemake's `--config` does. Raises
    AuditError.
    """
    with planned(config, targets, settings=settings) as workflow:
        return graph_of(workflow, targets)


def graph_of(workflow: SnakemakeWorkflow, targets: Sequence[str]) -> Graph:
    """The graph of a workflow that `planned` returned for these targets. Raises AuditError without the run's data."""
    if missing := workflow.globals["MISSING_DATA"]:
        raise AuditError(missing)
    jobs = sorted((_job(job) for job in workflow.dag.jobs if job.output), key=lambda job: job.outputs)
    return Graph(workflow.globals["PLAN"], dict(workflow.globals["config"]), tuple(targets), tuple(jobs))


@contextmanager
def planned(
    config: Path, targets: Sequence[str] = (), *, settings: Mapping[str, Any] | None = None
) -> Iterator[SnakemakeWorkflow]:
    """Snakemake's own view of the workflow, planned as for `read_graph`. Raises AuditError."""
    if settings is None and not config.is_file():
        raise AuditError(f"{config} does not exist; give the configuration of the run with --config")
    if not all(targets):
        raise AuditError("an empty name is no target; give a file of the results or a phase")
    before = os.environ.get(TARGETS)
    os.environ[TARGETS] = " ".join(sorted(targets))
    logging.disable(logging.WARNING)  # Snakemake's words about its plan are for people who run it
    try:
        files = [config] if config.is_file() else []
        given = ConfigSettings(configfiles=files, config=dict(settings or {}))
        output = OutputSettings(quiet={Quietness.ALL}, dryrun=True, enable_file_logging=False)
        with SnakemakeApi(output) as api:
            api_workflow = api.workflow(resource_settings=ResourceSettings(cores=1), config_settings=given)
            api_workflow.dag(DAGSettings(targets=frozenset(targets)))
            workflow = api_workflow._workflow
            workflow._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True, nolock=True)
            workflow._build_dag()
            yield workflow
    except (WorkflowError, RuleException) as error:
        raise AuditError(f"the workflow cannot be planned: {_reason(error, config, targets)}") from error
    finally:
        gc.enable()  # the Snakefile disables it
        logging.disable(logging.NOTSET)
        os.environ.pop(TARGETS)
        if before is not None:
            os.environ[TARGETS] = before


def _reason(error: Exception, config: Path, targets: Sequence[str]) -> str:
    """Why planning failed, in one line if a target is not of the run; else in Snakemake's words.

    A name in a file's path that the run does not have reaches Snakemake as a KeyError of a rule's function.
    """
    unknown = isinstance(error, MissingRuleException)
    named = [target for target in targets if unknown or "/" in target]
    if named and (unknown or "KeyError:" in str(error)):
        subject = f"{named[0]} is" if len(named) == 1 else f"one of {', '.join(named)} is"
        return f"{subject} no file or phase of the run {config}; correct it, or name the run's settings by --config"
    return str(error)


def _job(job: Any) -> Job:
    return Job(
        rule=job.rule.name,
        wildcards=dict(sorted(job.wildcards_dict.items())),
        outputs=tuple(str(name) for name in job.output if not str(name).endswith(SIDECAR)),
        inputs=tuple(str(name) for name in job.input),
        params=dict(job.params.items()),
    )
