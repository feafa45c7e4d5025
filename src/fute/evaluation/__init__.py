"""Similarity rankings against the truth: measures, Table 3 with its intervals, controls, and geometry."""

from fute.baselines.prompts import select
from fute.evaluation.controls import norm_confound, null_comparison, separation
from fute.evaluation.geometry import (
    Projection,
    Silhouette,
    label_shared_across,
    nearest,
    neighbour_purity,
    pca2,
    project,
    silhouette_by,
    tsne,
)
from fute.evaluation.metrics import best_rank, ndcg, performance_rate, spearman
from fute.evaluation.selection import Block, SelectionTable, average_blocks, ceiling_ndcg, selection_table

__all__ = [
    "Block",
    "Projection",
    "SelectionTable",
    "Silhouette",
    "average_blocks",
    "best_rank",
    "ceiling_ndcg",
    "label_shared_across",
    "ndcg",
    "nearest",
    "neighbour_purity",
    "norm_confound",
    "null_comparison",
    "pca2",
    "performance_rate",
    "project",
    "select",
    "selection_table",
    "separation",
    "silhouette_by",
    "spearman",
    "tsne",
]
