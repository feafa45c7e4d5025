# FUTE: unified task embeddings across multiple models. One stage of the paper's method is one rule file.
import gc

from snakemake.utils import min_version

min_version("9.20")

# a run is one file of settings; without --configfile it is the demo
if "name" not in config:

    configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/data.smk"  # U and the labelled datasets; the models' files
include: "rules/labels.smk"  # every (LLM, prompt) labels U and the evaluation rows
include: "rules/embeddings.smk"  # what the labels teach the surrogate, as vectors: DTEs and MTEs
include: "rules/baselines.smk"  # MI, LocalE, GlobalE, ZPS, Self-Select, SPELL
include: "rules/evaluation.smk"  # cosine(MTE, DTE), selection, NDCG, controls
include: "rules/paper.smk"  # Table 3, Figures 4 and A2, the report


PHASES = {
    "data": DATA,
    "labels": WF.label_files(),
    "embeddings": WF.embedding_files(),
    "evaluation": EVALUATION,
    "paper": PAPER,
}


rule all:
    default_target: True
    input:
        PHASES["paper"],


rule data:
    input:
        PHASES["data"],


rule labels:
    input:
        PHASES["labels"],


rule embeddings:
    input:
        PHASES["embeddings"],


rule evaluation:
    input:
        PHASES["evaluation"],


rule paper:
    input:
        PHASES["paper"],


onsuccess:
    shell("python -m fute tidy results")
    print(made(PHASES))


# what has been read stays: without this, a quarter of the planning time goes into looking through it again
gc.freeze()
