"""FUTE: unified task embeddings across multiple models.

Reproduction of "Towards Unified Task Embeddings Across Multiple Models: Bridging the Gap for
Prompt-Based Large Language Models and Beyond" (Wang, Xu, Gui, He; Findings of ACL 2024).

In a notebook: `fute.embed`, `fute.labelcov` and `fute.rank` on plain lists and arrays, and the paper's terms as
functions (`fute.cosine`, `fute.ndcg`, ...). They are imported on first use.
"""

from importlib import import_module

EXPORTS = {
    **dict.fromkeys(("Ranked", "embed", "labelcov", "rank"), "fute.notebook"),
    **dict.fromkeys(("Embedding", "EmbeddingError", "cosine", "load", "save"), "fute.embeddings.vectors"),
    **dict.fromkeys(("label_covariance", "label_similarity"), "fute.embeddings.covariance"),
    **dict.fromkeys(("cosine_around", "task2vec_similarity"), "fute.embeddings.similarity"),
    **dict.fromkeys(("best_rank", "ndcg", "performance_rate"), "fute.evaluation.metrics"),
    "diagonal_fisher": "fute.surrogate.fisher.diagonal",
    "spearman": "fute.evaluation.correlation",
}  # fmt: skip
"""Name -> the module that defines it."""

__all__ = list(EXPORTS)

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in EXPORTS:
        raise AttributeError(f"module fute has no attribute {name!r}")
    return getattr(import_module(EXPORTS[name]), name)


def __dir__() -> list[str]:
    return __all__
