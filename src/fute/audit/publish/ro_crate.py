"""Export of a run as a Workflow Run RO-Crate, profile Provenance Run Crate 0.5 (w3id.org/ro/wfrun/provenance/0.5).

The crate is a folder with the workflow, every artifact with its record, the manifest, and `ro-crate-metadata.json`,
which says what made what: a CreateAction for each run of a step, with inputs, parameters, image and cost. Weights are
left out, their locks are in. Equal manifests and sidecars give equal metadata.
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
from fute.audit.findings import DRIFT, AuditError
from fute.audit.lineage import Execution, executions
from fute.audit.manifest import MANIFEST, Manifest, manifest_json
from fute.audit.paths import ResultsFolder, inside

TERMS = "https://w3id.org/ro/terms/workflow-run"
MEDIA = {".smk": "text/x-python", ".jsonl": "application/x-ndjson", ".keys": "text/plain", ".yaml": "application/yaml"}


PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
COMPLETED = "http://schema.org/CompletedActionStatus"
LICENSE = "https://spdx.org/licenses/MIT"
PAPER = "https://arxiv.org/abs/2402.14522"
WORKFLOW = "Snakefile"
MIN_SNAKEMAKE = ">=9.20"
"""The version that the workflow needs; the records do not say which one ran."""
# costs among the facts of a run: property -> (name, unit code of UN/CEFACT)
COSTS = {"cpu_s": ("CPU time", "SEC"), "peak_memory_mb": ("peak memory", "E34")}


class MovedArtifact(AuditError):
    """An artifact with other bytes than the manifest lists."""

    exit_code = DRIFT


def export_crate(manifest: Manifest, results: ResultsFolder, folder: Path) -> int:
    """Write the crate of a run to an empty or new folder; returns the number of executions.

    Raises AuditError, RecordMoved; the folder then holds no `ro-crate-metadata.json`.
    """
    if folder.exists() and any(folder.iterdir()):
        raise AuditError(f"{folder} is not empty; give another folder with --output, or remove it")
    ran = executions(manifest, results)
    if not ran:
        raise AuditError(
            "the manifest lists no artifact; run the workflow, then make the manifest again: fute audit manifest"
        )
    crate = _Crate(manifest, results)
    for execution in ran:
        crate.add_execution(execution)
    crate.finish(ran)
    crate.write(folder)
    return len(ran)


class _Workflow(ComputationalWorkflow):
    TYPES = (*ComputationalWorkflow.TYPES, "HowTo")


def media_type(name: str) -> str:
    """MIME type of a file, by its ending."""
    if name.endswith(".gz"):
        return "application/gzip"
    return MEDIA.get(Path(name).suffix) or mimetypes.guess_type(name, strict=False)[0] or "application/octet-stream"


class _Crate:
    """One crate. Its entities (files with their hashes, values, container images) are each made once, on first use."""

    def __init__(self, manifest: Manifest, results: ResultsFolder) -> None:
        self.manifest, self.results = manifest, results
        self.crate = ROCrate(version="1.1")
        self.crate.metadata.extra_contexts.append(f"{TERMS}/context")
        self.actions: list[ContextEntity] = []
        self.controls: list[ContextEntity] = []
        self.tools: dict[str, ContextEntity] = {}
        self.steps: dict[str, ContextEntity] = {}

    def entity(self, key: str, kind: str, **properties: Any) -> ContextEntity:
        """The contextual entity with this id, made if it does not exist yet."""
        known = self.crate.get(key)
        return known or self.crate.add(ContextEntity(self.crate, key, {"@type": kind, **properties}))

    def value(self, name: str, value: Any, **properties: Any) -> ContextEntity:
        """A PropertyValue; equal values share one."""
        text = value if isinstance(value, str | int | float) else canonical_json(value)
        key = f"#{name.replace(' ', '-')}-{content_key([text, properties])[:16]}"
        return self.entity(key, "PropertyValue", name=name, value=text, **properties)

    def artifact(self, name: str) -> File:
        """The file of an artifact, after its bytes were checked, with its record beside it."""
        if known := self.crate.get(name):
            return known
        entry = self.manifest.entries[name]
        path = self.results.path(name)
        if not path.is_file():
            raise AuditError(f"{name}: is missing; copy it again, or {self.manifest.make_it(name)}")
        if sha256_file(path) != entry.sha256:
            raise MovedArtifact(f"{name}: its bytes are not those of the manifest; for details run: fute audit verify")
        facts = {"name": name.rpartition("/")[2], "sha256": entry.sha256, "contentSize": str(entry.size)}
        record = self.file(name + SIDECAR, self.results.path(name + SIDECAR), sha256=entry.sidecar_sha256)
        record["about"] = {"@id": name}
        return self.file(name, path, **facts)

    def file(self, key: str, path: Path, **facts: Any) -> File:
        return self.crate.add_file(path, key, properties={"encodingFormat": media_type(key), **facts})

    def input(self, path: str, sha256: str) -> ContextEntity | File:
        """An input: an artifact of the run, or the hash of a file outside it."""
        if path in self.manifest.entries:
            return self.artifact(path)
        return self.value(path, sha256, propertyID=f"{TERMS}#sha256")

    def image(self, sha256: str) -> ContextEntity:
        """The container image of an execution, with its entry in the lock of images."""
        locked = self.manifest.images.get(sha256, {})
        name = str(locked.get("name", f"image {sha256[:12]}"))
        kind = {"@id": f"{TERMS}#SIFImage"}
        facts = {"description": canonical_json(locked)} if locked else {}
        return self.entity(
            f"#image-{sha256[:16]}", "ContainerImage", name=name, sha256=sha256, additionalType=kind, **facts
        )

    @staticmethod
    def ref(entity: ContextEntity | File) -> dict[str, str]:
        return {"@id": entity.id}

    @staticmethod
    def refs(entities: Iterable[ContextEntity | File]) -> list[dict[str, str]] | dict[str, str]:
        """References without repeats; a single one is no list, as usual in the JSON-LD of crates."""
        references = [{"@id": key} for key in dict.fromkeys(entity.id for entity in entities)]
        return references[0] if len(references) == 1 else references

    # --- what was run -----------------------------------------------------------------------------------

    def tool(self, execution: Execution) -> ContextEntity:
        rule = execution.rule
        if rule not in self.tools:
            module = execution.entry.module
            self.tools[rule] = self.entity(
                f"#tool-{rule}", "SoftwareApplication", name=f"python -m fute: {execution.entry.step}",
                description=f"{module} and what it imports; code sha256 {execution.entry.code_sha256}",
                softwareVersion=__version__,
            )  # fmt: skip
            self.steps[rule] = self.entity(
                f"{WORKFLOW}#{rule}", "HowToStep", name=rule, position=str(len(self.steps) + 1),
                workExample={"@id": self.tools[rule].id},
            )  # fmt: skip
        return self.tools[rule]

    def add_execution(self, execution: Execution) -> None:
        """A CreateAction for what the step did, and a ControlAction for the rule that called it."""
        entry = execution.entry
        tool = self.tool(execution)
        used = [self.input(source.path, source.sha256) for source in entry.inputs]
        used.append(self.value("parameters", execution.params))
        used += [self.value(f"seed {name}", seed) for name, seed in entry.seeds.items()]
        facts: dict[str, Any] = {}
        if entry.image:
            facts["containerImage"] = self.ref(self.image(entry.image))
        if environment := self.manifest.environments.get(entry.environment):
            facts["environment"] = self.ref(self.value("environment", environment))
        costs = [
            self.value(name, execution.run[key], propertyID=f"#{key}", unitCode=unit)
            for key, (name, unit) in COSTS.items()
            if key in execution.run
        ]
        if costs:
            facts["resourceUsage"] = self.refs(costs)
        if "finished" in execution.run:
            facts["endTime"] = execution.run["finished"]
        action = self.entity(
            f"#execution-{execution.id}", "CreateAction", name=execution.name, actionStatus=COMPLETED,
            description=f"step {entry.step} of the rule {execution.rule}", instrument=self.ref(tool),
            object=self.refs(used), result=self.refs(self.artifact(name) for name in execution.outputs), **facts,
        )  # fmt: skip
        control = self.entity(
            f"#control-{execution.id}", "ControlAction", name=f"control of {execution.name}", actionStatus=COMPLETED,
            instrument=self.ref(self.steps[execution.rule]), object=self.ref(action),
        )  # fmt: skip
        self.actions.append(action)
        self.controls.append(control)

    def finish(self, ran: list[Execution]) -> None:
        """Add the workflow, its run as a whole and what Snakemake did for it, and describe the crate."""
        times = [str(execution.run["finished"]) for execution in ran if "finished" in execution.run]
        if not times:
            raise AuditError(
                "no record has the time when it was written, and a crate needs a date; run the workflow again"
            )
        finished = max(times)
        workflow = self._workflow()
        made_by = {name for execution in ran for name in execution.outputs}
        used = {source.path for execution in ran for source in execution.entry.inputs}
        run = self.entity(
            "#run", "CreateAction", name=f"run of {self.manifest.config.name}",
            actionStatus=COMPLETED, endTime=finished,
            description="the workflow's run, from its data and models to what nothing else was made from",
            instrument=self.ref(workflow), object=self.refs(self._outside(ran)),
            result=self.refs(self.artifact(name) for name in sorted(made_by - used)),
        )  # fmt: skip
        engine = self.entity(
            "https://snakemake.github.io", "SoftwareApplication", name="Snakemake", url="https://snakemake.github.io",
            softwareVersion=MIN_SNAKEMAKE,
        )  # fmt: skip
        organised = self.entity(
            "#organisation", "OrganizeAction", name="what Snakemake ran", actionStatus=COMPLETED, endTime=finished,
            instrument=self.ref(engine), object=self.refs(self.controls), result=self.ref(run),
        )  # fmt: skip
        self._describe(finished, [run, organised, *self.actions])

    def _describe(self, finished: str, actions: list[ContextEntity]) -> None:
        """Name, date, licence, article, actions and profiles of the crate itself."""
        root = self.crate.root_dataset
        root["name"] = f"{self.manifest.config.name}: a run of fute"
        root["description"] = (
            "Task embeddings across multiple models: what one run of the workflow made, from what and how. "
            f"Root hash of its manifest: {self.manifest.root}."
        )
        root["datePublished"] = finished
        root["license"] = self.ref(self.entity(LICENSE, "CreativeWork", name="MIT licence", url=LICENSE))
        article = self.entity(PAPER, "ScholarlyArticle", name="Towards Unified Task Embeddings Across Multiple Models")
        root["citation"] = self.ref(article)
        root["mentions"] = self.refs(actions)
        root["conformsTo"] = self.refs(
            self.entity(key, "CreativeWork", name=name, version=key.rpartition("/")[2])
            for key, name in PROFILES.items()
        )

    def _outside(self, ran: list[Execution]) -> list[ContextEntity | File]:
        """Inputs of the run as a whole: files that none of its steps made."""
        outside = {(s.path, s.sha256) for e in ran for s in e.entry.inputs if s.path not in self.manifest.entries}
        return [self.input(*source) for source in sorted(outside)]

    def _workflow(self) -> ComputationalWorkflow:
        for path in sorted(Path("rules").glob("*.smk")):
            self.file(f"rules/{path.name}", path, name=path.name)
        if name := self.manifest.config.file:
            self.file(name, inside(Path(), name), name=name, description="configuration of the run")
        self.file("README.md", Path("README.md"), name="README.md", about={"@id": "./"})
        workflow = self.crate.add_workflow(Path(WORKFLOW), WORKFLOW, main=True, lang="snakemake", cls=_Workflow)
        workflow["name"], workflow["version"], workflow["encodingFormat"] = "fute", __version__, MEDIA[".smk"]
        workflow["hasPart"] = self.refs(self.tools.values())
        workflow["step"] = self.refs(self.steps.values())
        return workflow

    def write(self, folder: Path) -> None:
        """All files, then the metadata."""
        self.crate.add_file(
            StringIO(manifest_json(self.manifest)), MANIFEST,
            properties={"name": "manifest", "encodingFormat": media_type(MANIFEST), "identifier": self.manifest.root},
        )  # fmt: skip
        self.crate.write(folder)
