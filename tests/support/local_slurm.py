"""A real SLURM on this machine, of nodes with two GPUs that are none: for the cluster tests.

It has one node, and no accounts; or several nodes, each a slurmd with a port of its own, and accounts in a real
slurmdbd with a real MariaDB. Its configuration lies where SLURM looks by itself (the executor's job step drops
SLURM_CONF), so a machine that has a configuration of another cluster is refused.
"""

from __future__ import annotations

import contextlib
import getpass
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

DATABASE = ("slurmdbd", "mariadbd", "mariadb-install-db")
"""Commands of a cluster that keeps accounts."""
FIRST_PORT = 17001

# memory is checked every second, and a job over it is killed; finished jobs stay visible for squeue
SLURM_CONF = """{mark}
ClusterName=tests
SlurmctldHost=localhost
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmdParameters=config_overrides
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
MinJobAge={remembered}
KillWait=10
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/{gather}
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
{accounting}
JobCompType=jobcomp/none
JobRequeue=0
GresTypes=gpu
{nodes}
PartitionName=tests Nodes=ALL Default=YES State=UP OverSubscribe=YES
"""
NODE = (
    "NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory} "
    "Gres=gpu:test:2 State=UNKNOWN"
)
NO_ACCOUNTS = "AccountingStorageType=accounting_storage/none"
ACCOUNTS = """AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu"""
SLURMDBD_CONF = """{mark}
AuthType=auth/none
DbdHost=localhost
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_tests
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""
# the account `elsewhere` is of another cluster of the same database, as on sites with several
SACCTMGR = """add cluster other
add qos few set MaxSubmitJobsPerUser=2
add qos short set MaxWall=5 MaxTRESPerJob=gres/gpu=1
add account lab cluster=tests
add user {user} account=lab cluster=tests qos=normal,few,short defaultqos=normal
add account course cluster=tests MaxWall=7
add user {user} account=course cluster=tests
add account elsewhere cluster=other
add user {user} account=elsewhere cluster=other"""


def install(accounts: bool = False) -> None:
    """SLURM's commands on this machine, with those of its database, installed where they are missing; needs root."""
    if not (shutil.which("slurmctld") and shutil.which("slurmd")):
        _install("SLURM", ["slurm-wlm", "munge"], "slurm")
    if accounts and not all(map(shutil.which, DATABASE)):
        _install("SLURM's database", ["slurmdbd", "mariadb-server"])


def _install(what: str, packages: list[str], part: str = "") -> None:
    """Install Debian packages; part: what the installer of this machine calls them."""
    names = " ".join(packages)
    if os.getuid() != 0:
        raise RuntimeError(f"{what} is missing: run the cluster tests as root, or install these first: {names}")
    if part and INSTALLER.is_file():
        line = ["bash", str(INSTALLER), part]
    elif shutil.which("apt-get"):
        line = ["sh", "-c", f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {names}"]
    else:
        raise RuntimeError(f"{what} is missing (22.05 or later): install what Debian calls {names}")
    print(f"\ninstalling {what}", flush=True)
    subprocess.run(line, check=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, stdout=subprocess.DEVNULL)


class LocalSlurm:
    """The running cluster.

    folder: for its state and logs. gather: how memory is watched, `linux` or `none`. nodes: how many; each claims all
    cores and memory of this machine, or memory_mb. accounts: whether it keeps accounts (`SACCTMGR`). remembered:
    seconds for which squeue and scontrol know a finished job.
    """

    def __init__(
        self, folder: Path, gather: str = "linux", nodes: int = 1, accounts: bool = False, remembered: int = 900,
        memory_mb: int | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.gather, self.accounts, self.remembered = folder, gather, accounts, remembered
        self.memory_mb = memory_mb or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        self.nodes = [f"node{number}" for number in range(1, nodes + 1)]
        self._database: subprocess.Popen | None = None

    def start(self) -> None:
        if os.getuid() != 0:
            raise RuntimeError("the cluster tests start SLURM's daemons: run them as root")
        for name in ("slurm.conf", "gres.conf"):
            path = CONFIG / name
            if path.is_file() and MARK not in path.read_text():
                raise RuntimeError(f"{path} is of another cluster: run the cluster tests on a machine of their own")
        (self.folder / "state").mkdir(parents=True, exist_ok=True)
        # SLURM wants devices, whatever they are: two that swallow what is written
        for number in (0, 1):
            if not (self.folder / f"gpu{number}").exists():
                subprocess.run(["mknod", self.folder / f"gpu{number}", "c", "1", "3"], check=True)
        nodes = "\n".join(
            NODE.format(name=name, port=port, cpus=os.cpu_count(), memory=self.memory_mb)
            for port, name in enumerate(self.nodes, FIRST_PORT)
        )
        values = {
            "mark": MARK, "folder": self.folder, "gather": self.gather, "remembered": self.remembered,
            "accounting": ACCOUNTS if self.accounts else NO_ACCOUNTS, "nodes": nodes,
        }  # fmt: skip
        CONFIG.mkdir(exist_ok=True)
        (CONFIG / "slurm.conf").write_text(SLURM_CONF.format(**values))
        gres = f"{MARK}\nNodeName={','.join(self.nodes)} Name=gpu Type=test File={self.folder}/gpu[0-1]\n"
        (CONFIG / "gres.conf").write_text(gres)
        if self.accounts:
            self._start_database()
        subprocess.run(["slurmctld", "-c"], check=True)
        if self.accounts:
            self._add_accounts()
        for node in self.nodes:
            self.node_starts(node)

    def _start_database(self) -> None:
        """MariaDB on a socket of its own, slurmdbd, and in it this cluster."""
        data = self.folder / "database"
        if not data.exists():
            subprocess.run(
                ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db",
                 "--auth-root-authentication-method=normal"],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        self._database = subprocess.Popen(
            ["mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={self.folder}/database.sock",
             "--skip-networking", f"--log-error={self.folder}/mariadbd.log"]
        )  # fmt: skip
        self.wait("MariaDB does not start", (self.folder / "database.sock").exists)
        conf = self.folder / "slurmdbd.conf"
        conf.write_text(SLURMDBD_CONF.format(mark=MARK, folder=self.folder))
        conf.chmod(0o600)  # slurmdbd refuses others
        self.database_starts()
        if not output("sacctmgr", "--noheader", "show", "cluster", "tests"):
            output("sacctmgr", "--immediate", "add", "cluster", "tests")

    def _add_accounts(self) -> None:
        """What `SACCTMGR` says, once slurmctld has told the database that there are GPUs."""
        self.wait("the database has no GPUs", lambda: "gpu" in output("sacctmgr", "--noheader", "show", "tres"))
        for line in SACCTMGR.format(user=getpass.getuser()).splitlines():
            output("sacctmgr", "--immediate", *line.split())

    def database_starts(self) -> None:
        """Start slurmdbd, and wait until it answers."""
        # it looks for its configuration beside that of SLURM
        places = {"SLURM_CONF": f"{self.folder}/slurm.conf", "MYSQL_UNIX_PORT": f"{self.folder}/database.sock"}
        subprocess.run(["slurmdbd"], check=True, env=os.environ | places)
        asked = ["sacctmgr", "--noheader", "show", "cluster"]
        self.wait("slurmdbd does not answer", lambda: subprocess.run(asked, capture_output=True).returncode == 0)

    def database_stops(self) -> None:
        """End slurmdbd alone; MariaDB and the cluster go on."""
        self._end("slurmdbd", signal.SIGTERM)

    def node_starts(self, node: str) -> None:
        """Start a node's slurmd, and wait until the node takes jobs."""
        subprocess.run(["slurmd", "-N", node], check=True)
        self.wait(f"{node} is not idle", lambda: output("sinfo", "-h", "-n", node, "-o", "%T").strip() == "idle")

    def node_vanishes(self, node: str) -> None:
        """End a node's slurmd at once; what it started goes on. SLURM is told, as it would notice after a while."""
        self._end(node, signal.SIGKILL)
        subprocess.run(["scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=vanished"], check=True)

    def controller_stops(self) -> None:
        """End slurmctld alone; jobs and their node go on."""
        self._end("slurmctld", signal.SIGTERM)

    def controller_starts(self) -> None:
        """Start slurmctld again, with the jobs it had."""
        subprocess.run(["slurmctld"], check=True)

    def stop(self) -> None:
        """Cancel what runs and end the daemons this object started."""
        subprocess.run(["scancel", "--me"], check=False)
        time.sleep(1)
        for daemon in (*self.nodes, "slurmctld", "slurmdbd"):
            self._end(daemon, signal.SIGTERM)
        if self._database:
            self._database.terminate()
            self._database.wait(30)
            self._database = None
        for name in ("slurm.conf", "gres.conf"):
            (CONFIG / name).unlink(missing_ok=True)

    def _end(self, daemon: str, how: signal.Signals) -> None:
        """Send a signal to a daemon, if it runs, and wait for its end."""
        path = self.folder / f"{daemon}.pid"
        if path.is_file():
            pid = int(path.read_text())
            with contextlib.suppress(ProcessLookupError):  # it ended before
                os.kill(pid, how)
            self.wait(f"{daemon} does not end", lambda: not Path(f"/proc/{pid}").exists(), 30)
            path.unlink(missing_ok=True)

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
