"""Which module each step of the workflow is, and the hash of its code that goes into rules and keys."""

from __future__ import annotations

from functools import cache

from fute.artifacts import content_key
from fute.closure import code_sha256

STEPS = {
    "fetch_model": "fute.models",
    "data": "fute.data.prepare",
    "label": "fute.llm.labelling",
    "extract": "fute.llm.extract",
    "finetune": "fute.blackbox.steps",
    "plugin": "fute.blackbox.plugin",
    "transfer": "fute.blackbox.transfer",
    "extract_transfer": "fute.blackbox.scores",
    "encode": "fute.embeddings.encode",
    "embed": "fute.embeddings.batch",
    "extract_embedding": "fute.embeddings.extract",
    "baselines": "fute.baselines.steps",
    "embed_dataset": "fute.baselines.vectors",
    "lm_baselines": "fute.baselines.language_models",
    "similarities": "fute.evaluation.similarities",
    "lm_similarities": "fute.evaluation.lm_similarities",
    "selection": "fute.evaluation.steps",
    "transfer_matrix": "fute.evaluation.transfer_matrix",
    "lm_evaluation": "fute.evaluation.transfer_step",
    "geometry": "fute.evaluation.geometry_step",
    "lm_geometry": "fute.evaluation.lm_geometry_step",
    "paper": "fute.paper.steps",
    "transfer_tables": "fute.paper.transfer_steps",
    "efficiency": "fute.paper.efficiency_step",
    "report": "fute.paper.report_step",
    "audit_manifest": "fute.audit.collect",
    "audit_verify": "fute.audit.verify",
}


@cache
def code(step: str, *more: str) -> str:
    """Hash of all code a step runs: its module's import closure, and further modules it loads by name."""
    return content_key([code_sha256(STEPS[step]), *(code_sha256(module) for module in more)])
