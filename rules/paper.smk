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
        cells="results/evaluation/table3.csv",
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
        code=code("table3"),
    shell:
        f"{LIGHT} python -m fute table3 --settings {{params.settings:q}} --cells {{input.cells}} --csv {{output.csv}}"
        " --markdown {output.md} --latex {output.tex} &> {log}"


rule figure:
    """Figures 4 and A2: where the model task embeddings lie."""
    input:
        coordinates="results/evaluation/coordinates.csv",
        geometry="results/evaluation/geometry.csv",
    output:
        [
            file
            for name in FIGURES
            for ending in ("pdf", "png", "csv")
            for file in with_sidecar(f"results/paper/figures/{name}.{ending}")
        ],
    log:
        "results/logs/figure.log",
    container:
        image("paper")
    params:
        settings=settings_json(WF.figure_settings(FIGURES)),
        folder="results/paper/figures",
        code=code("figure"),
    shell:
        f"{LIGHT} python -m fute figure --settings {{params.settings:q}} --coordinates {{input.coordinates}}"
        " --geometry {input.geometry} --folder {params.folder} &> {log}"
