"""The audit: every artifact of a run can be traced, checked, rerun and compared by someone who did not make it.

results = ResultsFolder(Path("results"))                 paths: names of records to files, never outside
sidecar, digest = read_sidecar(results.sidecar(name))    records: strict; RecordError, NoRecord
manifest = read_manifest(Path(MANIFEST))                 manifest: entries, root, downstream_order()
graph = read_graph(config, targets)                      graph: jobs as Snakemake plans them; nothing is run
manifest = build_manifest(graph, config, results)        collect: graph and sidecars to a manifest
report = verify_manifest(manifest, results, threads=8)   verify; diff(Side(a), Side(b)) compares two runs
report.add(name, Verdict.DRIFTED, Cause.CODE, "...")     verdicts: Report, Finding, exit_code
check_claims(claims, Project(folder, results, manifest)) claims: every number against its artifact
executions(manifest, results)                            executions: the runs of steps behind the artifacts
export_crate(manifest, results, folder)                  crate: a Workflow Run RO-Crate
write_receipt(results, path, audits); check_receipts     receipt_chain: a chained record of every audit
render_page(run_audits(results, path, claims), results)  page: all of it for people
"""
