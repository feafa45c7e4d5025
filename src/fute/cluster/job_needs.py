"""Memory, time and GPUs of each job of a run: its texts and passes counted from the configuration.

Counts are of what the configuration asks for, before any file is there: the rules ask at every planning, and a job on
a cluster must get the same answer as the workflow that sent it.
"""

from __future__ import annotations

from functools import cache

from fute.cluster.resources import ENGINE_MINUTES, Need, inference, tensor_parallel, training
from fute.config.finetuning import TrainingSettings
from fute.config.lm_experiment import LM
from fute.config.recipes import TextEmbSettings
from fute.config.unsup import LIMIT, PER_SCRIPT
from fute.data.crossfit_tasks import SCRIPTS
from fute.plan import SELF_SELECT, Workflow
from fute.specs.embeddings import Item

TEXT_TOKENS = 64
"""Tokens of a text; those of CrossFit have 39 on average."""
PROMPT_TOKENS = 80
"""Tokens of a prompt around its text."""
TRAIN_ROWS, TEST_ROWS, BUILTIN_ROWS = 20_000, 1_000, 100
"""Rows of a dataset whose registry entry says nothing of its size, and of one that ships with the project."""


class JobNeeds:
    """What the heavy rules ask for, by their wildcards."""

    def __init__(self, plan: Workflow) -> None:
        self.plan, self.run, self.config = plan, plan.run, plan.config

    def parameters(self, model: str) -> float:
        return self.run.models[model].parameters_m * 1e6

    # --- how many texts ---------------------------------------------------------------------------------

    def texts(self, corpus: str) -> int:
        """Of a U, or of a dataset's evaluation rows."""
        if corpus in self.config.corpora:
            settings = self.config.unsup[corpus]  # type: ignore[index]
            drawn = (settings.max_per_script or PER_SCRIPT[corpus]) * len(SCRIPTS)  # type: ignore[index]
            limit = settings.limit or LIMIT[corpus]  # type: ignore[index]
            return min(drawn, limit) if limit else drawn
        if self.config.data.source == "builtin":
            return self.config.data.test_rows or BUILTIN_ROWS
        entry = self.run.datasets[corpus]
        known = [size for size in (self.config.data.test_rows or entry.sample, entry.expected.dev) if size]
        return min(known, default=TEST_ROWS)

    def train_rows(self, dataset: str) -> int:
        entry = self.run.datasets[dataset]
        if self.config.data.source == "builtin":
            return BUILTIN_ROWS
        return entry.expected.train or round((entry.vu_size or 0) * 1000) or TRAIN_ROWS

    # --- jobs -------------------------------------------------------------------------------------------

    @cache  # noqa: B019  (one plan lives as long as the process)
    def label_batch(self, model: str, batch: str) -> Need:
        """Every cell reads its corpus once; a chain of thought is written, and read again."""
        engine, read, written = self.config.llm.engine, 0, 0
        labels = self._llm.labels
        cells = [tuple(cell.split("/")) for cell in labels.plans[model].new[batch]]
        # prompts with the same words are asked once
        for task, corpus in {labels.cells[model, *cell]: cell for cell in cells}.values():
            if task == SELF_SELECT:
                continue
            texts, prompt = self.texts(corpus), self.run.prompts[task]
            thought = engine.reasoning_tokens if prompt.cot else 0
            read += texts * (TEXT_TOKENS + PROMPT_TOKENS + thought)
            written += texts * (engine.answer_tokens + thought)
        return inference(
            self.parameters(model), read, written,
            gpus=self.label_gpus(model), cores=self.config.threads, start=ENGINE_MINUTES,
        )  # fmt: skip

    def label_gpus(self, model: str) -> int:
        """GPUs of a label batch: as the engine's settings say, or as many as hold the model."""
        engine = self.config.llm.engine
        if engine.engine == "vllm":
            return engine.tensor_parallel_size or tensor_parallel(self.parameters(model))
        return min(1, self.config.gpus) if engine.engine == "transformers" else 0

    def encoder_states(self, category: str) -> Need:
        tokens = self.texts(category) * TEXT_TOKENS
        return inference(self._surrogate, tokens, 0, gpus=self.config.gpus, cores=self.config.threads)

    @cache  # noqa: B019
    def embed_batch(self, method: str, batch: str) -> Need:
        tokens = sum(self._passes(method, item) for item in self.plan.embeddings.batch_items(method, batch).values())
        return training(self._surrogate, tokens, gpus=self.config.gpus, cores=self.config.threads)

    def finetune_model(self, model: str, dataset: str) -> Need:
        lm = self._lm
        recipe = lm.recipe(model, dataset)
        tokens = self._trained(recipe, recipe.max_tokens, dataset) * len(lm.seeds(model))
        return training(self.parameters(model), tokens, gpus=self.config.gpus, cores=lm.threads)

    def label_language_model(self, model: str) -> Need:
        tokens = self.texts(LM) * TEXT_TOKENS
        gpus = min(1, self.config.gpus)
        return inference(self.parameters(model), tokens, 0, gpus=gpus, cores=self._lm.threads)

    @cache  # noqa: B019
    def transfer_batch(self, batch: str) -> Need:
        lm = self._lm
        runs = [lm.transfer.runs[cell] for cell in lm.transfer.plan.new[batch]]
        model = lm.transfer.model
        recipes = [(lm.recipe(model, run.target), run.target) for run in runs]
        tokens = sum(self._trained(recipe, recipe.max_tokens, target) for recipe, target in recipes)
        return training(self.parameters(model), tokens, gpus=self.config.gpus, cores=lm.threads)

    def embed_dataset(self, dataset: str) -> Need:
        """TextEmb and TaskEmb pass over the rows once each, TuPaTE is a training."""
        lm = self._lm
        model, settings = lm.transfer.model, lm.settings.baselines
        limit = lm.recipe(model, dataset).max_tokens
        prefix = settings.tupate.recipe_for(lm.task(dataset).task) if "tupate" in settings.methods else None
        tokens = self._trained(prefix, limit, dataset) if prefix else 0
        tokens += 2 * self.train_rows(dataset) * min(limit, 2 * TEXT_TOKENS)
        gpus = min(1, self.config.gpus)
        return training(self.parameters(model), tokens, gpus=gpus, cores=lm.threads)

    # --- passes over texts ------------------------------------------------------------------------------

    @property
    def _surrogate(self) -> float:
        return self.parameters(self.config.surrogate.name)

    @property
    def _llm(self):
        if self.plan.llm is None:
            raise ValueError("this run has no LLM experiment")
        return self.plan.llm

    @property
    def _lm(self):
        if self.plan.lm is None:
            raise ValueError("this run has no language-model experiment")
        return self.plan.lm

    def _trained(self, recipe: TrainingSettings, max_tokens: int, dataset: str) -> int:
        """Tokens that a training on a dataset's rows passes over."""
        rows = recipe.steps * recipe.batch_size if recipe.steps else (recipe.epochs or 1) * self.train_rows(dataset)
        return rows * min(max_tokens, 2 * TEXT_TOKENS)

    def _passes(self, method: str, item: Item) -> int:
        """Tokens that learning one vector passes over: epochs, every order seed, and TaskEmb's Fisher."""
        rows = self.texts(item.category) if item.kind == "mte" else self.train_rows(item.source)
        rows = min(rows, item.pairs or rows)
        recipe = self.plan.embeddings.recipes[method][item.recipe]
        if isinstance(recipe, TextEmbSettings):
            return rows * TEXT_TOKENS
        # training that stops early takes a tenth of the epochs it may take
        epochs = max(1, (recipe.max_epochs or 0) // 10) if recipe.early_stops and item.kind == "dte" else recipe.epochs
        passes = epochs + (1 if method == "taskemb" else 0)
        return rows * TEXT_TOKENS * passes * len(recipe.order_seeds)
