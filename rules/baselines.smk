# Section 6.5: the eight ways to score a prompt that the paper compares with.


rule self_select:
    """The LLM's own choice among the prompts of a category."""
    input:
        batch=lambda wc: LLM.labels.batch_file(wc.model, "self-select", wc.category),
    output:
        ranking="results/baselines/{model}/self-select-{category}.json",
        sidecar=sidecar("results/baselines/{model}/self-select-{category}.json"),
    log:
        "results/logs/self_select/{model}-{category}.log",
    container:
        image("paper")
    params:
        key=lambda wc: LLM.labels.cells[wc.model, "self-select", wc.category],
        prompts=lambda wc: " ".join(p.id for p in RUN.prompts_of(wc.category)),
        code=code("self_select"),
    shell:
        f"{LIGHT} python -m fute self_select --key {{params.key}} --batch {{input.batch}} --output {{output.ranking}}"
        " --prompts {params.prompts} &> {log}"


rule baseline_scores:
    """A score a prompt by each baseline, for one LLM and target dataset."""
    input:
        labels=lambda wc: [
            f"results/labels/{wc.model}/{p.id}/{wc.dataset}.jsonl.gz"
            for p in RUN.prompts_of(RUN.datasets[wc.dataset].category)
        ],
        ranking=lambda wc: f"results/baselines/{wc.model}/self-select-{RUN.datasets[wc.dataset].category}.json",
    output:
        scores="results/baselines/{model}/{dataset}.json",
        sidecar=sidecar("results/baselines/{model}/{dataset}.json"),
    log:
        "results/logs/baseline_scores/{model}-{dataset}.log",
    wildcard_constraints:
        dataset="|".join(LLM.targets),
    container:
        image("paper")
    params:
        flags=lambda wc: LLM.baseline_flags(wc.dataset),
        code=code("baseline_scores"),
    shell:
        f"{LIGHT} python -m fute baseline_scores --ranking {{input.ranking}} --output {{output.scores}} {{params.flags}}"
        " --labels {input.labels} &> {log}"
