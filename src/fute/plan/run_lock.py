"""Make the lock of a run, and compare it with what the run reads and has read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from fute import paths
from fute.artifacts import atomic
from fute.config.run_lock import MAKE_IT, Locked, RunLock, lock_file, read_run_lock
from fute.config.sections import ConfigError
from fute.data.model_folder import model_identity
from fute.data.run_lock import (
    PLACE,
    data_as_read,
    differences,
    locked_data,
    locked_model,
    model_as_fetched,
    results_differ,
)
from fute.plan.plan import Plan


def check_run_lock(plan: Plan) -> None:
    """Raise ConfigError if the run has a lock, and reads, or has read, anything else than it names."""
    path = lock_file(plan.config.name)
    lock = read_run_lock(path)
    if lock is None:
        return
    problems = []
    for kind, sources in _sources(plan).items():
        locked = getattr(lock, kind)
        for name, now in sources.items():
            if name not in locked:
                problems.append(f"{kind} {name}: is not in the lock")
            elif words := differences(locked[name], now):
                problems.append(f"{kind} {name}: {'; '.join(words)}")
    # other files make Snakemake read them again; another commit of a repository does not
    committed = lock.model_copy(update={"datasets": {n: one for n, one in lock.datasets.items() if one.revision}})
    problems += results_differ(committed, partial(paths.below, plan.results)).values()
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise ConfigError(
            f"{path}: this run is not the locked one; bring back what the lock names, or lock the run as it is now "
            f"({MAKE_IT}), or remove the lock:{listed}"
        )


def _sources(plan: Plan) -> dict[str, dict[str, Locked]]:
    """What the run reads, as far as it is known before."""
    return {
        "datasets": {name: locked_data(plan.data.source(name)) for name in plan.data.datasets},
        "unsup": {name: locked_data(plan.data.unsup_source(name)) for name in plan.config.corpora},
        "models": {name: locked_model(model_identity(plan.run.models[name])) for name in plan.models},
    }


def make_run_lock(plan: Plan, *, update: bool = False) -> RunLock:
    """The lock of a run as it is: revisions of the registries, else those that were read, else those of the lock that
    there is, else the newest of the hub. update: the newest of the hub where the registries name none.

    Raises SourceError or ModelError if a revision is asked of the hub and cannot be had.
    """
    before = read_run_lock(lock_file(plan.config.name))
    place = partial(paths.below, plan.results)
    made = _sources(plan)
    for name, now in made["datasets"].items():
        known = [one for _, one in data_as_read(name, place)] + _in(before and before.datasets, name)
        made["datasets"][name] = _complete(now, known, update, partial(_newest_dataset, now))
    for name, now in made["models"].items():
        known = [one for _, one in model_as_fetched(name, place)] + _in(before and before.models, name)
        made["models"][name] = _complete(now, known, update, partial(_newest_model, plan, name))
    for name, now in made["unsup"].items():
        made["unsup"][name] = _complete(now, _in(before and before.unsup, name), update)
    return RunLock(run=plan.config.name, **made)


def _in(locked: dict[str, Locked] | None, name: str) -> list[Locked]:
    return [locked[name]] if locked and name in locked else []


def _complete(now: Locked, known: Iterable[Locked], update: bool, newest: Callable[[], str] | None = None) -> Locked:
    """A source with its revision, and with the hashes of what was read at that revision.

    known: what was read and locked before, the best first. newest: asks the hub.
    """
    same = [one for one in known if all(getattr(one, name) == getattr(now, name) for name in PLACE)]
    revision = now.revision
    if newest and now.repo and now.files is None and revision is None:
        revision = None if update else next((one.revision for one in same if one.revision), None)
        revision = revision or newest()
    fitting = [one for one in same if one.revision == revision]
    files = now.files or next((one.files for one in fitting if one.files), None)
    splits = next((one.splits for one in fitting if one.splits), None)
    return now.model_copy(update={"revision": revision, "files": files, "splits": splits})


def _newest_dataset(now: Locked) -> str:
    from fute.data.hub import resolve_revision  # `datasets` is slow to import

    return resolve_revision(str(now.repo), now.branch)


def _newest_model(plan: Plan, name: str) -> str:
    from fute.data.fetch_model_step import newest_revision

    return newest_revision(name, plan.run.models[name])


def write_run_lock(lock: RunLock) -> Path:
    """Write a lock to its place in the project, to be committed with the run."""
    path = lock_file(lock.run)
    text = json.dumps(lock.model_dump(exclude_defaults=True), indent=1, sort_keys=True)
    with atomic(path) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf8")
    return path
