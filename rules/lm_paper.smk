# The paper's Tables 1 and 2, Figures 3 and A1.
LM_FIGURES = {
    f"{figure}{suffix}": (figure, method, view)
    for figure in ("fig3", "figa1")
    for suffix, method, view in WF.figure_views()
}
DRAWN |= LM_FIGURES
REPORTED += [f"results/evaluation/{name}.csv" for name in (*LM.tables, "lm_targets", "lm_direct")]
REPORTED += ["results/evaluation/efficiency-lm-embeddings.csv"]
PAPER += [
    *(f"results/paper/tables/{table}.{ending}" for table in LM.tables for ending in ("csv", "md", "tex")),
    *(f"results/paper/figures/{name}.{ending}" for name in LM_FIGURES for ending in ("pdf", "png", "csv")),
]


rule transfer_table:
    """Tables 1 and 2 in the paper's layout, ours above the paper's."""
    input:
        cells="results/evaluation/{table}.csv",
        targets="results/evaluation/lm_targets.csv",
        direct="results/evaluation/lm_direct.csv",
    output:
        csv="results/paper/tables/{table}.csv",
        csv_sidecar=sidecar("results/paper/tables/{table}.csv"),
        md="results/paper/tables/{table}.md",
        md_sidecar=sidecar("results/paper/tables/{table}.md"),
        tex="results/paper/tables/{table}.tex",
        tex_sidecar=sidecar("results/paper/tables/{table}.tex"),
    log:
        "results/logs/transfer_table/{table}.log",
    wildcard_constraints:
        table="|".join(LM.tables),
    container:
        image("paper")
    params:
        settings=lambda wc: settings_json(LM.table_settings(wc.table)),
        printed="resources/paper/{table}.csv",
        printed_sha256=lambda wc: sha256_file(Path(f"resources/paper/{wc.table}.csv")),
        code=code("transfer_tables"),
    message:
        "{wildcards.table} in the paper's layout"
    shell:
        f"{LIGHT} python -m fute transfer-table --settings {{params.settings:q}} --cells {{input.cells}}"
        " --targets {input.targets} --direct {input.direct} --printed {params.printed} --csv {output.csv}"
        " --markdown {output.md} --latex {output.tex} &> {log}"


rule lm_figure:
    """Figures 3 and A1: where the embeddings of the fine-tuned models lie."""
    input:
        coordinates="results/evaluation/lm_coordinates.csv",
        geometry="results/evaluation/lm_geometry.csv",
    output:
        pdf="results/paper/figures/{name}.pdf",
        pdf_sidecar=sidecar("results/paper/figures/{name}.pdf"),
        png="results/paper/figures/{name}.png",
        png_sidecar=sidecar("results/paper/figures/{name}.png"),
        csv="results/paper/figures/{name}.csv",
        csv_sidecar=sidecar("results/paper/figures/{name}.csv"),
    log:
        "results/logs/lm_figure/{name}.log",
    wildcard_constraints:
        name="|".join(LM_FIGURES),
    container:
        image("paper")
    params:
        settings=lambda wc: settings_json(WF.figure_settings(*LM_FIGURES[wc.name])),
        base="results/paper/figures/{name}",
        code=code("paper"),
    message:
        "figure {wildcards.name}"
    shell:
        f"{LIGHT} python -m fute figure --settings {{params.settings:q}} --coordinates {{input.coordinates}}"
        " --geometry {input.geometry} --base {params.base} &> {log}"
