"""Compare planning of the paper's run with that of a bare three-rule workflow of as many jobs: cold, and all done.

    PYTHONPATH=src python benchmarks/bench_planning.py [--llms 35]

Both are dry runs in new processes, in turn; the least processor time of each counts. Jobs of the bare workflow have
one input and one output each, ours have two to five inputs and up to four outputs.
"""

import sys
import tempfile
from pathlib import Path

from harness import ROOT, Row, finish, parser, say, wait_until_quiet

sys.path.insert(0, str(ROOT / "tests"))
from support.planning import Plan, alternating, bare, paper

ROUNDS = 3


def measure(name: str, jobs: int, ours: Plan, other: Plan, planned: int) -> Row:
    say(f"{name}: {jobs} jobs, {ROUNDS} times each")
    left, right = alternating(ROUNDS, ours, other, planned)
    return Row(
        name=name, size=f"{jobs:,} jobs", ours="the paper's run", other="a bare workflow",
        ours_seconds=left.seconds, other_seconds=right.seconds, ratio=left.seconds / right.seconds, required="<= 1.4",
        ours_mib=left.mib, other_mib=right.mib, note="processor time; ours over the other's",
    )  # fmt: skip


def main() -> None:
    options_of = parser(__doc__.splitlines()[0])
    options_of.add_argument("--llms", type=int, default=35)
    options = options_of.parse_args()
    wait_until_quiet(options.allow_load)
    with tempfile.TemporaryDirectory() as folder:
        ours = paper(Path(folder) / "project", options.llms)
        jobs = ours.run().jobs
        rows = [measure(f"planning {options.llms} LLMs, cold", jobs, ours, bare(Path(folder) / "bare", jobs), jobs)]
        say("making all files of both")
        jobs = ours.finish()
        other = bare(Path(folder) / "bare-finished", jobs)
        other.finish()
        rows.append(measure(f"planning {options.llms} LLMs, all outputs present", jobs, ours, other, 0))
    finish(rows, options.rows)


if __name__ == "__main__":
    main()
