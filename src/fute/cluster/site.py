"""What the jobs of a run ask of a SLURM cluster, against what it has: partitions, memory, GPUs, accounts, QOS, limits.

Without this, the executor would find out job by job, three attempts each, and a job over a limit would wait for ever.
"""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fute.config.cluster import ClusterConfig

EXECUTOR_TAKES = re.compile(r"[A-Za-z0-9_.]+")
"""A name of a GPU model that the executor passes on; it refuses others."""
FIRST_CHECK_S = 40
"""The executor's default of `slurm-init-seconds-before-status-checks`."""
MINUTES = "MaxWall"
"""Name of the limit of a job's time; the others are of GPUs, such as `MaxTRESPerJob gres/gpu`."""
GPU_LIMITS = {"maxtres": "MaxTRESPerJob", "maxtrespernode": "MaxTRESPerNode", "grptres": "GrpTRES"}
"""Columns of `sacctmgr` with limits that one job alone can be over, and their names."""
QOS_GPU_LIMITS = GPU_LIMITS | {"maxtrespu": "MaxTRESPerUser", "maxtrespa": "MaxTRESPerAccount"}
NO_JOBS = ("down", "drain", "fail", "inval", "error", "unknown", "future", "n/a")
"""How the states begin of nodes that take no job until somebody mends them; `n/a`: a partition without nodes."""
UNNAMED = 'make slurm_account "" in the profile, and export SBATCH_ACCOUNT=... before the run'
"""How to name an account that sacctmgr does not list: sbatch takes it, and neither this check nor the executor asks."""
NO_LIMITS: Mapping[str, int] = MappingProxyType({})


class SlurmError(RuntimeError):
    """The cluster or its settings do not fit a run; the message says what to do."""


class Request(NamedTuple):
    """What a job asks for: resources of the same names, "" where it names none; gpus, memory_mb: on one node."""

    slurm_account: str
    slurm_partition: str
    qos: str
    gpu_model: str
    gpus: int
    memory_mb: int = 0


class Partition(NamedTuple):
    """A partition. minutes: longest time limit, None: any. gpus: most GPUs of a node, by model; "": no model named.

    memory_mb: that of the node with most, of those that can run jobs; 0: not known. is_up: whether there are any; if
    not, memory_mb is of all nodes.
    """

    minutes: int | None
    gpus: dict[str, int]
    default: bool = False
    memory_mb: int = 0
    is_up: bool = True


class Association(NamedTuple):
    """A row of the accounts that a user may use; partition: "" for all; qos: empty if the site keeps none.

    default_qos: of jobs that name none; "": the site's `normal`. limits: name -> most that a job may ask for.
    """

    account: str
    partition: str
    qos: frozenset[str]
    default_qos: str = ""
    limits: Mapping[str, int] = NO_LIMITS


class Qos(NamedTuple):
    """A QOS. limits: name -> most that a job may ask for. first: they go before those of the partition's QOS."""

    limits: Mapping[str, int]
    first: bool = False


class Rules(NamedTuple):
    """Who may use a partition. qos: whose limits it has. The rest are its lists of names, empty where it has none."""

    qos: str = ""
    allowed_accounts: frozenset[str] = frozenset()
    denied_accounts: frozenset[str] = frozenset()
    allowed_qos: frozenset[str] = frozenset()
    denied_qos: frozenset[str] = frozenset()


class Accounts(NamedTuple):
    """What the cluster's database of accounts lets a user do; names of QOS and of `rules`' accounts in lower case.

    rows: of this user on this cluster. qos, rules: by name of QOS and of partition. Where limits are not enforced, none
    are here.
    """

    rows: list[Association]
    qos: Mapping[str, Qos] = MappingProxyType({})
    rules: Mapping[str, Rules] = MappingProxyType({})


def slurm(*line: str, env: Mapping[str, str] | None = None) -> str:
    """What a command of SLURM prints. env: its environment; None: that of this process.

    Raises SlurmError if it is not there, fails, or does not answer in a minute.
    """
    try:
        return subprocess.run(line, check=True, capture_output=True, text=True, timeout=60, env=env).stdout
    except FileNotFoundError:
        raise SlurmError(f"{line[0]} is not on PATH: run this on a node of the SLURM cluster") from None
    except subprocess.CalledProcessError as error:
        raise SlurmError(f"{line[0]} failed: {error.stderr.strip()}") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{line[0]} gave no answer in a minute; is SLURM's controller up?") from None


def request(resources: Mapping[str, Any], qos: str | None = None) -> Request:
    """What a job's resources ask for. qos: the executor's setting `slurm-qos`. Raises SlurmError."""
    named = {name: str(resources.get(name) or "") for name in ("slurm_account", "slurm_partition", "qos", "gpu_model")}
    gpus, gres = _number(resources.get("gpu")), str(resources.get("gres") or "")
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
    named["qos"] = qos or named["qos"]  # the executor puts both on the line of sbatch, and the later counts
    return Request(**named, gpus=gpus, memory_mb=_number(resources.get("mem_mb")))


def sbatch_options(
    resources: Mapping[str, Any], asked: Request, longest: int | None, cluster: ClusterConfig
) -> tuple[str, ...]:
    """Options by which a job of these resources is sent.

    asked: `request(resources)`. longest: minutes that it may ask for, besides `cluster.max_runtime`; None: any.
    """
    minutes = filter(None, (_number(resources.get("runtime")), longest, cluster.max_runtime))
    gres, model = str(resources.get("gres") or ""), f"{asked.gpu_model}:" if asked.gpu_model else ""
    values = {
        "account": ",".join(names(asked.slurm_account)[:1]), "partition": asked.slurm_partition, "qos": asked.qos,
        "constraint": resources.get("constraint"), "time": min(minutes, default=0), "gres": gres,
        "gpus": f"{model}{asked.gpus}" if asked.gpus and not gres else "",
        "mem": asked.memory_mb if cluster.memory_request == "mem" else 0,
    }  # fmt: skip
    return tuple(f"--{name}={value}" for name, value in values.items() if value)


def refusal(options: Iterable[str]) -> str:
    """Why sbatch takes no job with these options, in its words; "" if it does. Nothing is submitted."""
    try:
        slurm("sbatch", "--test-only", "--nodes=1", *options, "--wrap=true")
    except SlurmError as error:
        return " ".join(str(error).split())
    return ""


def _number(resource: Any) -> int:
    """A resource that is a number; 0 if there is none, or an expression of a profile, whose value only a job has."""
    return int(resource) if str(resource).isdigit() else 0


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
    """The cluster's partitions by name, hidden ones too. Raises SlurmError."""
    partitions: dict[str, Partition] = {}
    # without --exact sinfo prints one line for nodes of different memory
    for line in slurm("sinfo", "--all", "--exact", "--noheader", "--format=%P|%l|%m|%T|%G").splitlines():
        name, limit, memory, state, gres = line.strip().split("|", 4)
        key, is_up = name.rstrip("*"), not state.startswith(NO_JOBS)
        known = partitions.get(key, Partition(minutes(limit), {}, name.endswith("*"), is_up=False))
        stated = int(memory) if memory != "1" else 0  # 1: what SLURM takes where a site states none
        if is_up and not known.is_up:  # the first that can run jobs
            known = known._replace(memory_mb=0, is_up=True)
        if is_up == known.is_up:
            known = known._replace(memory_mb=max(known.memory_mb, stated))
        partitions[key] = known
        for part in re.sub(r"\([^)]*\)", "", gres).split(","):
            words = part.split(":")
            if words[0] != "gpu":
                continue
            count = int(words[-1]) if words[-1].isdigit() else 1
            model = words[1] if len(words) > 1 and not words[1].isdigit() else ""
            known.gpus[model] = max(count, known.gpus.get(model, 0))
    return partitions


def read_accounts(needed: bool = True) -> Accounts | None:
    """What this user may use; None if the cluster keeps no accounts.

    needed: raise SlurmError if SLURM does not say; else None, for jobs that name no account and no QOS.
    """
    try:
        return _read_accounts()
    except SlurmError as error:
        if needed:
            raise SlurmError(f"{error}. Where a site never tells users of accounts, {UNNAMED}") from None
        return None


def _config() -> dict[str, str]:
    return dict(re.findall(r"^(\w+) *= *(.*?) *$", slurm("scontrol", "show", "config"), re.M))


def _keeps_accounts(config: Mapping[str, str]) -> bool:
    return config["AccountingStorageType"].endswith("slurmdbd")  # else `none`, or, in later versions, `(null)`


def check_status_command(command: str | None, first_s: int | None) -> int | None:
    """Raise SlurmError where the executor could not see that a job has ended, and would wait for it for ever.

    command: its setting `slurm-status-command`; None: its default, sacct where that is installed. first_s: its setting
    `slurm-init-seconds-before-status-checks`; None: its default. Returns the longest time in seconds between two
    questions after which squeue still knows the jobs that ended meanwhile; None: any, or not known.
    """
    try:
        config = _config()
    except SlurmError:
        return None  # some sites keep it to themselves
    sacct = bool(shutil.which("sacct"))  # without, the executor takes squeue by itself
    if sacct and command != "squeue":
        if _keeps_accounts(config):
            return None
        raise SlurmError(
            "this cluster keeps no accounts, so sacct would not say which jobs have ended: add "
            "`slurm-status-command: squeue` to a profile of yours"
        )
    if not (stated := re.match(r"\d+", config.get("MinJobAge", ""))):
        return None
    longest = int(stated[0]) // 3
    if longest >= (first_s or FIRST_CHECK_S):
        return longest
    if sacct and _keeps_accounts(config):
        return None  # the executor goes back to sacct
    why = "keeps no accounts" if sacct else "has no sacct"
    raise SlurmError(
        f"this cluster {why} and forgets a job {stated[0]} s after its end (MinJobAge), before the executor asks for "
        f"it: set slurm-init-seconds-before-status-checks to at most {longest} in a profile of yours"
    )


def _read_accounts() -> Accounts | None:
    config = _config()
    if not _keeps_accounts(config):
        return None
    # one database serves several clusters
    enforced = "limits" in config["AccountingStorageEnforce"].split(",")
    who = ("associations", f"user={getpass.getuser()}", f"cluster={config['ClusterName']}")
    rows = [
        Association(
            row["account"], row["partition"], frozenset(names(row["qos"].lower())), row["defaultqos"].lower(),
            _limits(row, GPU_LIMITS) if enforced else NO_LIMITS,
        )
        for row in _sacctmgr(*who, columns=("account", "partition", "qos", "defaultqos", "maxwall", *GPU_LIMITS))
    ]  # fmt: skip
    if not enforced:
        return Accounts(rows)
    qos = {
        row["name"].lower(): Qos(_limits(row, QOS_GPU_LIMITS), "OverPartQOS" in row["flags"].split(","))
        for row in _sacctmgr("qos", columns=("name", "flags", "maxwall", *QOS_GPU_LIMITS))
    }
    return Accounts(rows, qos, _read_rules())


def _sacctmgr(*what: str, columns: Iterable[str]) -> list[dict[str, str]]:
    """Rows that `sacctmgr show` prints, by the names of their columns."""
    columns = list(columns)
    text = slurm("sacctmgr", "--noheader", "--parsable2", "show", *what, f"format={','.join(columns)}")
    return [dict(zip(columns, line.split("|"), strict=True)) for line in text.splitlines() if line.strip()]


def _limits(row: Mapping[str, str], of_gpus: Mapping[str, str]) -> dict[str, int]:
    """The limits in a row of `sacctmgr`. of_gpus: columns that may hold one, and their names."""
    limits = {}
    if row["maxwall"] and (most := minutes(row["maxwall"])) is not None:
        limits[MINUTES] = most
    for column, name in of_gpus.items():
        for resource, count in re.findall(r"(gres/gpu[^,=]*)=(\d+)", row[column]):
            limits[f"{name} {resource.lower()}"] = int(count)
    return limits


def _read_rules() -> dict[str, Rules]:
    rules = {}
    for line in slurm("scontrol", "--all", "show", "partition", "--oneliner").splitlines():
        facts = dict(word.split("=", 1) for word in line.split() if "=" in word)
        lists = {key: facts.get(key, "ALL") for key in ("AllowAccounts", "DenyAccounts", "AllowQos", "DenyQos")}
        named = [frozenset(names("" if value in ("ALL", "(null)") else value.lower())) for value in lists.values()]
        qos = facts.get("QoS", "N/A")
        rules[facts["PartitionName"]] = Rules("" if qos == "N/A" else qos.lower(), *named)
    return rules


def check_site(requests: Iterable[Request], partitions: Mapping[str, Partition], accounts: Accounts | None) -> None:
    """Check what jobs ask for against what the cluster has; the first that does not fit is named in the SlurmError.

    accounts: None if the cluster keeps none.
    """
    requests = sorted(set(requests))
    for asked in requests:
        _check_partition(asked, partitions)
    for asked in requests:
        if accounts is None:
            if asked.slurm_account:
                raise SlurmError(
                    f'slurm_account is {asked.slurm_account!r}, but this cluster keeps no accounts: make it ""'
                )
        elif accounts.rows:  # without any, the executor and SLURM go on without a check, too
            _check_account(asked, accounts.rows)
            _check_rules(asked, partitions, accounts)
            _check_gpu_limits(asked, partitions, accounts)


def names(asked: str) -> list[str]:
    """The names in a list of them, as SLURM and the executor take it."""
    return [name for name in re.split(r"[,\s]+", asked) if name]


def chosen(asked: str, partitions: Mapping[str, Partition]) -> dict[str, Partition]:
    """The partitions that a job names, as SLURM takes names, or for "" the default.

    SLURM starts a job in any of several, so the largest limit of them holds.
    """
    wanted = names(asked)
    return {name: part for name, part in partitions.items() if (name in wanted if wanted else part.default)}


def most_memory(asked: str, partitions: Mapping[str, Partition]) -> int:
    """Megabytes of the largest node that a job may run on: that can, or if none can of all nodes; 0: not known."""
    wanted = chosen(asked, partitions).values()
    return max((part.memory_mb for part in [part for part in wanted if part.is_up] or wanted), default=0)


def closed(requests: Iterable[Request], partitions: Mapping[str, Partition]) -> list[str]:
    """What to say of partitions that jobs ask for while none of their nodes can run any."""
    asked = {asked.slurm_partition: chosen(asked.slurm_partition, partitions) for asked in requests}
    return [
        f"no node of partition {','.join(parts)} can run jobs now (`sinfo -R` says why): jobs will wait for one, and "
        "their memory is held against that of all its nodes"
        for _, parts in sorted(asked.items())
        if parts and not any(part.is_up for part in parts.values())
    ]


def most_minutes(asked: Request, partitions: Mapping[str, Partition], accounts: Accounts | None) -> int | None:
    """Longest time that a job may ask for: by its partitions, its account and its QOS; None: any."""
    of_partitions = [part.minutes for part in chosen(asked.slurm_partition, partitions).values()]
    limits = [None if None in of_partitions else max(of_partitions, default=None)]
    if accounts:
        limits.append(job_limits(asked, partitions, accounts).get(MINUTES))
    return min((limit for limit in limits if limit is not None), default=None)


def job_limits(asked: Request, partitions: Mapping[str, Partition], accounts: Accounts) -> dict[str, int]:
    """Limits of one job, by name. Each is that of the partition's QOS, else of the job's, else of its account."""
    row = _association(asked, accounts.rows)
    if row is None:  # its default account, which is one of several
        return {}
    job_qos = accounts.qos.get(_qos_of(asked, row), Qos({}))
    rules = [accounts.rules.get(name, Rules()) for name in chosen(asked.slurm_partition, partitions)]
    # of several partitions SLURM takes any
    partition_qos = accounts.qos.get(rules[0].qos if len(rules) == 1 else "", Qos({}))
    first, second = (job_qos, partition_qos) if job_qos.first else (partition_qos, job_qos)
    return {**row.limits, **second.limits, **first.limits}


def _association(asked: Request, rows: Iterable[Association]) -> Association | None:
    """The row that a job is charged to; None if its account is not known."""
    accounts = names(asked.slurm_account)[:1] or sorted({row.account for row in rows})
    own = [row for row in rows if [row.account.lower()] == [name.lower() for name in accounts]]
    of_partition = [row for row in own if row.partition and row.partition in names(asked.slurm_partition)]
    return next(iter(of_partition + [row for row in own if not row.partition]), None)


def _qos_of(asked: Request, row: Association) -> str:
    return asked.qos.lower() or row.default_qos or "normal"


def _check_partition(asked: Request, partitions: Mapping[str, Partition]) -> None:
    for name in names(asked.slurm_partition):
        if name not in partitions:
            raise SlurmError(
                f"slurm_partition {name!r} is not on this cluster; it has {', '.join(partitions)} (`sinfo -s`): "
                "correct the profile"
            )
    wanted = chosen(asked.slurm_partition, partitions)
    if not wanted:
        if _chooses_partitions():
            return
        raise SlurmError(f"slurm_partition is empty and the cluster has no default; it has {', '.join(partitions)}")
    where, most = f"partition {','.join(wanted)}", most_memory(asked.slurm_partition, partitions)
    if most and asked.memory_mb > most:
        raise SlurmError(
            f"a job asks for {asked.memory_mb:,} MB of memory on one node, but the nodes of {where} that can run jobs "
            f"have at most {most:,} MB (`sinfo -eo '%P %m %T'`): take another partition, or set the rule's mem_mb in "
            "the profile"
        )
    if not asked.gpus:
        return
    if asked.gpu_model and not EXECUTOR_TAKES.fullmatch(asked.gpu_model):
        raise SlurmError(
            f"gpu_model {asked.gpu_model!r}: Snakemake's executor takes letters, digits, `_` and `.` only; leave "
            "gpu_model out, and choose the nodes by `constraint` in the profile (`sinfo -o '%N %f %G'`)"
        )
    there: dict[str, int] = {}
    for part in wanted.values():
        for model, count in part.gpus.items():
            there[model] = max(count, there.get(model, 0))
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


def _chooses_partitions() -> bool:
    """Whether the site has a program of its own by which a job that names no partition may get one, by its QOS say."""
    try:
        return _config().get("JobSubmitPlugins", "(null)") not in ("(null)", "")
    except SlurmError:
        return False


def _check_account(asked: Request, rows: Iterable[Association]) -> None:
    for account in names(asked.slurm_account):
        own = [row for row in rows if row.account.lower() == account.lower()]
        if not own:
            yours = ", ".join(sorted({row.account for row in rows}))
            raise SlurmError(
                f"slurm_account {account!r} is not one of yours: {yours}; correct the profile (if the site makes one "
                f"of them out of it, {UNNAMED})"
            )
        bound = {row.partition for row in own}
        if "" not in bound and (others := [name for name in names(asked.slurm_partition) if name not in bound]):
            raise SlurmError(f"account {account!r} may use {', '.join(sorted(bound))}, but not partition {others[0]!r}")
    accounts = {account.lower() for account in names(asked.slurm_account)}
    known = {qos for row in rows if not accounts or row.account.lower() in accounts for qos in row.qos}
    if asked.qos and known and asked.qos.lower() not in known:
        raise SlurmError(f"qos {asked.qos!r} is not one of yours: {', '.join(sorted(known))}; correct the profile")


def _check_rules(asked: Request, partitions: Mapping[str, Partition], accounts: Accounts) -> None:
    """Whether one of the partitions takes jobs of this account and QOS."""
    row = _association(asked, accounts.rows)
    if row is None:
        return
    refusals = []
    for name in chosen(asked.slurm_partition, partitions):
        rules = accounts.rules.get(name, Rules())
        for kind, own, allowed, denied in (
            ("accounts", row.account.lower(), rules.allowed_accounts, rules.denied_accounts),
            ("QOS", _qos_of(asked, row), rules.allowed_qos, rules.denied_qos),
        ):
            if (allowed and own not in allowed) or own in denied:
                which = ", ".join(sorted(allowed)) if allowed else "others"
                refusals.append(f"partition {name} is for the {kind} {which}, not for {own!r}: correct the profile")
                break
        else:
            return
    if refusals:
        raise SlurmError(refusals[0])


def _check_gpu_limits(asked: Request, partitions: Mapping[str, Partition], accounts: Accounts) -> None:
    for name, most in sorted(job_limits(asked, partitions, accounts).items()):
        model = name.partition("gres/gpu:")[2]
        if name != MINUTES and asked.gpus > most and model in ("", asked.gpu_model.lower()):
            qos = f" with qos {asked.qos!r}" if asked.qos else ""
            raise SlurmError(
                f"a job asks for {asked.gpus} GPUs, but account {asked.slurm_account!r}{qos} gives a job {most} "
                f"({name}; `sacctmgr show qos`, `sacctmgr show assoc user=$USER`), so it would wait for ever: take "
                "another account or QOS, or state cluster.gpu_memory_gb or cluster.tensor_parallel_size "
                "(docs/cluster.md)"
            )
