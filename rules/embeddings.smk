# docs/methods.md 1.3 to 1.6, 2, 3, 4.3: vectors of what pairs (x, y) teach. Pairs of a labelled dataset give its DTE,
# pairs of U and a black box's labels give that black box's MTE.
BATCHES = PLAN.vector_batches


rule encoder_states:
    """Compute the frozen encoder's states for every text of U, which all TuPaTE vectors of all black boxes use."""
    input:
        corpus="results/unsup/{category}.jsonl.gz",
        lock="results/models/{surrogate}.lock.json",
    output:
        **recorded(states="results/embeddings/{surrogate}/states/{category}.safetensors"),
    log:
        "results/logs/encoder_states/{surrogate}-{category}.log",
    benchmark:
        "results/benchmarks/encoder_states/{surrogate}-{category}.tsv"
    container:
        image("train")
    threads: CONFIG.threads
    resources:
        **gpus(CONFIG.gpus),
        torch=1,
        mem_mb=lambda wc, attempt: NEEDS.encoder_states(wc.category).memory_mb(attempt),
        runtime=lambda wc, attempt: NEEDS.encoder_states(wc.category).minutes(attempt),
    params:
        settings=lambda wc: settings_json(PLAN.vectors.encoder_settings()),
        texts=f"--texts {PLAN.vectors.texts_with_states}" if PLAN.vectors.texts_with_states else "",
        folder=lambda wc: paths.model_folder(wc.surrogate),
        code=code("encoder_states", "train"),
    message:
        "encoder states of U for {wildcards.category} (surrogate {wildcards.surrogate})"
    shell:
        f"{OFFLINE} OMP_NUM_THREADS={{threads}} exec python -m fute encoder_states --settings {{params.settings:file}}"
        " --model {params.folder} --lock {input.lock} --corpus {input.corpus} {params.texts}"
        " --output {output.states}"
        f" {LOGGED}"


rule embed_batch:
    """Learn the new vectors of one method with one load of the surrogate; continue after a kill, vector by vector."""
    input:
        files=lambda wc: list(BATCHES.inputs(wc.method, wc.batch).values()),
        lock="results/models/{surrogate}.lock.json",
    output:
        **recorded(
            vectors="results/embeddings/{surrogate}/{method}/batches/{batch}.zip",
            index="results/embeddings/{surrogate}/{method}/batches/{batch}.keys",
        ),
    log:
        "results/logs/embed_batch/{surrogate}-{method}-{batch}.log",
    benchmark:
        "results/benchmarks/embed_batch/{surrogate}-{method}-{batch}.tsv"
    wildcard_constraints:
        batch=batching.names_regex(BATCHES.batches.values()),
    container:
        image("train")
    threads: CONFIG.threads
    resources:
        **gpus(CONFIG.gpus),
        torch=1,
        mem_mb=lambda wc, attempt: NEEDS.embed_batch(wc.method, wc.batch).memory_mb(attempt),
        runtime=lambda wc, attempt: NEEDS.embed_batch(wc.method, wc.batch).minutes(attempt),
    params:
        spec=lambda wc: BATCHES.spec(wc.method, wc.batch),
        files=lambda wc: named(BATCHES.inputs(wc.method, wc.batch)),
        folder=lambda wc: paths.model_folder(wc.surrogate),
        processes=CONFIG.processes,
    message:
        "new task embeddings by {wildcards.method} with {wildcards.surrogate}"
    shell:
        f"{OFFLINE} OMP_NUM_THREADS={{threads}} exec python -m fute.launch --processes {{params.processes}} --"
        " embed_batch --spec {params.spec:file} --model {params.folder} --lock {input.lock}"
        " --files @{params.files:file} --output {output.vectors}"
        f" {LOGGED}"


rule dte:
    """Extract the dataset task embedding of one dataset."""
    input:
        batch=lambda wc: BATCHES.batch_file(paths.dte(wc.surrogate, wc.method, wc.dataset)),
        train="results/data/{dataset}/train.jsonl.gz",
        lock="results/models/{surrogate}.lock.json",
    output:
        **recorded(vector="results/embeddings/{surrogate}/{method}/dte/{dataset}.safetensors"),
    log:
        "results/logs/dte/{surrogate}/{method}/{dataset}.log",
    container:
        image("train")
    resources:
        mem_mb=2000,
        runtime=2,
    params:
        key=lambda wc, output: BATCHES.items[output.vector].key,
        code=code("extract_embedding", "train"),
    message:
        "dataset task embedding of {wildcards.dataset}, {wildcards.method}"
    shell:
        f"{LIGHT} python -m fute extract_embedding --key {{params.key}} --batch {{input.batch}}"
        " --files train={input.train} surrogate={input.lock} --output {output.vector} &> {log}"


use rule dte as dte_control with:
    """Extract a control of one DTE: its labels written A, B, C."""
    input:
        batch=lambda wc: BATCHES.batch_file(paths.dte_control(wc.surrogate, wc.method, wc.dataset, wc.variant)),
        train="results/data/{dataset}/train.jsonl.gz",
        lock="results/models/{surrogate}.lock.json",
    output:
        **recorded(
            vector="results/embeddings/{surrogate}/{method}/dte-controls/{dataset}.{variant}.safetensors",
        ),
    log:
        "results/logs/dte_control/{surrogate}/{method}/{dataset}.{variant}.log",
    wildcard_constraints:
        variant="|".join(PLAN.vectors.dte_variants) or "none",
    message:
        "control {wildcards.variant} of the embedding of {wildcards.dataset}, {wildcards.method}"


rule mte:
    """Extract the model task embedding of one (LLM, prompt), or of one model fine-tuned on a dataset."""
    input:
        batch=lambda wc: BATCHES.batch_file(paths.mte(wc.surrogate, wc.method, wc.model, wc.task)),
        labels=lambda wc: paths.labels(wc.model, wc.task, PLAN.category_of(wc.task)),
        lock="results/models/{surrogate}.lock.json",
    output:
        **recorded(vector="results/embeddings/{surrogate}/{method}/mte/{model}/{task}.safetensors"),
    log:
        "results/logs/mte/{surrogate}/{method}/{model}/{task}.log",
    wildcard_constraints:
        task="|".join(PLAN.tasks),
    container:
        image("train")
    resources:
        mem_mb=2000,
        runtime=2,
    params:
        key=lambda wc, output: BATCHES.items[output.vector].key,
        code=code("extract_embedding", "train"),
    message:
        "model task embedding of {wildcards.model}, {wildcards.task}, {wildcards.method}"
    shell:
        f"{LIGHT} python -m fute extract_embedding --key {{params.key}} --batch {{input.batch}}"
        " --files labels={input.labels} surrogate={input.lock} --output {output.vector} &> {log}"


use rule mte as control with:
    """Extract a control of one MTE: its labels permuted over U, or written A, B, C."""
    input:
        batch=lambda wc: BATCHES.batch_file(paths.control(wc.surrogate, wc.method, wc.model, wc.task, wc.variant)),
        labels=lambda wc: paths.labels(wc.model, wc.task, PLAN.category_of(wc.task)),
        lock="results/models/{surrogate}.lock.json",
    output:
        **recorded(
            vector="results/embeddings/{surrogate}/{method}/controls/{model}/{task}.{variant}.safetensors",
        ),
    log:
        "results/logs/control/{surrogate}/{method}/{model}/{task}.{variant}.log",
    wildcard_constraints:
        task="|".join(RUN.prompts) or "none",
    message:
        "control {wildcards.variant} of the embedding of {wildcards.model}, {wildcards.task}, {wildcards.method}"
