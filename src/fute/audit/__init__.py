"""The audit: every artifact of a run can be traced, checked, rerun and compared by someone who did not make it.

results = ResultsFolder(Path("results"))                 paths: names of records to files, never outside
sidecar, digest = read_sidecar(results.sidecar(name))    records: strict; RecordError, NoRecord
manifest = read_manifest(Path(MANIFEST))                 manifest: entries, root, downstream_order(), consumers()
graph = read_graph(config, targets)                      graph: jobs as Snakemake plans them; nothing is run
manifest = build_manifest(graph, config, results)        collect: graph and sidecars to a manifest
report = verify_manifest(manifest, results, threads=8)   verify; diff(Side(a), Side(b)) compares two runs
report.add(name, Verdict.DRIFTED, Cause.CODE, "...")     verdicts: Report, Finding, exit_code
"""
