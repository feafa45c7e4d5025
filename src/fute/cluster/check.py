"""`fute check`: what a run needs against what is here, before its first job."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fute import paths
from fute.cluster.cost import disk_bytes, heavy_jobs
from fute.cluster.job_needs import JobNeeds
from fute.cluster.prefetch import TOKEN, check_token
from fute.cluster.resources import INFERENCE_BYTES, TRAINING_BYTES, Need, gpu_request
from fute.cluster.site import (
    Partition,
    SlurmError,
    check_site,
    check_status_command,
    chosen,
    closed,
    most_minutes,
    read_accounts,
    read_partitions,
    refusal,
    request,
    sbatch_options,
    slurm,
)
from fute.cluster.slurm import SITE, check_settings
from fute.cluster.storage import CACHES, StorageError, existing, writable
from fute.config.run import read_yaml
from fute.config.run_lock import lock_file, pinned_dataset, pinned_model
from fute.config.sections import ConfigError
from fute.data.fetch_model_step import ModelError
from fute.data.hub_patience import patiently
from fute.images.lock import (
    NAMES,
    ImageError,
    check_apptainer,
    check_images,
    image_file,
    missing_image,
    read_lock,
    set_job_environment,
)
from fute.plan import Plan
from fute.wording import listed

PINS = Path("envs")
"""Folder of the lists of packages."""
LEAST_CAPABILITY, BFLOAT16_CAPABILITY = 7.5, 8.0
"""Compute capability from which on CUDA 13 computes on a GPU at all, and vLLM in bfloat16."""
LEAST_DRIVER = 580
"""First NVIDIA driver for CUDA 13, which the lists for GPUs are built for (envs/steps-gpu.txt)."""
CACHE_GB = 2
"""Room for what Triton and vLLM compile and keep on a node; some sites' /tmp is smaller."""
FILES_PER_JOB = 4
"""An output, its record, a log and Snakemake's metadata: what the quota of files is compared with."""


class Finding(NamedTuple):
    """One line of the check. state: `ok`; `note`, which stops no run; `fault`, which does. way_out: what to do."""

    state: Literal["ok", "note", "fault"]
    what: str
    way_out: str = ""

    def __str__(self) -> str:
        return f"{self.state:<6} {self.what}" + (f": {self.way_out}" if self.way_out else "")


def check(plan: Plan, profiles: Iterable[Path], *, node: bool = False) -> Iterator[Finding]:
    """Compare what a run needs with what this machine and its cluster have, one finding per line.

    profiles: folders or files of Snakemake profiles, the later over the earlier. node: this is a GPU node, on which
    the driver, the folders of caches, and torch and the compiler (or Apptainer) are looked at, and nothing else.
    """
    profile = read_profiles(profiles)
    images = "apptainer" in str(profile.get("software-deployment-method", ""))
    if node:
        yield from check_gpus(plan.config.cluster.gpu_memory_gb)
        yield from check_home()
        yield from check_compiled(images)
        if not images:
            yield from check_compiler()
            yield from check_steps(plan, node=True)
        else:
            yield from check_apptainer_here()
            yield from check_image_starts(plan)
        return
    yield from check_home()
    yield from check_packages(PINS / "light.txt")
    if not images:
        yield from check_steps(plan)
    yield from check_data(plan)
    yield from check_models(plan)
    yield from check_tuned(plan)
    yield from check_key(plan)
    yield from check_disk(plan)
    if images:
        try:
            check_images(NAMES if plan.llm else (name for name in NAMES if name != "labels"))
            yield Finding("ok", "images are those of containers/lock.json")
        except ImageError as error:
            yield Finding("fault", "images", str(error))
        yield from check_apptainer_here()
    if profile.get("executor") == "slurm":
        yield from check_cluster(plan, profile)


def read_profiles(profiles: Iterable[Path]) -> dict[str, Any]:
    """Settings of Snakemake profiles, found as Snakemake finds them. A key of a later profile replaces that key of the
    earlier ones as a whole, also where it is a mapping. Raises ConfigError.
    """
    from snakemake.cli import get_profile_dir

    merged: dict[str, Any] = {}
    for path in profiles:
        if (found := get_profile_dir(str(path))) is None:
            raise ConfigError(f"{path}: holds no profile; give a folder with profile.yaml or config.yaml")
        merged |= read_yaml(found[1]) or {}
    return merged


def check_apptainer_here() -> Iterator[Finding]:
    """What images are run by."""
    try:
        check_apptainer()
    except ImageError as error:
        yield Finding("fault", "images", str(error))


def check_image_starts(plan: Plan) -> Iterator[Finding]:
    """Whether this node starts an image as steps do, and whether CUDA's driver answers in it."""
    lock = read_lock()
    if not shutil.which("apptainer") or missing_image("train", lock):
        return
    environment = dict(os.environ)
    set_job_environment(plan.source_folders(), environment, Path.cwd(), writable=[plan.results])
    asks = "import ctypes, sys; sys.exit(ctypes.CDLL('libcuda.so.1').cuInit(0) and 'cuInit failed')"
    line = ["apptainer", "exec", "--home", str(Path.cwd()), image_file("train", lock), "python", "-c", asks]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=600, env=environment)
    except subprocess.TimeoutExpired:
        yield Finding("fault", "an image does not start in ten minutes", "copy containers/*.sif to a faster disk")
        return
    said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    if done.returncode and "libcuda" not in said and "cuInit" not in said:
        way_out = "images need user namespaces or Apptainer's setuid part here: ask the site, or run without images"
        yield Finding("fault", f"apptainer starts no image ({said})", way_out)
    elif done.returncode:
        way_out = "`apptainer exec --nv` gives it none: ask the site, unset APPTAINER_NV, or run without images"
        yield Finding("fault", f"no GPU in an image ({said})", way_out)
    elif "temporary sandbox" in done.stderr:
        yield Finding(
            "note", "apptainer unpacks the whole image for every step, which takes minutes and gigabytes",
            "ask the site for squashfuse, or set APPTAINER_TMPDIR to a large local disk",
        )  # fmt: skip
    else:
        yield Finding("ok", "images start, with the GPU")


def check_home() -> Iterator[Finding]:
    """The folder that every Snakemake, in jobs too, writes into: some nodes have no home, or one to read only."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snakemake"
    if not os.access(existing(folder), os.W_OK):
        what = f"Snakemake keeps files in {folder}, which cannot be written here"
        yield Finding("fault", what, "set XDG_CACHE_HOME to a folder that is there on all nodes, before every command")


def check_packages(pins: Path) -> Iterator[Finding]:
    """The packages of a list, at its versions. pins: lines `name==version`, some with a condition after `;`."""
    from packaging.markers import Marker

    wrong = []
    for name, version, condition in re.findall(r"^([\w.-]+)==([^\s;]+)(?: ; (.*?))?\s*\\?$", pins.read_text(), re.M):
        if condition and not Marker(condition).evaluate():
            continue
        try:
            here = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            here = "missing"
        if here != version:
            wrong.append(f"{name} {here}, not {version}")
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        yield Finding("fault", f"packages: {'; '.join(wrong[:3])}{more}", f"bash envs/install.sh .venv {pins}")
    else:
        yield Finding("ok", f"{python} and the packages of {pins}")


def check_steps(plan: Plan, *, node: bool = False) -> Iterator[Finding]:
    """Without images, steps need packages that `light.txt` does not hold. node: this is a GPU node."""
    vllm = plan.llm is not None and plan.config.llm.engine.engine == "vllm"
    way_out = (
        f"bash envs/install.sh .venv envs/{'vllm' if vllm else 'steps'}-{'gpu' if plan.config.gpus else 'cpu'}.txt"
    )
    needed = ("torch", "transformers", "accelerate", *(("vllm",) if vllm else ()))
    if missing := [name for name in needed if not importlib.util.find_spec(name)]:
        yield Finding("fault", f"steps need {', '.join(missing)}", f"{way_out}, or use images: profiles/apptainer")
    elif plan.config.gpus and (torch := importlib.metadata.version("torch")).endswith("+cpu"):
        what = f"torch {torch} is a CPU build, and jobs ask for GPUs (gpus: {plan.config.gpus})"
        yield Finding("fault" if node else "note", what, f"for nodes that have some: {way_out}, into an empty .venv")


def check_data(plan: Plan) -> Iterator[Finding]:
    """Datasets and U: files that are not there, repositories that the hub does not give."""
    missing = plan.data.missing
    for why in missing.values():
        yield Finding("fault", "data", why)
    for folder, scripts in plan.data.missing_scripts().items():
        total = len(plan.data.script_folders()[folder])
        if len(scripts) < total:  # else `missing` says it
            what = f"U: {len(scripts)} of {total} scripts are not in {folder} ({listed(scripts, 3)})"
            yield Finding("note", what, "`fute fetch-unsup` fetches what the hub has; U is drawn without the rest")
    failed = 0
    for name in plan.data.datasets:
        entry = plan.run.datasets[name].hub
        if plan.data.source_of(name) != "hub" or entry is None or entry.is_folder:
            continue
        if Path(paths.rows(name, "test")).is_file():
            continue  # it was read before
        revision = entry.revision or pinned_dataset(lock_file(plan.config.name), name) or entry.branch
        if why := _unreachable("dataset", entry.repo, revision):
            failed += 1
            yield Finding("fault", f"dataset {name}", why)
    if not missing and not failed:
        yield Finding("ok", f"data: {len(plan.data.datasets)} datasets, {len(plan.config.corpora)} U")


def check_models(plan: Plan) -> Iterator[Finding]:
    """Models that are not fetched yet: can they be, and with which token?"""
    try:
        check_token(plan, os.environ)
    except ModelError as error:
        yield Finding("fault", "hub token", str(error))
        return
    failed = 0
    for name in plan.models:
        entry = plan.run.models[name]
        if lost := lost_files(name):
            failed += 1
            lock, folder = paths.model_lock(name), paths.model_folder(name)
            what = f"model {name}: {listed(lost, 3)} of {lock} are not in {folder}, or were cut"
            yield Finding(
                "fault", what, f"scratch may be purged of old files: remove {lock}, and `fute prefetch` again"
            )
        if not entry.repo or Path(paths.model_lock(name)).is_file():
            continue
        revision = entry.revision or pinned_model(lock_file(plan.config.name), name)
        if why := _unreachable("model", entry.repo, revision):
            failed += 1
            yield Finding("fault", f"model {name}", why)
    if not failed:
        yield Finding("ok", f"models: {', '.join(plan.models)}")


def lost_files(model: str) -> list[str]:
    """Files that a model's lock names and that are no more in its folder, or have another size."""
    lock, folder = Path(paths.model_lock(model)), Path(paths.model_folder(model))
    if not lock.is_file():
        return []
    sizes = {name: facts["bytes"] for name, facts in json.loads(lock.read_bytes())["files"].items()}
    return [n for n, size in sizes.items() if not (folder / n).is_file() or (folder / n).stat().st_size != size]


def check_key(plan: Plan) -> Iterator[Finding]:
    """The key of a server, while it has answers to give."""
    engine = plan.config.llm.engine
    if plan.llm and engine.engine == "openai" and any(batches.new for batches in plan.llm.labels.batches.values()):
        if os.environ.get(engine.api_key_env, "").strip():
            yield Finding("ok", f"key of the server: {engine.api_key_env} is set")
        else:
            way_out = "put it there (any word for a server that asks for none)"
            yield Finding("fault", f"key of the server: {engine.api_key_env} is not set", way_out)


def check_tuned(plan: Plan) -> Iterator[Finding]:
    """LLMs that the run is still to fine-tune: each is trained on one GPU, in which its weights must have room."""
    memory, needs = plan.config.cluster.gpu_memory_gb, JobNeeds(plan)
    for name, recipe in plan.run.tuned.items():
        if not plan.config.gpus or Path(paths.model_lock(name)).is_file():
            continue
        needed = needs.parameters(name) * (INFERENCE_BYTES if recipe.layers else TRAINING_BYTES) / 1e9
        if needed > memory:
            what = f"fine-tuning {name} takes more than {needed:.0f} GB on one GPU, which has {memory:g}"
            yield Finding(
                "fault", f"tune_llm: {what}",
                "fine-tune the last layers alone (`layers`), or a smaller LLM; or state cluster.gpu_memory_gb",
            )  # fmt: skip


def _unreachable(kind: Literal["model", "dataset"], repo: str, revision: str | None) -> str:
    """Why a repository cannot be had from the hub, and what to do; empty if it can. revision: commit or branch."""
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        hub = HfApi(token=os.environ.get(TOKEN))
        info = patiently(repo, lambda: hub.repo_info(repo, repo_type=kind, revision=revision, timeout=20))
        if kind == "model":
            patiently(repo, lambda: hub.auth_check(repo))
        elif f"{repo.rpartition('/')[2]}.py" in {file.rfilename for file in info.siblings or ()}:
            return (
                f"{repo} is a loading script, which `datasets` does not run: name the branch refs/convert/parquet "
                "(hub.branch in the dataset registry), if the repository has it, or use source: files"
            )
    except GatedRepoError:
        return f"{repo} is gated and this account has no access: accept its licence on https://huggingface.co/{repo}"
    except RevisionNotFoundError:
        return f"{repo} has no revision {revision}: correct it in the registry, or lock the run again"
    except RepositoryNotFoundError:
        return f"{repo} is not on the hub, or is private: correct the name, or set {TOKEN}"
    except HFValidationError:
        return f"{repo} names no repository: write owner/name, or the name alone where the hub has no owner for it"
    except OfflineModeIsEnabled:
        return f"{repo} is to be fetched, and HF_HUB_OFFLINE forbids it in this terminal: unset HF_HUB_OFFLINE"
    except (OSError, httpx2.HTTPError) as error:
        return (
            f"the hub does not give {repo} ({type(error).__name__}): run this, and `fute prefetch`, on a node with a "
            "network, or set HF_ENDPOINT to a mirror"
        )
    return ""


def check_disk(plan: Plan) -> Iterator[Finding]:
    """Room for what the run keeps: bytes, and files."""
    try:
        writable(plan.results)
    except StorageError as error:
        yield Finding("fault", "results", str(error))
        return
    folder, needs = existing(plan.results), JobNeeds(plan)
    whole, needed = (sum(disk_bytes(plan, needs, missing=missing).values()) / 1e9 for missing in (False, True))
    free = shutil.disk_usage(folder).free / 1e9
    more = " more" if needed < whole else ""
    what = f"disk: the run keeps about {needed:,.0f} GB{more}, {free:,.0f} GB are free where results/ lies"
    if needed > free:
        yield Finding("fault", what, "free space, or make results/ a link to a larger disk; a quota may be smaller")
    else:
        yield Finding("ok", what)
    inodes = os.statvfs(folder)
    files = FILES_PER_JOB * sum(len(each) for each in plan.phases().values())
    if inodes.f_files and files > inodes.f_favail:
        yield Finding("fault", f"disk: about {files:,} files are made, {inodes.f_favail:,} may be", "use another disk")


def check_cluster(plan: Plan, profile: dict[str, Any]) -> Iterator[Finding]:
    """The profile's account, partitions and QOS, memory, GPUs and time, against what SLURM says that there is."""
    cluster = plan.config.cluster
    needs: dict[str, list[Need]] = {}
    for rule, need in heavy_jobs(plan, JobNeeds(plan)):
        needs.setdefault(rule, []).append(need)
    own = {
        rule: {"mem_mb": max(need.memory_mb() for need in jobs), "runtime": max(need.minutes() for need in jobs)}
        | gpu_request(cluster, max(need.gpus for need in jobs))
        for rule, jobs in needs.items()
    }
    default, by_profile = (dict(profile.get(key) or {}) for key in ("default-resources", "set-resources"))
    of_rules = {  # as in Snakemake: the rule's own resources over the defaults, the profile's over both
        rule: default | own.get(rule, {}) | dict(by_profile.get(rule) or {})
        for rule in dict.fromkeys([*by_profile, *own])
    }
    resources = [default, *of_rules.values()]
    try:
        check_settings(
            {name: [each.get(name) for each in resources] for name in (*SITE, "mem_mb_per_cpu")},
            profile.get("slurm-array-jobs"),
        )
        named = profile.get("slurm-qos") or any(each.get("slurm_account") or each.get("qos") for each in resources)
        partitions, accounts = read_partitions(), read_accounts(needed=bool(named))
    except SlurmError as error:
        yield Finding("fault", "SLURM", str(error))
        return
    try:
        check_status_command(
            profile.get("slurm-status-command"), profile.get("slurm-init-seconds-before-status-checks")
        )
    except SlurmError as error:
        yield Finding("fault", "SLURM", str(error))
    yield from check_configuration()
    yield from mixed_gpus(of_rules.values(), partitions)
    faults: dict[str, list[str]] = {}
    kinds: dict[tuple[str, ...], list[str]] = {}
    fitting = set()
    for rule, asked in {"all other rules": default, **of_rules}.items():
        try:
            wanted = request(asked, profile.get("slurm-qos"))
            check_site([wanted], partitions, accounts)
        except SlurmError as error:
            faults.setdefault(str(error), []).append(rule)
            continue
        fitting.add(wanted)
        limit = most_minutes(wanted, partitions, accounts)
        if rule in needs or asked is default:  # of the profile's other rules none may be in this run
            kinds.setdefault(sbatch_options(asked, wanted, limit, cluster), []).append(rule)
        if rule in needs and limit is not None and limit < (cluster.max_runtime or limit + 1):
            where = f"partition {wanted.slurm_partition or '(default)'}"
            longest = math.ceil(max(need.estimate for need in needs[rule]))
            attempts = math.ceil(longest / limit)
            many = f"; the longest takes about {longest} and so {attempts} attempts" if attempts > 1 else ""
            yield Finding(
                "note", f"SLURM, {rule}: {where}, account and QOS allow {limit} minutes{many}",
                "longer jobs are cut to it, keep their state at its end and go on in the next attempt; raise `retries` "
                "in the profile, or choose a partition or QOS with a longer limit",
            )  # fmt: skip
    yield from (Finding("note", f"SLURM: {what}", "ask the site") for what in closed(fitting, partitions))
    refused = list(check_sbatch(kinds))
    yield from refused
    for why, rules in faults.items():
        yield Finding("fault", f"SLURM, {', '.join(rules)}", why)
    if not faults and not any(finding.state == "fault" for finding in refused):
        yield Finding("ok", f"SLURM: account, partitions, memory and GPUs of {len(of_rules) + 1} kinds of jobs")


def check_sbatch(kinds: Mapping[tuple[str, ...], list[str]]) -> Iterator[Finding]:
    """Whether sbatch would take the jobs: sites have rules that only it knows. kinds: its options -> rules."""
    said: dict[tuple[Literal["note", "fault"], str, str], list[str]] = {}
    for options, rules in kinds.items():
        if not (why := refusal(options)):
            continue
        without = [option for option in options if not option.startswith("--mem=")]
        if len(without) < len(options) and not refusal(without):
            found = (
                "fault", f"sbatch takes such jobs without --mem, and with it not ({why})",
                "where memory comes with CPUs or GPUs, set cluster.memory_request: none; else lower mem_mb of these "
                "rules in the profile, or take another partition",
            )  # fmt: skip
        else:
            line = shlex.join(["sbatch", "--test-only", *options, "--wrap=true"])
            found = ("note", f"sbatch would take no such job now ({why})", f"try it: {line}")
        said.setdefault(found, []).extend(rules)
    for (state, what, way_out), rules in said.items():
        yield Finding(state, f"SLURM, {', '.join(rules)}: {what}", way_out)


def mixed_gpus(resources: Iterable[dict[str, Any]], partitions: Mapping[str, Partition]) -> Iterator[Finding]:
    """Partitions with several models of GPUs, such as parts of one (MIG), of which jobs name none: they get any."""
    asked = []
    for each in resources:
        with suppress(SlurmError):  # two requests for GPUs, which is a fault of its own
            wanted = request(each)
            if wanted.gpus and not wanted.gpu_model and not each.get("constraint"):
                asked.append(wanted)
    for name in sorted({wanted.slurm_partition for wanted in asked}):
        models = {model for part in chosen(name, partitions).values() for model in part.gpus}
        if len(models) > 1:
            yield Finding(
                "note",
                f"SLURM: partition {name or '(default)'} has GPUs of several kinds ({', '.join(sorted(models))})",
                "a job that names none gets any of them, also one with less memory than cluster.gpu_memory_gb: set "
                "cluster.gpu_model, or `constraint` in the profile",
            )  # fmt: skip


def check_configuration() -> Iterator[Finding]:
    """Whether SLURM's commands need SLURM_CONF: on the node the executor (jobstep 0.6.1) starts srun without it."""
    if (place := os.environ.get("SLURM_CONF")) is None:
        return
    try:
        slurm("scontrol", "show", "config", env={name: os.environ[name] for name in os.environ if name != "SLURM_CONF"})
    except SlurmError:
        yield Finding(
            "note", f"SLURM's commands need SLURM_CONF={place} to find their configuration; a job's srun lacks it",
            "if jobs end at once because srun finds none, put a script `srun` first on PATH, which sets SLURM_CONF and "
            "calls the site's",
        )  # fmt: skip


def check_gpus(gpu_memory_gb: float) -> Iterator[Finding]:
    """The driver of this node's GPUs, their memory, and what they can compute."""
    facts = "name,driver_version,memory.total,mig.mode.current,compute_cap"
    newer = f"{LEAST_DRIVER} or newer is needed: another node"
    line = ["nvidia-smi", f"--query-gpu={facts}", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(line, check=True, capture_output=True, text=True, timeout=60).stdout
    except FileNotFoundError:
        yield Finding("fault", "nvidia-smi is not here", "run this on a GPU node: srun --gpus=1 ... fute check --node")
        return
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        if "compute_cap" in str(error.stdout):  # its nvidia-smi does not know that field
            yield Finding("fault", "the driver is too old for CUDA 13", newer)
        else:
            yield Finding("fault", f"nvidia-smi failed ({error})", "ask the site; the driver does not answer")
        return
    for gpu in text.strip().splitlines():
        name, driver, memory, mig, capability = (part.strip() for part in gpu.split(","))
        gigabytes = int(memory) * 2**20 / 1e9 if memory.isdigit() else None
        computes = float(capability) if capability.replace(".", "", 1).isdigit() else BFLOAT16_CAPABILITY  # [N/A]
        if int(driver.split(".")[0]) < LEAST_DRIVER:
            yield Finding("fault", f"driver {driver} is too old for CUDA 13", newer)
        elif computes < LEAST_CAPABILITY:
            yield Finding(
                "fault", f"{name} has compute capability {capability}, on which nothing built for CUDA 13 runs",
                f"{LEAST_CAPABILITY} or more is needed: another node, by `constraint` in the profile or gpu_model",
            )  # fmt: skip
        elif mig == "Enabled":  # the memory is that of the whole GPU, of which a job gets a part
            yield Finding(
                "note", f"{name} is divided into parts (MIG), whose memory is not checked",
                "cluster.gpu_memory_gb is that of one part (`nvidia-smi -L`); a model on several GPUs needs whole ones",
            )  # fmt: skip
        elif gigabytes is None:  # [N/A] where processor and GPU share their memory
            yield Finding("note", f"{name} does not say how much memory it has", "cluster.gpu_memory_gb is not checked")
        elif gigabytes < gpu_memory_gb * 0.97:  # a GPU of 80 GB has a little less
            yield Finding(
                "fault", f"{name} has {gigabytes:.0f} GB, and cluster.gpu_memory_gb is {gpu_memory_gb:g}",
                "state what there is: cluster='{gpu_memory_gb: " + f"{gigabytes:.0f}" + "}'",
            )  # fmt: skip
        else:
            yield Finding("ok", f"{name}, {gigabytes:.0f} GB, driver {driver}")
        if LEAST_CAPABILITY <= computes < BFLOAT16_CAPABILITY:
            yield Finding(
                "note", f"{name} has compute capability {capability}, and vLLM computes in bfloat16 from 8.0 on",
                "set llm.engine.dtype: float16 for it, or choose other nodes",
            )  # fmt: skip


def check_compiled(images: bool) -> Iterator[Finding]:
    """The folder that Triton compiles into on this node, and loads from: some sites' /tmp or home takes no programs."""
    if images:
        binds = [part.split(":") for part in os.environ.get("APPTAINER_BIND", "").split(",")]
        folder = Path(next((bind[0] for bind in binds if bind[1:2] == ["/cache"]), "/tmp"))
        way_out = "bind a folder of a scratch file system: APPTAINER_BIND=/scratch/me/cache:/cache"
    else:
        folder = Path(os.environ.get("TRITON_CACHE_DIR") or Path.home() / ".triton")
        way_out = CACHES
    place = existing(folder)
    if not os.access(place, os.W_OK):
        yield Finding("fault", f"compiled code goes to {folder}, which cannot be written here", way_out)
    elif os.statvfs(place).f_flag & os.ST_NOEXEC:
        yield Finding("fault", f"compiled code goes to {folder}, from which no program may run (noexec)", way_out)
    elif (free := shutil.disk_usage(place).free / 1e9) < CACHE_GB:
        what = f"compiled code goes to {folder}, where {free:.1f} GB are free, less than {CACHE_GB}"
        yield Finding("note", what, way_out)
    else:
        yield Finding("ok", f"compiled code goes to {folder}")


def check_compiler() -> Iterator[Finding]:
    """Without images, Triton builds its launcher with a C compiler and Python's headers."""
    # as Triton looks for it: what CC names and nothing else, or one of these two
    compiler = os.environ.get("CC", next(filter(shutil.which, ("gcc", "clang")), None))
    header = Path(sysconfig.get_path("include")) / "Python.h"
    there = compiler is not None and shutil.which(compiler) is not None
    if compiler is None:
        yield Finding(
            "fault", "no C compiler", "load one (module load gcc), or use images: --profile profiles/apptainer"
        )
    elif not there:
        yield Finding("fault", f"the C compiler is CC={compiler}, which is not here", "load its module, or unset CC")
    if not header.is_file():
        yield Finding("fault", "Python.h is missing", "install Python's headers (python3-dev), or use images")
    if there and header.is_file():
        yield Finding("ok", f"{compiler} and Python.h, which Triton needs")
