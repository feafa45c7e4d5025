"""Walk through both runs of the paper as a new user does, against a hub on this machine.

    python -m rehearsal.walk DATA [--folder DIR] [--run paper] [--slurm] [--again] [ARGUMENTS OF SNAKEMAKE]

DATA is the sample of real rows. For each run there is an empty account with a copy of this checkout, in which the
commands of docs/cluster.md are given one after the other; what they say is kept in `{folder}/said`. A step that ended
well is not done again when the walk is called again, and Snakemake goes on where it stopped. `--slurm` starts a SLURM
of one node (as root) and sends the jobs there; without it they run here, on two cores. `--again` starts anew.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from support.checkouts import ROOT, copy_project

from rehearsal.hub import TOKEN, Hub

RUNS = ("paper", "paper-lm")
TABLES = {"paper": ("table3",), "paper-lm": ("table1", "table2")}
FIGURES = {"paper": ("fig4", "figa2"), "paper-lm": ("fig3", "figa1")}
PORT = 18123
"""The hub keeps its address between calls: it stands in nobody's results, but in the cache of its client."""
KILLED_AFTER = 12
"""New records of results, after which the controller is killed once."""
WAITS = """# a SLURM without accounting, and short waits
latency-wait: 10
slurm-init-seconds-before-status-checks: 3
slurm-status-command: squeue
max-jobs-per-timespan: 100/1s
"""
PASSED_ON = ("BASH_ENV", "SNAKEMAKE_JOB_LOCK", "TMPDIR", "LANG")
"""Variables of the caller that an account has, too."""


class Failed(RuntimeError):
    """A step of the walk that did not end as it should."""


class Walk:
    """What was done, and where things are. folder: everything is below it."""

    def __init__(self, folder: Path, data: Path, slurm: bool, snakemake: list[str]) -> None:
        self.folder, self.data, self.slurm, self.snakemake = folder, data, slurm, snakemake
        self.own_data, self.hub_folder = folder / "data", folder / "hub"
        self.state = folder / "done.json"
        self.done: dict[str, Any] = json.loads(self.state.read_text()) if self.state.is_file() else {}
        (folder / "said").mkdir(parents=True, exist_ok=True)
        self.waits = folder / "waits"
        self.waits.mkdir(exist_ok=True)
        (self.waits / "profile.yaml").write_text(WAITS)

    def keep(self, name: str, facts: Any) -> None:
        """Remember that a step ended well, with what it found."""
        self.done[name] = facts
        self.state.write_text(json.dumps(self.done, indent=1))

    @property
    def profiles(self) -> list[str]:
        return ["--profile", "profiles/slurm", "--profile", str(self.waits)] if self.slurm else []

    def prepare(self) -> None:
        """Make the hub's repositories and the user's own files once, in a process of its own, which loads torch."""
        if "hub" in self.done:
            return
        for folder in (self.hub_folder, self.own_data):
            shutil.rmtree(folder, ignore_errors=True)
        line = [sys.executable, "-m", "rehearsal.make", str(self.data), str(self.hub_folder), str(self.own_data)]
        subprocess.run(line, check=True, env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": "src:tests"}, cwd=ROOT)
        self.keep("hub", {"models": len(list(self.hub_folder.glob("models/*/*")))})

    @contextmanager
    def serving(self) -> Any:
        """The hub, until the block ends."""
        hub = Hub(self.hub_folder, PORT, self.folder / "hub.log", 0)
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        try:
            yield hub.address
        finally:
            hub.shutdown()


class Account:
    """An account with an empty home and a copy of this checkout, in which one run of the paper is made."""

    def __init__(self, walk: Walk, run: str, address: str, number: int = 1) -> None:
        self.walk, self.run, self.address, self.number = walk, run, address, number
        self.home = walk.folder / f"account-{number}" / run
        self.project = self.home / "fute"
        self.overlay = f"tests/rehearsal/{run}.yaml"
        self.files = [f"config/{run}.yaml", self.overlay]
        self.data = ["--config", f"data={{root: {walk.own_data}}}"]
        copy_project(self.project)
        if walk.slurm:  # as docs/cluster.md says: the site's names in the place of the profile's
            profile = self.project / "profiles/slurm/profile.yaml"
            text = re.sub(r"your-(cpu|gpu)-partition", "tests", profile.read_text())
            profile.write_text(text.replace("your-account", '""'))

    @property
    def fute_settings(self) -> list[str]:
        return [*(word for file in self.files for word in ("--configfile", file)), *self.data]

    def environment(self, token: str | None) -> dict[str, str]:
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"PATH": path, "HOME": str(self.home), "PYTHONPATH": "src", "HF_ENDPOINT": self.address}
        return kept | own | {"OMP_WAIT_POLICY": "PASSIVE"} | ({"HF_TOKEN": token} if token else {})

    def command(self, name: str, *line: str, status: int = 0, token: str | None = TOKEN) -> str:
        """Give a command, which must end with this status; what it says."""
        said = self.walk.folder / "said" / f"{self.run}-{self.number}-{name}.txt"
        started = time.monotonic()
        with said.open("w") as out:
            done = subprocess.run(
                line, cwd=self.project, env=self.environment(token), stdout=out, stderr=subprocess.STDOUT
            )
        text = said.read_text()
        shown = " ".join(line).replace(str(Path(sys.executable).parent) + "/", "")
        print(f"[{self.run}] {name}: {time.monotonic() - started:.0f} s, status {done.returncode}: {shown}", flush=True)
        if done.returncode != status:
            raise Failed(
                f"{name} ended with {done.returncode}, not {status}; what it said is in {said}:\n{text[-3000:]}"
            )
        return text

    def snakemake(self, name: str, *arguments: str, status: int = 0) -> str:
        return self.command(name, *self.snakemake_line(*arguments), status=status)

    def snakemake_line(self, *arguments: str) -> list[str]:
        where = self.walk.profiles or ["--cores", "2"]
        return ["snakemake", *where, *self.walk.snakemake, "--configfile", *self.files, *self.data, *arguments]

    def planned(self, name: str, *targets: str) -> dict[str, int]:
        """Rule -> number of jobs that are left."""
        text = self.snakemake(name, "--dry-run", "--quiet", "rules", "--", *targets)
        table = text.split("Job stats:")[-1].split("\n\n")[0] if "Job stats:" in text else ""
        jobs = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
        return {rule: count for rule, count in jobs.items() if rule not in ("total", "all")}

    def records(self) -> int:
        """Number of finished outputs."""
        return sum(1 for _ in self.project.glob("results/**/*.prov.json"))

    def start_and_kill(self) -> int:
        """Start the run, and kill its controller with SIGKILL when some steps are done; how many records were new."""
        before = self.records()
        said = (self.walk.folder / "said" / f"{self.run}-{self.number}-killed.txt").open("w")
        controller = subprocess.Popen(
            self.snakemake_line(), cwd=self.project, env=self.environment(TOKEN), stdout=said,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            while controller.poll() is None and self.records() - before < KILLED_AFTER:
                time.sleep(1)
        finally:  # on a cluster its jobs live on; on this machine they are ended with it, as when the machine is
            if controller.poll() is None:
                kill = os.kill if self.walk.slurm else os.killpg
                kill(controller.pid, signal.SIGKILL)
        if controller.wait() != -signal.SIGKILL:
            raise Failed(f"the run ended with {controller.returncode} before it was killed; {said.name}")
        return self.records() - before


def walk_through(walk: Walk, run: str, address: str) -> None:
    """All steps of one run. Raises Failed at the first that does not end as it should."""
    user = Account(walk, run, address)
    steps = {
        "check of an empty account": lambda: check_empty(user),
        "a plan before anything is fetched": lambda: {"jobs": user.planned("plan-first")},
        "fetch-unsup": lambda: fetch_unsup(user),
        "prefetch": lambda: prefetch(user),
        "lock": lambda: {"lock": user.command("lock", "fute", "lock", *user.fute_settings).strip().splitlines()[-1]},
        "check": lambda: check_ready(user),
        "plan": lambda: {"jobs": user.planned("plan")},
        "cost": lambda: {
            "lines": len(user.command("cost", "fute", "plan", "--cost", *user.fute_settings).splitlines())
        },
        "a killed controller": lambda: {"records": user.start_and_kill()},
        "clean": lambda: clean(user),
        "the run": lambda: run_on(user),
        "the same again": lambda: nothing(user.planned("again")),
        "tables and figures": lambda: shapes(user),
        "audit": lambda: audited(user),
        "another account with these results": lambda: second_account(walk, run, address, user),
    }
    for name, step in steps.items():
        key = f"{run}: {name}"
        if key not in walk.done:
            walk.keep(key, step())
            print(f"[{run}] {name}: {json.dumps(walk.done[key])[:1500]}", flush=True)


def check_empty(user: Account) -> dict[str, Any]:
    """`fute check` with no token and no data: every obstacle on a line of its own, with the way out."""
    files = [word for file in user.files for word in ("--configfile", file)]
    text = user.command("check-empty", "fute", "check", *files, *user.walk.profiles, status=1, token=None)
    faults = [line for line in text.splitlines() if line.startswith("fault")]
    if not any("crossfit" in line for line in faults) or (user.run == "paper" and "HF_TOKEN" not in text):
        raise Failed(f"fute check names neither the missing U nor the token:\n{text}")
    return {"faults": len(faults)}


def fetch_unsup(user: Account) -> dict[str, Any]:
    """U's raw lines; what the hub does not have is named. `--strict` asks for all, and is refused."""
    text = user.command("fetch-unsup", "fute", "fetch-unsup", *user.fute_settings)
    user.command("fetch-unsup-strict", "fute", "fetch-unsup", "--strict", *user.fute_settings, status=1)
    return {"said": [line for line in text.splitlines() if " of " in line and "scripts" in line]}


def prefetch(user: Account) -> dict[str, Any]:
    user.command("prefetch", "fute", "prefetch", *user.fute_settings, "--cores", "8")
    locks = len(list(user.project.glob("results/models/*.lock.json")))
    return {"models": locks, "datasets": len(list(user.project.glob("results/data/*/counts.json")))}


def check_ready(user: Account) -> dict[str, Any]:
    """`fute check` now: nothing is wrong, but that this machine's disk may be too small for the real weights."""
    line = ["fute", "check", *user.fute_settings, *user.walk.profiles]
    try:
        text = user.command("check", *line)
    except Failed:
        text = user.command("check", *line, status=1)
    faults = [line for line in text.splitlines() if line.startswith("fault")]
    if [fault for fault in faults if not fault.startswith("fault  disk: the run keeps")]:
        raise Failed(f"fute check finds what the walk has not mended:\n{text}")
    return {"lines": text.splitlines()}


def clean(user: Account) -> dict[str, Any]:
    """After the kill: a new controller is refused; on a cluster `fute cluster clean` cancels and unlocks."""
    refused = user.snakemake("locked", status=1)
    if "fute cluster clean" not in refused:
        raise Failed(f"a locked folder is refused without a way out:\n{refused}")
    return {"refused": refused.strip().splitlines()[-1], "unlocked": unlock(user)}


def unlock(user: Account) -> str:
    """Take away the lock of a killed controller, on a cluster with its jobs; what that says."""
    if user.walk.slurm:
        return user.command("clean", "fute", "cluster", "clean", "--yes", *user.fute_settings)
    return user.snakemake("unlock", "--unlock")


def run_on(user: Account) -> dict[str, Any]:
    """Run to the end, from wherever an earlier call was stopped."""
    if any(user.project.glob(".snakemake/locks/*")):
        unlock(user)
    return {"said": user.snakemake("run").strip().splitlines()[-3:]}


def nothing(jobs: dict[str, int]) -> dict[str, Any]:
    if jobs:
        raise Failed(f"the same again plans {jobs}")
    return {"planned": 0}


def shapes(user: Account) -> dict[str, Any]:
    """Rows and columns of each table; size of each figure."""
    facts: dict[str, Any] = {}
    for name in TABLES[user.run]:
        with (user.project / f"results/paper/tables/{name}.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        facts[name] = f"{len(rows) - 1} rows x {len(rows[0])} columns"
    for name in FIGURES[user.run]:
        sizes = {end: (user.project / f"results/paper/figures/{name}.{end}").stat().st_size for end in ("pdf", "png")}
        facts[name] = sizes
    return facts


def audited(user: Account) -> dict[str, Any]:
    """Manifest of all files, and every one verified against its record, the locks and the code."""
    user.snakemake("audit", "--", "audit")
    text = user.command("verify", "fute", "audit", "verify")
    return {"said": text.strip().splitlines()[-3:]}


def second_account(walk: Walk, run: str, address: str, first: Account) -> dict[str, Any]:
    """A copy of `results/` and of the lock in another account: adopted, and nothing is planned."""
    other = Account(walk, run, address, number=2)
    shutil.rmtree(other.project / "results", ignore_errors=True)
    shutil.copytree(first.project / "results", other.project / "results")
    shutil.copytree(first.project / "config/locks", other.project / "config/locks", dirs_exist_ok=True)
    settings = yaml.safe_load((other.project / other.overlay).read_text())
    settings.setdefault("data", {})["root"] = str(walk.own_data)
    line = ["fute", "audit", "adopt", "--config", f"config/{run}.yaml", "--settings", json.dumps(settings)]
    text = other.command("adopt", *line)
    return nothing(other.planned("adopted")) | {"said": text.strip().splitlines()[-2:]}


def print_summary(walk: Walk) -> None:
    """Jobs by rule, what the hub answered, and what is left."""
    for run in RUNS:
        jobs = walk.done.get(f"{run}: plan", {}).get("jobs", {})
        if jobs:
            listed = ", ".join(f"{rule} {count}" for rule, count in sorted(jobs.items(), key=lambda item: -item[1]))
            print(f"{run}: {sum(jobs.values())} jobs after prefetch: {listed}")
    log = walk.folder / "hub.log"
    codes = Counter(line[:3] for line in log.read_text().splitlines()) if log.is_file() else Counter()
    failed = sum(codes[code] for code in ("429", "500"))
    print(f"hub: {sum(codes.values())} answers, {failed} of them failed (429 {codes['429']}, 500 {codes['500']})")


@contextmanager
def slurm_cluster(folder: Path) -> Any:
    """A SLURM of one node, until the block ends; it claims the memory that the paper's LLMs ask for."""
    from support.local_slurm import LocalSlurm, install

    install()
    cluster = LocalSlurm(folder / "slurm", memory_mb=250_000)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="the sample of real rows")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "fute-rehearsal")
    parser.add_argument("--run", choices=RUNS, action="append", help="only this run")
    parser.add_argument("--slurm", action="store_true", help="on a SLURM of one node, as root")
    parser.add_argument("--again", action="store_true", help="forget what was done")
    given, more = parser.parse_known_args()
    if not (given.data / "MANIFEST.csv").is_file():
        raise SystemExit(f"{given.data} is not the sample of real rows: it has no MANIFEST.csv")
    if given.again:
        shutil.rmtree(given.folder, ignore_errors=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what it started is ended with it
    walk = Walk(given.folder.resolve(), given.data.resolve(), given.slurm, more)
    walk.prepare()
    failed = ""
    with walk.serving() as address:
        for run in given.run or RUNS:
            try:
                if given.slurm:
                    with slurm_cluster(walk.folder):
                        walk_through(walk, run, address)
                else:
                    walk_through(walk, run, address)
            except Failed as error:
                failed = f"[{run}] {error}"
                print(failed, flush=True)
    print_summary(walk)
    if failed:
        raise SystemExit("the walk is not at its end: mend what is named above, and call it again")
    print("the walk is at its end")


if __name__ == "__main__":
    main()
