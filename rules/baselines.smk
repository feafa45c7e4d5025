# docs/methods.md 1.8, 4.6 and 4.8: the baselines. Eight scores of a prompt; what labelled datasets say of each other.
if LLM:

    rule self_select:
        """Rank the prompts of a category by the LLM's own choice."""
        input:
            batch=lambda wc: LLM.labels.batch_file(wc.model, "self-select", wc.category),
        output:
            **recorded(ranking="results/baselines/{model}/self-select-{category}.json"),
        log:
            "results/logs/self_select/{model}-{category}.log",
        container:
            image("paper")
        resources:
            runtime=10,
        params:
            key=lambda wc: LLM.labels.cells[wc.model, "self-select", wc.category],
            prompts=lambda wc: " ".join(p.id for p in RUN.prompts_of(wc.category)),
            code=code("self_select"),
        message:
            "prompts ranked by {wildcards.model} itself for {wildcards.category}"
        shell:
            f"{LIGHT} python -m fute self_select --key {{params.key}} --batch {{input.batch}} --output {{output.ranking}}"
            " --prompts {params.prompts} &> {log}"

    rule baseline_scores:
        """Score every prompt by each baseline, for one LLM and target dataset."""
        input:
            labels=lambda wc: [
                f"results/labels/{wc.model}/{p.id}/{wc.dataset}.jsonl.gz"
                for p in RUN.prompts_of(RUN.datasets[wc.dataset].category)
            ],
            ranking=lambda wc: LLM.self_selection(wc.model, RUN.datasets[wc.dataset].category),
        output:
            **recorded(scores="results/baselines/{model}/{dataset}.json"),
        log:
            "results/logs/baseline_scores/{model}-{dataset}.log",
        wildcard_constraints:
            dataset="|".join(PLAN.data.llm_targets),
        container:
            image("paper")
        resources:
            runtime=10,
        params:
            flags=lambda wc: LLM.baseline_flags(wc.dataset),
            ranking=lambda wc, input: f"--ranking {input.ranking}" if input.ranking else "",
            code=code("baseline_scores"),
        message:
            "baseline scores of the prompts of {wildcards.model} on {wildcards.dataset}"
        shell:
            f"{LIGHT} python -m fute baseline_scores {{params.ranking}} --output {{output.scores}} {{params.flags}}"
            " --labels {input.labels} &> {log}"


if LM:
    BASELINES = LM.baselines

    # TaskEmb needs the model that was fine-tuned on the dataset
    TUNED = paths.finetuned_folder(BASELINES.model, "{dataset}") if "taskemb" in BASELINES.methods else ""

    if BASELINES.vector_methods:

        rule embed_dataset:
            """Embed a labelled dataset by TextEmb, TaskEmb and TuPaTE on the black box's own architecture."""
            input:
                lock=paths.model_lock(BASELINES.model),
                train="results/data/{dataset}/train.jsonl.gz",
                finetuned=f"{TUNED}.lock.json" if TUNED else [],
            output:
                **recorded(
                    **{m: paths.dataset_vector(BASELINES.model, m, "{dataset}") for m in BASELINES.vector_methods}
                ),
            log:
                f"results/logs/embed_dataset/{BASELINES.model}-{{dataset}}.log",
            benchmark:
                f"results/benchmarks/embed_dataset/{BASELINES.model}-{{dataset}}.tsv"
            wildcard_constraints:
                dataset="|".join(PLAN.data.lm_targets),
            container:
                image("train")
            threads: LM.finetune.threads
            resources:
                **gpus(min(1, CONFIG.gpus)),
                torch=LM.finetune.torch,
                mem_mb=lambda wc, attempt: NEEDS.embed_dataset(wc.dataset).memory_mb(attempt),
                runtime=lambda wc, attempt: NEEDS.embed_dataset(wc.dataset).minutes(attempt),
            params:
                spec=lambda wc: BASELINES.vector_spec(wc.dataset),
                weights=lambda wc: paths.model_folder(BASELINES.model),
                finetuned=f"--finetuned {TUNED} --finetuned-lock {TUNED}.lock.json" if TUNED else "",
                outputs=lambda wc, output: named({m: output.get(m) for m in BASELINES.vector_methods}),
                code=code("embed_dataset", "train"),
            message:
                "baseline vectors of {wildcards.dataset}"
            shell:
                f"{OFFLINE} OMP_NUM_THREADS={{threads}} exec python -m fute embed_dataset --spec {{params.spec:file}}"
                " --model {params.weights} --lock {input.lock} --train {input.train} --outputs @{params.outputs:file} {params.finetuned}"
                f" {LOGGED}"

    rule lm_baselines:
        """Score each source by the sizes, loss curves and vectors of datasets."""
        input:
            curves=list(BASELINES.curve_files().values()),
            counts=list(BASELINES.count_files().values()),
            vectors=list(BASELINES.vector_files().values()),
        output:
            **recorded(scores="results/baselines/lm_baselines.csv"),
        log:
            "results/logs/lm_baselines.log",
        container:
            image("paper")
        resources:
            runtime=10,
            mem_mb=16000,
        params:
            settings=lambda wc: settings_json(BASELINES.score_settings()),
            curves=lambda wc: named(BASELINES.curve_files()),
            counts=lambda wc: named(BASELINES.count_files()),
            vectors=lambda wc: named(BASELINES.vector_files()),
            code=code("lm_baselines"),
        message:
            "baseline scores of every source for every target"
        shell:
            f"{LIGHT} python -m fute lm_baselines --settings {{params.settings:file}} --curves @{{params.curves:file}}"
            " --counts @{params.counts:file} --vectors @{params.vectors:file} --output {output.scores} &> {log}"
