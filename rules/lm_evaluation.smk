# Section 5.4: which source each method would transfer from, and what that is worth.
LM_EVALUATION = [
    f"results/evaluation/{name}.csv"
    for name in (
        "transfer",
        "lm_similarities",
        "lm_targets",
        "lm_direct",
        "table1",
        "table2",
        "lm_geometry",
        "lm_coordinates",
    )
]
EVALUATION += LM_EVALUATION


rule lm_similarities:
    """cosine(MTE, DTE) of every black box and target."""
    input:
        dtes=LM.dte_files(),
        mtes=LM.mte_files(),
    output:
        similarities="results/evaluation/lm_similarities.csv",
        sidecar=sidecar("results/evaluation/lm_similarities.csv"),
    log:
        "results/logs/lm_similarities.log",
    benchmark:
        "results/benchmarks/lm_similarities/all.tsv"
    container:
        image("paper")
    resources:
        mem_mb=8000,
    params:
        settings=settings_json(LM.similarity_settings()),
        code=code("lm_similarities"),
    shell:
        f"{LIGHT} python -m fute lm_similarities --settings {{params.settings:q}}"
        " --files {input} --output {output.similarities} &> {log}"


rule lm_evaluation:
    """The rank of the best source and the NDCG of every method, with intervals and permutation tests."""
    input:
        transfer=MATRIX,
        similarities="results/evaluation/lm_similarities.csv",
        baselines="results/baselines/lm_baselines.csv",
    output:
        targets="results/evaluation/lm_targets.csv",
        targets_sidecar=sidecar("results/evaluation/lm_targets.csv"),
        direct="results/evaluation/lm_direct.csv",
        direct_sidecar=sidecar("results/evaluation/lm_direct.csv"),
        table1="results/evaluation/table1.csv",
        table1_sidecar=sidecar("results/evaluation/table1.csv"),
        table2="results/evaluation/table2.csv",
        table2_sidecar=sidecar("results/evaluation/table2.csv"),
    log:
        "results/logs/lm_evaluation.log",
    benchmark:
        "results/benchmarks/lm_evaluation/all.tsv"
    container:
        image("paper")
    params:
        settings=settings_json(LM.evaluation_settings()),
        code=code("lm_evaluation"),
    shell:
        f"{LIGHT} python -m fute lm_evaluation --settings {{params.settings:q}} --transfer {{input.transfer}}"
        " --similarities {input.similarities} --baselines {input.baselines} --targets {output.targets}"
        " --direct {output.direct} --table1 {output.table1} --table2 {output.table2} &> {log}"


rule lm_geometry:
    """Where the fine-tuned models lie: coordinates of Figures 3 and A1, and the numbers readers look for."""
    input:
        LM.mte_files(LM.settings.models),
    output:
        geometry="results/evaluation/lm_geometry.csv",
        geometry_sidecar=sidecar("results/evaluation/lm_geometry.csv"),
        coordinates="results/evaluation/lm_coordinates.csv",
        coordinates_sidecar=sidecar("results/evaluation/lm_coordinates.csv"),
    log:
        "results/logs/lm_geometry.log",
    benchmark:
        "results/benchmarks/lm_geometry/all.tsv"
    container:
        image("paper")
    resources:
        mem_mb=8000,
    params:
        settings=settings_json(LM.geometry_settings()),
        code=code("lm_geometry"),
    shell:
        f"{LIGHT} python -m fute lm_geometry --settings {{params.settings:q}} --files {{input}}"
        " --statistics {output.geometry} --coordinates {output.coordinates} &> {log}"
