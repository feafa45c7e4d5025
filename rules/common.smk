# Shared by all rules: the checked configuration, and small helpers. No rules.
import atexit
import gc
import os
import re
import sys
from pathlib import Path

# Planning makes no garbage, and looking for it takes a sixth of the time that the paper's run needs for planning.
# The collector starts with the first job.
gc.disable()
atexit.register(gc.freeze)

from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod

sys.path.insert(0, str(Path(workflow.basedir) / "src"))
from fute import batching, paths
from fute.artifacts import SIDECAR, sha256_file
from fute.audit.adopt import unadopted
from fute.blackbox.label_plugin_step import PluginError
from fute.cluster.job_needs import JobNeeds
from fute.cluster.resources import gpu_request
from fute.cluster.slurm import SlurmError, allow_no_arrays, check_jobs
from fute.cluster.storage import StorageError, writable
from fute.code_hash import PACKAGE, code_sha256, is_package
from fute.config.models import SIZES
from fute.config.run import parse_run, read_yaml
from fute.config.run_lock import lock_file
from fute.config.sections import ConfigError
from fute.data.model_folder import model_identity
from fute.data.rows import SourceError
from fute.images.lock import (
    ImageError,
    check_apptainer,
    check_images,
    image_file,
    missing_image,
    read_lock,
    set_job_environment,
)
from fute.plan import Plan, one_per_line, settings_json
from fute.plan.command_line import batches_sent_for, command_line_targets, made
from fute.plan.report_texts import report_settings
from fute.plan.run_lock import check_run_lock

allow_no_arrays()

# hashes of the steps' code are taken from the package that was imported, and the steps run the one beside this file
if not is_package(Path(workflow.basedir) / "src/fute"):
    raise WorkflowError(
        f"this Python has the package fute of another checkout, {PACKAGE}: make an environment of this one "
        "(make .venv/steps.ok), or set PYTHONPATH=src"
    )

# A cluster job reads this file again for its own targets. It must plan the same batches as the workflow that submitted
# it, so it gets that workflow's targets through the environment, and takes the batches that it was sent to make for new:
# started again by SLURM, a group of jobs finds some of them finished.
TARGETS = os.environ.setdefault("FUTE_TARGETS", " ".join(sorted(command_line_targets(sys.argv)))).split()

IN_CONTAINERS = DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method
try:
    configfiles = [Path(path) for path in workflow.configfiles]
    for path in configfiles:
        read_yaml(path)  # Snakemake itself takes the last of two equal keys
    where = ", ".join(map(str, configfiles)) or "config"
    RUN = parse_run(config, Path(workflow.basedir) / "config", where, configfiles)
    IMAGES = read_lock()
    hashes = IMAGES.hashes() if RUN.config.workflow.image_trigger else {}
    PLAN = Plan(RUN, TARGETS, images=hashes, sent_for=batches_sent_for(sys.argv))
    PLAN.check()
    MISSING_DATA = PLAN.data.missing_text()
    check_run_lock(PLAN)
    if IN_CONTAINERS:
        set_job_environment(PLAN.source_folders(), os.environ, Path.cwd(), writable=[PLAN.results])
except (ConfigError, ImageError, PluginError, SourceError) as error:
    raise WorkflowError(str(error)) from None
CONFIG, LLM, LM = RUN.config, PLAN.llm, PLAN.lm
NEEDS = JobNeeds(PLAN)
if workflow.is_main_process:
    for warning in filter(None, (unadopted(PLAN.results), MISSING_DATA)):
        logger.warning(warning)
# through the environment, so that they trigger no rerun: data may move to another folder, runs share models and data
os.environ["FUTE_DATA_ROOT"] = str(PLAN.data.root)
os.environ["FUTE_UNSUP_ROOT"] = str(PLAN.data.unsup_root)
os.environ["FUTE_RUN_LOCK"] = str(lock_file(CONFIG.name))  # revisions that it names are read
os.environ["FUTE_OWN_DATA"] = f"{settings_json({name: str(path) for name, path in RUN.folders.items()}):file}"


envvars:
    "FUTE_TARGETS",
    "FUTE_DATA_ROOT",
    "FUTE_UNSUP_ROOT",
    "FUTE_OWN_DATA",
    "FUTE_RUN_LOCK",


ID = r"[a-z0-9][a-z0-9.-]*"


wildcard_constraints:
    model=ID,
    task=ID,
    corpus=ID,
    dataset=ID,
    category="|".join(CONFIG.corpora),
    method="|".join(CONFIG.methods),
    variant="|".join(PLAN.vectors.variants) or "none",
    surrogate="|".join(name.replace(".", r"\.") for name in CONFIG.vector_models),


# `torch` prevents two torch processes on one machine; on a cluster it counts within a job, not over all jobs
resource_scopes:
    torch="local",


# the same environment with and without an image; idle threads of torch sleep, or two processes would stall each other
shell.prefix(
    "set -euo pipefail; export PYTHONPATH=src PYTHONNOUSERSITE=1 PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false"
    " OMP_WAIT_POLICY=PASSIVE HF_HUB_DISABLE_PROGRESS_BARS=1 TQDM_DISABLE=1 TRANSFORMERS_VERBOSITY=error"
    " HF_HUB_DISABLE_TELEMETRY=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1; "
)
# for steps that read nothing from a network
OFFLINE = "HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1"
# for steps that need one thread; those that may read from a hub use ONE_THREAD alone
ONE_THREAD = "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1"
LIGHT = f"{OFFLINE} {ONE_THREAD}"
# End of the command of a step that may be long: its output goes to the terminal and to the log. Such a step replaces
# the shell (`exec`), and tee ignores SIGTERM. So of all processes of a job only the step answers a scheduler's signal:
# it saves its state, says so, and its exit status is that of the command.
LOGGED = "> >(trap '' TERM; exec tee {log}) 2>&1"

USED_IMAGES = set()


def image(name):
    """Image of a step, used if the profile runs containers: labels (vLLM), train (surrogate), paper (all others)."""
    USED_IMAGES.add(name)
    if IN_CONTAINERS and (why := missing_image(name, IMAGES)):
        raise WorkflowError(why)
    return image_file(name, IMAGES)


def code(step, image="paper"):
    """Hash of a step's code, and of its image if the run asks for it; a change of either reruns the step."""
    return PLAN.planner.run_by(image, step)


def gpus(number):
    """Resources by which a job asks for GPUs, as `cluster.gpu_request` says. number: or a function of wildcards."""
    if not callable(number):
        return gpu_request(CONFIG.cluster, number)
    keys = gpu_request(CONFIG.cluster, 1)
    return {key: lambda wc, key=key: gpu_request(CONFIG.cluster, number(wc))[key] for key in keys}


def recorded(**outputs):
    """Outputs of a rule, each with its record (`X.prov.json`) as a further output."""
    return {
        key: file for name, path in outputs.items() for key, file in ((name, path), (f"{name}_record", path + SIDECAR))
    }


def figure_files(names):
    """Output name -> file of each format of the figures."""
    return {
        f"{name}_{ending}": f"results/paper/figures/{name}.{ending}"
        for name in names
        for ending in ("pdf", "png", "csv")
    }


def named(files):
    """Format a mapping of files as arguments `key=path` of a step, one per line."""
    return one_per_line(f"{key}={path}" for key, path in sorted(files.items()))


def ready():
    """Check before the first job: data are there, images the lock's, results can be written, settings fit SLURM."""
    gc.freeze()
    gc.enable()
    if MISSING_DATA:
        raise WorkflowError(MISSING_DATA)
    try:
        if IN_CONTAINERS:
            check_apptainer()
            check_images(sorted(USED_IMAGES))
        writable(PLAN.results)
        for warning in check_jobs(workflow, CONFIG.cluster):
            logger.warning(warning)
    except (ImageError, SlurmError, StorageError) as error:
        raise WorkflowError(str(error)) from None
