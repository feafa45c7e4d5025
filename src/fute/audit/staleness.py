"""Whether an artifact was made with the settings, the code and the inputs that the workflow would use for it today.

Snakemake knows this only on the machine that ran the workflow, from its metadata; here the records tell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fute.artifacts import content_key
from fute.audit.config_and_locks import project_sha256
from fute.audit.findings import Cause
from fute.audit.manifest import Entry
from fute.audit.paths import RESULTS
from fute.audit.sidecars import Record
from fute.audit.values import differences, short
from fute.code_hash import code_sha256
from fute.config.models import ModelEntry
from fute.scrub import scrubbed

if TYPE_CHECKING:
    from fute.audit.planned_jobs import Job

# the parameters of rules that are settings as JSON and become the params of records
SETTINGS = ("settings", "spec", "recipe")
# those that are command-line flags
FLAGS = ("flags", "texts")
# where a plug-in lies is no part of what it is
FOLDER = "folder"
DATA, PLUGIN = "data:", "plugin:"


def reasons(record: Record, job: Job | None, entries: Mapping[str, Entry]) -> list[str]:
    """Why an artifact is stale, in words for people; empty where it is not.

    job: None for a finished batch and what it was made from. Its cells are found by keys that hold their settings, and
    a cell whose inputs were made again is not used any more, so that only its code is compared.
    """
    found = list(changed_code(record))
    if job:
        found += [*moved_inputs(record, entries), *changed_inputs(record, job), *changed_params(record, job)]
    return found


def seen_by_verify(reason: str, module: str) -> bool:
    """Whether verification finds by itself what a reason for the artifact of a step's module says.

    The code, and inputs that were made again: both may have been put right since the manifest was made.
    """
    return reason.startswith((f"{Cause.UPSTREAM}: ", f"{Cause.CODE}: {module} "))


def same_code(record: Record | Entry) -> bool:
    """Whether the import closure of a record's module is what it was."""
    try:
        return code_sha256(record.module) == record.code_sha256
    except ValueError:
        return False


def changed_code(record: Record) -> Iterator[str]:
    """Both hashes of the code, where they differ."""
    if not same_code(record):
        try:
            now = f"is {code_sha256(record.module)[:12]}"
        except ValueError:
            now = "is gone"
        yield f"code: {record.module} or what it imports was edited since: was {record.code_sha256[:12]}, {now}"


def moved_inputs(record: Record, entries: Mapping[str, Entry]) -> Iterator[str]:
    """Inputs whose bytes are others by now: artifacts, and files of the project."""
    for source in record.inputs:
        if source.path in entries:
            cause, now = Cause.UPSTREAM, entries[source.path].sha256
        elif source.path.startswith((f"{RESULTS}/", DATA, PLUGIN)):
            continue  # not there, or not of the project
        else:
            cause, now = Cause.DATA, project_sha256(Path(), source.path) or "not there"
        if now != source.sha256:
            yield f"{cause}: {source.path} was {source.sha256[:12]}, is {now[:12]}"


def changed_inputs(record: Record, job: Job) -> Iterator[str]:
    """Artifacts that the job would read and the recorded one did not, and the other way round."""
    planned = {name for name in job.inputs if name.startswith(f"{RESULTS}/")}
    recorded = {source.path for source in record.inputs if source.path.startswith(f"{RESULTS}/")}
    yield from (f"config: {name} was no input, and is one" for name in sorted(planned - recorded))
    yield from (f"config: {name} was an input, and is none" for name in sorted(recorded - planned))


def changed_params(record: Record, job: Job) -> Iterator[str]:
    """Settings that the job would pass and that the record has otherwise, with both values."""
    recorded = record.params if isinstance(record.params, dict) else {}
    for name in SETTINGS:
        planned = _json(job.params.get(name))
        planned.pop(FOLDER, None)
        same = recorded[name] if name in recorded and name not in planned else recorded
        yield from (f"params: {each}" for each in differences(same, scrubbed(planned), keys="second"))
    for name in FLAGS:
        if name in job.params:
            planned = _flags(job.params[name])
            was = {
                key: value
                for key, value in recorded.items()
                if isinstance(value, bool) or key == name or key in planned
            }
            now = {key: planned.get(key, False if isinstance(was[key], bool) else None) for key in was} | planned
            yield from (f"params: {each}" for each in differences(was, now))
    if "entry" in job.params:
        entry = ModelEntry.model_validate(_json(job.params["entry"]))
        if not entry.folder or Path(entry.folder).expanduser().is_dir():  # else nothing says what it holds
            yield from (f"params: {each}" for each in differences(recorded, scrubbed(entry.identity())))
    if "key" in job.params and "key" in recorded and job.params["key"] != recorded["key"]:
        yield f"params: key {short(recorded['key'])}, then {short(job.params['key'])}"
    if "source" in job.params:
        yield from _changed_source(record, job)


def _changed_source(record: Record, job: Job) -> Iterator[str]:
    """Files outside the project: of data, by name; of a plug-in, by one hash over its settings and files."""
    recorded = {each.path: each.sha256 for each in record.inputs}
    source = job.params["source"]
    for file in _json(source).get("files", []):
        was = recorded.get(f"{DATA}{file['path']}")
        if "sha256" in file and was != file["sha256"]:
            yield f"data: {file['path']} was {str(was)[:12]}, is {file['sha256'][:12]}"
    if files := {path.removeprefix(PLUGIN): sha256 for path, sha256 in recorded.items() if path.startswith(PLUGIN)}:
        settings = _json(job.params.get("settings"))
        settings.pop(FOLDER, None)
        if content_key([settings, files]) != source:
            yield f"code: the plug-in's files ({', '.join(sorted(files))}) or settings were edited since"


def _flags(parameter: str) -> dict[str, Any]:
    """`--a-flag --number 3` as {"a_flag": True, "number": 3}."""
    found: dict[str, Any] = {}
    for part in filter(None, parameter.split("--")):
        name, _, value = part.strip().partition(" ")
        found[name.replace("-", "_")] = int(value) if value else True
    return found


def _json(parameter: Any) -> dict[str, Any]:
    """A rule's parameter that is a JSON object; empty for any other."""
    return json.loads(parameter) if isinstance(parameter, str) and parameter.startswith("{") else {}
