# Section 8 of the method: what the embeddings of an experiment cost, and the calls of its LLMs.
if WF.lm:
    PAPER += ["results/paper/tables/efficiency-lm.md"]


rule efficiency:
    """Measured seconds an embedding; for the LLM experiment calls and costs, too."""
    input:
        lambda wc: WF.efficiency_files(wc.experiment),
    output:
        md="results/paper/tables/efficiency-{experiment}.md",
        md_sidecar=sidecar("results/paper/tables/efficiency-{experiment}.md"),
        embeddings="results/evaluation/efficiency-{experiment}-embeddings.csv",
        embeddings_sidecar=sidecar("results/evaluation/efficiency-{experiment}-embeddings.csv"),
        calls="results/evaluation/efficiency-{experiment}-calls.csv",
        calls_sidecar=sidecar("results/evaluation/efficiency-{experiment}-calls.csv"),
        costs="results/evaluation/efficiency-{experiment}-costs.csv",
        costs_sidecar=sidecar("results/evaluation/efficiency-{experiment}-costs.csv"),
    log:
        "results/logs/efficiency/{experiment}.log",
    wildcard_constraints:
        experiment="llm|lm",
    container:
        image("paper")
    params:
        settings=settings_json(WF.efficiency_settings()),
        code=code("efficiency"),
    shell:
        f"{LIGHT} python -m fute efficiency --settings {{params.settings:q}} --benchmarks results/benchmarks"
        " --embeddings {output.embeddings} --calls {output.calls} --costs {output.costs} --markdown {output.md}"
        " --files {input} &> {log}"
