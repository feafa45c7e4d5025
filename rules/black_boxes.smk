# docs/methods.md 1.2 and 4.1: what labels U. An LLM with a prompt, a fine-tuned language model, a Python function.
if LLM:

    if RUN.tuned:

        rule tune_llm:
            """Fine-tune an LLM to answer some prompts as rows are labelled; continue after a kill."""
            input:
                lock=lambda wc: paths.model_lock(RUN.tuned[wc.model].model),
                rows=lambda wc: list(LLM.tuning.inputs(wc.model).values()),
            output:
                **recorded(lock="results/models/{model}.lock.json"),
            log:
                "results/logs/tune_llm/{model}.log",
            benchmark:
                "results/benchmarks/tune_llm/{model}.tsv"
            wildcard_constraints:
                model="|".join(RUN.tuned),
            container:
                image("train")
            threads: CONFIG.threads
            resources:
                **gpus(min(1, CONFIG.gpus)),
                torch=1,
                mem_mb=lambda wc, attempt: NEEDS.tune_llm(wc.model).memory_mb(attempt),
                runtime=lambda wc, attempt: NEEDS.tune_llm(wc.model).minutes(attempt),
            params:
                spec=lambda wc: LLM.tuning.spec(wc.model),
                files=lambda wc: named(LLM.tuning.inputs(wc.model)),
                base=lambda wc: paths.model_folder(RUN.tuned[wc.model].model),
                folder=lambda wc: paths.model_folder(wc.model),
                code=code("tune_llm", "train"),
            message:
                "{wildcards.model}, fine-tuned to answer prompts"
            shell:
                f"{OFFLINE} OMP_NUM_THREADS={{threads}} exec python -m fute tune_llm --spec {{params.spec:file}}"
                " --model {params.base} --lock {input.lock} --files @{params.files:file} --folder {params.folder}"
                " --output {output.lock}"
                f" {LOGGED}"

    rule label_batch:
        """Label all new cells of one model and category with one engine start; continue after a kill."""
        input:
            lock="results/models/{model}.lock.json",
            corpora=lambda wc: list(LLM.labels.corpora(wc.model, wc.batch).values()),
        output:
            **recorded(
                labels="results/labels/{model}/batches/{batch}.jsonl.gz",
                index="results/labels/{model}/batches/{batch}.keys",
            ),
        log:
            "results/logs/label_batch/{model}-{batch}.log",
        benchmark:
            "results/benchmarks/label_batch/{model}-{batch}.tsv"
        wildcard_constraints:
            batch=batching.names_regex(LLM.labels.batches.values()),
        container:
            image("labels")
        threads: CONFIG.threads
        resources:
            **gpus(lambda wc: NEEDS.label_gpus(wc.model)),
            torch=1,
            mem_mb=lambda wc, attempt: NEEDS.label_batch(wc.model, wc.batch).memory_mb(attempt),
            runtime=lambda wc, attempt: NEEDS.label_batch(wc.model, wc.batch).minutes(attempt),
        params:
            spec=lambda wc: LLM.labels.spec(wc.model, wc.batch),
            corpora=lambda wc: named(LLM.labels.corpora(wc.model, wc.batch)),
            folder=lambda wc: paths.model_folder(wc.model),
        message:
            "new labels of {wildcards.model}"
        shell:
            f"{OFFLINE} OMP_NUM_THREADS={{threads}} exec python -m fute label_batch --spec {{params.spec:file}} --model {{params.folder}}"
            " --lock {input.lock} --corpora @{params.corpora:file} --output {output.labels}"
            f" {LOGGED}"

    rule extract_unsup_labels:
        """Extract the labels of one (model, prompt) on U, and its calibration offset."""
        input:
            batch=lambda wc: LLM.labels.batch_file(wc.model, wc.task, wc.category),
            corpus="results/unsup/{category}.jsonl.gz",
            lock="results/models/{model}.lock.json",
        output:
            **recorded(
                labels="results/labels/{model}/{task}/{category}.jsonl.gz",
                offset="results/labels/{model}/{task}/{category}.offset.json",
            ),
        log:
            "results/logs/extract_labels/{model}/{task}/{category}.log",
        wildcard_constraints:
            task="|".join(RUN.prompts),
        container:
            image("paper")
        resources:
            mem_mb=2000,
            runtime=2,
        params:
            settings=lambda wc: LLM.labels.extract_settings(wc.model, wc.task, wc.category),
            code=code("extract_labels"),
        message:
            "labels of {wildcards.model}, prompt {wildcards.task}, on U"
        shell:
            f"{LIGHT} python -m fute extract_labels --settings {{params.settings:file}} --corpus-id {{wildcards.category}}"
            " --batch {input.batch} --corpus {input.corpus} --lock {input.lock} --output {output.labels}"
            " --offset-out {output.offset} &> {log}"

    rule extract_test_labels:
        """Extract the labels of one (model, prompt) on evaluation or training rows, calibrated as on U."""
        input:
            batch=lambda wc: LLM.labels.batch_file(wc.model, wc.task, wc.dataset),
            corpus=lambda wc: PLAN.data.corpus_file(wc.dataset),
            lock="results/models/{model}.lock.json",
            offset=lambda wc: paths.label_offset(wc.model, wc.task, RUN.prompts[wc.task].category),
        output:
            **recorded(labels="results/labels/{model}/{task}/{dataset}.jsonl.gz"),
        log:
            "results/logs/extract_labels/{model}/{task}/{dataset}.log",
        wildcard_constraints:
            task="|".join(RUN.prompts),
            dataset="|".join(map(re.escape, LLM.scored_corpora)),
        container:
            image("paper")
        resources:
            mem_mb=2000,
            runtime=2,
        params:
            settings=lambda wc: LLM.labels.extract_settings(wc.model, wc.task, wc.dataset),
            code=code("extract_labels"),
        message:
            "labels of {wildcards.model}, prompt {wildcards.task}, on {wildcards.dataset}"
        shell:
            f"{LIGHT} python -m fute extract_labels --settings {{params.settings:file}} --corpus-id {{wildcards.dataset}}"
            " --batch {input.batch} --corpus {input.corpus} --lock {input.lock} --offset-in {input.offset}"
            " --output {output.labels} &> {log}"


if LM:

    rule finetune_model:
        """Fine-tune a language model on new datasets; continue after a kill."""
        input:
            lock="results/models/{model}.lock.json",
            rows=lambda wc: list(LM.finetune.inputs(wc.model, wc.batch).values()),
        output:
            **recorded(
                models="results/finetuned/{model}/batches/{batch}.lock.json",
                index="results/finetuned/{model}/batches/{batch}.keys",
            ),
        log:
            "results/logs/finetune_model/{model}-{batch}.log",
        benchmark:
            "results/benchmarks/finetune_model/{model}-{batch}.tsv"
        wildcard_constraints:
            model="|".join(LM.settings.models),
            batch=batching.names_regex(LM.finetune.batches.values()),
        container:
            image("train")
        threads: LM.finetune.threads
        resources:
            **gpus(CONFIG.gpus),
            torch=LM.finetune.torch,
            mem_mb=lambda wc, attempt: NEEDS.finetune_model(wc.model, wc.batch).memory_mb(attempt),
            runtime=lambda wc, attempt: NEEDS.finetune_model(wc.model, wc.batch).minutes(attempt),
        params:
            spec=lambda wc: LM.finetune.spec(wc.model, wc.batch),
            files=lambda wc: named(LM.finetune.inputs(wc.model, wc.batch)),
            folder=lambda wc: paths.model_folder(wc.model),
            processes=CONFIG.processes,
        message:
            "new fine-tunings of {wildcards.model}"
        shell:
            f"{OFFLINE} OMP_NUM_THREADS={{threads}} exec python -m fute.launch --processes {{params.processes}} --"
            " finetune_model --spec {params.spec:file} --model {params.folder} --lock {input.lock}"
            " --files @{params.files:file} --output {output.models}"
            f" {LOGGED}"

    rule extract_finetuned:
        """Take a fine-tuned model out of its batch: its folder, loss curve, and scores of all seeds without transfer."""
        input:
            batches=lambda wc: LM.finetune.batch_files(wc.model, wc.dataset),
            lock="results/models/{model}.lock.json",
            train="results/data/{dataset}/train.jsonl.gz",
            test="results/data/{dataset}/test.jsonl.gz",
        output:
            **recorded(
                lock="results/finetuned/{model}/{dataset}.lock.json",
                curve="results/finetuned/{model}/{dataset}.curve.json",
                score="results/finetuned/{model}/{dataset}.score.json",
            ),
        log:
            "results/logs/extract_finetuned/{model}-{dataset}.log",
        wildcard_constraints:
            model="|".join(LM.settings.models),
            dataset="|".join(PLAN.data.lm_targets),
        container:
            image("paper")
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            settings=lambda wc: LM.finetune.extract_settings(wc.model, wc.dataset),
            code=code("extract_finetuned"),
        message:
            "{wildcards.model} fine-tuned on {wildcards.dataset}"
        shell:
            f"{LIGHT} python -m fute extract_finetuned --settings {{params.settings:file}} --batches {{input.batches}}"
            " --files model={input.lock} train={input.train} test={input.test}"
            " --lock {output.lock} --curve {output.curve} --score {output.score} &> {log}"

    rule label_language_model:
        """Label U with fine-tuned language models; continue after a kill, model by model."""
        input:
            locks=lambda wc: list(LM.label_inputs(wc.model, wc.batch).values()),
            corpus="results/unsup/lm.jsonl.gz",
        output:
            **recorded(
                labels="results/labels/{model}/lm/batches/{batch}.lock.json",
                index="results/labels/{model}/lm/batches/{batch}.keys",
            ),
        log:
            "results/logs/label_language_model/{model}-{batch}.log",
        benchmark:
            "results/benchmarks/label_language_model/{model}-{batch}.tsv"
        wildcard_constraints:
            model="|".join(LM.settings.models),
            batch=batching.names_regex(LM.label_batches.values()),
        container:
            image("train")
        threads: LM.finetune.threads
        resources:
            **gpus(min(1, CONFIG.gpus)),
            torch=LM.finetune.torch,
            mem_mb=lambda wc, attempt: NEEDS.label_language_model(wc.model, wc.batch).memory_mb(attempt),
            runtime=lambda wc, attempt: NEEDS.label_language_model(wc.model, wc.batch).minutes(attempt),
        params:
            spec=lambda wc: LM.label_spec(wc.model, wc.batch),
            files=lambda wc: named(LM.label_inputs(wc.model, wc.batch)),
        message:
            "new labels on U of fine-tuned {wildcards.model}"
        shell:
            f"{OFFLINE} OMP_NUM_THREADS={{threads}} exec python -m fute label_language_model --spec {{params.spec:file}}"
            " --files @{params.files:file} --corpus {input.corpus} --output {output.labels}"
            f" {LOGGED}"

    rule extract_lm_labels:
        """Take the labels on U of one fine-tuned language model out of their batch."""
        input:
            batch=lambda wc: LM.label_batches[wc.model].file(wc.dataset),
            lock="results/finetuned/{model}/{dataset}.lock.json",
            corpus="results/unsup/lm.jsonl.gz",
        output:
            **recorded(labels="results/labels/{model}/{dataset}/lm.jsonl.gz"),
        log:
            "results/logs/extract_lm_labels/{model}-{dataset}.log",
        wildcard_constraints:
            model="|".join(LM.settings.models),
            dataset="|".join(PLAN.data.lm_sources),
        container:
            image("paper")
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            key=lambda wc: LM.label_batches[wc.model].keys[wc.dataset],
            code=code("extract_files"),
        message:
            "labels on U of {wildcards.model} fine-tuned on {wildcards.dataset}"
        shell:
            f"{LIGHT} python -m fute extract_files --key {{params.key}} --batch {{input.batch}}"
            " --files finetuned={input.lock} corpus={input.corpus} --outputs labels.jsonl.gz={output.labels} &> {log}"

    rule label_plugin:
        """Label U with a Python function."""
        input:
            corpus="results/unsup/lm.jsonl.gz",
            train=lambda wc: LM.plugin_train(wc.plugin),
            outputs=lambda wc: LM.plugin_outputs(wc.plugin),
        output:
            **recorded(labels="results/labels/{plugin}/{task}/lm.jsonl.gz"),
        log:
            "results/logs/label_plugin/{plugin}-{task}.log",
        benchmark:
            "results/benchmarks/label_plugin/{plugin}-{task}.tsv"
        wildcard_constraints:
            plugin="|".join(LM.settings.plugins) or "none",
            task="|".join(LM.tasks),
        container:
            image("train")
        threads: CONFIG.threads
        resources:
            torch=1,
            mem_mb=lambda wc, attempt: 8000 * attempt,
            runtime=lambda wc, attempt: 240 * attempt,
        params:
            settings=lambda wc: settings_json(LM.settings.plugins[wc.plugin]),
            source=lambda wc: LM.plugin_source(wc.plugin),
            more=lambda wc, input: " ".join(f"--{name} {input[name]}" for name in ("train", "outputs") if input[name]),
            code=code("label_plugin", "train"),
        message:
            "labels on U of the function {wildcards.plugin}"
        shell:
            f"{OFFLINE} OMP_NUM_THREADS={{threads}} exec python -m fute label_plugin --settings {{params.settings:file}}"
            " --source {params.source} --corpus {input.corpus} {params.more} --output {output.labels}"
            f" {LOGGED}"
