# docs/methods.md 4.4: the true ranking of sources, from fine-tuning each one's model on each target.
# Runs come in batches, as labels do: finished ones are never made again.
if LM:

    rule transfer_batch:
        """Do the new transfer runs of one model; continue after a kill, run by run."""
        input:
            files=lambda wc: list(LM.transfer.inputs(wc.batch).values()),
            lock="results/models/{model}.lock.json",
        output:
            **recorded(
                runs="results/transfer/{model}/batches/{batch}.jsonl.gz",
                index="results/transfer/{model}/batches/{batch}.keys",
            ),
        log:
            "results/logs/transfer_batch/{model}-{batch}.log",
        benchmark:
            "results/benchmarks/transfer_batch/{model}-{batch}.tsv"
        wildcard_constraints:
            model=LM.transfer.model,
            batch=batching.names_regex([LM.transfer.batches]),
        container:
            image("train")
        threads: LM.finetune.threads
        resources:
            **gpus(CONFIG.gpus),
            torch=LM.finetune.torch,
            mem_mb=lambda wc, attempt: NEEDS.transfer_batch(wc.model, wc.batch).memory_mb(attempt),
            runtime=lambda wc, attempt: NEEDS.transfer_batch(wc.model, wc.batch).minutes(attempt),
        params:
            spec=lambda wc: LM.transfer.spec(wc.batch),
            files=lambda wc: named(LM.transfer.inputs(wc.batch)),
            folder=lambda wc: paths.model_folder(wc.model),
            processes=CONFIG.processes,
        message:
            "new transfer runs of {wildcards.model}"
        shell:
            f"{OFFLINE} OMP_NUM_THREADS={{threads}} exec python -m fute.launch --processes {{params.processes}} --"
            " transfer_batch --spec {params.spec:file} --model {params.folder} --lock {input.lock} --files @{params.files:file}"
            " --output {output.runs}"
            f" {LOGGED}"

    rule extract_transfer:
        """Extract the score of one target after transfer from one source."""
        input:
            batches=lambda wc: LM.transfer.batch_files(wc.source, wc.target),
            lock="results/models/{model}.lock.json",
            source="results/finetuned/{model}/{source}.lock.json",
            train="results/data/{target}/train.jsonl.gz",
            test="results/data/{target}/test.jsonl.gz",
        output:
            **recorded(score="results/transfer/{model}/{source}/{target}.json"),
        log:
            "results/logs/extract_transfer/{model}/{source}/{target}.log",
        wildcard_constraints:
            model=LM.transfer.model,
            source="|".join(PLAN.data.lm_sources),
            target="|".join(PLAN.data.lm_targets),
        container:
            image("paper")
        resources:
            mem_mb=2000,
            runtime=2,
        params:
            settings=lambda wc: LM.transfer.extract_settings(wc.source, wc.target),
            code=code("extract_transfer"),
        message:
            "score of {wildcards.model} on {wildcards.target} after transfer from {wildcards.source}"
        shell:
            f"{LIGHT} python -m fute extract_transfer --settings {{params.settings:file}} --batches {{input.batches}}"
            " --files model={input.lock} source={input.source} train={input.train} test={input.test}"
            " --output {output.score} &> {log}"

    rule transfer_matrix:
        """Collect every target's score, directly and from every source: from this run's fine-tunings, or as published."""
        input:
            LM.transfer.score_files() if LM.finetune.computes_matrix else LM.settings.transfer.file,
        output:
            **recorded(matrix=paths.TRANSFER_MATRIX),
        log:
            "results/logs/transfer_matrix.log",
        container:
            image("paper")
        resources:
            runtime=10,
        params:
            settings=lambda wc: settings_json(LM.transfer.matrix_settings()),
            files=lambda wc, input: one_per_line(input),
            matrix_sha256=lambda wc: LM.transfer.matrix_sha256,
            code=code("transfer_matrix"),
        message:
            "score of every target after transfer from every source"
        shell:
            f"{LIGHT} python -m fute transfer_matrix --settings {{params.settings:file}} --files @{{params.files:file}}"
            " --output {output.matrix} &> {log}"
