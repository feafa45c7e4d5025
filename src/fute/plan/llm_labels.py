"""The part of the LLM experiment's plan that is labels: cells, their keys, and the batches they are made in."""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fute import batching
from fute.artifacts import canonical_json, content_key
from fute.config.prompts import Prompt
from fute.llm import label_batch_step as labelling
from fute.steps import code

if TYPE_CHECKING:
    from fute.plan.llm import LlmWorkflow

SELF_SELECT = labelling.SELF_SELECT


class LabelPlan:
    """What every (LLM, prompt) says of U and of the evaluation rows.

    llm: the plan it is part of. A cell is (model, task, corpus); the task is a prompt's id, or Self-Select's.
    """

    def __init__(self, llm: LlmWorkflow) -> None:
        self.llm, self.common, self.run, self.settings = llm, llm.common, llm.run, llm.settings

    def corpora_of(self, category: str) -> tuple[str, ...]:
        return (category, *self.run.datasets_of(category))

    @cached_property
    def cells(self) -> dict[tuple[str, str, str], str]:
        """(model, task, corpus) -> key of every label cell of the configuration, Self-Select's among them."""
        llm, categories, found = self.settings, self.llm.categories, {}
        engine_code = self.common.run_by("labels", code("label_batch", f"fute.llm.{llm.engine.engine}"))
        recipe = {
            corpus: content_key(self.common.data.corpus_recipe(corpus))
            for c in categories
            for corpus in self.corpora_of(c)
        }
        for model in llm.models:
            identity = self.run.models[model].identity()
            for category in categories:
                prompts = self.run.prompts_of(category)
                for prompt in prompts:
                    for corpus in self.corpora_of(category):
                        found[model, prompt.id, corpus] = labelling.label_key(
                            identity, llm.engine, llm.system, llm.max_text_words,
                            prompt, recipe[corpus], corpus != category, engine_code,
                        )  # fmt: skip
                found[model, SELF_SELECT, category] = labelling.select_key(identity, llm.engine, prompts, engine_code)
        return found

    def files(self, corpora: str = "all") -> list[str]:
        """Label files of the run: on U ("unsup"), on the evaluation rows ("test"), or both."""
        return [
            f"results/labels/{model}/{task}/{corpus}.jsonl.gz"
            for category, model, task in self.llm.black_boxes
            for corpus in self.corpora_of(category)
            if corpora == "all" or (corpus == category) == (corpora == "unsup")
        ]

    def folder(self, model: str) -> Path:
        return self.common.results / "labels" / model / "batches"

    @cached_property
    def plans(self) -> dict[str, batching.Plan]:
        """Per model: which batch holds which cell. One new batch a category at most."""
        plans = {}
        asked = self.common.requested.labels
        for model in self.settings.models:
            finished = batching.finished_batches(self.folder(model), labelling.SUFFIX)
            batch_of: dict[str, str] = {}
            new: dict[str, tuple[str, ...]] = {}
            for category in self.llm.categories:
                wanted = {
                    f"{task}/{corpus}": key
                    for (m, task, corpus), key in self.cells.items()
                    if m == model
                    and corpus in self.corpora_of(category)
                    and (asked is None or (m, task, corpus) in asked)
                }
                part = batching.plan(wanted, finished)
                batch_of |= part.batch_of
                new |= part.new
            plans[model] = batching.Plan(batch_of, new)
        return plans

    @cached_property
    def new_batches(self) -> tuple[str, ...]:
        return tuple(sorted(name for plan in self.plans.values() for name in plan.new))

    def batch_file(self, model: str, task: str, corpus: str) -> str:
        name = self.plans[model].batch_of[f"{task}/{corpus}"]
        return f"results/labels/{model}/batches/{name}{labelling.SUFFIX}"

    def batch_corpora(self, model: str, batch: str) -> list[str]:
        cells = [cell.split("/") for cell in self.plans[model].new[batch]]
        return sorted({corpus for task, corpus in cells if task != SELF_SELECT})

    @cache  # noqa: B019  (one plan lives as long as the process)
    def spec(self, model: str, batch: str) -> str:
        """The batch's settings as canonical JSON (a `labelling.BatchSpec`)."""
        llm = self.settings
        prompts: dict[str, Prompt] = {}
        labels: dict[str, labelling.LabelCell] = {}
        selects = []
        for cell in self.plans[model].new[batch]:
            task, corpus = cell.split("/")
            key = self.cells[model, task, corpus]
            if task == SELF_SELECT:
                of_category = self.run.prompts_of(corpus)
                prompts |= {p.id: p for p in of_category}
                selects.append(labelling.SelectCell(key=key, category=corpus, prompts=tuple(p.id for p in of_category)))
            elif key not in labels:
                prompts[task] = self.run.prompts[task]
                labels[key] = labelling.LabelCell(
                    key=key, prompt=task, corpus=corpus, perplexity=corpus not in self.llm.categories
                )
        spec = labelling.BatchSpec(
            engine=llm.engine, system=llm.system, max_text_words=llm.max_text_words,
            prompts=prompts, labels=tuple(labels.values()), selects=tuple(selects),
        )  # fmt: skip
        return canonical_json(spec.model_dump())

    def extract_settings(self, model: str, task: str, corpus: str) -> str:
        prompt = self.run.prompts[task]
        return canonical_json(
            {
                "key": self.cells[model, task, corpus],
                "prompt": prompt.id,
                "number": prompt.number,
                "classes": list(prompt.verbalizers),
                "calibration": self.settings.calibration,
            }
        )
