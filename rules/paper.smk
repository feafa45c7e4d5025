# docs/methods.md 8: the paper's tables and figures, what the embeddings cost, and one page with all of it.
PRINTED = "resources/paper"  # the paper's own numbers
PAPER = ["results/paper/report.html"]
# inputs of the report, and the names of its figures
REPORTED = []
DRAWN = []


if LLM:
    FIGURES = PLAN.figures("fig4", "figa2")
    DRAWN += FIGURES
    REPORTED += [f for f in LLM_EVALUATION if Path(f).stem != "geometry"]
    REPORTED += [f"results/evaluation/efficiency-llm-{name}.csv" for name in ("embeddings", "calls", "costs")]
    PAPER += [f"results/paper/tables/table3.{ending}" for ending in ("csv", "md", "tex")]
    PAPER += figure_files(FIGURES).values()
    PAPER += ["results/paper/tables/efficiency-llm.md"]

    rule table3:
        """Write Table 3 in the paper's layout."""
        input:
            cells="results/evaluation/table3.csv",
            similarities="results/evaluation/similarities.csv",
        output:
            **recorded(
                csv="results/paper/tables/table3.csv",
                md="results/paper/tables/table3.md",
                tex="results/paper/tables/table3.tex",
            ),
        log:
            "results/logs/table3.log",
        container:
            image("paper")
        resources:
            runtime=10,
        params:
            settings=lambda wc: settings_json(PLAN.table_settings("table3")),
            code=code("table3"),
        message:
            "Table 3 in the paper's layout"
        shell:
            f"{LIGHT} python -m fute table3 --settings {{params.settings:file}} --cells {{input.cells}}"
            " --similarities {input.similarities} --csv {output.csv} --markdown {output.md} --latex {output.tex} &> {log}"

    rule figure:
        """Draw Figures 4 and A2: the model task embeddings in two dimensions."""
        input:
            coordinates="results/evaluation/coordinates.csv",
            geometry="results/evaluation/geometry.csv",
        output:
            **recorded(**figure_files(FIGURES)),
        log:
            "results/logs/figure.log",
        container:
            image("paper")
        resources:
            runtime=10,
        params:
            settings=lambda wc: settings_json(PLAN.figure_settings(FIGURES)),
            code=code("figure"),
        message:
            "Figures 4 and A2 drawn"
        shell:
            f"{LIGHT} python -m fute figure --settings {{params.settings:file}} --coordinates {{input.coordinates}}"
            " --geometry {input.geometry} --folder results/paper/figures &> {log}"


if LM:
    LM_FIGURES = PLAN.figures("fig3", "figa1")
    DRAWN += LM_FIGURES
    REPORTED += [
        f"results/evaluation/{name}.csv"
        for name in (*LM.tables, "lm_targets", "lm_direct", "lm_similarities", "lm_coordinates")
    ]
    REPORTED += [f"results/evaluation/efficiency-lm-{name}.csv" for name in ("embeddings", "calls", "costs")]
    PAPER += [f"results/paper/tables/{table}.{ending}" for table in LM.tables for ending in ("csv", "md", "tex")]
    PAPER += figure_files(LM_FIGURES).values()

    rule transfer_table:
        """Write Tables 1 and 2 in the paper's layout, our numbers above the paper's."""
        input:
            cells="results/evaluation/{table}.csv",
            targets="results/evaluation/lm_targets.csv",
            direct="results/evaluation/lm_direct.csv",
            similarities="results/evaluation/lm_similarities.csv",
        output:
            **recorded(
                csv="results/paper/tables/{table}.csv",
                md="results/paper/tables/{table}.md",
                tex="results/paper/tables/{table}.tex",
            ),
        log:
            "results/logs/transfer_table/{table}.log",
        wildcard_constraints:
            table="|".join(LM.tables),
        container:
            image("paper")
        resources:
            runtime=10,
        params:
            settings=lambda wc: settings_json({"table": wc.table, **PLAN.table_settings(wc.table)}),
            printed="resources/paper/{table}.csv",
            printed_sha256=lambda wc: sha256_file(Path(f"resources/paper/{wc.table}.csv")),
            code=code("transfer_table"),
        message:
            "{wildcards.table} in the paper's layout"
        shell:
            f"{LIGHT} python -m fute transfer_table --settings {{params.settings:file}} --cells {{input.cells}}"
            " --targets {input.targets} --direct {input.direct} --similarities {input.similarities} --printed {params.printed}"
            " --csv {output.csv} --markdown {output.md} --latex {output.tex} &> {log}"

    rule lm_figure:
        """Draw Figures 3 and A1: the embeddings of the fine-tuned models in two dimensions."""
        input:
            coordinates="results/evaluation/lm_coordinates.csv",
            geometry="results/evaluation/lm_geometry.csv",
        output:
            **recorded(**figure_files(LM_FIGURES)),
        log:
            "results/logs/lm_figure.log",
        container:
            image("paper")
        resources:
            runtime=10,
        params:
            settings=lambda wc: settings_json(PLAN.figure_settings(LM_FIGURES)),
            code=code("figure"),
        message:
            "Figures 3 and A1 drawn"
        shell:
            f"{LIGHT} python -m fute figure --settings {{params.settings:file}} --coordinates {{input.coordinates}}"
            " --geometry {input.geometry} --folder results/paper/figures &> {log}"

    PAPER += ["results/paper/tables/efficiency-lm.md"]
    if LM.planted_files():
        PAPER += [f"results/paper/figures/planted.{ending}" for ending in ("pdf", "png")]
        REPORTED += ["results/evaluation/planted.csv", "results/paper/figures/planted.png"]

        rule planted_figure:
            """Draw what the tests with planted black boxes found."""
            input:
                results="results/evaluation/planted.csv",
                similarities="results/evaluation/planted_similarities.csv",
            output:
                **recorded(
                    pdf="results/paper/figures/planted.pdf",
                    png="results/paper/figures/planted.png",
                ),
            log:
                "results/logs/planted_figure.log",
            container:
                image("paper")
            resources:
                runtime=10,
            params:
                settings=lambda wc: settings_json({"note": CONFIG.note or ""}),
                code=code("planted_figure"),
            message:
                "figure of the planted tests"
            shell:
                f"{LIGHT} python -m fute planted_figure --settings {{params.settings:file}} --results {{input.results}}"
                " --similarities {input.similarities} --pdf {output.pdf} --png {output.png} &> {log}"


rule efficiency:
    """Measure seconds per embedding; for the LLM experiment also calls and costs."""
    input:
        lambda wc: PLAN.efficiency_files(wc.experiment),
    output:
        **recorded(
            md="results/paper/tables/efficiency-{experiment}.md",
            embeddings="results/evaluation/efficiency-{experiment}-embeddings.csv",
            calls="results/evaluation/efficiency-{experiment}-calls.csv",
            costs="results/evaluation/efficiency-{experiment}-costs.csv",
        ),
    log:
        "results/logs/efficiency/{experiment}.log",
    wildcard_constraints:
        experiment="llm|lm",
    container:
        image("paper")
    resources:
        runtime=10,
    params:
        settings=lambda wc: settings_json(PLAN.efficiency_settings()),
        files=lambda wc, input: one_per_line(input),
        code=code("efficiency"),
    message:
        "time and cost of the embeddings ({wildcards.experiment})"
    shell:
        f"{LIGHT} python -m fute efficiency --settings {{params.settings:file}} --benchmarks results/benchmarks"
        " --embeddings {output.embeddings} --calls {output.calls} --costs {output.costs} --markdown {output.md}"
        " --files @{params.files:file} &> {log}"


rule report:
    """Write the tables, figures, verdicts, controls and times of the run on one page that needs no network."""
    input:
        evaluation=REPORTED,
        figures=[f"results/paper/figures/{name}.png" for name in DRAWN],
        counts=[paths.row_counts(name) for name in PLAN.data.datasets],
        unsup=[paths.unsup_counts(name) for name in CONFIG.corpora if CONFIG.unsup[name].kind == "crossfit_full"],
    output:
        **recorded(page="results/paper/report.html"),
    log:
        "results/logs/report.log",
    container:
        image("paper")
    resources:
        runtime=10,
    params:
        settings=lambda wc: settings_json(report_settings(PLAN)),
        printed=PRINTED,
        printed_sha256=[sha256_file(path) for path in sorted(Path(PRINTED).glob("*.csv"))],
        code=code("report"),
    message:
        "report of the run"
    shell:
        f"{LIGHT} python -m fute report --settings {{params.settings:file}} --evaluation results/evaluation"
        " --printed {params.printed} --benchmarks results/benchmarks --counts {input.counts} --inputs {input.evaluation} {input.figures}"
        " --unsup {input.unsup} --output {output.page} &> {log}"
