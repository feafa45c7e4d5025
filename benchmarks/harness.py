"""Rows of measurements: write them with their machine as CSV, and as a table in the docs.

Each bench file measures and writes its rows as JSON lines (`finish`); `run.py` runs the files one after another and
writes `results.csv` and the docs. Nothing heavy is imported here.
"""

import argparse
import csv
import datetime
import json
import operator
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_LOAD = 0.7
MAX_WAIT = 300
"""Seconds to wait for a quiet machine."""


@dataclass(frozen=True)
class Row:
    """One comparison of two sides, ours and the other.

    ratio: the other's seconds divided by ours, or as `note` says. error: largest relative difference between the
    results of both sides; if both are compared with a third result, `error` is ours and `other_error` the other's.
    required: condition on the ratio, as in `>= 2.5`, `<= 1.4` or `< 1.1`. Memory is the peak of a process that did
    nothing else, in MiB.
    """

    name: str
    size: str
    ours: str
    other: str
    ours_seconds: float | None = None
    other_seconds: float | None = None
    ratio: float | None = None
    required: str = ""
    error: float | None = None
    other_error: float | None = None
    ours_mib: float | None = None
    other_mib: float | None = None
    note: str = ""

    @property
    def missed(self) -> bool:
        if not self.required:
            return False
        sign, bound = self.required.split()
        return not {">=": operator.ge, "<=": operator.le, "<": operator.lt}[sign](self.ratio, float(bound))


def parser(description: str) -> argparse.ArgumentParser:
    """Parser with the options of every bench file."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--threads", type=int, default=os.cpu_count())
    options.add_argument("--allow-load", action="store_true", help="measure even on a busy machine")
    options.add_argument("--rows", type=Path, help="write the rows to this file as JSON lines")
    return options


def wait_until_quiet(allowed: bool) -> None:
    """Wait until the load falls to `MAX_LOAD`: what `make bench` does first, such as installing, raises it."""
    until = time.monotonic() + MAX_WAIT
    while (load := os.getloadavg()[0]) > MAX_LOAD and not allowed:
        if time.monotonic() > until:
            sys.exit(f"the machine is busy (load {load:.2f} > {MAX_LOAD}); end its other work, or pass --allow-load")
        say(f"waiting until the machine is quiet: load {load:.2f} > {MAX_LOAD}")
        time.sleep(10)


def say(text: str) -> None:
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", flush=True)


def finish(rows: Sequence[Row], path: Path | None) -> None:
    """Print the rows; if `path` is given, also write them there for `run.py`."""
    print(render(rows), flush=True)
    if path:
        path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))


def read_rows(path: Path) -> list[Row]:
    return [Row(**json.loads(line)) for line in path.read_text().splitlines()]


def in_fresh_process(script: str, *arguments: str, **environment: str) -> dict:
    """Run a bench file with `arguments` in a new process; return its last line of output, read as JSON."""
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_mib() -> float:
    """Largest resident set of this process so far, in MiB.

    It is read from /proc, since `getrusage` of a child starts at its parent's memory at that time.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def machine(threads: int) -> dict[str, str]:
    """Machine and versions of the measurement: the first columns of the CSV."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": f"{datetime.date.today()}",
        "commit": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "cpu": cpu[0].split(":")[1].strip() if cpu else platform.machine(),
        "cores": str(os.cpu_count()),
        "threads": str(threads),
        "ram_gib": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f}",
        "accelerator": _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or "none",
        "os": platform.freedesktop_os_release()["PRETTY_NAME"],
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
    }


def _output(*command: str) -> str:
    """Output of a command on one line; empty if it is not installed or fails, as git does outside a repository."""
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, capture_output=True, text=True)
    return ", ".join(done.stdout.splitlines()) if done.returncode == 0 else ""


def write_csv(path: Path, rows: Sequence[Row], where: dict[str, str]) -> None:
    """Write one line per row, starting with the machine's columns."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*where, *(field.name for field in fields(Row))], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(where | {name: _plain(value) for name, value in asdict(row).items()})


def _plain(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


def render(rows: Sequence[Row], where: dict[str, str] | None = None) -> str:
    """Markdown table of the rows, with the machine in a line below it."""
    lines = ["| what | size | ours | compared with | ratio | required | error |", "|" + " --- |" * 7]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}" + (" (missed)" if row.missed else "")
        error = " and ".join(f"{value:.1e}" for value in (row.error, row.other_error) if value is not None)
        sides = [_side(row.ours, row.ours_seconds, row.ours_mib), _side(row.other, row.other_seconds, row.other_mib)]
        name = f"{row.name} ({row.note})" if row.note else row.name
        lines.append("| " + " | ".join([name, row.size, *sides, ratio, row.required, error]) + " |")
    if where:
        lines += ["", "; ".join(f"{key.replace('_gib', ' (GiB)')} {value}" for key, value in where.items()) + "."]
    return "\n".join(lines)


def _side(what: str, seconds: float | None, mib: float | None) -> str:
    figures = [] if seconds is None else [f"{seconds:.3g} s"]
    figures += [] if mib is None else [f"{mib:,.0f} MiB"]
    return f"{what}: {', '.join(figures)}" if figures else what


def insert_into_docs(page: str, table: str, marker: str = "bench") -> str:
    """Replace the text between `<!-- marker:start -->` and `<!-- marker:end -->` of a page by the table.

    Raises ValueError if a marker is missing or occurs twice, or if the end comes first.
    """
    start, end = f"<!-- {marker}:start -->", f"<!-- {marker}:end -->"
    for mark in (start, end):
        if page.count(mark) != 1:
            raise ValueError(f"the page has {mark} {page.count(mark)} times; it needs it once, on a line of its own")
    before, rest = page.split(start)
    if end not in rest:
        raise ValueError(f"the page has {end} before {start}; swap them")
    return f"{before}{start}\n{table}\n{end}{rest.split(end)[1]}"
