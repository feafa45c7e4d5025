# docs/methods.md 1.7, 1.8, 4.5, 4.7: cosine(MTE, DTE), what each method chooses, and whether that is more than noise.
EVALUATION = []

if LLM:
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
        """Compute cosine(MTE, DTE) of every black box and target, and the controls."""
        input:
            main=lambda wc: LLM.vector_files("dte", "mte"),
            controls=lambda wc: LLM.vector_files("controls", "dte-controls"),
        output:
            **recorded(
                similarities="results/evaluation/similarities.csv",
                controls="results/evaluation/controls.csv",
            ),
        log:
            "results/logs/similarities.log",
        benchmark:
            "results/benchmarks/similarities/all.tsv"
        container:
            image("paper")
        resources:
            runtime=10,
            mem_mb=8000,
        params:
            settings=lambda wc: settings_json(LLM.similarity_settings()),
            files=lambda wc, input: one_per_line(input),
            code=code("similarities"),
        message:
            "similarity of LLMs with prompts to datasets"
        shell:
            f"{LIGHT} python -m fute similarities --settings {{params.settings:file}} --files @{{params.files:file}}"
            " --cosines {output.similarities} --controls {output.controls} &> {log}"

    rule selection:
        """Select a prompt by every method: its performance, rate and NDCG with intervals."""
        input:
            tests=[f"results/data/{name}/test.jsonl.gz" for name in PLAN.data.llm_targets],
            labels=lambda wc: LLM.labels.files("test"),
            baselines=lambda wc: LLM.baseline_files(),
            similarities="results/evaluation/similarities.csv",
        output:
            **recorded(
                performance="results/evaluation/performance.csv",
                selection="results/evaluation/selection.csv",
                table3="results/evaluation/table3.csv",
            ),
        log:
            "results/logs/selection.log",
        benchmark:
            "results/benchmarks/selection/all.tsv"
        container:
            image("paper")
        resources:
            runtime=10,
        params:
            settings=lambda wc: settings_json(LLM.selection_settings()),
            files=lambda wc, input: one_per_line([*input.tests, *input.labels, *input.baselines]),
            code=code("selection"),
        message:
            "prompts that every method selects, Table 3"
        shell:
            f"{LIGHT} python -m fute selection --settings {{params.settings:file}} --similarities {{input.similarities}}"
            " --performance {output.performance} --selected {output.selection} --table3 {output.table3}"
            " --files @{params.files:file} &> {log}"

    rule geometry:
        """Project the MTEs: coordinates for Figures 4 and A2, and statistics of the original space."""
        input:
            lambda wc: LLM.vector_files("mte"),
        output:
            **recorded(
                geometry="results/evaluation/geometry.csv",
                coordinates="results/evaluation/coordinates.csv",
            ),
        log:
            "results/logs/geometry.log",
        benchmark:
            "results/benchmarks/geometry/all.tsv"
        container:
            image("paper")
        resources:
            runtime=10,
            mem_mb=8000,
        params:
            settings=lambda wc: settings_json(LLM.geometry_settings()),
            files=lambda wc, input: one_per_line(input),
            code=code("geometry"),
        message:
            "coordinates of the embeddings for Figures 4 and A2"
        shell:
            f"{LIGHT} python -m fute geometry --settings {{params.settings:file}} --files @{{params.files:file}}"
            " --statistics {output.geometry} --coordinates {output.coordinates} &> {log}"


if LM:
    LM_EVALUATION = [
        f"results/evaluation/{name}.csv"
        for name in (
            "transfer",
            "lm_similarities",
            "lm_targets",
            "lm_direct",
            "table1",
            "table2",
            "lm_geometry",
            "lm_coordinates",
        )
    ]
    EVALUATION += LM_EVALUATION

    rule lm_similarities:
        """Compute cosine(MTE, DTE) of every black box and target."""
        input:
            dtes=LM.vector_files("dte"),
            mtes=LM.vector_files("mte"),
        output:
            **recorded(similarities="results/evaluation/lm_similarities.csv"),
        log:
            "results/logs/lm_similarities.log",
        benchmark:
            "results/benchmarks/lm_similarities/all.tsv"
        container:
            image("paper")
        resources:
            runtime=10,
            mem_mb=8000,
        params:
            settings=lambda wc: settings_json(LM.similarity_settings()),
            files=lambda wc, input: one_per_line(input),
            code=code("lm_similarities"),
        message:
            "similarity of fine-tuned models to datasets"
        shell:
            f"{LIGHT} python -m fute lm_similarities --settings {{params.settings:file}}"
            " --files @{params.files:file} --output {output.similarities} &> {log}"

    rule lm_evaluation:
        """Compute the rank of the best source and the NDCG of every method, with intervals and permutation tests."""
        input:
            transfer=paths.TRANSFER_MATRIX,
            similarities="results/evaluation/lm_similarities.csv",
            baselines="results/baselines/lm_baselines.csv",
        output:
            **recorded(
                targets="results/evaluation/lm_targets.csv",
                direct="results/evaluation/lm_direct.csv",
                table1="results/evaluation/table1.csv",
                table2="results/evaluation/table2.csv",
            ),
        log:
            "results/logs/lm_evaluation.log",
        benchmark:
            "results/benchmarks/lm_evaluation/all.tsv"
        container:
            image("paper")
        resources:
            runtime=10,
        params:
            settings=lambda wc: settings_json(LM.evaluation_settings()),
            code=code("lm_evaluation"),
        message:
            "rank of the best source, NDCG, Tables 1 and 2"
        shell:
            f"{LIGHT} python -m fute lm_evaluation --settings {{params.settings:file}} --transfer {{input.transfer}}"
            " --similarities {input.similarities} --baselines {input.baselines} --targets {output.targets}"
            " --direct {output.direct} --table1 {output.table1} --table2 {output.table2} &> {log}"

    rule lm_geometry:
        """Project the fine-tuned models' MTEs: coordinates for Figures 3 and A1, and statistics of the original space."""
        input:
            LM.vector_files("mte", LM.settings.models),
        output:
            **recorded(
                geometry="results/evaluation/lm_geometry.csv",
                coordinates="results/evaluation/lm_coordinates.csv",
            ),
        log:
            "results/logs/lm_geometry.log",
        benchmark:
            "results/benchmarks/lm_geometry/all.tsv"
        container:
            image("paper")
        resources:
            runtime=10,
            mem_mb=8000,
        params:
            settings=lambda wc: settings_json(LM.geometry_settings()),
            files=lambda wc, input: one_per_line(input),
            code=code("lm_geometry"),
        message:
            "coordinates of the embeddings for Figures 3 and A1"
        shell:
            f"{LIGHT} python -m fute lm_geometry --settings {{params.settings:file}} --files @{{params.files:file}}"
            " --statistics {output.geometry} --coordinates {output.coordinates} &> {log}"

    if LM.planted_files():
        EVALUATION += ["results/evaluation/planted.csv", "results/evaluation/planted_similarities.csv"]

        rule planted:
            """Test the methods on planted black boxes, whose right order is known."""
            input:
                vectors=LM.planted_files(),
                scores=list(LM.planted_scores().values()),
                labels=list(LM.planted_labels().values()),
                train=list(LM.planted_rows().values()),
            output:
                **recorded(
                    results="results/evaluation/planted.csv",
                    similarities="results/evaluation/planted_similarities.csv",
                ),
            log:
                "results/logs/planted.log",
            benchmark:
                "results/benchmarks/planted/all.tsv"
            container:
                image("paper")
            resources:
                runtime=10,
                mem_mb=8000,
            params:
                settings=lambda wc: settings_json(LM.planted),
                files=lambda wc, input: one_per_line(input.vectors),
                scores=lambda wc: named(LM.planted_scores()),
                labels=lambda wc: named(LM.planted_labels()),
                train=lambda wc: named(LM.planted_rows()),
                code=code("planted"),
            message:
                "tests with planted black boxes"
            shell:
                f"{LIGHT} python -m fute planted --settings {{params.settings:file}} --files @{{params.files:file}}"
                " --scores @{params.scores:file} --labels @{params.labels:file} --train @{params.train:file}"
                " --results {output.results} --similarities {output.similarities} &> {log}"
