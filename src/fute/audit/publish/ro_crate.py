"""Export of a run as a Workflow Run RO-Crate, profile Provenance Run Crate 0.5 (w3id.org/ro/wfrun/provenance/0.5).

A folder with the workflow, every artifact with its record, the manifest, and `ro-crate-metadata.json`, which says what
made what: a CreateAction for each run of a step, with its inputs, parameters, image and cost. Folders of weights stay
out; their locks are in. The same manifest and sidecars give the same metadata.
"""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

from rocrate.model import ComputationalWorkflow, ContextEntity, File

from fute import __version__
from fute.audit.executions import Execution, executions
from fute.audit.manifest import MANIFEST, Manifest, manifest_json
from fute.audit.paths import ResultsFolder, inside
from fute.audit.publish.crate_entities import MEDIA, Entities, ExportError, media_type

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
"""The records do not say which version ran; this is what the workflow accepts."""
# what of a run's facts is a cost: property -> (name, unit code of UN/CEFACT)
COSTS = {"cpu_s": ("CPU time", "SEC"), "peak_memory_mb": ("peak memory", "E34")}


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


class _Crate(Entities):
    def __init__(self, manifest: Manifest, results: ResultsFolder, project: Path) -> None:
        super().__init__(manifest, results)
        self.project = project
        self.actions: list[ContextEntity] = []
        self.controls: list[ContextEntity] = []
        self.tools: dict[str, ContextEntity] = {}
        self.steps: dict[str, ContextEntity] = {}

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
        """A CreateAction for what the step did, and a ControlAction for the workflow's step that called it."""
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
        """The workflow and its run as a whole, and what the crate is."""
        times = [str(execution.run["finished"]) for execution in ran if "finished" in execution.run]
        if not times:
            raise ExportError("no record says when it was written; a crate must be dated")
        finished = max(times)
        workflow = self._workflow()
        made_by = {name for execution in ran for name in execution.outputs}
        used = {source.path for execution in ran for source in execution.inputs}
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
        root["mentions"] = self.refs([run, organised, *self.actions])
        root["conformsTo"] = self.refs(
            self.entity(key, "CreativeWork", name=name, version=key.rpartition("/")[2])
            for key, name in PROFILES.items()
        )

    def _outside(self, ran: list[Execution]) -> list[ContextEntity | File]:
        """Inputs of the run as a whole: what none of its steps made."""
        known = {(s.path, s.sha256) for e in ran for s in e.inputs if s.path not in self.manifest.entries}
        return [self.input(*source) for source in sorted(known)]

    def _workflow(self) -> ComputationalWorkflow:
        for path in sorted((self.project / "rules").glob("*.smk")):
            self.file(f"rules/{path.name}", path, name=path.name)
        if name := self.manifest.config.file:
            self.file(name, inside(self.project, name), name=name, description="configuration of the run")
        self.file("README.md", self.project / "README.md", name="README.md", about={"@id": "./"})
        file = self.project / WORKFLOW
        workflow = self.crate.add_workflow(file, WORKFLOW, main=True, lang="snakemake", cls=_Workflow)
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
