# docs/audit.md: a list of all artifacts with their hashes, and each of them checked, so that readers can trust results.
AUDITED = sorted(phase for phase, files in PHASES.items() if files)
ARTIFACTS = sorted({path for phase in AUDITED for path in PHASES[phase]})
MANIFEST = "results/audit/manifest.json"


rule audit_manifest:
    # in no image: it plans the run again, which needs the environment of Snakemake itself. So it is handed over, not
    # run: Snakemake would start a `run` by the unquoted path of its Python, which may have a blank
    """List the files that the run should have made and those that it made, with one hash over them."""
    input:
        lambda wc: ARTIFACTS,
    output:
        manifest=MANIFEST,
    log:
        "results/logs/audit_manifest.log",
    handover: True
    resources:
        # with none, Snakemake gives such a rule all cores there are, and a cluster has no such number
        mem_mb=4000,
    params:
        targets=" ".join(AUDITED),
        # of a function: braces in the path of a run of one's own would be wildcards
        config=lambda wc: os.path.relpath(workflow.configfiles[-1]) if workflow.configfiles else "config.yaml",
        settings=lambda wc: settings_json(config),
        code=code_sha256("fute.audit.collect"),
    message:
        "manifest of all artifacts"
    shell:
        f"{LIGHT} python -m fute audit manifest {{params.targets}} --config {{params.config:q}}"
        " --settings {params.settings:file} --output {output.manifest} &> {log}"


rule audit_verify:
    # where there are findings, Snakemake removes the report: the log has them, too
    """Hash every artifact again, and follow every record to the records of its inputs."""
    input:
        lambda wc: ARTIFACTS,
        manifest=MANIFEST,
    output:
        report="results/audit/verify.json",
    log:
        "results/logs/audit_verify.log",
    container:
        image("paper")
    threads: CONFIG.threads
    params:
        code=code_sha256("fute.audit.verify"),
    message:
        "every artifact verified"
    shell:
        f"{OFFLINE} python -m fute audit verify --manifest {{input.manifest}} --threads {{threads}} --json"
        " > {output.report} 2> {log} || {{ cat {output.report} >> {log}; exit 1; }}"


PHASES["audit"] = [MANIFEST, "results/audit/verify.json"]
