# Section 5 of the paper: language models fine-tuned on a dataset, and Python functions, as black boxes M.
LM = WF.lm


rule finetune_model:
    """A language model fine-tuned on one dataset: its folder, loss curve, and scores without transfer."""
    input:
        lock=lambda wc: WF.model_lock(wc.model),
        train="results/data/{dataset}/train.jsonl.gz",
        test="results/data/{dataset}/test.jsonl.gz",
    output:
        lock="results/finetuned/{model}/{dataset}.lock.json",
        sidecar=sidecar("results/finetuned/{model}/{dataset}.lock.json"),
        curve="results/finetuned/{model}/{dataset}.curve.json",
        curve_sidecar=sidecar("results/finetuned/{model}/{dataset}.curve.json"),
        score="results/finetuned/{model}/{dataset}.score.json",
        score_sidecar=sidecar("results/finetuned/{model}/{dataset}.score.json"),
    log:
        "results/logs/finetune_model/{model}-{dataset}.log",
    benchmark:
        "results/benchmarks/finetune_model/{model}-{dataset}.tsv"
    wildcard_constraints:
        model="|".join(LM.settings.models),
        dataset="|".join(LM.targets),
    container:
        image("train")
    threads: LM.threads
    resources:
        torch=LM.torch,
        gpu=CONFIG.gpus,
        mem_mb=lambda wc, attempt: NEEDS.finetune_model(wc.model, wc.dataset).memory_mb(attempt),
        runtime=lambda wc, attempt: NEEDS.finetune_model(wc.model, wc.dataset).minutes(attempt),
    params:
        spec=lambda wc: LM.finetune_spec(wc.model, wc.dataset),
        weights=lambda wc: WF.model_folder(wc.model),
        folder=lambda wc: LM.finetuned_folder(wc.model, wc.dataset),
        processes=CONFIG.processes,
        code=code("finetune_model"),
    shell:
        f"{OFFLINE} OMP_NUM_THREADS={{threads}} exec python -m fute.launch --processes {{params.processes}} --"
        " finetune_model --spec {params.spec:q} --model {params.weights} --lock {input.lock} --train {input.train}"
        " --test {input.test} --folder {params.folder}"
        f" {LOGGED}"


rule label_language_model:
    """What a fine-tuned language model says of U."""
    input:
        lock="results/finetuned/{model}/{dataset}.lock.json",
        corpus="results/unsup/lm.jsonl.gz",
    output:
        labels="results/labels/{model}/{dataset}/lm.jsonl.gz",
        sidecar=sidecar("results/labels/{model}/{dataset}/lm.jsonl.gz"),
    log:
        "results/logs/label_language_model/{model}-{dataset}.log",
    benchmark:
        "results/benchmarks/label_language_model/{model}-{dataset}.tsv"
    wildcard_constraints:
        model="|".join(LM.settings.models),
        dataset="|".join(LM.sources),
    container:
        image("train")
    threads: LM.threads
    resources:
        torch=LM.torch,
        gpu=min(1, CONFIG.gpus),
        mem_mb=lambda wc, attempt: NEEDS.label_language_model(wc.model).memory_mb(attempt),
        runtime=lambda wc, attempt: NEEDS.label_language_model(wc.model).minutes(attempt),
    params:
        settings=lambda wc: LM.label_settings(wc.model, wc.dataset),
        folder=lambda wc: LM.finetuned_folder(wc.model, wc.dataset),
        code=code("label_language_model"),
    shell:
        f"{OFFLINE} OMP_NUM_THREADS={{threads}} exec python -m fute label_language_model --settings {{params.settings:q}}"
        " --folder {params.folder} --lock {input.lock} --corpus {input.corpus} --output {output.labels}"
        f" {LOGGED}"


rule label_plugin:
    """What a Python function says of U."""
    input:
        corpus="results/unsup/lm.jsonl.gz",
        train=lambda wc: LM.plugin_train(wc.plugin),
    output:
        labels="results/labels/{plugin}/{task}/lm.jsonl.gz",
        sidecar=sidecar("results/labels/{plugin}/{task}/lm.jsonl.gz"),
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
        settings=lambda wc: LM.plugin_settings(wc.plugin),
        source=lambda wc: LM.plugin_source(wc.plugin),
        train=lambda wc, input: f"--train {input.train}" if input.train else "",
        code=code("label_plugin"),
    shell:
        f"{OFFLINE} OMP_NUM_THREADS={{threads}} exec python -m fute label_plugin --settings {{params.settings:q}}"
        " --corpus {input.corpus} {params.train} --output {output.labels}"
        f" {LOGGED}"
