# FUTE: unified task embeddings across multiple models. One stage of the paper's method is one rule file.
from snakemake.utils import min_version

min_version("9.20")

# a run is one file of settings; without --configfile it is the demo
if "name" not in config:

    configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/data.smk"  # U and the labelled datasets; the models' files
include: "rules/embeddings.smk"  # what black boxes and datasets teach the surrogate, as vectors: MTEs and DTEs


if WF.llm:  # the LLM experiment: every (LLM, prompt) is a black box

    include: "rules/labels.smk"  # what each says of U and of the evaluation rows
    include: "rules/baselines.smk"  # MI, LocalE, GlobalE, ZPS, Self-Select, SPELL
    include: "rules/evaluation.smk"  # cosine(MTE, DTE), selection, NDCG, controls
    include: "rules/paper.smk"  # Table 3, Figures 4 and A2


if WF.lm:  # the language-model experiment: every model fine-tuned on a dataset is one

    include: "rules/finetune.smk"  # the models, and what they say of U
    include: "rules/transfer.smk"  # fine-tuning each on every target
    include: "rules/lm_baselines.smk"  # DataSize, CurveGrad, TextEmb, TaskEmb, TuPaTE
    include: "rules/lm_evaluation.smk"  # cosine(MTE, DTE), rank of the best source, NDCG
    include: "rules/lm_paper.smk"  # Tables 1 and 2, Figures 3 and A1


include: "rules/efficiency.smk"  # what the embeddings cost
include: "rules/report.smk"  # one page with all of it


PHASES = WF.phases() | {"data": DATA, "evaluation": EVALUATION, "paper": PAPER}


include: "rules/audit.smk"  # the manifest of all this, verified


rule all:
    default_target: True
    input:
        PHASES["paper"],


for phase in PHASES:

    rule:
        name:
            phase
        input:
            lambda wc, phase=phase: PHASES[phase],


trigger_on_images()
keep_signatures()


onstart:
    ready()
    if hasattr(workflow.executor_settings, "array_jobs"):
        check_slurm(workflow)


onsuccess:
    shell("python -m fute tidy results")
    print(made(PHASES))
