# Sections 5.4 and 6.6: similarity of MTEs and DTEs, what each method selects, and whether that is more than noise.
LLM_EVALUATION = [
    f"results/evaluation/{name}.csv"
    for name in (
        "similarities",
        "controls",
        "performance",
        "selection",
        "table3",
        "geometry",
        "coordinates",
    )
]
EVALUATION += LLM_EVALUATION


rule similarities:
    """cosine(MTE, DTE) of every black box and target, and what the controls say of it."""
    input:
        main=lambda wc: LLM.embedding_files("main"),
        controls=lambda wc: LLM.embedding_files("controls"),
    output:
        similarities="results/evaluation/similarities.csv",
        similarities_sidecar=sidecar("results/evaluation/similarities.csv"),
        controls="results/evaluation/controls.csv",
        controls_sidecar=sidecar("results/evaluation/controls.csv"),
    log:
        "results/logs/similarities.log",
    benchmark:
        "results/benchmarks/similarities/all.tsv"
    container:
        image("paper")
    resources:
        mem_mb=8000,
    params:
        settings=settings_json(LLM.similarity_settings()),
        code=code("similarities"),
    shell:
        f"{LIGHT} python -m fute similarities --settings {{params.settings:q}} --files {{input}}"
        " --cosines {output.similarities} --controls {output.controls} &> {log}"


rule selection:
    """What every method selects, its performance, rate and NDCG with intervals."""
    input:
        tests=[f"results/data/{name}/test.jsonl.gz" for name in LLM.targets],
        labels=lambda wc: LLM.labels.files("test"),
        baselines=lambda wc: LLM.baseline_files(),
        similarities="results/evaluation/similarities.csv",
    output:
        performance="results/evaluation/performance.csv",
        performance_sidecar=sidecar("results/evaluation/performance.csv"),
        selection="results/evaluation/selection.csv",
        selection_sidecar=sidecar("results/evaluation/selection.csv"),
        table3="results/evaluation/table3.csv",
        table3_sidecar=sidecar("results/evaluation/table3.csv"),
    log:
        "results/logs/selection.log",
    benchmark:
        "results/benchmarks/selection/all.tsv"
    container:
        image("paper")
    params:
        settings=settings_json(LLM.selection_settings()),
        code=code("selection"),
    shell:
        f"{LIGHT} python -m fute selection --settings {{params.settings:q}} --similarities {{input.similarities}}"
        " --performance {output.performance} --selected {output.selection} --table3 {output.table3}"
        " --files {input.tests} {input.labels} {input.baselines} &> {log}"


rule geometry:
    """Where the MTEs lie: coordinates of Figures 4 and A2, and the numbers readers look for."""
    input:
        lambda wc: LLM.mte_files(),
    output:
        geometry="results/evaluation/geometry.csv",
        geometry_sidecar=sidecar("results/evaluation/geometry.csv"),
        coordinates="results/evaluation/coordinates.csv",
        coordinates_sidecar=sidecar("results/evaluation/coordinates.csv"),
    log:
        "results/logs/geometry.log",
    benchmark:
        "results/benchmarks/geometry/all.tsv"
    container:
        image("paper")
    resources:
        mem_mb=8000,
    params:
        settings=settings_json(LLM.geometry_settings()),
        code=code("geometry"),
    shell:
        f"{LIGHT} python -m fute geometry --settings {{params.settings:q}} --files {{input}}"
        " --statistics {output.geometry} --coordinates {output.coordinates} &> {log}"
