"""The plan of a whole run: its parts, and what both experiments or several stages share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from fute import paths
from fute.config.run import Run, read_yaml
from fute.config.sections import ConfigError
from fute.config.unsup import LM
from fute.data.model_folder import model_identity
from fute.plan.batches import BatchPlanner, StepBatches
from fute.plan.data import DataPlan
from fute.plan.llm import LlmPlan
from fute.plan.lm import LmPlan
from fute.plan.requested import requested
from fute.plan.vector_batches import VectorBatches
from fute.plan.vectors import VectorPlan

CAPTIONS = Path("resources/captions.yaml")


class Plan:
    """All that the rules ask: which files to make, from what, with which settings.

    run: the checked configuration. targets: what Snakemake was asked for; single files narrow what is labelled,
    embedded and transferred to what they need. results: folder looked through for finished batches. images: image ->
    sha256 of those whose change makes batches again; none unless the run asks for it. sent_for: batches that a cluster
    job was sent to make, which are new though an earlier start of the same job may have finished some. Raises
    ConfigError for a configuration without an experiment (`fute embed` needs none).

    Attributes:
        data, vectors, vector_batches: what both experiments share.
        planner: what decides batches besides the configuration.
        llm: the LLM experiment, None where the run has none.
        lm: the language-model experiment, None where the run has none.
    """

    def __init__(
        self,
        run: Run,
        targets: Iterable[str] = (),
        results: Path = Path("results"),
        images: Mapping[str, str] | None = None,
        sent_for: frozenset[str] = frozenset(),
    ) -> None:
        config = run.config
        if not config.corpora:
            raise ConfigError("there is no experiment to run: name datasets in llm.datasets, or give the section lm")
        self.run, self.config, self.results = run, config, results
        planner = self.planner = BatchPlanner(requested(targets, run.prompts), results, images or {}, sent_for)
        self.data = DataPlan(run)
        self.vectors = VectorPlan(run, self.data, planner)
        shared = self.data, self.vectors, planner
        self.llm = LlmPlan(run, config.llm, *shared) if config.categories else None
        self.lm = LmPlan(run, config.lm, *shared) if config.lm else None
        self.vector_batches = VectorBatches(self.vectors, self.llm, self.lm, planner)

    # --- models and folders -----------------------------------------------------------------------------

    @cached_property
    def models(self) -> tuple[str, ...]:
        """All models that the run fetches: LLMs, those of vectors (the surrogate), and what the run fine-tunes."""
        lm, tuned = self.config.lm.models if self.config.lm else (), self.run.tuned
        llms = (tuned[name].model if name in tuned else name for name in self.config.llm.models)
        return tuple(dict.fromkeys((*llms, *self.config.vector_models, *lm)))

    def check(self) -> None:
        """Look for the models and plug-ins of the run and its printed matrix, which are otherwise read when asked for.

        Raises ConfigError, PluginError or SourceError for the first that cannot be read. Data may be missing
        (`DataPlan.missing`).
        """
        for name in self.models:
            model_identity(self.run.models[name])
        _ = self.vector_batches.items  # their keys hold models and plug-ins
        _ = self.lm and self.lm.transfer.matrix_sha256

    def source_folders(self) -> list[Path]:
        """What steps read besides results: the data, models and plug-ins in folders of their own, a printed matrix."""
        lm = self.config.lm
        entries = [self.run.models[name] for name in self.models]
        folders = [entry.folder for entry in (*entries, *(lm.plugins.values() if lm else ()))]
        given = [lm.transfer.file] if lm else []
        own = [self.data.root_of(name) for name in self.data.datasets]
        roots = dict.fromkeys([self.data.root, self.data.unsup_root, *own])
        return [*roots, *(Path(path) for path in (*folders, *given) if path)]

    # --- black boxes ------------------------------------------------------------------------------------

    def category_of(self, task: str) -> str:
        """Whose U the black boxes of a task label: that of a prompt's category, or of the language models."""
        return self.run.prompts[task].category if task in self.run.prompts else LM

    @property
    def tasks(self) -> tuple[str, ...]:
        """What a black box's task may be: a prompt, a dataset it was fine-tuned on, or a plug-in's own."""
        return (*self.run.prompts, *(self.lm.tasks if self.lm else ()))

    # --- phases -----------------------------------------------------------------------------------------

    def phases(self) -> dict[str, list[str]]:
        """Phase -> files, for the phases that both experiments or rules of several stages have a part in."""
        llm, lm = self.llm, self.lm
        return {
            "finetuned": [paths.finetuned(*made) for made in lm.finetune.models] if lm else [],
            "labels": (llm.labels.files() if llm else []) + (lm.label_files() if lm else []),
            "embeddings": list(self.vector_batches.items),
            "transfer": [paths.TRANSFER_MATRIX, *lm.transfer.files()] if lm else [],
        }

    def step_batches(self) -> list[StepBatches]:
        """The batches of every step that works in batches."""
        llm, lm = self.llm, self.lm
        batches = [*(llm.labels.batches.values() if llm else ()), *self.vector_batches.batches.values()]
        if lm:
            batches += [*lm.finetune.batches.values(), *lm.label_batches.values()]
            batches += [lm.baselines.vector_batches, lm.transfer.batches, lm.baselines.score_batches]
        return batches

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
        looks = [(name, title, self.run.categories[name].colour) for name, title in self.titles]
        return {"drawings": drawings, "note": self.config.note or "", "looks": looks}

    @cached_property
    def captions(self) -> dict[str, dict[str, str]]:
        """Table or figure -> its title and caption."""
        return read_yaml(CAPTIONS)

    def table_texts(self, name: str) -> dict[str, str]:
        """Title and caption of a table, with what this run adds to it."""
        remarks: list[str] = []
        if self.lm and name in self.lm.tables:
            remarks = [self.lm.relevance_remark, self.lm.baselines.size_remark()]
        if self.llm and name == "table3":
            remarks = [self.llm.metric_remark, self.llm.labelled_remark]
        texts = self.captions[name]
        return texts | {"caption": " ".join(filter(None, (texts["caption"], *remarks)))}

    def table_settings(self, name: str) -> dict[str, Any]:
        """Title, caption and note of a table: the run's, and for Table 3 the baselines that were not asked for."""
        notes = [self.config.note or "", self.llm.left_out if name == "table3" and self.llm else ""]
        titles = {"categories": self.titles} if name == "table3" else {}
        return {**self.table_texts(name), "note": " ".join(filter(None, notes)), **titles}

    @property
    def titles(self) -> tuple[tuple[str, str], ...]:
        """Id and name of each category of the run, in the order of tables (which a mapping in JSON has not)."""
        return tuple((name, self.run.title_of(name)) for name in self.config.categories)

    def efficiency_files(self, experiment: str) -> list[str]:
        """What an experiment's costs are read from: the `.keys` of its batches, label files of LLMs, and the scores of
        baselines that have vectors. experiment: `llm` or `lm`."""
        vectors = self.vector_batches.llm_items if experiment == "llm" else self.vector_batches.lm_items
        batches = {self.vector_batches.batch_file(path) for path in vectors}
        more = []
        if experiment == "llm" and self.llm:
            labels = self.llm.labels
            batches |= {labels.batch_file(*cell) for cell in labels.cells}
            more = labels.files()
        elif experiment == "lm" and self.lm and self.lm.baselines.vector_methods:
            own = self.lm.baselines
            batches |= {own.vector_batches.file(dataset) for dataset in self.data.lm_targets}
            more = [paths.LM_BASELINES]
        return sorted(map(paths.batch_index, batches)) + more

    def efficiency_settings(self) -> dict[str, Any]:
        """Settings of the step `efficiency`."""
        prompts = {name: prompt.category for name, prompt in self.run.prompts.items()}
        return {"prompts": prompts, **self.table_settings("efficiency")}
