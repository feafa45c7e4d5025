"""Paths of a run's files below `results/`: one function per kind of file, with names from the paper.

Python code gets all its paths here; `pattern` turns a path back into the names it was made from. Rules spell their
paths out, as readers of a Snakefile expect.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeAlias

File: TypeAlias = Callable[..., str]
"""Type of this module's functions: names in, path out."""

BATCHES = "/batches/"
"""Part of the path of every file of a batch."""

# --- models and data ------------------------------------------------------------------------------------


def model_folder(model: str) -> str:
    """Folder with the files of a model as published."""
    return f"results/models/{model}"


def model_lock(model: str) -> str:
    """Hashes of a model's files; rules take this file as input in place of the folder."""
    return f"results/models/{model}.lock.json"


def unsup(category: str) -> str:
    """U: the unlabelled texts of a category."""
    return f"results/unsup/{category}.jsonl.gz"


def unsup_counts(category: str) -> str:
    """Numbers of texts of U by script or task."""
    return f"results/unsup/{category}.counts.csv"


def rows(dataset: str, split: str) -> str:
    """Rows of a labelled dataset. split: `train`, `dev` or `test`."""
    return f"results/data/{dataset}/{split}.jsonl.gz"


def row_counts(dataset: str) -> str:
    """Numbers of rows of a dataset's splits."""
    return f"results/data/{dataset}/counts.json"


# --- black boxes ----------------------------------------------------------------------------------------


def finetuned(model: str, dataset: str, ending: str = "lock") -> str:
    """File next to the folder of a fine-tuned model. ending: `lock`, `score` (without transfer) or `curve`."""
    return f"results/finetuned/{model}/{dataset}.{ending}.json"


def finetuned_batch(model: str, batch: str) -> str:
    """Models fine-tuned by one process: hashes of the files in the folder beside it."""
    return f"results/finetuned/{model}/batches/{batch}.lock.json"


def source_lock(dataset: str) -> str:
    """Hashes of the files, or the commit, that a dataset was read from."""
    return f"results/data/{dataset}/source.lock.json"


def labels(model: str, task: str, corpus: str) -> str:
    """Labels that a black box gives to a corpus.

    task: a prompt, the dataset that the model was fine-tuned on, or the task of a plug-in. corpus: the category of a
    U, or the dataset whose evaluation rows are labelled.
    """
    return f"results/labels/{model}/{task}/{corpus}.jsonl.gz"


def label_offset(model: str, task: str, category: str) -> str:
    """Mean class log-score over U, which calibration subtracts."""
    return f"results/labels/{model}/{task}/{category}.offset.json"


def label_batch(model: str, batch: str) -> str:
    """Labels of several tasks and corpora, written by one process."""
    return f"results/labels/{model}/batches/{batch}.jsonl.gz"


def lm_label_batch(model: str, batch: str) -> str:
    """Labels of U by several fine-tuned models, written by one process: hashes of the files in the folder beside it."""
    return f"results/labels/{model}/lm/batches/{batch}.lock.json"


def label_batch_index(model: str, batch: str) -> str:
    return batch_index(label_batch(model, batch))


# --- vectors --------------------------------------------------------------------------------------------


def dte(surrogate: str, method: str, dataset: str) -> str:
    """DTE: task embedding of a dataset."""
    return f"results/embeddings/{surrogate}/{method}/dte/{dataset}.safetensors"


def mte(surrogate: str, method: str, model: str, task: str) -> str:
    """MTE: task embedding of a black box."""
    return f"results/embeddings/{surrogate}/{method}/mte/{model}/{task}.safetensors"


def control(surrogate: str, method: str, model: str, task: str, variant: str) -> str:
    """Control of an MTE. variant: `null-1`, `null-2` ... (labels permuted over U) or `abc` (labels written A, B, C)."""
    return f"results/embeddings/{surrogate}/{method}/controls/{model}/{task}.{variant}.safetensors"


def dte_control(surrogate: str, method: str, dataset: str, variant: str) -> str:
    """Control of a DTE. variant: `abc` (labels written A, B, C), for the controls of MTEs that are written so."""
    return f"results/embeddings/{surrogate}/{method}/dte-controls/{dataset}.{variant}.safetensors"


def vector_batch(surrogate: str, method: str, batch: str) -> str:
    """Vectors of one method, learned by one process."""
    return f"results/embeddings/{surrogate}/{method}/batches/{batch}.zip"


def vector_batch_index(surrogate: str, method: str, batch: str) -> str:
    return batch_index(vector_batch(surrogate, method, batch))


def method_of(vector: str) -> str:
    """Method of a DTE, MTE or control, from its path."""
    return vector.split("/")[3]


def kind_of(vector: str) -> str:
    """Kind of a vector, from its path: `dte`, `mte`, `controls` or `dte-controls`."""
    return vector.split("/")[4]


def encoder_states(surrogate: str, category: str) -> str:
    """States of the surrogate's frozen encoder for every text of U."""
    return f"results/embeddings/{surrogate}/states/{category}.safetensors"


# --- transfer and baselines -----------------------------------------------------------------------------


def transfer_score(model: str, source: str, target: str) -> str:
    """A model's score on one target after transfer from one source."""
    return f"results/transfer/{model}/{source}/{target}.json"


def transfer_batch(model: str, batch: str) -> str:
    """Transfer runs, computed by one process."""
    return f"results/transfer/{model}/batches/{batch}.jsonl.gz"


TRANSFER_MATRIX = "results/evaluation/transfer.csv"
"""Score of every target, directly and after transfer from every source."""


def prompt_scores(model: str, dataset: str) -> str:
    """Scores of an LLM's prompts by the baselines of Table 3."""
    return f"results/baselines/{model}/{dataset}.json"


def self_selection(model: str, category: str) -> str:
    """An LLM's own ranking of the prompts of a category."""
    return f"results/baselines/{model}/self-select-{category}.json"


def dataset_vector(model: str, method: str, dataset: str) -> str:
    """Vector of a dataset on the black box's own architecture, for the baselines of Tables 1 and 2."""
    return f"results/baselines/vectors/{model}/{dataset}.{method}.safetensors"


def dataset_vector_batch(model: str, batch: str) -> str:
    """Vectors of several datasets, made by one process: hashes of the files in the folder beside it."""
    return f"results/baselines/vectors/{model}/batches/{batch}.lock.json"


def dataset_vector_index(model: str, batch: str) -> str:
    return batch_index(dataset_vector_batch(model, batch))


def source_score_batch(model: str, batch: str) -> str:
    """Scores of several pairs of a source and a target, computed by one process."""
    return f"results/baselines/sources/{model}/batches/{batch}.jsonl.gz"


SOURCE_SCORES = "results/baselines/source_scores.csv"
"""How well every source's model tells the labels of every target's rows apart."""

LM_BASELINES = "results/baselines/lm_baselines.csv"
"""Scores of the sources by the baselines of Tables 1 and 2."""

# --- evaluation -----------------------------------------------------------------------------------------

PLANTED = "results/evaluation/planted.csv"
"""What the tests with planted black boxes found."""

# --- the paper ------------------------------------------------------------------------------------------


def figure(name: str) -> str:
    """Path of a figure without its ending: `.pdf`, `.png` or `.csv` (its coordinates)."""
    return f"results/paper/figures/{name}"


# --- any of them ----------------------------------------------------------------------------------------


def batch_index(batch: str) -> str:
    """The `.keys` file next to a batch's data, which lists its cells."""
    folder, _, name = batch.rpartition("/")
    return f"{folder}/{name.split('.')[0]}.keys"


def below(results: Path, path: str) -> Path:
    """Path of the same file in another folder of results."""
    return results / path.removeprefix("results/")


@cache
def pattern(file: File) -> re.Pattern[str]:
    """Regular expression of the paths that a function of this module gives; its groups have the parameters' names.

    A name holds no `/`. If one part of a path has two names (`{task}.{variant}`), they are split at the last dot.
    """
    parameters = inspect.signature(file).parameters
    template = re.escape(file(*(f"<{name}>" for name in parameters)))
    return re.compile(re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", template))
