"""What the jobs of a run ask of a SLURM cluster, against what it has: partitions, GPUs, accounts and QOS.

Without this, the executor would find out job by job, three attempts each.
"""

from __future__ import annotations

import getpass
import re
import subprocess
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

EXECUTOR_TAKES = re.compile(r"[A-Za-z0-9_.]+")
"""A name of a GPU model that the executor passes on; it refuses others."""
NO_ACCOUNTING = "supported accounting_storage plugin"
"""Of what `sacctmgr` says where the cluster keeps no accounts."""


class SlurmError(RuntimeError):
    """The cluster or its settings do not fit a run; the message says what to do."""


class Request(NamedTuple):
    """What a job asks for: resources of the same names, "" where it names none; gpus: on one node."""

    slurm_account: str
    slurm_partition: str
    qos: str
    gpu_model: str
    gpus: int


class Partition(NamedTuple):
    """A partition. minutes: longest time limit, None: any. gpus: most GPUs of a node, by model; "": no model named."""

    minutes: int | None
    gpus: dict[str, int]
    default: bool = False


class Association(NamedTuple):
    """A row of the accounts that a user may use; partition: "" for all; qos: empty if the site keeps none."""

    account: str
    partition: str
    qos: frozenset[str]


def slurm(*line: str) -> str:
    """What a command of SLURM prints. Raises SlurmError if it is not there, fails, or does not answer in a minute."""
    try:
        return subprocess.run(line, check=True, capture_output=True, text=True, timeout=60).stdout
    except FileNotFoundError:
        raise SlurmError(f"{line[0]} is not on PATH: run this on a node of the SLURM cluster") from None
    except subprocess.CalledProcessError as error:
        raise SlurmError(f"{line[0]} failed: {error.stderr.strip()}") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{line[0]} gave no answer in a minute; is SLURM's controller up?") from None


def request(resources: Mapping[str, Any], default_qos: str | None = None) -> Request:
    """What a job's resources ask for. default_qos: the executor's setting `slurm-qos`. Raises SlurmError."""
    named = {name: str(resources.get(name) or "") for name in ("slurm_account", "slurm_partition", "qos", "gpu_model")}
    gpus, gres = int(resources.get("gpu") or 0), str(resources.get("gres") or "")
    if gres.split(":")[0] == "gpu":
        if gpus:
            raise SlurmError(
                f"a job asks for gpu={gpus} and for gres={gres}, which SLURM would take for two requests: "
                "choose one by cluster.gpu_request, and drop the other from the profile"
            )
        words = gres.split(":")[1:]
        gpus = int(words.pop()) if words and words[-1].isdigit() else 1
        named["gpu_model"] = words[0] if words else ""
    if not gpus:
        named["gpu_model"] = ""
    named["qos"] = named["qos"] or default_qos or ""
    return Request(**named, gpus=gpus)


def minutes(limit: str) -> int | None:
    """Minutes of a time limit as SLURM prints it, `[days-]hours:minutes:seconds` or less; None: no limit."""
    if limit.lower() in ("infinite", "unlimited", "n/a"):
        return None
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days:  # the first part is hours
        parts = parts[:3] + [0] * (3 - len(parts))
    elif len(parts) == 1:
        parts.append(0)
    hours, mins = ([0] * (3 - len(parts)) + parts)[:2]
    return int(days or 0) * 1440 + hours * 60 + mins


def read_partitions() -> dict[str, Partition]:
    """The cluster's partitions by name. Raises SlurmError."""
    partitions: dict[str, Partition] = {}
    for line in slurm("sinfo", "--noheader", "--format=%P|%l|%G").splitlines():
        name, limit, gres = line.strip().split("|", 2)
        known = partitions.setdefault(name.rstrip("*"), Partition(minutes(limit), {}, name.endswith("*")))
        for part in re.sub(r"\([^)]*\)", "", gres).split(","):
            words = part.split(":")
            if words[0] != "gpu":
                continue
            count = int(words[-1]) if words[-1].isdigit() else 1
            model = words[1] if len(words) > 1 and not words[1].isdigit() else ""
            known.gpus[model] = max(count, known.gpus.get(model, 0))
    return partitions


def read_associations() -> list[Association] | None:
    """Accounts that this user may use; None if the cluster keeps no accounts. Raises SlurmError."""
    columns = "format=account,partition,qos"
    try:
        text = slurm(
            "sacctmgr", "--noheader", "--parsable2", "show", "associations", f"user={getpass.getuser()}", columns
        )
    except SlurmError as error:
        if NO_ACCOUNTING in str(error):
            return None
        raise
    rows = [line.split("|") for line in text.splitlines() if line.strip()]
    return [Association(row[0], row[1], frozenset(filter(None, row[2].lower().split(",")))) for row in rows]


def check_site(
    requests: Iterable[Request],
    partitions: Mapping[str, Partition],
    associations: Callable[[], Collection[Association] | None],
) -> None:
    """Check what jobs ask for against what the cluster has; the first that does not fit is named in the SlurmError.

    associations: asks for the user's accounts; called only if a job names an account or a QOS.
    """
    requests = sorted(set(requests))
    for asked in requests:
        _check_partition(asked, partitions)
    if any(asked.slurm_account or asked.qos for asked in requests):
        rows = associations()
        for asked in requests:
            _check_account(asked, rows)


def names(asked: str) -> list[str]:
    """The names in a list of them, as SLURM and the executor take it."""
    return [name for name in re.split(r"[,\s]+", asked) if name]


def longest_minutes(asked: str, partitions: Mapping[str, Partition]) -> int | None:
    """Longest time limit of the partitions that a job names, or of the default; None: any.

    asked: names as SLURM takes them, "" for the default. SLURM starts a job in any of several, so the largest limit
    of them holds.
    """
    wanted = names(asked)
    limits = [part.minutes for name, part in partitions.items() if (name in wanted if wanted else part.default)]
    return None if None in limits else max(limits, default=None)


def _check_partition(asked: Request, partitions: Mapping[str, Partition]) -> None:
    wanted = names(asked.slurm_partition) or [name for name, part in partitions.items() if part.default]
    if not wanted:
        raise SlurmError(f"slurm_partition is empty and the cluster has no default; it has {', '.join(partitions)}")
    for name in wanted:
        if name not in partitions:
            raise SlurmError(
                f"slurm_partition {name!r} is not on this cluster; it has {', '.join(partitions)} (`sinfo -s`): "
                "correct the profile"
            )
    if not asked.gpus:
        return
    if asked.gpu_model and not EXECUTOR_TAKES.fullmatch(asked.gpu_model):
        raise SlurmError(
            f"gpu_model {asked.gpu_model!r}: Snakemake's executor takes letters, digits, `_` and `.` only; leave "
            "gpu_model out, and choose the nodes by `constraint` in the profile (`sinfo -o '%N %f %G'`)"
        )
    there: dict[str, int] = {}
    for name in wanted:
        for model, count in partitions[name].gpus.items():
            there[model] = max(count, there.get(model, 0))
    where = f"partition {','.join(wanted)}"
    if not there:
        raise SlurmError(f"{where} has no GPUs, but jobs ask there for {asked.gpus}; `sinfo -o '%P %G'` lists them")
    fitting = [n for model, n in there.items() if asked.gpu_model.lower() in ("", model.lower())]
    listed = ", ".join(f"{count} x {model or 'gpu'}" for model, count in sorted(there.items()))
    if not fitting:
        raise SlurmError(f"gpu_model {asked.gpu_model!r} is not in {where}, whose nodes have {listed}: correct it")
    if max(fitting) < asked.gpus:
        raise SlurmError(
            f"a job asks for {asked.gpus} GPUs on one node, but {where} has {listed} a node: take another partition, "
            "or state cluster.gpu_memory_gb or cluster.tensor_parallel_size (docs/cluster.md)"
        )


def _check_account(asked: Request, rows: Collection[Association] | None) -> None:
    if rows is None:
        if asked.slurm_account:
            raise SlurmError(
                f'slurm_account is {asked.slurm_account!r}, but this cluster keeps no accounts: make it ""'
            )
        return
    if not rows:
        return  # the executor and SLURM go on without a check, too
    for account in names(asked.slurm_account):
        own = [row for row in rows if row.account.lower() == account.lower()]
        if not own:
            yours = ", ".join(sorted({row.account for row in rows}))
            raise SlurmError(f"slurm_account {account!r} is not one of yours: {yours}; correct the profile")
        bound = {row.partition for row in own}
        if "" not in bound and (others := [name for name in names(asked.slurm_partition) if name not in bound]):
            raise SlurmError(f"account {account!r} may use {', '.join(sorted(bound))}, but not partition {others[0]!r}")
    accounts = {account.lower() for account in names(asked.slurm_account)}
    known = {qos for row in rows if not accounts or row.account.lower() in accounts for qos in row.qos}
    if asked.qos and known and asked.qos.lower() not in known:
        raise SlurmError(f"qos {asked.qos!r} is not one of yours: {', '.join(sorted(known))}; correct the profile")
