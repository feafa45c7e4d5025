"""`fute check`: planted faults are found, each with what to do; commands of a cluster are stand-ins on PATH."""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import yaml
from huggingface_hub import HfApi
from rehearsal.hub import TOKEN, Hub, Store
from snakemake.cli import get_argument_parser
from typer.testing import CliRunner

from fute import paths
from fute.cluster import check as checks
from fute.cluster.check import (
    check,
    check_compiled,
    check_compiler,
    check_gpus,
    check_packages,
    check_steps,
    read_profiles,
)
from fute.cluster.resources import Need
from fute.cluster.site import Accounts, Association
from fute.commands import app
from fute.config.run import parse_run, read_yaml
from fute.config.sections import ConfigError
from fute.plan import Plan

ROOT = Path(__file__).parents[3]
CPU, GPU = "cpu", "gpu"
DEFAULT = {"slurm_account": "lab", "slurm_partition": CPU, "mem_mb": 4000}
PROFILE = {
    "executor": "slurm",
    "default-resources": DEFAULT,
    "set-resources": {"label_batch": {"slurm_partition": GPU}, "embed_batch": {"slurm_partition": GPU}},
}


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Put a stand-in for a command on PATH that prints a text."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")

    def make(name: str, text: str, status: int = 0) -> None:
        script = bin_folder / name
        script.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {status}\n")
        script.chmod(0o755)

    return make


@pytest.fixture
def site(command):
    """A cluster of two partitions and one account."""
    command("sinfo", f"{CPU}*|7-00:00:00|64000|idle|(null)\n{GPU}|1-00:00:00|256000|idle|gpu:a100:4")
    command("sacctmgr", "lab||normal|normal||||")
    command("sbatch", "")
    accounting = "AccountingStorageEnforce = qos\nAccountingStorageType = accounting_storage/slurmdbd\n"
    command("scontrol", f"{accounting}ClusterName = here")


def plan(tmp_path, *, source: str = "builtin", **changes) -> Plan:
    values = read_yaml(ROOT / "tests/support/both.yaml") | {"lm": None, "gpus": 1}
    values["data"] = values["data"] | {"source": source} | ({"root": str(tmp_path)} if source == "files" else {})
    return Plan(parse_run(values | changes, ROOT / "config"), (), tmp_path / "results")


def profile(tmp_path, **changes) -> Path:
    folder = tmp_path / "profile"
    folder.mkdir(exist_ok=True)
    (folder / "profile.yaml").write_text(yaml.safe_dump(PROFILE | changes))
    return folder


def notes_on_slurm(findings) -> list[str]:
    return [str(finding) for finding in findings if finding.state == "note" and finding.what.startswith("SLURM")]


def faults(findings) -> list[str]:
    return [f"{finding.what}: {finding.way_out}" for finding in findings if finding.state == "fault"]


@pytest.fixture(autouse=True)
def project(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_a_run_that_can_start(tmp_path, site):
    findings = list(check(plan(tmp_path), [profile(tmp_path)]))
    assert faults(findings) == []
    assert {finding.state for finding in findings} == {"ok", "note"}
    assert any(str(line).startswith("ok     SLURM: account, partitions, memory and GPUs") for line in findings)


def test_a_wrong_account(tmp_path, site):
    wrong = profile(tmp_path, **{"default-resources": DEFAULT | {"slurm_account": "labb"}})
    (found,) = faults(check(plan(tmp_path), [wrong]))
    everywhere = "SLURM, all other rules, embed_batch, label_batch: slurm_account 'labb' is not one of yours: lab"
    assert found.startswith(everywhere), "one fault of all rules is named once"


def test_a_placeholder(tmp_path, site):
    found = faults(check(plan(tmp_path), [ROOT / "profiles/slurm"]))
    assert len(found) == 1 and "slurm_account is still your-account" in found[0]


def test_too_few_gpus_on_a_node(tmp_path, site):
    found = faults(check(plan(tmp_path, gpus=8), [profile(tmp_path)]))
    assert len(found) == 1 and found[0].startswith("SLURM, embed_batch: a job asks for 8 GPUs on one node")
    fewer = {"embed_batch": {"slurm_partition": GPU, "gpu": 4}, "label_batch": {"slurm_partition": GPU}}
    stated = profile(tmp_path, **{"set-resources": fewer})
    assert faults(check(plan(tmp_path, gpus=8), [stated])) == [], "what the profile states goes over the rule's own"


def test_a_job_of_one_gpu_is_not_taken_for_one_of_many(tmp_path, site):
    """A fine-tuned model labels U on one GPU, however many a training gets."""
    on_gpus = profile(tmp_path, **{"default-resources": DEFAULT | {"slurm_partition": GPU}, "set-resources": {}})
    lm = read_yaml(ROOT / "tests/support/both.yaml")["lm"]
    (found,) = faults(check(plan(tmp_path, gpus=8, llm=None, lm=lm, controls={"methods": []}), [on_gpus]))
    assert found.startswith("SLURM, embed_batch, finetune_model, transfer_batch: a job asks for 8 GPUs on one node")


def test_more_memory_than_a_node_has(tmp_path, site, command):
    """What the rule asks for, unless the profile states it."""
    command("sinfo", f"{CPU}*|7-00:00:00|64000|idle|(null)\n{GPU}|1-00:00:00|6000|idle|gpu:a100:4")
    found = faults(check(plan(tmp_path), [profile(tmp_path)]))
    assert [fault.split(" of memory")[0] for fault in found] == [
        # 6000, 16 bytes for each of 135 million parameters, and states: 2 GiB and those of two vectors' texts
        "SLURM, embed_batch: a job asks for 10,328 MB",
        "SLURM, label_batch: a job asks for 6,324 MB",  # 6000, and 2.4 bytes
    ]
    assert "of partition gpu that can run jobs have at most 6,000 MB" in found[0]
    less = {rule: more | {"mem_mb": 6000} for rule, more in PROFILE["set-resources"].items()}
    assert faults(check(plan(tmp_path), [profile(tmp_path, **{"set-resources": less})])) == []


@pytest.fixture
def sbatch(tmp_path):
    """An sbatch that runs a line of shell over its arguments; they are kept."""

    def does(line: str) -> Path:
        asked = tmp_path / "asked"
        (tmp_path / "bin/sbatch").write_text(f'#!/bin/sh\necho "$*" >> {asked}\n{line}\n')
        return asked

    return does


NO_MEMORY = 'case "$*" in *--mem=*) echo "sbatch: error: memory comes with GPUs" >&2; exit 1;; esac'


def test_a_site_that_refuses_requests_for_memory(tmp_path, site, sbatch):
    """Only sbatch knows it, so it is asked, and nothing is submitted."""
    asked = sbatch(NO_MEMORY)
    (found,) = faults(check(plan(tmp_path), [profile(tmp_path)]))
    assert found == (
        "SLURM, all other rules, embed_batch, label_batch: sbatch takes such jobs without --mem, and with it not "
        "(sbatch failed: sbatch: error: memory comes with GPUs): where memory comes with CPUs or GPUs, set "
        "cluster.memory_request: none; else lower mem_mb of these rules in the profile, or take another partition"
    )
    assert all("--test-only" in line for line in asked.read_text().splitlines())
    findings = list(check(plan(tmp_path, cluster={"memory_request": "none"}), [profile(tmp_path)]))
    assert faults(findings) == [] and not any("sbatch" in note for note in notes_on_slurm(findings))


def test_sbatch_is_asked_for_what_jobs_ask_for(tmp_path, site, sbatch):
    """Not for a rule that is in the profile and not in this run: it would ask for no GPU in the GPUs' partition."""
    asked = sbatch("")
    default = DEFAULT | {"runtime": 60, "qos": "normal", "constraint": "a100|h100"}
    rules = PROFILE["set-resources"] | {"score_sources": {"slurm_partition": GPU}}
    run = plan(tmp_path, cluster={"gpu_model": "a100", "max_runtime": 15})
    findings = list(check(run, [profile(tmp_path, **{"default-resources": default, "set-resources": rules})]))
    assert faults(findings) == [] and not any("sbatch" in note for note in notes_on_slurm(findings))
    others, *heavy = asked.read_text().splitlines()
    line = (
        "--test-only --nodes=1 --account=lab --partition={} --qos=normal --constraint=a100|h100 --time={} {}--wrap=true"
    )
    assert others == line.format("cpu", 15, "--mem=4000 ")
    assert heavy == [line.format("gpu", 15, f"--gpus=a100:1 --mem={memory} ") for memory in (10328, 6324)]
    asked.unlink()
    list(check(plan(tmp_path, cluster={"gpu_request": "gres"}), [profile(tmp_path)]))
    assert [" --gres=gpu:1 " in line for line in asked.read_text().splitlines()] == [False, True, True]
    assert "--gpus" not in asked.read_text()


def test_a_refusal_of_another_kind_is_a_note_in_the_sites_words(tmp_path, site, sbatch):
    """A partition may be closed today, and open when the job is sent."""
    sbatch('case "$*" in *gpu*) echo "allocation failure: Required partition not available" >&2; exit 1;; esac')
    findings = list(check(plan(tmp_path), [profile(tmp_path)]))
    notes = [note for note in notes_on_slurm(findings) if "sbatch would take no such job now" in note]
    assert faults(findings) == [] and len(notes) == 2
    said = "note   SLURM, embed_batch: sbatch would take no such job now (sbatch failed: allocation failure: Required"
    assert notes[0].startswith(
        f"{said} partition not available): try it: sbatch --test-only --account=lab --partition=g"
    )


def test_a_partition_of_which_all_nodes_are_down(tmp_path, site, command):
    command("sinfo", f"{CPU}*|7-00:00:00|64000|idle|(null)\n{GPU}|1-00:00:00|256000|down*|gpu:a100:4")
    findings = list(check(plan(tmp_path), [profile(tmp_path)]))
    assert len([note for note in notes_on_slurm(findings) if "no node of partition gpu can run jobs" in note]) == 1
    assert faults(findings) == []


def test_a_short_time_limit_is_a_note(tmp_path, site):
    notes = notes_on_slurm(check(plan(tmp_path), [profile(tmp_path)]))
    assert len(notes) == 2
    assert "partition gpu, account and QOS allow 1440 minutes: longer jobs are cut to it" in notes[0]
    stated = plan(tmp_path, cluster={"max_runtime": 600})
    assert notes_on_slurm(check(stated, [profile(tmp_path)])) == []


def test_the_attempts_that_a_short_limit_takes_are_counted(tmp_path, site, command, monkeypatch):
    command("sinfo", f"{CPU}*|7-00:00:00|64000|idle|(null)\n{GPU}|4:00:00|256000|idle|gpu:a100:4")
    long = Need(operations=6e15, tokens=1, host_mb=1000, gpus=1, start=1140)
    monkeypatch.setattr(
        checks, "heavy_jobs", lambda *_: [("embed_batch", long), ("label_batch", replace(long, start=20))]
    )
    embed, label = notes_on_slurm(check(plan(tmp_path), [profile(tmp_path)]))
    assert "allow 240 minutes; the longest takes about 1141 and so 5 attempts: longer jobs are cut" in embed
    assert "allow 240 minutes: longer jobs are cut" in label


def test_gpus_of_several_kinds_in_a_partition(tmp_path, site, command):
    """SLURM would give a part of a GPU, or a smaller one, to a job that names none."""
    command(
        "sinfo",
        f"{CPU}*|7-00:00:00|64000|idle|(null)\n{GPU}|1-00:00:00|256000|idle|gpu:nvidia_a100_80gb_pcie:4,gpu:1g.10gb:7",
    )
    kinds = "SLURM: partition gpu has GPUs of several kinds (1g.10gb, nvidia_a100_80gb_pcie): a job that names none"
    notes = notes_on_slurm(check(plan(tmp_path), [profile(tmp_path)]))
    assert [kinds in note for note in notes] == [True, False, False]
    named = plan(tmp_path, cluster={"gpu_model": "nvidia_a100_80gb_pcie"})
    assert not any("several kinds" in note for note in notes_on_slurm(check(named, [profile(tmp_path)])))
    constrained = profile(tmp_path, **{"default-resources": DEFAULT | {"constraint": "a100"}})
    assert not any("several kinds" in note for note in notes_on_slurm(check(plan(tmp_path), [constrained])))


def test_the_default_partition_has_no_name_in_a_note(tmp_path, command, site):
    command("sinfo", f"{GPU}*|1-00:00:00|256000|idle|gpu:a100:4")
    unnamed = profile(tmp_path, **{"default-resources": DEFAULT | {"slurm_partition": ""}, "set-resources": {}})
    notes = notes_on_slurm(check(plan(tmp_path), [unnamed]))
    assert notes and all(": partition (default), account and QOS allow 1440 minutes" in note for note in notes)


def test_limits_of_an_account(tmp_path, site, monkeypatch):
    """One of GPUs is a fault, since SLURM would let the job wait for ever; one of time is a note."""
    row = Association("lab", "", frozenset({"normal"}), "", {"MaxTRESPerJob gres/gpu": 1, "MaxWall": 240})
    monkeypatch.setattr(checks, "read_accounts", lambda needed: Accounts([row]))
    found = faults(check(plan(tmp_path, gpus=2), [profile(tmp_path)]))
    assert len(found) == 1 and found[0].startswith("SLURM, embed_batch: a job asks for 2 GPUs, but account 'lab' gives")
    notes = notes_on_slurm(check(plan(tmp_path), [profile(tmp_path)]))
    assert len(notes) == 2 and all("partition gpu, account and QOS allow 240 minutes" in note for note in notes)


def test_a_configuration_that_is_found_by_a_variable_alone(tmp_path, site, monkeypatch):
    def said() -> list[str]:
        return [note for note in notes_on_slurm(check(plan(tmp_path), [profile(tmp_path)])) if "SLURM_CONF" in note]

    monkeypatch.setenv("SLURM_CONF", "/apps/slurm.conf")
    assert said() == [], "it is found without"
    script = tmp_path / "bin/scontrol"
    script.write_text(script.read_text().replace("\n", '\n[ "$SLURM_CONF" ] || exit 1\n', 1))
    (note,) = said()
    assert "need SLURM_CONF=/apps/slurm.conf to find their configuration" in note


def test_a_cluster_without_accounts(tmp_path, site, command):
    command("sacct", "")
    command("scontrol", "AccountingStorageType = (null)\nMinJobAge = 300 sec")
    plain = {"default-resources": DEFAULT | {"slurm_account": ""}}
    (found,) = faults(check(plan(tmp_path), [profile(tmp_path, **plain)]))
    assert found.startswith("SLURM: this cluster keeps no accounts, so sacct would not say which jobs have ended: add")
    asked = profile(tmp_path, **plain, **{"slurm-status-command": "squeue"})
    assert faults(check(plan(tmp_path), [asked])) == []
    late = profile(
        tmp_path, **plain, **{"slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 101}
    )
    assert "status-checks to at most 100 in" in faults(check(plan(tmp_path), [late]))[0]


def test_no_slurm_here(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "sinfo is not on PATH" in faults(checks.check_cluster(plan(tmp_path), PROFILE))[0]


def test_missing_data_are_named_one_by_one(tmp_path):
    found = faults(check(plan(tmp_path, source="files"), []))
    assert len([fault for fault in found if fault.startswith("data: ")]) == 6, "four datasets and two U"


def test_a_gated_model_without_a_token(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    run = read_yaml(ROOT / "config/paper.yaml") | {"data": {"source": "files", "root": str(tmp_path)}}
    found = faults(checks.check_models(Plan(parse_run(run, ROOT / "config"), (), tmp_path / "results")))
    assert len(found) == 1 and found[0].startswith("hub token: gated models: llama-2-13b")


def test_an_address_in_place_of_a_repository_s_name():
    for kind in ("model", "dataset"):
        said = checks._unreachable(kind, "https://huggingface.co/a/b", None)
        assert said.startswith("https://huggingface.co/a/b names no repository: write owner/name")


@pytest.mark.parametrize(
    ("layers", "said"), [(None, "takes more than 747 GB on one GPU, which has 80"), (2, "takes more than 93 GB")]
)
def test_an_llm_that_no_gpu_can_fine_tune(tmp_path, layers, said):
    """Its weights in bf16; where all layers are trained, in fp32 with what Adam keeps of them."""
    recipe = {"model": "mixtral-8x7b", "prompts": {"sa": [1]}, "datasets": {"sa": ["mini-films"]}, "layers": layers}
    asked = read_yaml(ROOT / "tests/support/both.yaml")["llm"] | {"models": ["own"]}
    run = partial(plan, tmp_path, llm=asked, registry={"models": {"own": {"tuned": recipe}}})
    (found,) = faults(checks.check_tuned(run()))
    assert found.startswith("tune_llm: fine-tuning own " + said) and "(`layers`), or a smaller LLM" in found
    assert faults(checks.check_tuned(run(gpus=0))) == []
    roomy = {"gpu_memory_gb": 800}
    assert faults(checks.check_tuned(run(cluster=roomy))) == []


def test_a_model_whose_files_a_purge_has_removed(tmp_path, monkeypatch):
    """Its lock was read lately, its weights were not: jobs would find it out, three attempts each."""
    monkeypatch.chdir(tmp_path)
    run = plan(tmp_path)
    name = run.models[0]
    folder = Path(paths.model_folder(name))
    folder.mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        (folder / file).write_text("{}")
    files = {path.name: {"bytes": 2, "sha256": "0"} for path in folder.iterdir()}
    Path(paths.model_lock(name)).write_text(json.dumps({"model": name, "files": files}))
    assert faults(checks.check_models(run)) == []
    (folder / "model.safetensors").unlink()
    (found,) = faults(checks.check_models(run))
    assert found.startswith(f"model {name}: model.safetensors of results/models/{name}.lock.json are not in")
    assert f"remove results/models/{name}.lock.json, and `fute prefetch` again" in found
    (folder / "model.safetensors").write_text("{")
    assert faults(checks.check_models(run)) != []


def test_a_hub_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", partial(HfApi, endpoint="http://127.0.0.1:1"))
    models = {"name": "t5-base", "settings": {"family": "encoder-decoder"}}
    found = faults(checks.check_models(plan(tmp_path, surrogate=models)))
    assert len(found) == 1 and "run this, and `fute prefetch`, on a node with a network" in found[0]


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """A hub on this machine, which fails each first request, over a folder; it is ended with the test."""
    monkeypatch.setattr("rehearsal.hub.FAILING", 1.0)
    monkeypatch.setattr("fute.data.hub_patience.WAITS", (0,) * 5)
    monkeypatch.setattr("fute.data.hub_patience.LONGEST", 0)
    hub = Hub(tmp_path / "hub", 0, tmp_path / "hub.log")
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub, "HfApi", partial(HfApi, endpoint=hub.address))
    yield hub
    hub.shutdown()
    hub.server_close()


def test_repositories_are_looked_at_where_they_will_be_read(tmp_path, serve, monkeypatch):
    """A loading script without a conversion is said before anything is fetched; so is a branch that is not there."""
    for branch in ("main", "refs%2Fconvert%2Fparquet"):
        (tmp_path / "hub/datasets/maker/films" / branch).mkdir(parents=True)
    (tmp_path / "hub/datasets/maker/films/main/films.py").touch()
    (tmp_path / "hub/datasets/maker/plays/main").mkdir(parents=True)
    (tmp_path / "hub/models/maker/gated/main").mkdir(parents=True)
    (tmp_path / "hub/models/maker/gated/.gated").touch()
    serve.store = Store(tmp_path / "hub")
    look = checks._unreachable
    assert "maker/films is a loading script, which `datasets` does not run: name the branch" in look(
        "dataset", "maker/films", None
    )
    assert look("dataset", "maker/films", "refs/convert/parquet") == look("dataset", "maker/plays", None) == ""
    assert "has no revision refs/convert/parquet" in look("dataset", "maker/plays", "refs/convert/parquet")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert "accept its licence on https://huggingface.co/maker/gated" in look("model", "maker/gated", None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert look("model", "maker/gated", None) == ""
    assert {"429", "500"} & {line[:3] for line in (tmp_path / "hub.log").read_text().splitlines()}


def test_a_server_without_its_key(tmp_path, monkeypatch):
    engine = {"engine": "openai", "base_url": "http://localhost:1/v1", "api_model": "m", "api_key_env": "MY_KEY"}
    llm = read_yaml(ROOT / "tests/support/both.yaml")["llm"] | {"engine": engine}
    monkeypatch.delenv("MY_KEY", raising=False)
    [found] = faults(checks.check_key(plan(tmp_path, llm=llm)))
    assert found.startswith("key of the server: MY_KEY is not set: put it there")
    monkeypatch.setenv("MY_KEY", "a word")
    assert [found.state for found in checks.check_key(plan(tmp_path, llm=llm))] == ["ok"]
    assert list(checks.check_key(plan(tmp_path))) == [], "no server is asked"


def test_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 10**6))
    assert "0 GB are free" in faults(checks.check_disk(plan(tmp_path)))[0]


def test_what_is_there_needs_no_room_again(tmp_path, monkeypatch):
    """After `fute prefetch` most of the disk is taken by the run itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 1, 3 * 10**9))
    recipe = {"model": "smollm2-135m", "prompts": {"sa": [1]}, "datasets": {"sa": ["mini-films"]}}
    asked = read_yaml(ROOT / "tests/support/both.yaml")["llm"] | {"models": ["mixtral-8x7b", "own"]}
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    run = plan(tmp_path, llm=asked, registry={"models": {"own": {"tuned": recipe}}})
    (fault,) = faults(checks.check_disk(run))
    assert "the run keeps about 94 GB, 3 GB are free" in fault
    for model in ("mixtral-8x7b", "own", *run.models):
        Path(paths.model_lock(model)).parent.mkdir(parents=True, exist_ok=True)
        Path(paths.model_lock(model)).touch()
    (line,) = checks.check_disk(run)
    assert line.state == "ok" and "the run keeps about 0 GB more, 3 GB are free where results/ lies" in line.what


def test_images_without_their_lock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "envs").symlink_to(ROOT / "envs")
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile/profile.yaml").write_text("software-deployment-method: apptainer\n")
    found = faults(check(plan_of_project(tmp_path), [tmp_path / "profile"]))
    assert any("image labels: containers/lock.json has no entry; build it" in fault for fault in found)
    lm = read_yaml(ROOT / "tests/support/both.yaml")["lm"]
    without = plan(tmp_path, llm=None, lm=lm, controls={"methods": []})
    found = faults(check(without, [tmp_path / "profile"]))
    assert any("image train: containers/lock.json" in fault for fault in found), "it asks no LLM, so needs no vLLM"
    monkeypatch.setenv("PATH", str(tmp_path))
    on_node = faults(check(without, [tmp_path / "profile"], node=True))
    assert [fault.split(";")[0] for fault in on_node][1:] == ["images: apptainer is not on PATH"]
    assert on_node[0].startswith("nvidia-smi is not here")


def plan_of_project(folder: Path) -> Plan:
    (folder / "resources").symlink_to(ROOT / "resources")
    return plan(folder)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("NVIDIA A100, 535.104.05, 81920, Disabled, 8.0", "driver 535.104.05 is too old for CUDA 13: 580 or newer"),
        ("NVIDIA A100, 535.104.05, 81920, Enabled, 8.0", "driver 535.104.05 is too old for CUDA 13"),
        ("NVIDIA GB10, 535.104.05, [N/A], [N/A], 12.1", "driver 535.104.05 is too old for CUDA 13"),
        (
            "Tesla V100-SXM2-32GB, 580.65, 32768, [N/A], 7.0",
            "has compute capability 7.0, on which nothing built for CUDA",
        ),
        (
            "NVIDIA A100, 580.65, 40960, Disabled, 8.0",
            "has 43 GB, and cluster.gpu_memory_gb is 80: state what there is",
        ),
    ],
)
def test_a_node_that_does_not_fit(command, line, words):
    command("nvidia-smi", line)
    assert words in faults(check_gpus(80))[0]


def test_a_node_that_fits(command):
    command("nvidia-smi", "NVIDIA A100-SXM4-80GB, 580.65.06, 81920, Disabled, 8.0")
    assert [str(line) for line in check_gpus(80)] == ["ok     NVIDIA A100-SXM4-80GB, 86 GB, driver 580.65.06"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("NVIDIA GB10, 580.65.06, [N/A], [N/A], 12.1", "NVIDIA GB10 does not say how much memory it has"),
        ("NVIDIA A100-SXM4-80GB, 580.65.06, 81920, Enabled, 8.0", "divided into parts (MIG)"),
        ("NVIDIA A100-SXM4-80GB, 580.65.06, 81920, Enabled, [N/A]", "divided into parts (MIG)"),
    ],
)
def test_a_gpu_of_unknown_memory_is_no_fault(command, line, words):
    command("nvidia-smi", line)
    (found,) = check_gpus(80)
    assert found.state == "note" and words in str(found)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ('Field "compute_cap" is not a valid field to query.', "the driver is too old for CUDA 13: 580 or newer"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the driver", "nvidia-smi failed"),
    ],
)
def test_a_driver_that_cannot_be_asked(command, said, words):
    command("nvidia-smi", said, status=2)
    (found,) = check_gpus(80)
    assert found.state == "fault" and words in str(found)


def test_a_gpu_without_bfloat16(command):
    command("nvidia-smi", "Tesla T4, 580.65.06, 15360, [N/A], 7.5")
    fits, bfloat16 = check_gpus(16)
    assert fits.state == "ok" and bfloat16.state == "note"
    assert "Tesla T4 has compute capability 7.5" in str(bfloat16) and "llm.engine.dtype: float16" in str(bfloat16)


@pytest.mark.parametrize(
    ("said", "status", "state", "words"),
    [
        ("", 0, "ok", "images start, with the GPU"),
        ("INFO:    Converting SIF file to temporary sandbox...", 0, "note", "unpacks the whole image for every step"),
        ("FATAL:   container creation failed: user namespaces are not allowed", 255, "fault", "starts no image (FATAL"),
        ("OSError: libcuda.so.1: cannot open shared object file", 1, "fault", "no GPU in an image (OSError: libcuda"),
        ("cuInit failed", 1, "fault", "no GPU in an image (cuInit failed): `apptainer exec --nv` gives it none"),
    ],
)
def test_an_image_is_started_on_the_node(tmp_path, command, monkeypatch, said, status, state, words):
    """Where it cannot be, or without the GPU, every job would find it out for itself."""
    run = plan(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert list(checks.check_image_starts(run)) == [], "images that are not there are named elsewhere"
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers/train-1.sif").touch()
    entry = {"file": "train-1.sif", "sha256": "0", "bytes": 0, "inputs": {}}
    (tmp_path / "containers/lock.json").write_text(json.dumps({"images": {"train": entry}}))
    command("apptainer", "")
    script = tmp_path / "bin/apptainer"
    script.write_text(f"#!/bin/sh\necho $* > {tmp_path}/asked\necho '{said}' >&2\nexit {status}\n")
    with_images = profile(tmp_path, **{"software-deployment-method": "apptainer"})
    (found,) = (each for each in check(run, [with_images], node=True) if "image" in each.what)
    assert found.state == state and words in str(found)
    assert (tmp_path / "asked").read_text().startswith(f"exec --home {tmp_path} containers/train-1.sif python -c")


def test_no_gpu_node_and_no_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    found = faults(check(plan(tmp_path), [], node=True))
    assert found[0].startswith("nvidia-smi is not here") and "no C compiler" in found[1]
    monkeypatch.setattr(checks.sysconfig, "get_path", lambda _: str(tmp_path))
    assert "Python.h is missing" in faults(check_compiler())[1]


def test_the_compiler_is_looked_for_as_triton_does(tmp_path, command, monkeypatch):
    """It takes what CC names and nothing in its place, and knows no `cc`."""
    command("gcc", "")
    monkeypatch.setenv("CC", "icx")
    assert "the C compiler is CC=icx, which is not here" in faults(check_compiler())[0]
    monkeypatch.delenv("CC")
    assert not any("compiler" in fault for fault in faults(check_compiler()))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin/gcc").rename(tmp_path / "bin/cc")
    assert faults(check_compiler())[0].startswith("no C compiler")


def test_where_compiled_code_goes_on_a_node(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TRITON_CACHE_DIR", f"{scratch}/triton/cache")
    monkeypatch.setenv("APPTAINER_BIND", f"/opt,{scratch}/cache:/cache:rw,/data:/data:ro")
    assert [str(line) for line in check_compiled(False)] == [f"ok     compiled code goes to {scratch}/triton/cache"]
    assert [str(line) for line in check_compiled(True)] == [f"ok     compiled code goes to {scratch}/cache"]
    with monkeypatch.context() as small:
        small.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3e8))
        (found,) = check_compiled(True)
        assert found.state == "note" and "/cache, where 0.3 GB are free, less than 2: bind a folder of" in str(found)
    mounts = os.statvfs(scratch)
    monkeypatch.setattr(
        os, "statvfs", lambda path: os.statvfs_result((*mounts[:8], os.ST_NOEXEC * (path == scratch), mounts[9]))
    )
    assert "noexec): set TRITON_CACHE_DIR" in faults(check_compiled(False))[0]
    assert "noexec): bind a folder" in faults(check_compiled(True))[0]
    monkeypatch.setattr(os, "access", lambda path, mode: path != scratch)
    assert "cannot be written here" in faults(check_compiled(False))[0]
    monkeypatch.setenv("APPTAINER_BIND", "")
    assert [str(line) for line in check_compiled(True)] == ["ok     compiled code goes to /tmp"]


def test_a_home_that_a_node_may_only_read(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/cache")
    for node in (False, True):
        found = faults(check(plan(tmp_path), [], node=node))
        assert any(f"keeps files in {tmp_path}/cache/snakemake, which cannot be written here" in each for each in found)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/shm")
    assert not any("Snakemake keeps files" in each for each in faults(check(plan(tmp_path), [], node=True)))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert any("Snakemake keeps files" in each for each in faults(check(plan(tmp_path), [], node=True)))


def test_steps_without_images_need_torch_and_the_engine(tmp_path, monkeypatch):
    """Otherwise an environment of light.txt alone passes, and every job of a model fails."""
    engine = read_yaml(ROOT / "config/paper.yaml")["llm"]["engine"]
    llm = read_yaml(ROOT / "tests/support/both.yaml")["llm"] | {"engine": engine}
    here = ["transformers", "accelerate", "torch", "vllm"]
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: name in here or None)
    monkeypatch.setattr(checks.importlib.metadata, "version", lambda name: "2.13.0")
    assert list(check_steps(plan(tmp_path, llm=llm))) == []
    here.remove("vllm")
    (found,) = faults(check_steps(plan(tmp_path, llm=llm)))
    assert found.startswith("steps need vllm: bash envs/install.sh .venv envs/vllm-gpu.txt, or use images")
    assert list(check_steps(plan(tmp_path))) == [], "another engine"
    here.remove("torch")
    found = faults(check(plan(tmp_path, gpus=0), []))
    assert any(fault.startswith("steps need torch: bash envs/install.sh .venv envs/steps-cpu.txt") for fault in found)
    with_images = profile(tmp_path, **{"software-deployment-method": "apptainer", "executor": "local"})
    assert not any("steps need" in fault for fault in faults(check(plan(tmp_path), [with_images])))


def test_a_cpu_build_of_torch_where_jobs_get_gpus(tmp_path, monkeypatch):
    monkeypatch.setattr(checks.importlib.metadata, "version", lambda name: "2.13.0+cpu")
    (found,) = check_steps(plan(tmp_path))
    assert found.state == "note" and "torch 2.13.0+cpu is a CPU build, and jobs ask for GPUs (gpus: 1)" in str(found)
    assert faults(check_steps(plan(tmp_path), node=True)), "there it ends every job of a model"
    assert list(check_steps(plan(tmp_path, gpus=0))) == []


def test_a_terminal_that_is_offline_is_told_so(monkeypatch):
    def offline(*_, **__):
        raise huggingface_hub.errors.OfflineModeIsEnabled("offline mode is enabled")

    monkeypatch.setattr(HfApi, "repo_info", offline)
    assert "unset HF_HUB_OFFLINE" in checks._unreachable("model", "owner/name", None)


def test_packages_of_other_versions(tmp_path):
    pins = tmp_path / "light.txt"
    pins.write_text(
        "pytest==0.1 \\\n    --hash=sha256:00\nno-such-package==1.0 \\\nold==1 ; python_full_version < '3' \\\n"
    )
    (finding,) = check_packages(pins)
    assert finding.state == "fault" and "not 0.1; no-such-package missing, not 1.0" in finding.what
    assert "old" not in finding.what and finding.way_out == f"bash envs/install.sh .venv {pins}"
    (here,) = check_packages(ROOT / "envs/light.txt")
    assert here.state == "ok"


def test_profiles_merge_and_a_folder_without_one_is_refused(tmp_path):
    merged = read_profiles([ROOT / "profiles/default", profile(tmp_path), ROOT / "profiles/apptainer"])
    assert merged["executor"] == "slurm" and merged["software-deployment-method"] == "apptainer"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty: holds no profile"):
        read_profiles([tmp_path / "empty"])


def test_profiles_merge_as_snakemake_merges_them():
    own = ["profiles/slurm", "tests/cluster/profile"]
    mine = read_profiles(ROOT / name for name in own)
    theirs = get_argument_parser([str(ROOT / name) for name in own]).parse_args([])
    assert (
        theirs.set_resources.keys()
        == mine["set-resources"].keys()
        == {"tune_llm", "label_batch", "embed_batch", "finetune_model", "label_language_model"}
    )
    assert {f"{name}={value}" for name, value in mine["default-resources"].items()} < set(theirs.default_resources.args)
    assert theirs.retries == mine["retries"] == 2


def test_a_profile_may_be_named_for_versions_of_snakemake(tmp_path):
    (tmp_path / "config.v8+.yaml").write_text("retries: 7\n")
    assert read_profiles([tmp_path]) == {"retries": 7}


def test_the_command_ends_in_a_verdict():
    done = CliRunner().invoke(app, ["check"])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == "the run can start"
