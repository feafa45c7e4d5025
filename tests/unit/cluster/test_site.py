"""What jobs ask for against what a cluster has; SLURM's commands are stand-ins that print what theirs do (22.05)."""

from __future__ import annotations

import os

import pytest

from fute.cluster.site import (
    Accounts,
    Association,
    Partition,
    Qos,
    Request,
    Rules,
    SlurmError,
    check_site,
    check_status_command,
    closed,
    job_limits,
    minutes,
    most_memory,
    most_minutes,
    read_accounts,
    read_partitions,
    request,
)

CLUSTER = {"cpu": Partition(None, {}, default=True), "gpu": Partition(1440, {"a100": 4, "v100": 2})}
ROWS = [Association("lab", "", frozenset({"normal", "long"})), Association("guest", "cpu", frozenset({"normal"}))]
ACCOUNTS = Accounts(ROWS)
ASKED = Request("lab", "gpu", "long", "a100", 4)


@pytest.fixture
def prints(tmp_path, monkeypatch):
    """Puts a stand-in for a command on PATH: it prints a text, or fails with it, and another by a word of its line."""

    def put(command: str, text: str, status: int = 0, **others: str) -> None:
        script = tmp_path / "bin" / command
        script.parent.mkdir(exist_ok=True)
        # others: what it prints where a word of its line is this one
        cases = "".join(f"*\\ {word}\\ *) cat <<'END'\n{said}\nEND\nexit;; " for word, said in others.items())
        script.write_text(
            f"#!/bin/sh\ncase \" $* \" in {cases}esac\ncat <<'END' >&{2 if status else 1}\n{text}\nEND\nexit {status}\n"
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")

    return put


def refused(accounts=ACCOUNTS, cluster=CLUSTER, **changed) -> str:
    with pytest.raises(SlurmError) as error:
        check_site([Request("lab", "cpu", "", "", 0), ASKED._replace(**changed)], cluster, accounts)
    return str(error.value)


@pytest.mark.parametrize(
    ("printed", "right"),
    [("30:00", 30), ("1:30:00", 90), ("2-00:00:00", 2880), ("1-12", 2160), ("1-12:30", 2190), ("45", 45),
     ("infinite", None), ("UNLIMITED", None)],
)  # fmt: skip
def test_time_limits_as_slurm_prints_them(printed, right):
    assert minutes(printed) == right


def test_partitions_and_the_gpus_of_their_nodes(prints):
    prints(
        "sinfo",
        "cpu*|infinite|64000|idle|(null)\ngpu|1-00:00:00|256000|idle|gpu:a100:4(S:0,2),shard:8\n"
        "gpu|1-00:00:00|512000|idle|gpu:a100:8(S:0-7)\ngpu|1-00:00:00|128000|idle|gpu:v100:2\nold|30:00|1|idle|gpu:3\n"
        "mig|4:00:00|1|idle|gpu:1g.10gb:7,gpu:2g.20gb:3\nbare|30:00|1|idle|gpu",
    )
    assert read_partitions() == {
        "cpu": Partition(None, {}, default=True, memory_mb=64000),
        "gpu": Partition(1440, {"a100": 8, "v100": 2}, memory_mb=512000),
        "old": Partition(30, {"": 3}),
        "mig": Partition(240, {"1g.10gb": 7, "2g.20gb": 3}),
        "bare": Partition(30, {"": 1}),
    }


def test_memory_is_that_of_nodes_that_can_run_jobs(prints):
    """One that is down or drained may stay so; where all are, jobs wait, and the nodes count that there are."""
    out = ("down", "down*", "drained", "draining", "drained*", "fail", "inval")
    up = ("idle", "mixed", "allocated", "idle~", "completing", "planned", "maint")
    line = "p|infinite|{}|{}|gpu:a100:{}".format
    for state in out:
        nodes = [line(900, state, 8), line(500, "mixed", 4), line(200, "idle", 4)]
        for shown in (nodes, nodes[::-1]):
            prints("sinfo", "\n".join(shown))
            assert read_partitions() == {"p": Partition(None, {"a100": 8}, memory_mb=500)}
    for state in up:
        prints("sinfo", f"{line(900, state, 8)}\n{line(500, 'mixed', 4)}")
        assert read_partitions()["p"].memory_mb == 900
    prints("sinfo", f"{line(900, 'down*', 8)}\n{line(500, 'drained', 4)}")
    there = read_partitions()
    assert there == {"p": Partition(None, {"a100": 8}, memory_mb=900, is_up=False)}
    there["q"] = Partition(None, {}, memory_mb=100)
    assert most_memory("p", there) == 900 and most_memory("p,q", there) == 100
    asked = [Request("", names, "", "", 0) for names in ("p", "q", "p,q", "elsewhere")]
    (said,) = closed(asked, there)
    assert said.startswith("no node of partition p can run jobs now")


def test_a_hidden_partition_can_be_asked_for(prints):
    hidden = "PartitionName=course AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL QoS=N/A MaxTime=UNLIMITED"
    shown = "cpu*|infinite|64000|idle|(null)"
    prints("sinfo", shown, **{"--all": f"{shown}\ncourse|1:00:00|64000|idle|gpu:1"})
    prints("scontrol", PARTITIONS, **{"--all": f"{PARTITIONS}\n{hidden}", "config": CONFIG.format("none", "slurmdbd")})
    prints("sacctmgr", "lab||normal|normal||||", qos="normal|||||||")
    asked = Request("lab", "course", "", "", 1)
    check_site([asked], read_partitions(), read_accounts())


CONFIG = (
    "AccountingStorageEnforce = {}\nAccountingStorageType   = accounting_storage/{}\nClusterName             = here"
)
PARTITIONS = (
    "PartitionName=cpu AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL QoS=N/A MaxTime=UNLIMITED\n"
    "PartitionName=gpu AllowGroups=ALL DenyAccounts=course,Guest AllowQos=long,normal QoS=gpus MaxTime=1-00:00:00"
)


def test_accounts_that_a_user_may_use(prints):
    prints("scontrol", PARTITIONS, config=CONFIG.format("associations,limits,qos", "slurmdbd"))
    prints(
        "sacctmgr",
        "lab||long,normal|Normal|1-00:00:00|cpu=8,gres/gpu=4,gres/gpu:A100=2||\nguest|cpu|normal||||gres/gpu=1|",
        qos="normal|||||||\nLong|DenyOnLimit,OverPartQOS|7-00:00:00||gres/gpu=2|gres/gpu=64|gres/gpu=8|",
    )
    limits = {"MaxWall": 1440, "MaxTRESPerJob gres/gpu": 4, "MaxTRESPerJob gres/gpu:a100": 2}
    long = {
        "MaxWall": 10080, "MaxTRESPerNode gres/gpu": 2, "GrpTRES gres/gpu": 64, "MaxTRESPerUser gres/gpu": 8
    }  # fmt: skip
    rules = Rules("gpus", denied_accounts=frozenset({"course", "guest"}), allowed_qos=frozenset({"long", "normal"}))
    assert read_accounts() == Accounts(
        [
            Association("lab", "", frozenset({"normal", "long"}), "normal", limits),
            Association("guest", "cpu", frozenset({"normal"}), "", {"MaxTRESPerNode gres/gpu": 1}),
        ],
        {"normal": Qos({}), "long": Qos(long, first=True)},
        {"cpu": Rules(), "gpu": rules},
    )


def test_limits_that_are_not_enforced_do_not_count(prints):
    prints("scontrol", PARTITIONS, config=CONFIG.format("associations", "slurmdbd"))
    prints("sacctmgr", "lab||long,normal|normal|1-00:00:00|||")
    assert read_accounts() == Accounts([Association("lab", "", frozenset({"normal", "long"}), "normal")])


def test_a_cluster_without_accounts_is_not_asked_for_them(prints):
    prints("sacctmgr", "You are not running a supported accounting_storage plugin", 1)
    none = CONFIG.format("none", "none")
    for config in (none, none.replace("accounting_storage/none", "(null)")):  # as later versions print it
        prints("scontrol", config)
        assert read_accounts() is None
    prints("scontrol", CONFIG.format("none", "slurmdbd"))
    prints("sacctmgr", "sacctmgr: error: Problem talking to the database: Connection refused", 1)
    with pytest.raises(SlurmError, match=r"sacctmgr failed: .*Connection refused.*export SBATCH_ACCOUNT=\.\.\."):
        read_accounts()
    assert read_accounts(needed=False) is None


def test_a_run_whose_jobs_nobody_would_see_end_is_refused(prints, tmp_path, monkeypatch):
    """With `sacct` and no accounts the executor would wait for ever; so would it where squeue forgets too soon."""
    prints("sacct", "sacct: error: Slurm accounting storage is disabled", 1)
    prints("scontrol", "", config=CONFIG.format("none", "none") + "\nMinJobAge               = 60 sec")
    for command in ("sacct", None):
        with pytest.raises(SlurmError, match=r"keeps no accounts, so sacct.*add `slurm-status-command: squeue` to a"):
            check_status_command(command, 40)
    for first in (40, None):
        with pytest.raises(SlurmError, match=r"forgets a job 60 s after its end.*status-checks to at most 20 in"):
            check_status_command("squeue", first)
    assert check_status_command("squeue", 20) == 20, "it is asked so often that squeue still knows what has ended"
    prints("scontrol", "", config=CONFIG.format("none", "slurmdbd") + "\nMinJobAge = 60 sec")
    assert check_status_command("sacct", 40) is check_status_command("squeue", 40) is None, "it goes back to sacct"
    assert check_status_command("squeue", 20) == 20, "accounts or not"
    prints("scontrol", "scontrol: error: Access denied", 1)
    check_status_command("sacct", 40)
    (tmp_path / "bin/sacct").unlink()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin/none")
    for kept in ("none", "slurmdbd"):
        config = CONFIG.format("none", kept)
        monkeypatch.setattr("fute.cluster.site.slurm", lambda *_, config=config: config)
        assert check_status_command(None, 40) is None
        monkeypatch.setattr("fute.cluster.site.slurm", lambda *_, config=config: f"{config}\nMinJobAge = 60 sec")
        with pytest.raises(SlurmError, match=r"has no sacct and forgets a job 60 s after its end.*at most 20 in"):
            check_status_command(None, 40)
        assert check_status_command(None, 15) == 20


@pytest.mark.parametrize(
    ("resources", "right"),
    [
        ({"gpu": 2, "gpu_model": "a100", "slurm_partition": "gpu"}, Request("", "gpu", "", "a100", 2)),
        ({"gres": "gpu:a100:4", "slurm_account": "lab"}, Request("lab", "", "", "a100", 4)),
        ({"gres": "gpu:3", "qos": "long"}, Request("", "", "long", "", 3)),
        ({"gres": "gpu"}, Request("", "", "", "", 1)),
        ({"gres": "", "gpu": 0, "gpu_model": "a100"}, Request("", "", "", "", 0)),
        ({"gres": "lscratch:100", "slurm_account": 123}, Request("123", "", "", "", 0)),
        ({"mem_mb": 9000}, Request("", "", "", "", 0, 9000)),
        ({"mem_mb": "attempt * 9000", "gpu": "attempt"}, Request("", "", "", "", 0)),
    ],
)
def test_what_a_job_asks_for(resources, right):
    assert request(resources) == right


def test_the_executors_qos_counts_and_two_requests_for_gpus_are_refused():
    assert request({}, "short").qos == "short" and request({"qos": "long"}, "short").qos == "short"
    assert request({"qos": "long"}).qos == "long"
    with pytest.raises(SlurmError, match=r"gpu=1 and for gres=gpu:1.*cluster\.gpu_request"):
        request({"gpu": 1, "gres": "gpu:1"})


def test_what_fits_is_taken():
    fitting = [ASKED, ASKED._replace(slurm_account="", qos=""), ASKED._replace(slurm_account="LAB", gpu_model="A100")]
    several = ASKED._replace(gpu_model="", gpus=3, slurm_partition="cpu,gpu")
    check_site([*fitting, several], CLUSTER, ACCOUNTS)
    check_site([ASKED, Request("", "", "", "", 0)], CLUSTER, Accounts([]))
    check_site([ASKED._replace(slurm_account="", qos="")], CLUSTER, None)


def test_what_the_cluster_has_not_is_named_with_what_it_has():
    assert "'gpus' is not on this cluster; it has cpu, gpu" in refused(slurm_partition="gpus")
    without = {name: part._replace(default=False) for name, part in CLUSTER.items()}
    assert "has no default; it has cpu, gpu" in refused(slurm_partition="", cluster=without)
    assert "partition cpu has no GPUs, but jobs ask there for 4" in refused(slurm_partition="cpu")
    assert "partition cpu has no GPUs" in refused(slurm_partition=""), "the default one"
    assert "'h100' is not in partition gpu, whose nodes have 4 x a100, 2 x v100" in refused(gpu_model="h100")
    said = refused(gpus=8)
    assert "8 GPUs on one node, but partition gpu has 4 x a100, 2 x v100 a node" in said and "gpu_memory_gb" in said
    assert "4 GPUs on one node" in refused(gpu_model="v100")
    said = refused(gpu_model="a100-40gb")
    assert "takes letters, digits, `_` and `.` only" in said and "`constraint`" in said


def test_a_site_may_choose_the_partition_itself(prints):
    """There is no default where a job's partition follows from its QOS and constraint; sbatch says what is wrong."""
    without = {name: part._replace(default=False) for name, part in CLUSTER.items()}
    asked = ASKED._replace(slurm_partition="")
    prints("scontrol", CONFIG.format("limits", "slurmdbd") + "\nJobSubmitPlugins        = lua")
    check_site([asked], without, ACCOUNTS)
    assert most_minutes(asked, without, ACCOUNTS) is None
    for said in ("", "\nJobSubmitPlugins        = (null)"):
        prints("scontrol", CONFIG.format("limits", "slurmdbd") + said)
        assert "has no default; it has cpu, gpu" in refused(slurm_partition="", cluster=without)


def test_more_memory_than_a_node_has_is_refused():
    """Of several partitions the one with the largest nodes counts; where a site states none, SLURM is asked."""
    cluster = {
        name: part._replace(memory_mb=mb) for (name, part), mb in zip(CLUSTER.items(), (64000, 256000), strict=True)
    }
    check_site([ASKED._replace(slurm_partition="cpu,gpu", memory_mb=256000)], cluster, ACCOUNTS)
    check_site([ASKED._replace(memory_mb=10**6)], CLUSTER, ACCOUNTS)
    said = refused(memory_mb=256001, cluster=cluster)
    assert "asks for 256,001 MB of memory on one node, but the nodes of partition gpu that can run" in said
    assert "have at most 256,000 MB" in said
    assert "at most 64,000 MB" in refused(slurm_partition="", memory_mb=64001, cluster=cluster), "the default one"


def test_what_a_user_may_not_is_named_with_what_they_may():
    said = refused(slurm_account="labb")
    assert "slurm_account 'labb' is not one of yours: guest, lab; correct the profile" in said
    assert 'make slurm_account "" in the profile, and export SBATCH_ACCOUNT=' in said
    assert "'guest' may use cpu, but not partition 'gpu'" in refused(slurm_account="guest", qos="normal")
    assert "qos 'longer' is not one of yours: long, normal" in refused(qos="longer")
    assert "qos 'longer' is not one of yours" in refused(qos="longer", slurm_account="")
    assert 'keeps no accounts: make it ""' in refused(accounts=None)


GPUS = "MaxTRESPerJob gres/gpu"
LIMITED = Accounts(
    [Association("lab", "", frozenset({"normal", "long", "big"}), "normal", {"MaxWall": 60, GPUS: 2})],
    {
        "normal": Qos({}), "long": Qos({"MaxWall": 600}), "big": Qos({GPUS: 8}, first=True),
        "gpus": Qos({GPUS: 3, "MaxTRESPerUser gres/gpu:v100": 1}),
    },
    {"gpu": Rules("gpus")},
)  # fmt: skip


@pytest.mark.parametrize(
    ("partition", "qos", "right"),
    [
        ("cpu", "", {"MaxWall": 60, GPUS: 2}),
        ("cpu", "Long", {"MaxWall": 600, GPUS: 2}),
        ("", "long", {"MaxWall": 600, GPUS: 2}),
        ("gpu", "long", {"MaxWall": 600, GPUS: 3, "MaxTRESPerUser gres/gpu:v100": 1}),
        ("gpu", "big", {"MaxWall": 60, GPUS: 8, "MaxTRESPerUser gres/gpu:v100": 1}),
        ("cpu,gpu", "", {"MaxWall": 60, GPUS: 2}),
    ],
)
@pytest.mark.parametrize("account", ["lab", ""])
def test_limits_of_the_partition_go_before_those_of_the_qos_and_these_before_the_accounts(
    account, partition, qos, right
):
    """In SLURM's order; `big` has the flag OverPartQOS, and `lab` is the only account, so it is the default."""
    assert job_limits(Request(account, partition, qos, "", 1), CLUSTER, LIMITED) == right


def test_limits_of_an_unknown_default_account_are_not_guessed():
    two = LIMITED._replace(rows=[*LIMITED.rows, Association("guest", "", frozenset())])
    assert job_limits(Request("", "cpu", "", "", 1), CLUSTER, two) == {}
    assert job_limits(Request("guest", "cpu", "long", "", 1), CLUSTER, two) == {"MaxWall": 600}
    both = [Association("lab", "gpu", frozenset(), "", {"MaxWall": 5}), *LIMITED.rows]
    assert job_limits(Request("lab", "gpu", "", "", 1), CLUSTER, Accounts(both)) == {"MaxWall": 5}


def test_the_shortest_time_limit_holds():
    for partition, qos, right in (("cpu", "", 60), ("cpu", "long", 600), ("gpu", "long", 600)):
        assert most_minutes(Request("lab", partition, qos, "", 0), CLUSTER, LIMITED) == right
    assert most_minutes(Request("", "gpu", "", "", 0), CLUSTER, None) == 1440
    assert most_minutes(Request("", "cpu", "", "", 0), CLUSTER, None) is None


def test_a_job_that_no_limit_lets_start_is_refused():
    """SLURM takes it, and lets it wait for ever."""
    said = refused(LIMITED, qos="long", gpu_model="")
    assert "asks for 4 GPUs, but account 'lab' with qos 'long' gives a job 3 (MaxTRESPerJob gres/gpu;" in said
    said = refused(LIMITED, qos="big", gpu_model="v100", gpus=2)
    assert "gives a job 1 (MaxTRESPerUser gres/gpu:v100;" in said
    check_site([ASKED._replace(qos="big")], CLUSTER, LIMITED)


def test_a_partition_that_does_not_take_the_account_or_the_qos_is_refused():
    closed = LIMITED._replace(rules={"gpu": Rules(allowed_accounts=frozenset({"other"}))})
    assert "partition gpu is for the accounts other, not for 'lab'" in refused(closed, gpus=1)
    default = {name: part._replace(default=name == "gpu") for name, part in CLUSTER.items()}
    assert "partition gpu is for the accounts other" in refused(closed, default, slurm_partition="", gpus=1)
    closed = LIMITED._replace(rules={"gpu": Rules(denied_qos=frozenset({"normal"}))})
    assert "partition gpu is for the QOS others, not for 'normal'" in refused(closed, gpus=1, qos="")
    check_site([ASKED._replace(gpus=2, slurm_partition="cpu,gpu", qos="")], CLUSTER, closed)
