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
            known=lambda wc: LLM.known_labels(wc.model, wc.dataset),
            train=lambda wc: LLM.known_rows(wc.dataset),
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
            known=lambda wc, input: f"--train {input.train} --known {input.known}" if input.known else "",
            code=code("baseline_scores"),
        message:
            "baseline scores of the prompts of {wildcards.model} on {wildcards.dataset}"
        shell:
            f"{LIGHT} python -m fute baseline_scores {{params.ranking}} --output {{output.scores}} {{params.flags}}"
            " --labels {input.labels} {params.known} &> {log}"


if LM:
    BASELINES = LM.baselines

    if BASELINES.vector_methods:

        rule embed_dataset:
            """Embed new labelled datasets by TextEmb, TaskEmb and TuPaTE on the black box's own architecture."""
            input:
                lock="results/models/{model}.lock.json",
                files=lambda wc: list(BASELINES.vector_inputs(wc.batch).values()),
            output:
                **recorded(
                    vectors="results/baselines/vectors/{model}/batches/{batch}.lock.json",
                    index="results/baselines/vectors/{model}/batches/{batch}.keys",
                ),
            log:
                "results/logs/embed_dataset/{model}-{batch}.log",
            benchmark:
                "results/benchmarks/embed_dataset/{model}-{batch}.tsv"
            wildcard_constraints:
                model=BASELINES.model,
                batch=batching.names_regex([BASELINES.vector_batches]),
            container:
                image("train")
            threads: LM.finetune.threads
            resources:
                **gpus(min(1, CONFIG.gpus)),
                torch=LM.finetune.torch,
                mem_mb=lambda wc, attempt: NEEDS.embed_dataset(wc.model, wc.batch).memory_mb(attempt),
                runtime=lambda wc, attempt: NEEDS.embed_dataset(wc.model, wc.batch).minutes(attempt),
            params:
                spec=lambda wc: BASELINES.vector_spec(wc.batch),
                files=lambda wc: named(BASELINES.vector_inputs(wc.batch)),
                folder=lambda wc: paths.model_folder(wc.model),
            message:
                "new baseline vectors of datasets on {wildcards.model}"
            shell:
                f"{OFFLINE} OMP_NUM_THREADS={{threads}} exec python -m fute embed_dataset --spec {{params.spec:file}}"
                " --model {params.folder} --lock {input.lock} --files @{params.files:file} --output {output.vectors}"
                f" {LOGGED}"

        rule extract_dataset_vectors:
            """Take the vectors of one dataset out of their batch."""
            input:
                batch=lambda wc: BASELINES.vector_batches.file(wc.dataset),
                files=lambda wc: list(BASELINES.vector_origins(wc.dataset).values()),
            output:
                **recorded(**{m: paths.dataset_vector("{model}", m, "{dataset}") for m in BASELINES.vector_methods}),
            log:
                "results/logs/extract_dataset_vectors/{model}-{dataset}.log",
            wildcard_constraints:
                model=BASELINES.model,
                dataset="|".join(PLAN.data.lm_targets),
            container:
                image("paper")
            resources:
                mem_mb=2000,
                runtime=10,
            params:
                key=lambda wc: BASELINES.vector_batches.keys[wc.dataset],
                files=lambda wc: named(BASELINES.vector_origins(wc.dataset)),
                outputs=lambda wc, output: named({f"{m}.safetensors": output.get(m) for m in BASELINES.vector_methods}),
                code=code("extract_files"),
            message:
                "baseline vectors of {wildcards.dataset}"
            shell:
                f"{LIGHT} python -m fute extract_files --key {{params.key}} --batch {{input.batch}}"
                " --files @{params.files:file} --outputs @{params.outputs:file} &> {log}"

    if BASELINES.pair_methods:

        rule score_sources:
            """Score sources' fine-tuned models for targets, the new pairs; continue after a kill."""
            input:
                lambda wc: list(BASELINES.score_inputs(wc.batch).values()),
            output:
                **recorded(
                    scores="results/baselines/sources/{model}/batches/{batch}.jsonl.gz",
                    index="results/baselines/sources/{model}/batches/{batch}.keys",
                ),
            log:
                "results/logs/score_sources/{model}-{batch}.log",
            benchmark:
                "results/benchmarks/score_sources/{model}-{batch}.tsv"
            wildcard_constraints:
                model=BASELINES.model,
                batch=batching.names_regex([BASELINES.score_batches]),
            container:
                image("train")
            threads: LM.finetune.threads
            resources:
                **gpus(lambda wc: NEEDS.score_sources(wc.model, wc.batch).gpus),
                torch=LM.finetune.torch,
                mem_mb=lambda wc, attempt: NEEDS.score_sources(wc.model, wc.batch).memory_mb(attempt),
                runtime=lambda wc, attempt: NEEDS.score_sources(wc.model, wc.batch).minutes(attempt),
            params:
                spec=lambda wc: BASELINES.score_spec(wc.batch),
                files=lambda wc: named(BASELINES.score_inputs(wc.batch)),
            message:
                "new scores of the fine-tuned {wildcards.model} for targets"
            shell:
                f"{OFFLINE} OMP_NUM_THREADS={{threads}} exec python -m fute score_sources --spec {{params.spec:file}}"
                " --files @{params.files:file} --output {output.scores}"
                f" {LOGGED}"

        rule extract_source_scores:
            """Collect the scores of every source's model for every target from their batches."""
            input:
                batches=lambda wc: BASELINES.score_batch_files(),
                files=lambda wc: list(BASELINES.score_inputs().values()),
            output:
                **recorded(scores="results/baselines/source_scores.csv"),
            log:
                "results/logs/extract_source_scores.log",
            container:
                image("paper")
            resources:
                mem_mb=2000,
                runtime=10,
            params:
                settings=lambda wc: BASELINES.extract_score_settings(),
                files=lambda wc: named(BASELINES.score_inputs()),
                code=code("extract_source_scores"),
            message:
                f"scores of the fine-tuned {BASELINES.model} for the targets"
            shell:
                f"{LIGHT} python -m fute extract_source_scores --settings {{params.settings:file}}"
                " --batches {input.batches} --files @{params.files:file} --output {output.scores} &> {log}"

    rule lm_baselines:
        """Score each source by the sizes, loss curves and vectors of datasets, and by its fine-tuned model."""
        input:
            curves=list(BASELINES.curve_files().values()),
            counts=list(BASELINES.count_files().values()),
            vectors=list(BASELINES.vector_files().values()),
            fits=paths.SOURCE_SCORES if BASELINES.pair_methods else [],
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
            fits=f"--fits {paths.SOURCE_SCORES}" if BASELINES.pair_methods else "",
            code=code("lm_baselines"),
        message:
            "baseline scores of every source for every target"
        shell:
            f"{LIGHT} python -m fute lm_baselines --settings {{params.settings:file}} --curves @{{params.curves:file}}"
            " --counts @{params.counts:file} --vectors @{params.vectors:file} {params.fits} --output {output.scores} &> {log}"
