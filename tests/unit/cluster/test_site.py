"""What jobs ask for against what a cluster has; `sinfo` and `sacctmgr` are stand-ins that print what theirs do."""

from __future__ import annotations

import os

import pytest

from fute.cluster.site import (
    Association,
    Partition,
    Request,
    SlurmError,
    check_site,
    minutes,
    read_associations,
    read_partitions,
    request,
)

CLUSTER = {"cpu": Partition(None, {}, default=True), "gpu": Partition(1440, {"a100": 4, "v100": 2})}
ROWS = [
    Association("lab", "", frozenset({"normal", "long"})),
    Association("guest", "cpu", frozenset({"normal"})),
]
ASKED = Request("lab", "gpu", "long", "a100", 4)


@pytest.fixture
def prints(tmp_path, monkeypatch):
    """Puts a stand-in for a command on PATH: it prints a text, or fails with it."""

    def put(command: str, text: str, status: int = 0) -> None:
        script = tmp_path / "bin" / command
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!/bin/sh\ncat <<'END' >&{2 if status else 1}\n{text}\nEND\nexit {status}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")

    return put


def refused(rows=ROWS, cluster=CLUSTER, **changed) -> str:
    with pytest.raises(SlurmError) as error:
        check_site([Request("lab", "cpu", "", "", 0), ASKED._replace(**changed)], cluster, lambda: rows)
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
        "cpu*|infinite|(null)\ngpu|1-00:00:00|gpu:a100:4(S:0,2),shard:8\ngpu|1-00:00:00|gpu:a100:8(S:0-7)\n"
        "gpu|1-00:00:00|gpu:v100:2\nold|30:00|gpu:3\nmig|4:00:00|gpu:1g.10gb:7,gpu:2g.20gb:3\nbare|30:00|gpu",
    )
    assert read_partitions() == {
        "cpu": Partition(None, {}, default=True),
        "gpu": Partition(1440, {"a100": 8, "v100": 2}),
        "old": Partition(30, {"": 3}),
        "mig": Partition(240, {"1g.10gb": 7, "2g.20gb": 3}),
        "bare": Partition(30, {"": 1}),
    }


def test_accounts_that_a_user_may_use(prints):
    prints("sacctmgr", "lab||long,normal\nguest|cpu|normal\nempty||")
    assert read_associations() == [*ROWS, Association("empty", "", frozenset())]
    prints("sacctmgr", "You are not running a supported accounting_storage plugin", 1)
    assert read_associations() is None
    prints("sacctmgr", "sacctmgr: error: Problem talking to the database: Connection refused", 1)
    with pytest.raises(SlurmError, match=r"sacctmgr failed: .*Connection refused"):
        read_associations()


@pytest.mark.parametrize(
    ("resources", "right"),
    [
        ({"gpu": 2, "gpu_model": "a100", "slurm_partition": "gpu"}, Request("", "gpu", "", "a100", 2)),
        ({"gres": "gpu:a100:4", "slurm_account": "lab"}, Request("lab", "", "", "a100", 4)),
        ({"gres": "gpu:3", "qos": "long"}, Request("", "", "long", "", 3)),
        ({"gres": "gpu"}, Request("", "", "", "", 1)),
        ({"gres": "", "gpu": 0, "gpu_model": "a100"}, Request("", "", "", "", 0)),
        ({"gres": "lscratch:100", "slurm_account": 123}, Request("123", "", "", "", 0)),
    ],
)
def test_what_a_job_asks_for(resources, right):
    assert request(resources) == right


def test_the_executors_qos_counts_and_two_requests_for_gpus_are_refused():
    assert request({}, "short").qos == "short" and request({"qos": "long"}, "short").qos == "long"
    with pytest.raises(SlurmError, match=r"gpu=1 and for gres=gpu:1.*cluster\.gpu_request"):
        request({"gpu": 1, "gres": "gpu:1"})


def test_what_fits_is_taken():
    fitting = [ASKED, ASKED._replace(slurm_account="", qos=""), ASKED._replace(slurm_account="LAB", gpu_model="A100")]
    check_site([*fitting, ASKED._replace(gpu_model="", gpus=3, slurm_partition="cpu,gpu")], CLUSTER, lambda: ROWS)
    check_site([ASKED, Request("", "", "", "", 0)], CLUSTER, lambda: [])


def test_accounts_are_not_asked_for_if_no_job_names_one():
    check_site([ASKED._replace(slurm_account="", qos="")], CLUSTER, lambda: pytest.fail("asked"))


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


def test_what_a_user_may_not_is_named_with_what_they_may():
    assert "slurm_account 'labb' is not one of yours: guest, lab" in refused(slurm_account="labb")
    assert "'guest' may use cpu, but not partition 'gpu'" in refused(slurm_account="guest", qos="normal")
    assert "qos 'longer' is not one of yours: long, normal" in refused(qos="longer")
    assert "qos 'longer' is not one of yours" in refused(qos="longer", slurm_account="")
    assert 'keeps no accounts: make it ""' in refused(rows=None)
