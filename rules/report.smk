# One page with everything a run says.
PRINTED = "resources/paper"
PAPER += ["results/paper/report.html"]


rule report:
    """Tables, figures, verdicts, controls and times of the run's experiments, on one page that needs no network."""
    input:
        evaluation=REPORTED,
        figures=[f"results/paper/figures/{name}.png" for name in DRAWN],
    output:
        page="results/paper/report.html",
        sidecar=sidecar("results/paper/report.html"),
    log:
        "results/logs/report.log",
    container:
        image("paper")
    params:
        settings=settings_json(report_settings(WF, DRAWN)),
        printed=PRINTED,
        printed_sha256=[sha256_file(path) for path in sorted(Path(PRINTED).glob("*.csv"))],
        code=code("report"),
    shell:
        f"{LIGHT} python -m fute report --settings {{params.settings:q}} --evaluation results/evaluation"
        " --printed {params.printed} --benchmarks results/benchmarks --inputs {input} --output {output.page} &> {log}"
