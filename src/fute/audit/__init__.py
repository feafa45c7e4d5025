"""The audit: trace, check, rerun and compare every artifact of a run, also one that somebody else made.

Records
    sidecars           `X.prov.json` beside an artifact: its record, read strictly
    paths              artifact names to files, never outside the results
    config_and_locks   identity of the configuration, images, weights, files of the project
    planned_jobs       the workflow's jobs as Snakemake plans them
    manifest           all artifacts of a run with one root hash; collect builds it from jobs and sidecars
    staleness          why an artifact's record does not fit the workflow of today
    lineage            what an artifact came from
    batches            cells of batches
Commands (cli)
    verify             hash everything again, follow every record
    diff               why artifacts differ between two runs
    explain            what an artifact came from, what it cost, what would run again
    adopt              tell Snakemake about copied results
    rerun/             do a sample of jobs again and compare
    claims/            compare printed numbers with artifacts
    publish/           RO-Crate, HTML page, receipts
    findings           verdicts, causes, exit codes and reports of all of them
"""
