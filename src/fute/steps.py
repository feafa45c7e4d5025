"""Which module each step of the workflow is, and the hash of its code that goes into rules and keys."""

from __future__ import annotations

from functools import cache

from fute.artifacts import content_key
from fute.code_hash import code_sha256

STEPS = {
    "fetch_model": "fute.data.fetch_model_step",
    "data": "fute.data.data_step",
    "label": "fute.llm.label_batch_step",
    "extract": "fute.llm.extract_labels_step",
    "finetune": "fute.blackbox.finetune_model_step",
    "plugin": "fute.blackbox.label_plugin_step",
    "transfer": "fute.blackbox.transfer_batch_step",
    "extract_transfer": "fute.blackbox.extract_transfer_step",
    "encode": "fute.embeddings.encoder_states_step",
    "embed": "fute.embeddings.embed_batch_step",
    "extract_embedding": "fute.embeddings.extract_embedding_step",
    "baselines": "fute.baselines.baseline_scores_step",
    "embed_dataset": "fute.baselines.embed_dataset_step",
    "lm_baselines": "fute.baselines.lm_baselines_step",
    "similarities": "fute.evaluation.similarities_step",
    "lm_similarities": "fute.evaluation.lm_similarities_step",
    "selection": "fute.evaluation.selection_step",
    "transfer_matrix": "fute.evaluation.transfer_matrix_step",
    "lm_evaluation": "fute.evaluation.lm_evaluation_step",
    "geometry": "fute.evaluation.geometry_step",
    "lm_geometry": "fute.evaluation.lm_geometry_step",
    "paper": "fute.paper.table3_step",
    "transfer_tables": "fute.paper.transfer_table_step",
    "efficiency": "fute.paper.efficiency_step",
    "report": "fute.paper.report_step",
    "audit_manifest": "fute.audit.collect",
    "audit_verify": "fute.audit.verify",
}


@cache
def code(step: str, *more: str) -> str:
    """Hash of all code a step runs: its module's import closure, and further modules it loads by name."""
    return content_key([code_sha256(STEPS[step]), *(code_sha256(module) for module in more)])
