"""Export of a run as a Workflow Run RO-Crate, profile Provenance Run Crate 0.5 (w3id.org/ro/wfrun/provenance/0.5).

A folder with the workflow, every artifact with its record, the manifest, and `ro-crate-metadata.json`, which says what
made what: a CreateAction for each run of a step, with its inputs, parameters, image and cost. Folders of weights stay
out; their locks are in. The same manifest and sidecars give the same metadata.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import Any

from rocrate.model import ComputationalWorkflow, ContextEntity, File
from rocrate.rocrate import ROCrate

from fute import __version__
from fute.artifacts import SIDECAR, canonical_json, content_key, sha256_file
from fute.audit.executions import Execution, executions
from fute.audit.manifest import MANIFEST, Manifest, manifest_json
from fute.audit.paths import ResultsFolder, inside

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
TERMS = "https://w3id.org/ro/terms/workflow-run"
COMPLETED = "http://schema.org/CompletedActionStatus"
LICENSE = "https://spdx.org/licenses/MIT"
PAPER = "https://arxiv.org/abs/2402.14522"
WORKFLOW = "Snakefile"
MIN_SNAKEMAKE = ">=9.20"
"""The records do not say which version ran; this is what the workflow accepts."""
MEDIA = {".smk": "text/x-python", ".jsonl": "application/x-ndjson", ".keys": "text/plain", ".yaml": "application/yaml"}
# what of a run's facts is a cost: property -> (name, unit code of UN/CEFACT)
COSTS = {"cpu_s": ("CPU time", "SEC"), "peak_memory_mb": ("peak memory", "E34")}


class ExportError(RuntimeError):
    """A run that cannot be exported: an artifact is missing or is not the one of the manifest."""


def export_crate(manifest: Manifest, results: ResultsFolder, folder: Path, project: Path = Path()) -> int:
    """Write the crate of a run to a folder, which must not hold anything; returns the number of executions.

    Raises ExportError, RecordMoved; then the folder holds no `ro-crate-metadata.json`.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ExportError(f"{folder} is not empty; name another folder or remove it")
    ran = executions(manifest, results)
    if not ran:
        raise ExportError("the manifest lists no artifact; run the workflow, then: fute audit manifest")
    crate = _Crate(manifest, results, project)
    for execution in ran:
        crate.add_execution(execution)
    crate.finish(ran)
    crate.write(folder)
    return len(ran)


class _Workflow(ComputationalWorkflow):
    TYPES = (*ComputationalWorkflow.TYPES, "HowTo")


class _Crate:
    def __init__(self, manifest: Manifest, results: ResultsFolder, project: Path) -> None:
        self.manifest, self.results, self.project = manifest, results, project
        self.crate = ROCrate(version="1.1")
        self.crate.metadata.extra_contexts.append(f"{TERMS}/context")
        self.actions: list[ContextEntity] = []
        self.controls: list[ContextEntity] = []
        self.tools: dict[str, ContextEntity] = {}
        self.steps: dict[str, ContextEntity] = {}

    # --- entities -----------------------------------------------------------------------------------------

    def _entity(self, key: str, kind: str, **properties: Any) -> ContextEntity:
        """The contextual entity with this id, made where it is not there yet."""
        known = self.crate.get(key)
        return known or self.crate.add(ContextEntity(self.crate, key, {"@type": kind, **properties}))

    def _value(self, name: str, value: Any, **properties: Any) -> ContextEntity:
        """A PropertyValue, one for equal ones."""
        text = value if isinstance(value, str | int | float) else canonical_json(value)
        key = f"#{name.replace(' ', '-')}-{content_key([text, properties])[:16]}"
        return self._entity(key, "PropertyValue", name=name, value=text, **properties)

    def _artifact(self, name: str) -> File:
        """The file of an artifact, its bytes checked, and its record beside it."""
        if known := self.crate.get(name):
            return known
        entry = self.manifest.entries[name]
        path = self.results.path(name)
        if not path.is_file():
            raise ExportError(f"{name}: is missing; copy it again, or run the workflow")
        if sha256_file(path) != entry.sha256:
            raise ExportError(f"{name}: its bytes are not those of the manifest; see fute audit verify")
        facts = {"name": name.rpartition("/")[2], "sha256": entry.sha256, "contentSize": str(entry.size)}
        record = self._file(name + SIDECAR, self.results.sidecar(name), sha256=entry.sidecar_sha256)
        record["about"] = {"@id": name}
        return self._file(name, path, **facts)

    def _file(self, key: str, path: Path, **facts: Any) -> File:
        return self.crate.add_file(path, key, properties={"encodingFormat": media_type(key), **facts})

    def _input(self, path: str, sha256: str) -> ContextEntity | File:
        """An input: an artifact of the run, or what lay outside it, known by its hash."""
        if path in self.manifest.entries:
            return self._artifact(path)
        return self._value(path, sha256, propertyID="https://w3id.org/ro/terms/workflow-run#sha256")

    def _tool(self, execution: Execution) -> ContextEntity:
        rule = execution.rule
        if rule not in self.tools:
            module = execution.entry.module
            self.tools[rule] = self._entity(
                f"#tool-{rule}", "SoftwareApplication", name=f"python -m fute: {execution.entry.step}", url=PAPER,
                description=f"{module} and what it imports; code sha256 {execution.entry.code_sha256}",
                softwareVersion=__version__,
            )  # fmt: skip
            self.steps[rule] = self._entity(
                f"{WORKFLOW}#{rule}", "HowToStep", name=rule, position=str(len(self.steps) + 1),
                workExample={"@id": self.tools[rule].id},
            )  # fmt: skip
        return self.tools[rule]

    def _image(self, sha256: str) -> ContextEntity:
        """The container image of an execution, with what the lock of images said of it."""
        locked = self.manifest.images.get(sha256, {})
        name = str(locked.get("name", f"image {sha256[:12]}"))
        kind = {"@id": f"{TERMS}#SIFImage"}
        facts = {"description": canonical_json(locked)} if locked else {}
        return self._entity(
            f"#image-{sha256[:16]}", "ContainerImage", name=name, sha256=sha256, additionalType=kind, **facts
        )

    # --- actions ------------------------------------------------------------------------------------------

    def add_execution(self, execution: Execution) -> None:
        """A CreateAction for what the step did, and a ControlAction for the workflow's step that called it."""
        entry = execution.entry
        tool = self._tool(execution)
        used = [self._input(source.path, source.sha256) for source in entry.inputs]
        used.append(self._value("parameters", execution.params))
        used += [self._value(f"seed {name}", seed) for name, seed in entry.seeds.items()]
        facts: dict[str, Any] = {}
        if entry.image:
            facts["containerImage"] = self._ref(self._image(entry.image))
        if environment := self.manifest.environments.get(entry.environment):
            facts["environment"] = self._ref(self._value("environment", environment))
        costs = [
            self._value(name, execution.run[key], propertyID=f"#{key}", unitCode=unit)
            for key, (name, unit) in COSTS.items()
            if key in execution.run
        ]
        if costs:
            facts["resourceUsage"] = self._refs(costs)
        if "finished" in execution.run:
            facts["endTime"] = execution.run["finished"]
        action = self._entity(
            f"#execution-{execution.id}", "CreateAction", name=execution.name, actionStatus=COMPLETED,
            description=f"step {entry.step} of the rule {execution.rule}", instrument=self._ref(tool),
            object=self._refs(used), result=self._refs(self._artifact(name) for name in execution.outputs), **facts,
        )  # fmt: skip
        control = self._entity(
            f"#control-{execution.id}", "ControlAction", name=f"control of {execution.name}", actionStatus=COMPLETED,
            instrument=self._ref(self.steps[execution.rule]), object=self._ref(action),
        )  # fmt: skip
        self.actions.append(action)
        self.controls.append(control)

    @staticmethod
    def _ref(entity: ContextEntity | File) -> dict[str, str]:
        return {"@id": entity.id}

    @staticmethod
    def _refs(entities: Iterable[ContextEntity | File]) -> list[dict[str, str]] | dict[str, str]:
        """References, each once; a single one stands by itself, as JSON-LD of crates has it."""
        found = [{"@id": key} for key in dict.fromkeys(entity.id for entity in entities)]
        return found[0] if len(found) == 1 else found

    def finish(self, ran: list[Execution]) -> None:
        """The workflow and its run as a whole, and what the crate is."""
        finished = max(str(execution.run["finished"]) for execution in ran if "finished" in execution.run)
        workflow = self._workflow()
        made_by = {name for execution in ran for name in execution.outputs}
        used = {source.path for execution in ran for source in execution.inputs}
        run = self._entity(
            "#run", "CreateAction", name=f"run of {self.manifest.config.name}",
            actionStatus=COMPLETED, endTime=finished,
            description="the workflow's run, from its data and models to what nothing else was made from",
            instrument=self._ref(workflow), object=self._refs(self._outside(ran)),
            result=self._refs(self._artifact(name) for name in sorted(made_by - used)),
        )  # fmt: skip
        engine = self._entity(
            "https://snakemake.github.io", "SoftwareApplication", name="Snakemake", url="https://snakemake.github.io",
            softwareVersion=MIN_SNAKEMAKE,
        )  # fmt: skip
        organised = self._entity(
            "#organisation", "OrganizeAction", name="what Snakemake ran", actionStatus=COMPLETED, endTime=finished,
            instrument=self._ref(engine), object=self._refs(self.controls), result=self._ref(run),
        )  # fmt: skip
        root = self.crate.root_dataset
        root["name"] = f"{self.manifest.config.name}: a run of fute"
        root["description"] = (
            "Task embeddings across multiple models: what one run of the workflow made, from what and how. "
            f"Root hash of its manifest: {self.manifest.root}."
        )
        root["datePublished"] = finished
        root["license"] = self._ref(self._entity(LICENSE, "CreativeWork", name="MIT licence", url=LICENSE))
        root["mentions"] = self._refs([run, organised, *self.actions])
        root["conformsTo"] = self._refs(
            self._entity(key, "CreativeWork", name=name, version=key.rpartition("/")[2])
            for key, name in PROFILES.items()
        )

    def _outside(self, ran: list[Execution]) -> list[ContextEntity | File]:
        """Inputs of the run as a whole: what none of its steps made."""
        known = {(s.path, s.sha256) for e in ran for s in e.inputs if s.path not in self.manifest.entries}
        return [self._input(*source) for source in sorted(known)]

    def _workflow(self) -> ComputationalWorkflow:
        for path in sorted((self.project / "rules").glob("*.smk")):
            self._file(f"rules/{path.name}", path, name=path.name)
        if name := self.manifest.config.file:
            self._file(name, inside(self.project, name), name=name, description="configuration of the run")
        self._file("README.md", self.project / "README.md", name="README.md", about={"@id": "./"})
        file = self.project / WORKFLOW
        workflow = self.crate.add_workflow(file, WORKFLOW, main=True, lang="snakemake", cls=_Workflow)
        workflow["name"], workflow["version"], workflow["url"] = "fute", __version__, PAPER
        workflow["encodingFormat"] = MEDIA[".smk"]
        workflow["hasPart"] = self._refs(self.tools.values())
        workflow["step"] = self._refs(self.steps.values())
        return workflow

    def write(self, folder: Path) -> None:
        """All files, then the metadata."""
        self.crate.add_file(
            StringIO(manifest_json(self.manifest)), MANIFEST,
            properties={"name": "manifest", "encodingFormat": media_type(MANIFEST), "identifier": self.manifest.root},
        )  # fmt: skip
        self.crate.write(folder)


def media_type(name: str) -> str:
    """MIME type by a file's ending."""
    found = MEDIA.get(Path(name).suffix) or mimetypes.guess_type(name, strict=False)[0]
    return "application/gzip" if name.endswith(".gz") else found or "application/octet-stream"
