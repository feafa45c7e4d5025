# docs/methods.md 1.1 and 4.2: the unlabelled texts U, and the labelled datasets with their splits.
DATA = [
    *(f"results/unsup/{category}.jsonl.gz" for category in CONFIG.corpora),
    *(f"results/data/{name}/{split}.jsonl.gz" for name in PLAN.data.datasets for split in ("train", "dev", "test")),
]


# steps that may use a network: on a cluster they run on the node of Snakemake
localrules:
    fetch_model,
    sample_unsup,
    normalise_test,
    normalise_train,


rule fetch_model:
    """Fetch a model's files by revision, with the hash of each in the lock."""
    output:
        **recorded(lock="results/models/{model}.lock.json"),
    log:
        "results/logs/fetch_model/{model}.log",
    wildcard_constraints:
        model="|".join(name for name, entry in RUN.models.items() if not entry.tuned),
    container:
        image("train")
    threads: CONFIG.threads
    resources:
        torch=1,
        mem_mb=8000,
        runtime=240,
    params:
        entry=lambda wc: settings_json(RUN.models[wc.model].model_dump(exclude={"title", "gated", *SIZES})),
        identity=lambda wc: settings_json(model_identity(RUN.models[wc.model])),
        folder=lambda wc: paths.model_folder(wc.model),
        code=code("fetch_model", "train"),
    message:
        "files of the model {wildcards.model}"
    shell:
        "OMP_NUM_THREADS={threads} exec python -m fute fetch_model --model {wildcards.model} --entry {params.entry:file}"
        " --identity {params.identity:file} --folder {params.folder} --lock {output.lock}"
        f' --run-lock "$FUTE_RUN_LOCK" {LOGGED}'


rule sample_unsup:
    """Draw U: unlabelled texts of many tasks, segmented, in the same order for every model."""
    output:
        **recorded(
            rows="results/unsup/{category}.jsonl.gz",
            counts="results/unsup/{category}.counts.csv",
        ),
    log:
        "results/logs/sample_unsup/{category}.log",
    container:
        image("paper")
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=lambda wc: settings_json(PLAN.data.unsup_settings(wc.category)),
        source=lambda wc: settings_json(PLAN.data.unsup_source(wc.category)),
        code=code("sample_unsup"),
    message:
        "unlabelled texts U for {wildcards.category}"
    shell:
        f"{LIGHT} exec python -m fute sample_unsup --settings {{params.settings:file}} --source {{params.source:file}}"
        f' --root "$FUTE_UNSUP_ROOT" --rows {{output.rows}} --counts {{output.counts}} {LOGGED}'


rule normalise_test:
    """Normalise the evaluation rows of a dataset."""
    output:
        **recorded(
            test="results/data/{dataset}/test.jsonl.gz",
            source="results/data/{dataset}/source.lock.json",
        ),
    log:
        "results/logs/normalise_test/{dataset}.log",
    container:
        image("paper")
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=lambda wc: settings_json(PLAN.data.dataset_settings(wc.dataset)),
        source=lambda wc: settings_json(PLAN.data.source(wc.dataset)),
        code=code("normalise_test"),
    message:
        "evaluation rows of {wildcards.dataset}"
    shell:
        f"{ONE_THREAD} exec python -m fute normalise_test --settings {{params.settings:file}}"
        f' --source {{params.source:file}} --root "$FUTE_DATA_ROOT" --own "$FUTE_OWN_DATA" --test {{output.test}}'
        f' --lock {{output.source}} --run-lock "$FUTE_RUN_LOCK" {LOGGED}'


rule normalise_train:
    """Normalise the training rows, without any evaluation text of this dataset or of an overlapping one."""
    input:
        test="results/data/{dataset}/test.jsonl.gz",
        lock="results/data/{dataset}/source.lock.json",
        others=lambda wc: [f"results/data/{name}/test.jsonl.gz" for name in PLAN.data.overlaps(wc.dataset)],
    output:
        **recorded(
            train="results/data/{dataset}/train.jsonl.gz",
            dev="results/data/{dataset}/dev.jsonl.gz",
            counts="results/data/{dataset}/counts.json",
        ),
    log:
        "results/logs/normalise_train/{dataset}.log",
    container:
        image("paper")
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=lambda wc: settings_json(PLAN.data.dataset_settings(wc.dataset)),
        source=lambda wc: settings_json(PLAN.data.source(wc.dataset)),
        code=code("normalise_train"),
    message:
        "training rows of {wildcards.dataset}"
    shell:
        f"{ONE_THREAD} exec python -m fute normalise_train --settings {{params.settings:file}}"
        f' --source {{params.source:file}} --root "$FUTE_DATA_ROOT" --own "$FUTE_OWN_DATA" --lock {{input.lock}}'
        " --exclude {input.test} {input.others} --train {output.train} --dev {output.dev}"
        " --counts {output.counts}"
        f" {LOGGED}"
