"""What Snakemake was asked for, and what a finished run says that it made."""

from __future__ import annotations

from snakemake_interface_executor_plugins.utils import TargetSpec, encode_target_jobs_cli_args, format_cli_arg

from fute.plan.command_line import batches_sent_for, command_line_targets, made

PHASES = {"paper": ["p/a.csv", "p/b.csv"], "labels": [f"l/{n}/x.gz" for n in range(5)]}


def test_phases_are_said_with_their_folders():
    assert made([], PHASES) == "paper: 2 files in p"
    assert made(["labels"], PHASES) == "labels: 5 files in l/0, l/1, l/2 and 2 more"


def test_of_many_files_the_first_are_named():
    """`fute prefetch` asks for one file per model, U and split: 54 in a run of the paper."""
    assert made(["a", "b"], PHASES) == "made a and b"
    assert made([f"f{n}" for n in range(54)], PHASES) == "made f0, f1, f2 and 51 more"


def test_a_cluster_job_knows_the_batches_that_it_was_sent_for():
    """By the argument with which executors start Snakemake on a node."""
    jobs = [
        TargetSpec("embed_batch", {"surrogate": "t5", "method": "tupate", "batch": "0123456789abcdef"}),
        TargetSpec("label_batch", {"model": "m", "batch": "fedcba9876543210"}),
        TargetSpec("dte", {"dataset": "rte"}),
        TargetSpec("report", {}),
    ]
    given = format_cli_arg("--target-jobs", encode_target_jobs_cli_args(jobs), quote=False).split()
    line = ["/bin/snakemake", *given, "--allowed-rules", "dte", "embed_batch", "--cores", "1"]
    assert batches_sent_for(line) == {"0123456789abcdef", "fedcba9876543210"}
    assert batches_sent_for(["/bin/snakemake", "--cores", "1", "--", "paper"]) == frozenset()
    assert command_line_targets(["/bin/snakemake", "--cores", "1", "--", "paper"]) == ["paper"]
