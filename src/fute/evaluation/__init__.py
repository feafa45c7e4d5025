"""Similarity rankings against the truth: measures, Table 3 with its intervals, controls, and geometry.

The names below are imported on first use, so that a step loads only what it needs.
"""

from importlib import import_module

EXPORTS = {
    "select": "fute.baselines.prompts",
    **dict.fromkeys(("null_comparison", "order_noise"), "fute.evaluation.controls"),
    **dict.fromkeys(
        (
            "Projection", "Silhouette", "label_shared_across", "nearest", "neighbour_purity", "pca2", "project",
            "silhouette_by", "tsne",
        ),
        "fute.evaluation.geometry",
    ),
    **dict.fromkeys(("best_rank", "ndcg", "performance_rate"), "fute.evaluation.metrics"),
    "spearman": "fute.evaluation.correlation",
    **dict.fromkeys(
        ("Block", "SelectionTable", "average_blocks", "selection_table"), "fute.evaluation.selection"
    ),
}  # fmt: skip
"""Name -> the module that defines it."""

__all__ = list(EXPORTS)


def __getattr__(name: str) -> object:
    if name not in EXPORTS:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    return getattr(import_module(EXPORTS[name]), name)
