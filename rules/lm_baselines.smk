# Baselines of Tables 1 and 2: what labelled datasets say of each other, without U.
BASELINES = LM.baselines


if BASELINES.vector_methods:

    rule embed_dataset:
        """TextEmb, TaskEmb and TuPaTE of a labelled dataset on the black box's own architecture."""
        input:
            lock=WF.model_lock(BASELINES.model),
            train="results/data/{dataset}/train.jsonl.gz",
            finetuned=lambda wc: BASELINES.finetuned_lock(wc.dataset),
        output:
            **{method: BASELINES.vector_file(method, "{dataset}") for method in BASELINES.vector_methods},
            **{
                f"{method}_sidecar": sidecar(BASELINES.vector_file(method, "{dataset}"))
                for method in BASELINES.vector_methods
            },
        log:
            f"results/logs/embed_dataset/{BASELINES.model}-{{dataset}}.log",
        benchmark:
            f"results/benchmarks/embed_dataset/{BASELINES.model}-{{dataset}}.tsv"
        wildcard_constraints:
            dataset="|".join(LM.targets),
        container:
            image("train")
        threads: LM.threads
        resources:
            torch=LM.torch,
            gpu=min(1, CONFIG.gpus),
            mem_mb=lambda wc, attempt: NEEDS.embed_dataset(wc.dataset).memory_mb(attempt),
            runtime=lambda wc, attempt: NEEDS.embed_dataset(wc.dataset).minutes(attempt),
        params:
            spec=lambda wc: BASELINES.vector_spec(wc.dataset),
            weights=lambda wc: WF.model_folder(BASELINES.model),
            finetuned=lambda wc, input: (
                f"--finetuned {LM.finetuned_folder(BASELINES.model, wc.dataset)} --finetuned-lock {input.finetuned}"
                if input.finetuned
                else ""
            ),
            outputs=lambda wc: named({m: BASELINES.vector_file(m, wc.dataset) for m in BASELINES.vector_methods}),
            code=code("embed_dataset"),
        shell:
            f"{OFFLINE} OMP_NUM_THREADS={{threads}} exec python -m fute embed_dataset --spec {{params.spec:q}}"
            " --model {params.weights} --lock {input.lock} --train {input.train} --outputs {params.outputs} {params.finetuned}"
            f" {LOGGED}"


rule lm_baselines:
    """What sizes, loss curves and vectors of datasets say of each source."""
    input:
        curves=list(BASELINES.curve_files().values()),
        counts=list(BASELINES.count_files().values()),
        vectors=list(BASELINES.vector_files().values()),
    output:
        scores="results/baselines/lm_baselines.csv",
        sidecar=sidecar("results/baselines/lm_baselines.csv"),
    log:
        "results/logs/lm_baselines.log",
    container:
        image("paper")
    resources:
        mem_mb=16000,
    params:
        settings=settings_json(BASELINES.score_settings()),
        curves=named(BASELINES.curve_files()),
        counts=named(BASELINES.count_files()),
        vectors=named(BASELINES.vector_files()),
        code=code("lm_baselines"),
    shell:
        f"{LIGHT} python -m fute lm_baselines --settings {{params.settings:q}} --curves {{params.curves}}"
        " --counts {params.counts} --vectors {params.vectors} --output {output.scores} &> {log}"
