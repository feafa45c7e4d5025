# FUTE: unified task embeddings across multiple models. One stage of the paper's method is one rule file.
from snakemake.utils import min_version

min_version("9.20")

# a run is one file of settings; without --configfile it is the demo
if "name" not in config:

    configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/data.smk"  # U and the labelled datasets; the models' files
include: "rules/black_boxes.smk"  # black boxes that label U: LLMs with prompts, fine-tuned language models, functions
include: "rules/embeddings.smk"  # task embeddings: MTEs of black boxes and DTEs of datasets
include: "rules/transfer.smk"  # fine-tuning each source's model on each target: the true ranking of sources
include: "rules/baselines.smk"  # baselines that FUTE is compared with
include: "rules/evaluation.smk"  # cosine(MTE, DTE), the choice of each method, and its quality
include: "rules/paper.smk"  # Tables 1 to 3, Figures 3, 4, A1 and A2, and a report


PHASES = PLAN.phases() | {"data": DATA, "evaluation": EVALUATION, "paper": PAPER}


include: "rules/audit.smk"  # the manifest of all files, and its verification


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


onstart:
    ready()


onsuccess:
    shell("python -m fute tidy results")
    print(made(TARGETS, PHASES))
