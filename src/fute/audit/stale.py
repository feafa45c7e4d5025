"""Whether an artifact was made with the settings, the code and the inputs that the workflow would use for it today.

Snakemake knows this only on the machine that ran the workflow, from its metadata; here the records tell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fute.artifacts import content_key
from fute.audit.manifest import Entry
from fute.audit.paths import RESULTS
from fute.audit.records import Record
from fute.audit.values import differences, short
from fute.closure import code_sha256
from fute.scrub import scrubbed

if TYPE_CHECKING:
    from fute.audit.graph import Job

# the parameters of rules that are settings as JSON and become the params of records
SETTINGS = ("settings", "spec", "recipe")
# where a plug-in lies is no part of what it is
FOLDER, PLUGIN = "folder", "plugin:"


def reasons(record: Record, job: Job | None, entries: Mapping[str, Entry]) -> list[str]:
    """Why an artifact is stale, in words for people; empty where it is not.

    job: None for a finished batch and what it was made from. Its cells are found by keys that hold their settings, and
    a cell whose inputs were made again is not used any more, so that only its code is compared.
    """
    found = [] if same_code(record) else [f"code: {record.module} or what it imports was edited since"]
    if job:
        found += [*moved_inputs(record, entries), *changed_inputs(record, job), *changed_params(record, job)]
    return found


def same_code(record: Record | Entry) -> bool:
    """Whether the import closure of a record's module is what it was."""
    try:
        return code_sha256(record.module) == record.code_sha256
    except ValueError:
        return False


def moved_inputs(record: Record, entries: Mapping[str, Entry]) -> Iterator[str]:
    """Inputs whose bytes are others by now."""
    for source in record.inputs:
        now = entries.get(source.path)
        if now is not None and now.sha256 != source.sha256:
            yield f"upstream: {source.path} was {source.sha256[:12]}, is {now.sha256[:12]}"


def changed_inputs(record: Record, job: Job) -> Iterator[str]:
    """Artifacts that the job would read and the recorded one did not, and the other way round."""
    planned = {name for name in job.inputs if name.startswith(f"{RESULTS}/")}
    recorded = {source.path for source in record.inputs if source.path.startswith(f"{RESULTS}/")}
    yield from (f"upstream: {name} was no input, and is one" for name in sorted(planned - recorded))
    yield from (f"upstream: {name} was an input, and is none" for name in sorted(recorded - planned))


def changed_params(record: Record, job: Job) -> Iterator[str]:
    """Settings that the job would pass and that the record has otherwise, with both values."""
    recorded = record.params if isinstance(record.params, dict) else {}
    for name in SETTINGS:
        planned = _json(job.params.get(name))
        planned.pop(FOLDER, None)
        yield from (f"params: {each}" for each in differences(recorded, scrubbed(planned), keys="second"))
    if "key" in job.params and "key" in recorded and job.params["key"] != recorded["key"]:
        yield f"params: key {short(recorded['key'])}, then {short(job.params['key'])}"
    if "source" in job.params:
        yield from _changed_source(record, job)


def _changed_source(record: Record, job: Job) -> Iterator[str]:
    """Files outside the project: of data, by name; of a plug-in, by one hash over its settings and files."""
    recorded = {each.path: each.sha256 for each in record.inputs}
    source = job.params["source"]
    for file in _json(source).get("files", []):
        was = recorded.get(f"data:{file['path']}")
        if "sha256" in file and was != file["sha256"]:
            yield f"data: {file['path']} was {str(was)[:12]}, is {file['sha256'][:12]}"
    if files := {path.removeprefix(PLUGIN): sha256 for path, sha256 in recorded.items() if path.startswith(PLUGIN)}:
        settings = _json(job.params.get("settings"))
        settings.pop(FOLDER, None)
        if content_key([settings, files]) != source:
            yield f"code: the plug-in's files ({', '.join(sorted(files))}) or settings were edited since"


def _json(parameter: Any) -> dict[str, Any]:
    """A rule's parameter that is a JSON object; empty for any other."""
    return json.loads(parameter) if isinstance(parameter, str) and parameter.startswith("{") else {}
