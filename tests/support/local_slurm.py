"""A real SLURM of one node on this machine, with two GPUs that are none: for the cluster tests.

Its configuration lies where SLURM looks by itself (the executor's job step drops SLURM_CONF), so a machine
that has a configuration of another cluster is refused.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

MARK = "# made by the cluster tests; safe to delete"
CONFIG = Path("/etc/slurm")
INSTALLER = Path("../shared/tools/install-hpc")
"""Relative to the checkout: puts SLURM and Apptainer on a bare machine."""

# memory is checked every second, and a job over it is killed; finished jobs stay visible for squeue
SLURM_CONF = """{mark}
ClusterName=tests
SlurmctldHost=localhost
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
MinJobAge=900
KillWait=10
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/{gather}
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobRequeue=0
GresTypes=gpu
NodeName=localhost CPUs={cpus} RealMemory={memory} Gres=gpu:test:2 State=UNKNOWN
PartitionName=tests Nodes=localhost Default=YES State=UP OverSubscribe=YES
"""


def install() -> None:
    """SLURM's commands on this machine, installed where they are missing; needs root."""
    if shutil.which("slurmctld") and shutil.which("slurmd"):
        return
    if os.getuid() != 0:
        raise RuntimeError("SLURM is missing: run the cluster tests as root, or install slurm-wlm and munge first")
    if INSTALLER.is_file():
        line = ["bash", str(INSTALLER), "slurm"]
    elif shutil.which("apt-get"):
        line = ["sh", "-c", "apt-get update -qq && apt-get install -y -qq --no-install-recommends slurm-wlm munge"]
    else:
        raise RuntimeError("SLURM is missing: install slurmctld, slurmd and SLURM's commands (22.05 or later)")
    print("\ninstalling SLURM", flush=True)
    subprocess.run(line, check=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, stdout=subprocess.DEVNULL)


class LocalSlurm:
    """The running cluster. folder: for its state and logs. gather: how memory is watched, `linux` or `none`."""

    def __init__(self, folder: Path, gather: str = "linux") -> None:
        self.folder, self.gather = folder, gather

    def start(self) -> None:
        if os.getuid() != 0:
            raise RuntimeError("the cluster tests start SLURM's daemons: run them as root")
        for name in ("slurm.conf", "gres.conf"):
            path = CONFIG / name
            if path.is_file() and MARK not in path.read_text():
                raise RuntimeError(f"{path} is of another cluster: run the cluster tests on a machine of their own")
        for part in ("state", "spool"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        # SLURM wants devices, whatever they are: two that swallow what is written
        for number in (0, 1):
            if not (self.folder / f"gpu{number}").exists():
                subprocess.run(["mknod", self.folder / f"gpu{number}", "c", "1", "3"], check=True)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        values = {"mark": MARK, "folder": self.folder, "gather": self.gather, "cpus": os.cpu_count(), "memory": memory}
        CONFIG.mkdir(exist_ok=True)
        (CONFIG / "slurm.conf").write_text(SLURM_CONF.format(**values))
        gres = f"{MARK}\nNodeName=localhost Name=gpu Type=test File={self.folder}/gpu[0-1]\n"
        (CONFIG / "gres.conf").write_text(gres)
        subprocess.run(["slurmctld", "-c"], check=True)
        subprocess.run(["slurmd", "-N", "localhost"], check=True)
        self.wait("the node is not idle", lambda: "idle" in output("sinfo", "-h", "-o", "%T"), 60)

    def controller_stops(self) -> None:
        """End slurmctld alone; jobs and their node go on."""
        pid = int((self.folder / "slurmctld.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        self.wait("slurmctld does not end", lambda: not Path(f"/proc/{pid}").exists(), 30)

    def controller_starts(self) -> None:
        """Start slurmctld again, with the jobs it had."""
        subprocess.run(["slurmctld"], check=True)

    def stop(self) -> None:
        """Cancel what runs and end the daemons this object started."""
        subprocess.run(["scancel", "--me"], check=False)
        time.sleep(1)
        for daemon in ("slurmd", "slurmctld"):
            path = self.folder / f"{daemon}.pid"
            if path.is_file():
                pid = int(path.read_text())
                with contextlib.suppress(ProcessLookupError):  # it ended before
                    os.kill(pid, signal.SIGTERM)
                self.wait(f"{daemon} does not end", lambda pid=pid: not Path(f"/proc/{pid}").exists(), 30)
        for name in ("slurm.conf", "gres.conf"):
            (CONFIG / name).unlink(missing_ok=True)

    def wait(self, what: str, condition, seconds: float = 60) -> None:
        """Wait for a condition; after so many seconds an error with the daemons' last words."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(
                    f"--- {path.name}\n" + "\n".join(path.read_text().splitlines()[-20:])
                    for path in sorted(self.folder.glob("*.log"))
                )
                raise TimeoutError(f"after {seconds:.0f} s: {what}\n{output('squeue')}\n{logs}")
            time.sleep(0.2)


def output(*line: str) -> str:
    """What a command prints; an error where it fails."""
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def job_facts(job: str) -> dict[str, str]:
    """KEY=VALUE of `scontrol show job`."""
    words = output("scontrol", "show", "job", job, "--oneliner").split()
    return dict(word.split("=", 1) for word in words if "=" in word)
