"""Run all benchmarks of a machine, one process after another; write results.csv and the table in docs/performance.md.

    python benchmarks/run.py --labelling-model results/models/smollm2-135m       (`make bench`)

It exits with status 1 if a required ratio is missed, but still writes the results. `--only` prints and writes
nothing. What a CUDA machine does is measured by gpu.sh.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import ROOT, Row, insert_into_docs, machine, read_rows, render, say, wait_until_quiet, write_csv

HERE = Path(__file__).parent
DOCS = ROOT / "docs" / "performance.md"
RESULTS = HERE / "results.csv"
MINUTES = {"fisher": 6, "libraries": 3, "tupate": 8, "lora": 5, "labelling": 6, "planning": 3}
"""Duration of each benchmark, to print."""


def measure(name: str, options: argparse.Namespace, minutes: int) -> list[Row]:
    say(f"{name}: about {minutes} minutes")
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        command = [sys.executable, str(HERE / f"bench_{name}.py"), "--threads", str(options.threads)]
        command += ["--allow-load", "--rows", str(rows)]  # now this run itself makes the load
        if name == "labelling":
            command += ["--model", str(options.labelling_model)]
        paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        threads = {"OMP_NUM_THREADS": str(options.threads), "OMP_WAIT_POLICY": "PASSIVE"}
        done = subprocess.run(command, env=os.environ | threads | {"PYTHONPATH": os.pathsep.join(paths)})
        if done.returncode:
            sys.exit(f"bench_{name}.py failed (above); nothing is written")
        return read_rows(rows)


def main() -> None:
    options_of = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options_of.add_argument("--only", nargs="+", metavar="NAME", help="run these, and write nothing")
    options_of.add_argument("--labelling-model", type=Path, help="folder of a causal model's weights")
    options_of.add_argument("--threads", type=int, default=os.cpu_count())
    options_of.add_argument("--allow-load", action="store_true", help="measure even on a busy machine")
    options = options_of.parse_args()
    names = options.only or list(MINUTES)
    if unknown := set(names) - set(MINUTES):
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(MINUTES)}")
    if "labelling" in names and not options.labelling_model:
        sys.exit("labelling needs a model: pass --labelling-model FOLDER")
    wait_until_quiet(options.allow_load)
    where = machine(options.threads)
    started = time.monotonic()
    rows = [row for name in names for row in measure(name, options, MINUTES[name])]
    print(render(rows, where))
    if not options.only:
        write_csv(RESULTS, rows, where)
        DOCS.write_text(insert_into_docs(DOCS.read_text(), render(rows, where)))
        say(f"wrote {RESULTS.relative_to(ROOT)} and {DOCS.relative_to(ROOT)}")
    say(f"{(time.monotonic() - started) / 60:.0f} minutes")
    if missed := [row for row in rows if row.missed]:
        sys.exit("\n".join(f"missed: {row.name}: {row.ratio:.2f}, required {row.required}" for row in missed))


if __name__ == "__main__":
    main()
