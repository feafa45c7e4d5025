"""Memory, time and GPUs of each job of a run, from the number of tokens that it processes.

Everything is computed from the configuration alone, without files: rules ask at every planning, and a job on a
cluster must get the same answer as the workflow that submitted it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from fute.cluster.resources import (
    ENGINE_MINUTES,
    Need,
    inference,
    slower_than_arithmetic,
    tensor_parallel,
    training,
    width,
)
from fute.config.finetuning import TrainingSettings
from fute.config.methods import LabelCovSettings, MethodSettings, TextEmbSettings, reads_shared_states
from fute.config.models import ModelEntry
from fute.config.run import TRAIN
from fute.config.unsup import LM
from fute.data.crossfit import LANGUAGE_MODELS
from fute.llm.label_batch_step import SELF_SELECT
from fute.plan import Plan
from fute.specs.embeddings import Item
from fute.specs.source_scores import methods_of

TEXT_TOKENS = 64
"""Tokens per text, on the safe side: CrossFit's texts have 39 on average."""
PROMPT_TOKENS = 80
"""Tokens of a prompt around its text."""
COMPARED_WEIGHTS = 1e8
"""Weights of a fine-tuned model that one core loads and compares with another's in a second."""
TRAIN_ROWS, TEST_ROWS, BUILTIN_ROWS = 20_000, 1_000, 100
"""Rows of a dataset: for training and evaluation if its registry entry gives no size; if it ships with the project."""
STATE_BYTES = {"float32": 4, "bfloat16": 2}
"""Bytes of one number of a surrogate's states, by `surrogate.settings.dtype`."""
MOST_KEPT_BYTES = 2**31
"""What a process keeps at most beside the states of its pairs: `MOST_REMEMBERED_BYTES`, states of single texts below a
causal surrogate's last layers, and `MOST_CROSS_BYTES`, a T5 decoder's keys and values. Both are in
`fute.surrogate.states`, which imports torch."""


class JobNeeds:
    """Needs of the jobs of heavy rules; each method has the name of its rule.

    Those of a batch take its `StepBatches.of` and its name."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.run, self.config = plan, plan.run, plan.config

    def parameters(self, model: str) -> float:
        """Number of parameters of a model, from its registry entry."""
        return self._sized(model).parameters_m * 1e6

    def active(self, model: str) -> float:
        """Number of parameters that one token uses: of a mixture of experts, fewer than all."""
        entry = self._sized(model)
        return (entry.active_parameters_m or entry.parameters_m) * 1e6

    def _sized(self, model: str) -> ModelEntry:
        """The entry that states a model's size: of a fine-tuned LLM without one, that of the LLM it is made from."""
        entry, tuned = self.run.models[model], self.run.tuned.get(model)
        return self.run.models[tuned.model] if tuned and "parameters_m" not in entry.model_fields_set else entry

    # --- texts ------------------------------------------------------------------------------------------

    def texts(self, corpus: str) -> int:
        """Number of texts of a U, of evaluation rows of a dataset, or of its training rows that prompts label."""
        if corpus in self.config.corpora:
            settings = self.config.unsup[corpus]
            entry = self.run.categories.get(corpus, LANGUAGE_MODELS).unsup
            drawn = (settings.max_per_script or entry.max_per_script) * len(self.plan.data.scripts(corpus))
            limit = settings.limit or entry.limit
            return min(drawn, limit) if limit else drawn
        if corpus.endswith(TRAIN):
            return min(self.config.llm.labelled_rows, self.train_rows(corpus.removesuffix(TRAIN)))
        if self.plan.data.source_of(corpus) == "builtin":
            return self.config.data.test_rows or BUILTIN_ROWS
        entry = self.run.datasets[corpus]
        sizes = [size for size in (self.config.data.test_rows or entry.sample, entry.expected.dev) if size]
        return min(sizes, default=TEST_ROWS)

    def train_rows(self, dataset: str) -> int:
        """Number of training rows of a dataset: at most as many as the run learns from."""
        entry = self.run.datasets[dataset]
        if self.plan.data.source_of(dataset) == "builtin":
            rows = BUILTIN_ROWS
        else:
            rows = entry.expected.train or round((entry.vu_size or 0) * 1000) or TRAIN_ROWS
        return min(rows, self.config.data.train_rows or rows)

    def row_tokens(self, dataset: str, max_tokens: int) -> int:
        """Tokens that a labelled row counts as: a passage with a question fills `max_tokens`, pairs of texts do not."""
        return max_tokens if self.run.datasets[dataset].task == "span" else min(max_tokens, 2 * TEXT_TOKENS)

    # --- jobs -------------------------------------------------------------------------------------------

    @cache
    def label_batch(self, model: str, batch: str) -> Need:
        """Each cell reads its corpus once; a chain of thought is generated, then read again."""
        engine, labels, read, written = self.config.llm.engine, self.plan.llm.labels, 0, 0
        cells = [tuple(cell.split("/")) for cell in labels.batches[model].new[batch]]
        # prompts with the same words have the same key and are computed once
        for task, corpus in {labels.cells[model, *cell]: cell for cell in cells}.values():
            if task == SELF_SELECT:
                continue
            texts, prompt = self.texts(corpus), self.run.prompts[task]
            thought = engine.reasoning_tokens if prompt.cot else 0
            read += texts * (TEXT_TOKENS + PROMPT_TOKENS + thought)
            written += texts * (engine.answer_tokens + thought)
        return inference(
            self.parameters(model), read, written, active=self.active(model),
            gpus=self.label_gpus(model), cores=self.config.threads, start=ENGINE_MINUTES,
        )  # fmt: skip

    @cache
    def tune_llm(self, model: str) -> Need:
        """The training reads each row under one prompt; the states below its last layers are kept."""
        recipe = self.run.tuned[model]
        rows = sum(self.train_rows(name) for names in recipe.datasets.values() for name in names)
        rows = recipe.steps * recipe.batch_size if recipe.steps else (recipe.epochs or 1) * rows
        tokens, parameters = rows * (TEXT_TOKENS + PROMPT_TOKENS), self.parameters(model)
        held = tokens * width(parameters) * STATE_BYTES["bfloat16"] if recipe.layers else 0
        gpus, cores = min(1, self.config.gpus), self.config.threads
        return training(parameters, tokens, gpus=gpus, cores=cores, held=held)

    def label_gpus(self, model: str) -> int:
        """GPUs of a label batch: those that the settings state, or as many as hold the model."""
        engine = self.config.llm.engine
        if engine.engine == "vllm":
            cluster = self.config.cluster
            given = cluster.tensor_parallel_size.get(model)
            return given or tensor_parallel(self.parameters(model), cluster.gpu_memory_gb)
        return min(1, self.config.gpus) if engine.engine == "transformers" else 0

    def encoder_states(self, category: str) -> Need:
        """The encoder reads U once, and its states are in main memory until all are written."""
        tokens = self.encoded_tokens(category)
        gpus, cores, held = self.config.gpus, self.config.threads, self.state_bytes(tokens)
        return inference(self._surrogate, tokens, 0, gpus=gpus, cores=cores, held=held)

    @cache
    def embed_batch(self, method: str, batch: str) -> Need:
        """Learning each vector of the batch takes several passes over its texts; LabelCov reads equal texts once."""
        items = self.plan.vector_batches.batch_items(method, batch).values()
        if method == "labelcov":
            items = {item.category if item.kind == "mte" else item.source: item for item in items}.values()
        tokens = sum(self._learned(method, item) for item in items)
        need = training(
            self.parameters(self.config.model_of(method)), tokens, gpus=self.config.gpus, cores=self.config.threads,
            processes=self.config.processes, held=self._held_states(method, items),
        )  # fmt: skip
        # at the measured speed of the method
        return replace(need, slower=slower_than_arithmetic(method, TEXT_TOKENS), method=method)

    @cache
    def finetune_model(self, model: str, batch: str) -> Need:
        """The fine-tunings of the batch."""
        finetune = self.plan.lm.finetune
        recipes = [(run.recipe, run.task.dataset) for run in finetune.batch_runs(model, batch)]
        tokens = sum(self._trained(recipe, recipe.max_tokens, name) for recipe, name in recipes)
        return self._shared_training(model, tokens)

    def label_language_model(self, model: str, batch: str) -> Need:
        """The model of each dataset reads U once."""
        tokens = self.texts(LM) * TEXT_TOKENS * len(self.plan.lm.label_batches[model].new[batch])
        gpus = min(1, self.config.gpus)
        return inference(self.parameters(model), tokens, 0, gpus=gpus, cores=self.plan.lm.finetune.threads)

    @cache
    def transfer_batch(self, model: str, batch: str) -> Need:
        """One training on the target per run of the batch."""
        finetune, transfer = self.plan.lm.finetune, self.plan.lm.transfer
        recipes = [(finetune.recipe(model, run.target), run.target) for run in transfer.batch_runs(batch)]
        tokens = sum(self._trained(recipe, recipe.max_tokens, target) for recipe, target in recipes)
        return self._shared_training(model, tokens)

    @cache
    def embed_dataset(self, model: str, batch: str) -> Need:
        """TextEmb and TaskEmb read rows of each dataset once each; TuPaTE is a training."""
        finetune, baselines, tokens = self.plan.lm.finetune, self.plan.lm.baselines, 0
        for dataset in baselines.vector_batches.new[batch]:
            limit, rows = finetune.recipe(model, dataset).max_tokens, self.train_rows(dataset)
            for method, settings in (("textemb", baselines.settings.textemb), ("taskemb", baselines.settings.taskemb)):
                if method in baselines.methods:
                    tokens += min(rows, settings.rows or rows) * self.row_tokens(dataset, limit)
            if "tupate" in baselines.methods:
                prefix = baselines.settings.tupate.recipe_for(finetune.task(dataset).task)
                tokens += self._trained(prefix, limit, dataset)
        gpus = min(1, self.config.gpus)
        return training(self.parameters(model), tokens, gpus=gpus, cores=finetune.threads)

    @cache
    def score_sources(self, model: str, batch: str) -> Need:
        """The source's model reads some rows of the target once, for each pair of the batch that asks for it.

        Task vectors compare weights on one core. A batch of nothing else runs no model, so it asks for no GPU.
        """
        baselines, tokens = self.plan.lm.baselines, 0
        limit = self.plan.lm.finetune.settings.finetune.of(model).cr.max_tokens
        for pair in baselines.batch_pairs(batch):
            if not methods_of(self.plan.lm.finetune.task(pair.target).task, baselines.row_methods):
                continue
            rows = min(baselines.settings.labelled_rows, self.train_rows(pair.target))
            tokens += rows * self.row_tokens(pair.target, limit)
        gpus = min(1, self.config.gpus) if tokens else 0
        parameters = self.parameters(model)
        need = inference(parameters, tokens, 0, gpus=gpus, cores=self.plan.lm.finetune.threads)
        if "task-vector" in baselines.methods:
            comparing = len(baselines.batch_pairs(batch)) * parameters / COMPARED_WEIGHTS / 60
            # the weights of three models in fp32 at once
            memory = training(parameters, 0, gpus=gpus).host_mb
            need = replace(need, host_mb=memory, start=need.start + comparing)
        return need

    # --- passes over texts ------------------------------------------------------------------------------

    @property
    def _surrogate(self) -> float:
        return self.parameters(self.config.surrogate.name)

    def _shared_training(self, model: str, tokens: int) -> Need:
        """A training of a language model by the processes of a job."""
        return training(
            self.parameters(model), tokens,
            gpus=self.config.gpus, cores=self.plan.lm.finetune.threads, processes=self.config.processes,
        )  # fmt: skip

    def _trained(self, recipe: TrainingSettings, max_tokens: int, dataset: str) -> int:
        """Tokens that a training on a dataset's rows processes."""
        rows = recipe.steps * recipe.batch_size if recipe.steps else (recipe.epochs or 1) * self.train_rows(dataset)
        return rows * self.row_tokens(dataset, max_tokens)

    def _learned(self, method: str, item: Item) -> int:
        """Tokens that learning one vector processes: all epochs of all order seeds, and TaskEmb's Fisher pass."""
        recipe, tokens = self._recipe(method, item), self._tokens_of_pairs(item)
        if isinstance(recipe, (TextEmbSettings, LabelCovSettings)):
            return tokens
        # training that may stop early is assumed to take a tenth of its largest number of epochs
        epochs = max(1, (recipe.max_epochs or 0) // 10) if recipe.early_stops and item.kind == "dte" else recipe.epochs
        passes = epochs + (1 if method == "taskemb" else 0)
        return tokens * passes * len(recipe.order_seeds)

    def _tokens_of_pairs(self, item: Item) -> int:
        """Tokens of the pairs that a vector is learned from, each counted once."""
        rows = self.texts(item.category) if item.kind == "mte" else self.train_rows(item.source)
        length = TEXT_TOKENS
        if item.kind == "dte" and self.run.datasets[item.source].task == "span":
            length = self.row_tokens(item.source, self.config.surrogate.settings.max_input_tokens)
        return min(rows, item.pairs or rows) * length

    def _recipe(self, method: str, item: Item) -> MethodSettings:
        return self.plan.vectors.recipes[method][item.recipe]

    # --- states -----------------------------------------------------------------------------------------

    def encoded_tokens(self, category: str) -> int:
        """Tokens of the texts of a U whose encoder states are computed once for all vectors."""
        texts, read = self.texts(category), self.plan.vectors.texts_with_states
        return (texts if read is None else min(texts, read)) * TEXT_TOKENS

    def state_bytes(self, tokens: int) -> float:
        """Size of the surrogate's states of so many tokens; those of an encoder, which has half of the parameters."""
        settings = self.config.surrogate.settings
        parameters = self._surrogate / 2 if settings.family == "encoder-decoder" else self._surrogate
        return tokens * width(parameters) * STATE_BYTES[settings.dtype]

    def _held_states(self, method: str, items: Iterable[Item]) -> float:
        """Bytes of states that a process which learns these vectors has in main memory at most.

        While the states of one vector's pairs are computed, those of the vector before it are still there. An encoder's
        states of U are in a file that is mapped into memory, which takes none.
        """
        settings = self.config.surrogate.settings
        causal = settings.family == "causal"
        items = [item for item in items if self._keeps_states(self._recipe(method, item))]
        computed = [self._tokens_of_pairs(item) for item in items if causal or item.kind == "dte"]
        # a T5's keys and values are where its states are: on a GPU, if those of so few texts fit there
        beside = settings.form == "text2text" if causal else method == "tupate" and not self.config.gpus
        return sum(map(self.state_bytes, sorted(computed)[-2:])) + (MOST_KEPT_BYTES if items and beside else 0)

    def _keeps_states(self, recipe: MethodSettings) -> bool:
        """Whether a recipe computes the states below what it trains once (`fute.surrogate.states.KeptStates`)."""
        if self.config.surrogate.settings.family == "encoder-decoder":
            return reads_shared_states(recipe, "encoder-decoder")
        return getattr(recipe, "layers", None) is not None and not getattr(recipe, "backbone_dropout", 0)
