"""The plan of a whole run: its parts, and what both experiments or several stages share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from fute import batching
from fute.artifacts import canonical_json, content_key
from fute.config.lm_experiment import LM
from fute.config.run import Run, read_yaml
from fute.config.sections import ConfigError
from fute.plan.data import DataPlan
from fute.plan.llm import LlmWorkflow
from fute.plan.lm import LmWorkflow
from fute.plan.requested import Requested, requested
from fute.plan.vector_batches import EmbeddingPlan

CAPTIONS = Path("resources/captions.yaml")


class Workflow:
    """All that the rules ask: which files to make, from what, with which settings.

    Its parts: `data` and `embeddings`; `llm` and `lm`, the LLM and the language-model experiment, None where the run
    has it not.
    run: the checked configuration. targets: what Snakemake was asked for; a request for single files narrows
    the cells that are labelled and embedded to those these files need. results: folder looked through for
    finished batches. images: image -> sha256 of those whose change makes batches again; none unless the run asks for
    it. Raises ConfigError for a configuration without an experiment (`fute embed` needs none).
    """

    def __init__(
        self,
        run: Run,
        targets: Iterable[str] = (),
        results: Path = Path("results"),
        images: Mapping[str, str] | None = None,
    ) -> None:
        if not run.config.corpora:
            raise ConfigError("there is no experiment to run: name datasets in llm.datasets, or give the section lm")
        self.run, self.config, self.results = run, run.config, results
        self.targets = tuple(targets)
        self.images = dict(images or {})
        self.llm = LlmWorkflow(self, run.config.llm) if run.config.categories else None
        self.lm = LmWorkflow(self, run.config.lm) if run.config.lm else None
        experiments = [part for part in (self.llm, self.lm) if part]
        self.data = DataPlan(run, tuple(dict.fromkeys(name for part in experiments for name in part.targets)))
        self.embeddings = EmbeddingPlan(self)

    @cached_property
    def requested(self) -> Requested:
        """What the workflow's targets need."""
        return requested(self.targets, self.run.prompts)

    def run_by(self, image: str, code_sha256: str) -> str:
        """What runs the steps of a batch: their code and, where the run asks for it, their image."""
        return content_key([code_sha256, self.images[image]]) if image in self.images else code_sha256

    # --- models and folders -----------------------------------------------------------------------------

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The LLMs and the surrogate."""
        return tuple(dict.fromkeys((*self.config.llm.models, self.config.surrogate.name)))

    def model_folder(self, model: str) -> str:
        return f"results/models/{model}"

    def model_lock(self, model: str) -> str:
        return f"results/models/{model}.lock.json"

    def source_folders(self) -> list[Path]:
        """What steps read besides results: the data, models and plug-ins in folders of their own, a printed matrix."""
        lm = self.lm.settings if self.lm else None
        entries = [self.run.models[name] for name in (*self.models, *(lm.models if lm else ()))]
        folders = [entry.folder for entry in (*entries, *(lm.plugins.values() if lm else ()))]
        given = [lm.transfer.file] if lm else []
        return [self.data.root, *(Path(path) for path in (*folders, *given) if path)]

    # --- black boxes ------------------------------------------------------------------------------------

    def category_of(self, task: str) -> str:
        """Whose U the black boxes of a task label: a prompt's category, or that of the language models."""
        return self.run.prompts[task].category if task in self.run.prompts else LM

    @property
    def task_ids(self) -> tuple[str, ...]:
        """What a black box's task may be: a prompt, a dataset it was fine-tuned on, or a plug-in's own."""
        return (*self.run.prompts, *(self.lm.tasks if self.lm else ()))

    # --- phases -----------------------------------------------------------------------------------------

    def phases(self) -> dict[str, list[str]]:
        """Files of the phases that both experiments, or rules of several stages, have a part in."""
        llm, lm = self.llm, self.lm
        return {
            "finetuned": [lm.finetuned_file(*made) for made in lm.finetuned] if lm else [],
            "labels": (llm.labels.files() if llm else []) + (lm.label_files() if lm else []),
            "embeddings": list(self.embeddings.items),
            "transfer": ["results/evaluation/transfer.csv", *lm.transfer.files()] if lm else [],
        }

    # --- settings of what both experiments draw and count -----------------------------------------------

    def figures(self, *figures: str) -> dict[str, tuple[str, str, str]]:
        """File name -> (figure, method, view) of every drawing of some figures; the first of each is the paper's."""
        main = "tupate" if "tupate" in self.config.methods else self.config.methods[0]
        views = [("", main, "raw")]
        views += [(f"-{method}", method, "raw") for method in self.config.methods if method != main]
        if main == "tupate":
            views.append(("-centred", main, "centred"))
        return {f"{figure}{suffix}": (figure, method, view) for figure in figures for suffix, method, view in views}

    def figure_settings(self, figures: Mapping[str, tuple[str, str, str]]) -> dict[str, Any]:
        """A `fute.paper.figure_step.FigureSettings` as a mapping. figures: file name -> (figure, method, view)."""
        drawings = {
            name: {"figure": figure, "method": method, "view": view} for name, (figure, method, view) in figures.items()
        }
        return {"drawings": drawings, "note": self.config.note or ""}

    @cached_property
    def captions(self) -> dict[str, dict[str, str]]:
        return read_yaml(CAPTIONS)

    def table_settings(self, name: str) -> dict[str, Any]:
        return {**self.captions[name], "note": self.config.note or ""}

    def efficiency_files(self, experiment: str) -> list[str]:
        """What an experiment's costs are read from: the `.keys` of its batches, and the label files of its LLMs, or
        what names the vectors of its baselines."""
        paths = self.embeddings.llm_items if experiment == "llm" else self.embeddings.lm_items
        batches = {self.embeddings.batch_file(path.split("/")[3], path) for path in paths}
        labels = self.llm.labels if self.llm and experiment == "llm" else None
        if labels:
            batches |= {labels.batch_file(*cell) for cell in labels.cells}
        keys = {re.sub(r"\.(zip|jsonl\.gz)$", batching.KEYS, name) for name in batches}
        has_vectors = self.lm and experiment == "lm" and self.lm.baselines.vector_methods
        scores = ["results/baselines/lm_baselines.csv"] if has_vectors else []
        return sorted(keys) + (labels.files() if labels else []) + scores

    def efficiency_settings(self) -> dict[str, Any]:
        prompts = {name: prompt.category for name, prompt in self.run.prompts.items()}
        return {"prompts": prompts, **self.table_settings("efficiency")}


def settings_json(values: Mapping[str, Any]) -> str:
    return canonical_json(dict(values))
