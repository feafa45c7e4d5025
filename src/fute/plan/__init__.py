"""From a configuration to targets, cells and batches: what the rules ask.

Everything here is computed when the Snakefile is parsed, so nothing heavy is imported and nothing written.

plan          `Workflow`: the whole run, and what both experiments or several stages share
requested     what the files asked for on the command line need of it
data          `Workflow.data`: the datasets, their U, and what identifies their rows
embeddings    `Workflow.embeddings`: DTEs and MTEs of both experiments, and the batches they are learned in
llm           `Workflow.llm`: the LLM experiment; llm_labels `.labels`, what each LLM and prompt says of texts
lm            `Workflow.lm`: the language-model experiment; lm_transfer `.transfer`, its fine-tuning runs from every
              source on every target; lm_baselines `.baselines`, what it is compared with
report        what the report says was run
"""

from fute.plan.llm_labels import SELF_SELECT
from fute.plan.lm_transfer import TRANSFER_SUFFIX
from fute.plan.plan import Workflow, settings_json
from fute.plan.requested import Requested
from fute.plan.vector_batches import EMBEDDING_SUFFIX

__all__ = ["EMBEDDING_SUFFIX", "SELF_SELECT", "TRANSFER_SUFFIX", "Requested", "Workflow", "settings_json"]
