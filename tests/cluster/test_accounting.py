"""The workflow on a SLURM of two nodes that keeps accounts: its limits, its database, and a node that vanishes."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator

import psutil
import pytest
from snakemake_executor_plugin_slurm.accounts import test_account as known_to_the_executor
from support.checkouts import Checkout
from support.cluster_runs import PROFILES, Controller, black_boxes, diary, refused, start_now, state
from support.local_slurm import LocalSlurm, install, job_facts, output

from fute.cluster.site import (
    Accounts,
    Request,
    SlurmError,
    check_site,
    job_limits,
    most_minutes,
    read_accounts,
    read_partitions,
)

pytestmark = pytest.mark.cluster

ASKED = Request("lab", "tests", "", "", 0)


@pytest.fixture(scope="module")
def cluster(cluster: LocalSlurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSlurm]:
    """In the place of the other tests' cluster. It forgets finished jobs at once, so that only its database knows."""
    install(accounts=True)
    cluster.stop()
    made = LocalSlurm(tmp_path_factory.mktemp("accounts"), nodes=2, accounts=True, remembered=5)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        cluster.start()


@pytest.fixture
def checkout(checkout: Checkout) -> Checkout:
    """Its jobs are of the account `lab`."""
    checkout.edit("tests/cluster/profile/profile.yaml", 'slurm_account: ""', "slurm_account: lab")
    return checkout


@pytest.fixture
def accounts(cluster: LocalSlurm) -> Accounts:
    found = read_accounts()
    assert found is not None
    return found


def starts(job: str) -> list[dict[str, str]]:
    """What the database says of a job, once for each time that SLURM started it."""
    fields = ("State", "Account", "QOS", "NodeList", "NNodes", "Timelimit")
    text = output("sacct", "--duplicates", "-nPX", f"--jobs={job}", f"--format={','.join(fields)}")
    return [dict(zip(fields, line.split("|"), strict=True)) for line in text.splitlines()]


def last_states(controller: Controller) -> list[str]:
    """The database's word for each job that was sent, in order."""
    return [starts(job)[-1]["State"].split()[0] for job in controller.jobs()]


def processes_of(job: str) -> list[psutil.Process]:
    """What runs of a job on this machine; that which watches over it first."""
    watching, watched = [], []
    for process in psutil.process_iter():
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith(f"slurmstepd: [{job}."):
                watching.append(process)
            elif process.environ().get("SLURM_JOB_ID") == job:
                watched.append(process)
        except psutil.Error:
            continue  # it ended
    return watching + watched


def test_accounts_and_qos_of_this_cluster(checkout, accounts):
    """Against the real sacctmgr: what is refused names what there is; another cluster's account does not count."""
    assert {row.account for row in accounts.rows} == {"lab", "course", "root"}
    assert accounts.qos.keys() == {"normal", "few", "short"}
    said = refused(checkout, *PROFILES, "--set-resources", "embed_batch:slurm_account=labb")
    assert "slurm_account 'labb' is not one of yours: course, lab, root; correct the profile" in said
    check_site([ASKED, ASKED._replace(qos="few")], read_partitions(), accounts)
    for changed, why in (
        ({"slurm_account": "elsewhere"}, "'elsewhere' is not one of yours: course, lab, root"),
        ({"qos": "nope"}, "qos 'nope' is not one of yours: few, normal, short"),
        ({"slurm_account": "course", "qos": "few"}, "qos 'few' is not one of yours: normal"),
    ):
        with pytest.raises(SlurmError, match=why):
            check_site([ASKED._replace(**changed)], read_partitions(), accounts)


def test_a_partition_may_be_for_others(accounts):
    update = ["scontrol", "update", "PartitionName=tests"]
    subprocess.run([*update, "AllowAccounts=course,root"], check=True)
    try:
        with pytest.raises(SlurmError, match="partition tests is for the accounts course, root, not for 'lab'"):
            check_site([ASKED], read_partitions(), read_accounts())
    finally:
        subprocess.run([*update, "AllowAccounts=ALL"], check=True)


def test_limits_of_a_job(accounts, cluster):
    """SLURM takes what is over them, and lets it wait for ever: that is this test's premise."""
    sbatch = ["sbatch", "--parsable", "--output=/dev/null", "--time=2", "--nodes=1", "--wrap=true"]
    over = {
        # the later counts: that of the executor's setting slurm-qos
        "QOSMaxWallDurationPerJobLimit": ["--account=lab", "--qos=few", "--qos=short", "--time=6"],
        "QOSMaxGRESPerJob": ["--account=lab", "--qos=short", "--gpus=2"],
        "AssocMaxWallDurationPerJobLimit": ["--account=course", "--time=8"],
    }
    jobs = {why: output(*sbatch, *more).strip() for why, more in over.items()}
    for why, job in jobs.items():
        cluster.wait(f"{why}: {job_facts(job)}", lambda job=job, why=why: job_facts(job)["Reason"] == why)
    subprocess.run(["scancel", *jobs.values()], check=True)
    partitions, short = read_partitions(), ASKED._replace(qos="short")
    assert most_minutes(short, partitions, accounts) == 5
    assert most_minutes(ASKED._replace(slurm_account="course"), partitions, accounts) == 7, "it inherits the account's"
    assert most_minutes(ASKED, partitions, accounts) is None
    assert job_limits(short, partitions, accounts)["MaxTRESPerJob gres/gpu"] == 1
    check_site([short._replace(gpus=1), ASKED._replace(gpus=2)], partitions, accounts)
    with pytest.raises(SlurmError, match=r"a job asks for 2 GPUs, but account 'lab' with qos 'short' gives a job 1"):
        check_site([short._replace(gpus=2)], partitions, accounts)


def test_a_submit_limit_is_waited_for(checkout, send):
    """Two jobs at a time, by their QOS: all four end well at their first attempt."""
    files = black_boxes(checkout, **{f"lingers-{i}": {"diary": f"lingers-{i}.diary"} for i in range(4)})
    controller = send(checkout, "--set-resources", "label_plugin:qos=few", "--", *files.values())
    full = "SLURM takes no job at the moment (QOSMaxSubmitJobPerUserLimit)"
    controller.until("two wait to be sent", lambda: controller.text().count(full) >= 2)
    assert len(controller.jobs()) == 2
    for name in files:
        (checkout / f"{name}.diary.go").touch()
    assert "trying again" not in controller.finish()
    assert [len(diary(checkout, name)) for name in files] == [1] * 4
    assert last_states(controller) == ["COMPLETED"] * 4
    assert {(start["QOS"], start["Account"]) for job in controller.jobs() for start in starts(job)} == {("few", "lab")}
    assert checkout.planned(*files.values()) == {}


def test_a_database_that_is_away(checkout, send, cluster):
    """A job fails meanwhile: nobody takes it for finished, and it is tried again when the database is back."""
    (file,) = black_boxes(checkout, waits={"diary": "waits.diary"}).values()
    controller = send(checkout, "--", file)
    controller.until("the step waits", lambda: diary(checkout, "waits"))
    cluster.database_stops()
    try:
        with pytest.raises(SlurmError, match=r"sacctmgr failed: .*Connection refused"):
            read_accounts()
        assert read_accounts(needed=False) is None
        # the executor asks for the account of each job that it sends: then SLURM's controller
        known_to_the_executor("lab", logging.getLogger())
        os.kill(diary(checkout, "waits")[0], signal.SIGKILL)
        (job,) = controller.jobs()
        controller.until("the job has failed", lambda: state(job) == "FAILED")
        asked = "does not say which jobs have ended"
        controller.until("the executor has asked in vain", lambda: asked in controller.text(), 300)
        assert not (checkout / file).exists()
    finally:
        cluster.database_starts()
    said = controller.finish()
    assert f"SLURM-job '{job}' failed, SLURM status is: 'FAILED'. Reason: Unknown." in said, "as sacct says it"
    assert last_states(controller) == ["FAILED", "COMPLETED"] and len(diary(checkout, "waits")) == 2


def test_a_job_that_somebody_cancels_is_tried_again(checkout, send):
    """sacct says who cancelled it, which the executor alone would not take for an end."""
    (file,) = black_boxes(checkout, waits={"diary": "waits.diary"}).values()
    controller = send(checkout, "--", file)
    controller.until("the step waits", lambda: diary(checkout, "waits"))
    (job,) = controller.jobs()
    subprocess.run(["scancel", job], check=True)
    said = controller.finish()
    assert starts(job)[-1]["State"] == f"CANCELLED by {os.getuid()}"
    assert said.count("trying again") == 1
    assert last_states(controller) == ["CANCELLED", "COMPLETED"] and len(diary(checkout, "waits")) == 2


def test_a_job_of_several_gpus_is_not_spread_over_nodes(checkout, send, cluster):
    """One GPU is free on each node. SLURM would take them both; the profile's `nodes: 1` lets the job wait."""
    held = ["sbatch", "--parsable", "--account=lab", "--output=/dev/null", "--gpus=1", "--nodes=1", "--mem=100"]
    holding = [output(*held, f"--nodelist={node}", "--wrap=sleep 600").strip() for node in cluster.nodes]
    cluster.wait("the GPUs are held", lambda: {state(job) for job in holding} == {"RUNNING"})
    spread = ["srun", "--account=lab", "--immediate=30", "--gpus=2", "--mem=100", "printenv", "SLURMD_NODENAME"]
    assert sorted(output(*spread).split()) == cluster.nodes
    (file,) = black_boxes(checkout, eats={"diary": "eats.diary", "megabytes": 1}).values()
    controller = send(checkout, "--set-resources", "label_plugin:gpu=2", "--", file)
    controller.until("it waits", lambda: controller.jobs() and job_facts(controller.jobs()[0])["Reason"] == "Resources")
    subprocess.run(["scancel", *holding], check=True)
    controller.finish()
    (start,) = starts(controller.jobs()[0])
    assert start["State"] == "COMPLETED" and start["NNodes"] == "1"


def test_work_of_a_vanished_node_goes_on_on_the_other(checkout, send, cluster):
    """With all that ran there. SLURM starts the job again; what was finished is not computed again."""
    checkout.edit(checkout.config, "  baselines:\n", "  baselines:\n    methods: [textemb, tupate]\n")
    checkout.edit(checkout.config, "    taskemb: {rows: 12, batch_size: 4}\n", "")
    checkout.edit(checkout.config, "{steps: 16,", "{steps: 3000,")
    file = "results/baselines/vectors/tiny-bert/mini-paraphrases.tupate.safetensors"
    batches = checkout / "results/baselines/vectors/tiny-bert/batches"
    controller = send(checkout, "--", file)

    def kept() -> set[tuple[int, int]]:
        """What tells one writing of the first vector from another."""
        facts = [unit.stat() for unit in batches.rglob("textemb.safetensors")]
        return {(fact.st_ino, fact.st_mtime_ns) for fact in facts}

    controller.until("the first vector is kept", kept)
    before, (job,) = kept(), controller.jobs()
    node = job_facts(job)["NodeList"]
    cluster.node_vanishes(node)
    try:
        for process in processes_of(job):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        controller.until("the job is pending", lambda: state(job) == "PENDING")
        assert kept() == before and not (checkout / file).exists()
        start_now(job)
        seen: set[tuple[int, int]] = set()
        cluster.wait("its end", lambda: seen.update(kept()) or controller.process.poll() is not None, 600)
        said = controller.finish()
    finally:
        cluster.node_starts(node)
    assert seen == before, "the first vector was not computed again"
    assert controller.jobs()[0] == job and "trying again" not in said
    assert len(controller.jobs()) == 2, "the batch, and the file taken out of it"
    first, second = starts(job)
    assert (first["State"], first["NodeList"], second["State"]) == ("NODE_FAIL", node, "COMPLETED")
    assert second["NodeList"] != node
    made = checkout.hashes("results/baselines/**/*")
    shutil.rmtree(checkout / "results/baselines")
    checkout.snakemake("--", file)
    assert checkout.hashes("results/baselines/**/*") == made


def test_a_job_that_lives_on_on_a_lost_node_does_no_harm(checkout, send, cluster):
    """Where SLURM does not start jobs again, the workflow does, elsewhere. The first writes when all is over."""
    (file,) = black_boxes(checkout, lingers={"diary": "lingers.diary"}).values()
    checkout.edit("profiles/slurm/profile.yaml", "slurm-requeue: true", "slurm-requeue: false")
    controller = send(checkout, "--set-resources", "label_plugin:qos=short", "--", file)
    controller.until("the step waits", lambda: diary(checkout, "lingers"))
    lost = controller.jobs()[0]
    node = job_facts(lost)["NodeList"]
    cluster.node_vanishes(node)
    try:
        said = controller.finish()
        assert f"SLURM-job '{lost}' failed due to a node failure" in said and said.count("trying again:") == 1
        (first,), (second,) = map(starts, controller.jobs())
        assert (first["State"], first["NodeList"], second["State"]) == ("NODE_FAIL", node, "COMPLETED")
        assert second["NodeList"] != node
        assert first["Timelimit"] == second["Timelimit"] == "00:05:00", "the QOS gives 5 minutes, of 10 asked for"
        made = checkout.hashes("results/labels/**/*")
        living = processes_of(lost)
        assert diary(checkout, "lingers")[0] in {process.pid for process in living}
        (checkout / "lingers.diary.go").touch()
        cluster.wait("the lost job does not end", lambda: not psutil.wait_procs(living, timeout=0.5)[1])
    finally:
        cluster.node_starts(node)
    assert len(diary(checkout, "lingers")) == 2
    assert checkout.hashes("results/labels/**/*") == made and checkout.planned(file) == {}
