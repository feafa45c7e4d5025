# Section 6: an LLM with a prompt is a black box M; its labels on U and on the evaluation rows.
# One engine start labels all new cells of a model and category; finished batches are never computed again.
LLM = WF.llm


rule label_batch:
    """All new cells of one model and category, from one engine start; resumes after a kill."""
    input:
        lock=lambda wc: WF.model_lock(wc.model),
        corpora=lambda wc: [WF.data.corpus_file(c) for c in LLM.labels.batch_corpora(wc.model, wc.batch)],
    output:
        labels="results/labels/{model}/batches/{batch}.jsonl.gz",
        sidecar=sidecar("results/labels/{model}/batches/{batch}.jsonl.gz"),
        index="results/labels/{model}/batches/{batch}.keys",
        index_sidecar=sidecar("results/labels/{model}/batches/{batch}.keys"),
    log:
        "results/logs/label_batch/{model}-{batch}.log",
    benchmark:
        "results/benchmarks/label_batch/{model}-{batch}.tsv"
    wildcard_constraints:
        batch=batching.names_regex(LLM.labels.plans.values()),
    container:
        image("labels")
    threads: CONFIG.threads
    resources:
        torch=1,
        gpu=lambda wc: NEEDS.label_gpus(wc.model),
        mem_mb=lambda wc, attempt: NEEDS.label_batch(wc.model, wc.batch).memory_mb(attempt),
        runtime=lambda wc, attempt: NEEDS.label_batch(wc.model, wc.batch).minutes(attempt),
    params:
        spec=lambda wc: LLM.labels.spec(wc.model, wc.batch),
        corpora=lambda wc: flags(
            "corpus",
            {c: WF.data.corpus_file(c) for c in LLM.labels.batch_corpora(wc.model, wc.batch)},
        ),
        folder=lambda wc: WF.model_folder(wc.model),
    message:
        "new labels of {wildcards.model}"
    shell:
        f"{OFFLINE} OMP_NUM_THREADS={{threads}} exec python -m fute label-batch --spec {{params.spec:q}} --model {{params.folder}}"
        " --lock {input.lock} {params.corpora} --output {output.labels}"
        f" {LOGGED}"


rule extract_unsup_labels:
    """Labels of one (model, prompt) on U, and its calibration offset."""
    input:
        batch=lambda wc: LLM.labels.batch_file(wc.model, wc.task, wc.category),
        corpus="results/unsup/{category}.jsonl.gz",
        lock="results/models/{model}.lock.json",
    output:
        labels="results/labels/{model}/{task}/{category}.jsonl.gz",
        sidecar=sidecar("results/labels/{model}/{task}/{category}.jsonl.gz"),
        offset="results/labels/{model}/{task}/{category}.offset.json",
        offset_sidecar=sidecar("results/labels/{model}/{task}/{category}.offset.json"),
    log:
        "results/logs/extract_labels/{model}/{task}/{category}.log",
    wildcard_constraints:
        task="|".join(RUN.prompts),
    container:
        image("paper")
    params:
        settings=lambda wc: LLM.labels.extract_settings(wc.model, wc.task, wc.category),
        code=code("extract"),
    message:
        "labels of {wildcards.model}, prompt {wildcards.task}, on U"
    shell:
        f"{LIGHT} python -m fute extract-labels --settings {{params.settings:q}} --corpus-id {{wildcards.category}}"
        " --batch {input.batch} --corpus {input.corpus} --lock {input.lock} --output {output.labels}"
        " --offset-out {output.offset} &> {log}"


rule extract_test_labels:
    """Labels of one (model, prompt) on a dataset's evaluation rows, calibrated as on U."""
    input:
        batch=lambda wc: LLM.labels.batch_file(wc.model, wc.task, wc.dataset),
        corpus="results/data/{dataset}/test.jsonl.gz",
        lock="results/models/{model}.lock.json",
        offset=lambda wc: f"results/labels/{wc.model}/{wc.task}/{WF.category_of(wc.task)}.offset.json",
    output:
        labels="results/labels/{model}/{task}/{dataset}.jsonl.gz",
        sidecar=sidecar("results/labels/{model}/{task}/{dataset}.jsonl.gz"),
    log:
        "results/logs/extract_labels/{model}/{task}/{dataset}.log",
    wildcard_constraints:
        task="|".join(RUN.prompts),
        dataset="|".join(LLM.targets),
    container:
        image("paper")
    params:
        settings=lambda wc: LLM.labels.extract_settings(wc.model, wc.task, wc.dataset),
        code=code("extract"),
    message:
        "labels of {wildcards.model}, prompt {wildcards.task}, on {wildcards.dataset}"
    shell:
        f"{LIGHT} python -m fute extract-labels --settings {{params.settings:q}} --corpus-id {{wildcards.dataset}}"
        " --batch {input.batch} --corpus {input.corpus} --lock {input.lock} --offset-in {input.offset}"
        " --output {output.labels} &> {log}"
