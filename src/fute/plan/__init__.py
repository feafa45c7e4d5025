"""From a configuration to files, keys and batches: what the rules ask when Snakemake reads them.

Nothing heavy is imported here and no result is written. A file knows only those above it:

argument_files  settings and lists of files, which travel to the steps in files
requested       which files the command line asks for, and what they need
batches         which batches are finished, and which new ones there will be
data            datasets and U: settings, and what identifies their texts
vectors         dataset and model task embeddings: recipes and keys
lm_finetune     language models fine-tuned on a dataset
llm_tuning      LLMs that the run fine-tunes itself
llm_labels      what every LLM and prompt says of U and of the evaluation rows
lm_transfer     fine-tuning each source's model on every target: the true ranking
lm_baselines    what DataSize, CurveGrad, TextEmb, TaskEmb and TuPaTE read and make (Tables 1 and 2)
llm             the LLM experiment: Table 3, Figures 4 and A2
lm              the language-model experiment: Tables 1 and 2, Figures 3 and A1
vector_batches  the batches that both experiments' vectors are learned in
plan            `Plan`: all of it
run_lock        the lock of a run: made, and compared with what the run reads
report_texts    what the report says was run
command_line    what Snakemake was asked for, and what it made
"""

from fute.plan.argument_files import one_per_line, settings_json
from fute.plan.plan import Plan

__all__ = ["Plan", "one_per_line", "settings_json"]
