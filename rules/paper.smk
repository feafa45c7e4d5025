# The paper's Table 3, Figures 4 and A2.
FIGURES = {
    f"{figure}{suffix}": (figure, method, view)
    for figure in ("fig4", "figa2")
    for suffix, method, view in WF.figure_views()
}
DRAWN |= FIGURES
REPORTED += [f for f in LLM_EVALUATION if Path(f).stem not in ("geometry", "coordinates")]
PAPER += [
    *(f"results/paper/tables/table3.{ending}" for ending in ("csv", "md", "tex")),
    *(f"results/paper/figures/{name}.{ending}" for name in FIGURES for ending in ("pdf", "png", "csv")),
]


rule table3:
    """Table 3 in the paper's layout."""
    input:
        table3="results/evaluation/table3.csv",
    output:
        csv="results/paper/tables/table3.csv",
        csv_sidecar=sidecar("results/paper/tables/table3.csv"),
        md="results/paper/tables/table3.md",
        md_sidecar=sidecar("results/paper/tables/table3.md"),
        tex="results/paper/tables/table3.tex",
        tex_sidecar=sidecar("results/paper/tables/table3.tex"),
    log:
        "results/logs/table3.log",
    container:
        image("paper")
    params:
        settings=settings_json(WF.table_settings("table3")),
        code=code("paper"),
    message:
        "Table 3 in the paper's layout"
    shell:
        f"{LIGHT} python -m fute table3 --settings {{params.settings:q}} --table3 {{input.table3}} --csv {{output.csv}}"
        " --markdown {output.md} --latex {output.tex} &> {log}"


rule figure:
    """Figures 4 and A2: where the model task embeddings lie."""
    input:
        coordinates="results/evaluation/coordinates.csv",
        geometry="results/evaluation/geometry.csv",
    output:
        pdf="results/paper/figures/{name}.pdf",
        pdf_sidecar=sidecar("results/paper/figures/{name}.pdf"),
        png="results/paper/figures/{name}.png",
        png_sidecar=sidecar("results/paper/figures/{name}.png"),
        csv="results/paper/figures/{name}.csv",
        csv_sidecar=sidecar("results/paper/figures/{name}.csv"),
    log:
        "results/logs/figure/{name}.log",
    wildcard_constraints:
        name="|".join(FIGURES),
    container:
        image("paper")
    params:
        settings=lambda wc: settings_json(WF.figure_settings(*FIGURES[wc.name])),
        base="results/paper/figures/{name}",
        code=code("paper"),
    message:
        "figure {wildcards.name}"
    shell:
        f"{LIGHT} python -m fute figure --settings {{params.settings:q}} --coordinates {{input.coordinates}}"
        " --geometry {input.geometry} --base {params.base} &> {log}"
