"""Was an artifact made with the settings, code and inputs that the workflow would use today? The records tell.

Snakemake knows this only where the workflow ran, from its metadata.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fute.artifacts import content_key
from fute.audit.config_and_locks import project_sha256
from fute.audit.findings import Cause
from fute.audit.manifest import Entry
from fute.audit.paths import RESULTS
from fute.audit.sidecars import DATA, HARDWARE, PLUGIN, SOFTWARE, Record
from fute.code_hash import code_sha256
from fute.config.models import ModelEntry
from fute.data.model_folder import model_identity
from fute.scrub import scrubbed

if TYPE_CHECKING:
    from fute.audit.planned_jobs import Job

# parameters of rules that hold settings as JSON and become the params of records
SETTINGS = ("settings", "spec")
# parameters of rules that hold command-line flags
FLAGS = ("flags", "texts")
# the folder of a plug-in is no part of its identity
FOLDER = "folder"
LONGEST = 60
"""Characters of a value that messages show."""


def reasons(record: Record, job: Job | None, entries: Mapping[str, Entry]) -> list[str]:
    """Why an artifact is stale, each as `cause: words`; empty if it is not.

    job: the planned job that makes it; None for a finished batch and what it was made from. Cells of a batch are found
    by keys that hold their settings, and a cell whose inputs changed is not used any more: only the code is compared.
    """
    stale = list(changed_code(record))
    if job:
        stale += [*moved_inputs(record, entries), *changed_inputs(record, job), *changed_params(record, job)]
    return stale


def same_code(record: Record | Entry) -> bool:
    """Whether the code of a record's step, or of the manifest's entry for it, is that of this checkout."""
    try:
        return code_sha256(record.module, *record.more_code) == record.code_sha256
    except ValueError:  # the module is gone
        return False


def changed_code(record: Record) -> Iterator[str]:
    """Both hashes of the code, if they differ."""
    if not same_code(record):
        try:
            now = f"is {code_sha256(record.module, *record.more_code)[:12]}"
        except ValueError:
            now = "is gone"
        yield f"code: {record.module} or what it imports was edited: was {record.code_sha256[:12]}, {now}"


def moved_inputs(record: Record, entries: Mapping[str, Entry]) -> Iterator[str]:
    """Inputs with other bytes than recorded: artifacts, and files of the project."""
    for source in record.inputs:
        if source.path in entries:
            cause, now = Cause.UPSTREAM, entries[source.path].sha256
        elif source.path.startswith((f"{RESULTS}/", DATA, PLUGIN)):
            continue  # missing, or outside the project
        else:
            cause, now = Cause.DATA, project_sha256(source.path) or "missing"
        if now != source.sha256:
            yield f"{cause}: {source.path} was {source.sha256[:12]}, is {now[:12]}"


def changed_inputs(record: Record, job: Job) -> Iterator[str]:
    """Artifacts that only the planned job or only the recorded one reads."""
    planned = {name for name in job.inputs if name.startswith(f"{RESULTS}/")}
    recorded = set(record.artifacts)
    yield from (f"config: {name} was no input, and is one" for name in sorted(planned - recorded))
    yield from (f"config: {name} was an input, and is none" for name in sorted(recorded - planned))


def changed_params(record: Record, job: Job) -> Iterator[str]:
    """Settings that differ between the planned job and the record, with both values."""
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
        if not entry.folder or Path(entry.folder).expanduser().is_dir():  # else its content is unknown here
            yield from (f"params: {each}" for each in differences(recorded, scrubbed(model_identity(entry))))
    if "key" in job.params and "key" in recorded and job.params["key"] != recorded["key"]:
        yield f"params: key {short(recorded['key'])}, then {short(job.params['key'])}"
    if "source" in job.params:
        yield from _changed_source(record, job)


def _changed_source(record: Record, job: Job) -> Iterator[str]:
    """Files outside the project: data by name; a plug-in by one hash over its settings and files."""
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
            yield f"code: the plug-in's files ({', '.join(sorted(files))}) or settings were edited"


def _flags(parameter: str) -> dict[str, Any]:
    """`--a-flag --number 3 --names b c` as {"a_flag": True, "number": 3, "names": ["b", "c"]}."""
    values: dict[str, Any] = {}
    for flag in re.split(r"(?:^| )--", parameter)[1:]:
        name, *given = flag.split()
        number = len(given) == 1 and given[0].isdigit()
        values[name.replace("-", "_")] = int(given[0]) if number else given or True
    return values


def _json(parameter: Any) -> dict[str, Any]:
    """A rule's parameter that is a JSON object; empty for any other."""
    return json.loads(parameter) if isinstance(parameter, str) and parameter.startswith("{") else {}


# --- differences of JSON values -------------------------------------------------------------------------


def changed_machine(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[Cause, list[str]]]:
    """Differences between the environments of two runs: those of the hardware, then those of the software."""
    for cause, names in ((Cause.HARDWARE, HARDWARE), (Cause.SOFTWARE, SOFTWARE)):
        one, two = ({name: environment.get(name) for name in names} for environment in (was, now))
        if changed := list(differences(one, two)):
            yield cause, changed


Compared = Literal["all", "second", "common"]


def differences(was: Any, now: Any, *, keys: Compared = "all", where: str = "") -> Iterator[str]:
    """`a.b[0] 1, then 2` for every place where two JSON values differ.

    keys: which keys of objects are compared: "all"; those of the "second" (the first may hold defaults that were
    filled in); the "common" ones (lists of different lengths are then left out, too).
    """
    if isinstance(was, dict) and isinstance(now, dict):
        compared = {"all": {*was, *now}, "second": {*now}, "common": {*was} & {*now}}[keys]
        for key in sorted(compared):
            inner = f"{where}.{key}" if where else key
            yield from differences(was.get(key), now.get(key), keys=keys, where=inner)
    elif isinstance(was, list) and isinstance(now, list) and (len(was) == len(now) or keys == "common"):
        for index, (one, two) in enumerate(zip(was, now, strict=True) if len(was) == len(now) else ()):
            yield from differences(one, two, keys=keys, where=f"{where}[{index}]")
    elif was != now:
        yield f"{where or 'all'} {short(was)}, then {short(now)}"


def short(value: Any) -> str:
    """A value as JSON, cut to `LONGEST` characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
