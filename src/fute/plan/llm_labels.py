"""Labels in the plan of the LLM experiment: cells, their keys, and the batches they are made in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any

from fute import batching, paths
from fute.artifacts import content_key
from fute.config.engines import EngineSettings
from fute.config.llm_experiment import LlmConfig
from fute.config.prompts import Prompt
from fute.config.run import TRAIN, Run
from fute.llm.label_batch_step import SELF_SELECT, BatchSpec, LabelCell, SelectCell
from fute.plan.argument_files import Argument, settings_json
from fute.plan.batches import BatchPlanner, StepBatches
from fute.plan.data import DataPlan
from fute.plan.llm_tuning import TuningPlan


def prompt_words(prompt: Prompt) -> dict[str, Any]:
    """Parts of a prompt that reach the engine, and the places of the texts: without its id, number and note."""
    words = {"template": prompt.template, "verbalizers": prompt.verbalizers, "cot": prompt.cot}
    # written out where it is not the usual one, so that keys of other prompts stay as they are
    form = {} if prompt.form == "braces" else {"form": prompt.form}
    return words | form | {"segments": prompt.segments}


def _shaping(engine: EngineSettings, *, cot: bool = False) -> dict[str, Any]:
    """Engine settings that change an answer. `max_length` changes none: longer prompts are refused or cut.

    cot: whether the LLM is asked to reason first.
    """
    no_matter = {"max_length"} if cot else {"max_length", "reasoning_tokens"}
    return {name: value for name, value in engine.shaping().items() if name not in no_matter}


def label_key(
    model: Any, engine: EngineSettings, system: str | None, max_text_words: int | None,
    prompt: Prompt, corpus: Any, perplexity: bool, code_sha256: str,
) -> str:  # fmt: skip
    """Content address of a label cell. model, corpus: JSON values that identify the weights and the texts."""
    return content_key(
        ["label", model, _shaping(engine, cot=prompt.cot), system, max_text_words, prompt_words(prompt),
         list(prompt.verbalizers), corpus, perplexity, code_sha256]
    )  # fmt: skip


class LabelPlan:
    """What every (LLM, prompt) says of U, of the evaluation rows, and for some baselines of training rows.

    A cell is (model, task, corpus); the task is a prompt's id, or Self-Select's. settings: the section `llm` of the
    configuration.
    """

    def __init__(
        self, run: Run, settings: LlmConfig, data: DataPlan, planner: BatchPlanner, tuning: TuningPlan
    ) -> None:
        self.run, self.config, self.settings = run, run.config, settings
        self.data, self.planner, self.tuning = data, planner, tuning

    def corpora_of(self, category: str) -> tuple[str, ...]:
        """What the prompts of a category label: its U, evaluation rows of its datasets, training rows where asked."""
        datasets = self.run.datasets_of(category)
        known = [f"{name}{TRAIN}" for name in datasets] if self.settings.labels_training_rows else []
        return (category, *datasets, *known)

    @cached_property
    def cells(self) -> dict[tuple[str, str, str], str]:
        """(model, task, corpus) -> key of every cell of the configuration, Self-Select's among them.

        Of several keys that stand for the same labels, a finished one is taken: a cell whose texts a limit on prompts
        did not cut keeps its key under every limit that does not cut them either, and a cell with likelihoods serves
        where none are asked for.
        """
        cells = {}
        for model in self.settings.models:
            finished = self._finished(model)
            for category in self.config.categories:
                prompts = self.run.prompts_of(category)
                for prompt in prompts:
                    for corpus in self.corpora_of(category):
                        choices = [key for base in self._bases(model, prompt, corpus)
                                   for key in self._keys_of(base, finished.uncut)]  # fmt: skip
                        cells[model, prompt.id, corpus] = next(
                            (key for key in choices if key in finished.batch_of), choices[0]
                        )
                if "self-select" in self.settings.baselines:
                    task, shown = self.run.categories[category].task, [prompt.shown for prompt in prompts]
                    shaping = _shaping(self.run.engine_of(category))
                    cells[model, SELF_SELECT, category] = content_key(
                        ["select", self.tuning.identity(model), shaping, task, shown, self.engine_code]
                    )
        return cells

    @cached_property
    def engine_code(self) -> str:
        """Hash of what labels: the step's and the engine's code, and where the run asks for it the image."""
        return self.planner.run_by("labels", "label_batch", f"fute.llm.{self.settings.engine.engine}")

    @cached_property
    def _recipes(self) -> dict[str, str]:
        """Corpus -> hash of what its texts are made from."""
        return {
            corpus: content_key(self.data.corpus_recipe(corpus))
            for category in self.config.categories
            for corpus in self.corpora_of(category)
        }

    def asks_likelihoods(self, corpus: str) -> bool:
        """Whether SPELL needs the likelihoods of a corpus's filled prompts."""
        return self._kind(corpus) == "test" and "spell" in self.settings.baselines

    def _kind(self, corpus: str) -> str:
        """Whose texts a corpus has: `unsup`, `test` or `train`."""
        return "unsup" if corpus in self.config.categories else "train" if corpus.endswith(TRAIN) else "test"

    def _bases(self, model: str, prompt: Prompt, corpus: str) -> list[str]:
        """Keys of a cell if no text is cut: its own, then that of the same cell with likelihoods."""
        llm, likelihoods = self.settings, self.asks_likelihoods(corpus)
        also = [] if likelihoods or self._kind(corpus) != "test" else [True]
        return [
            label_key(self.tuning.identity(model), self.run.engine_of(prompt.category), llm.system, llm.max_text_words,
                      prompt, self._recipes[corpus], perplexity, self.engine_code)
            for perplexity in (likelihoods, *also)
        ]  # fmt: skip

    def _answers(self, model: str, prompt: Prompt) -> str:
        """Hash of everything but the texts that the answers under a prompt depend on."""
        shaping = _shaping(self.run.engine_of(prompt.category), cot=prompt.cot)
        return content_key(
            ["answers", self.tuning.identity(model), shaping, self.settings.system, prompt_words(prompt),
             list(prompt.verbalizers), self.engine_code]
        )  # fmt: skip

    def _keys_of(self, base: str, uncut: Mapping[str, list[tuple[int, str]]]) -> list[str]:
        """Keys of a cell under the run's limit on prompts: its own, then finished ones of the same labels."""
        llm = self.settings
        if llm.long_texts == "error":
            return [base, *(key for _, key in uncut.get(base, ()))]
        most = llm.engine.max_length
        return [content_key(["cut", base, most]), *(key for length, key in uncut.get(base, ()) if length <= most)]

    @cache
    def _finished(self, model: str) -> batching.Finished:
        return self.planner.finished(paths.label_batch(model, "*"))

    def files(self, corpora: str = "all") -> list[str]:
        """Label files on U (`unsup`), on evaluation rows (`test`), on training rows (`train`), or `all` of them."""
        return [
            paths.labels(model, prompt.id, corpus)
            for category in self.config.categories
            for model in self.settings.models
            for prompt in self.run.prompts_of(category)
            for corpus in self.corpora_of(category)
            if corpora in ("all", self._kind(corpus))
        ]

    def extract_settings(self, model: str, task: str, corpus: str) -> Argument:
        """Settings of the step that takes one cell out of its batch."""
        prompt, known = self.run.prompts[task], self._kind(corpus) == "train"
        return settings_json(
            {
                "key": self.cells[model, task, corpus],
                "prompt": prompt.id,
                "number": prompt.number,
                "classes": list(prompt.verbalizers),
                "calibration": self.settings.calibration,
            }
            | ({"rows": self.settings.labelled_rows} if known else {})
        )

    # --- batches ----------------------------------------------------------------------------------------

    @cached_property
    def batches(self) -> dict[str, StepBatches]:
        """Model -> the batches of its cells `{task}/{corpus}`; at most one new batch for each category."""
        asked = self.planner.requested.labels
        batches = {}
        for model in self.settings.models:
            keys = {f"{task}/{corpus}": key for (of, task, corpus), key in self.cells.items() if of == model}
            wanted = [cell for cell in keys if asked is None or (model, *cell.split("/")) in asked]
            groups = [
                [cell for cell in wanted if cell.split("/")[1] in corpora]
                for corpora in map(self.corpora_of, self.config.categories)
            ]
            batches[model] = self.planner.batches(
                "label_batch", model, paths.label_batch(model, "*"), keys, groups, finished=self._finished(model)
            )
        return batches

    def batch_file(self, model: str, task: str, corpus: str) -> str:
        """The batch that holds a cell."""
        return self.batches[model].file(f"{task}/{corpus}")

    def corpora(self, model: str, batch: str) -> dict[str, str]:
        """Corpus -> file of all that a new batch labels."""
        cells = [cell.split("/") for cell in self.batches[model].new[batch]]
        names = sorted({corpus for task, corpus in cells if task != SELF_SELECT})
        return {name: self.data.corpus_file(name) for name in names}

    @cache
    def spec(self, model: str, batch: str) -> Argument:
        """Settings of a new batch as canonical JSON (a `BatchSpec`)."""
        llm = self.settings
        prompts: dict[str, Prompt] = {}
        labels: dict[str, LabelCell] = {}
        selects = []
        for cell in self.batches[model].new[batch]:
            task, corpus = cell.split("/")
            key = self.cells[model, task, corpus]
            if task == SELF_SELECT:
                choices = {prompt.id: prompt for prompt in self.run.prompts_of(corpus)}
                prompts |= choices
                question = self.run.categories[corpus].task
                selects.append(SelectCell(key=key, category=corpus, question=question, prompts=tuple(choices)))
            elif key not in labels:
                prompt = prompts[task] = self.run.prompts[task]
                labels[key] = LabelCell(
                    key=key, prompt=task, corpus=corpus, perplexity=self.asks_likelihoods(corpus),
                    answers=self._answers(model, prompt),
                    base=self._bases(model, prompt, corpus)[0] if llm.long_texts == "cut" else None,
                    rows=llm.labelled_rows if self._kind(corpus) == "train" else None,
                )  # fmt: skip
        category = next(iter(prompts.values())).category  # no batch has prompts of two
        spec = BatchSpec(
            engine=self.run.engine_of(category), system=llm.system, max_text_words=llm.max_text_words,
            long_texts=llm.long_texts, prompts=prompts, labels=tuple(labels.values()), selects=tuple(selects),
        )  # fmt: skip
        return settings_json(spec)
