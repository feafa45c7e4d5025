# What the rules share: the checked configuration, and small helpers. No rules.
import atexit
import gc
import inspect
import os
import sys
from pathlib import Path

# All that planning makes stays until the end, so no garbage is looked for before the first job starts, nor when the
# process ends: that took two fifths of the time.
gc.disable()
atexit.register(gc.freeze)

from snakemake.cli import get_argument_parser
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod

sys.path.insert(0, str(Path(workflow.basedir) / "src"))
from fute import batching
from fute.artifacts import sha256_file
from fute.audit.adopt import unadopted
from fute.blackbox.label_plugin_step import PluginError
from fute.cluster.job_needs import JobNeeds
from fute.cluster.slurm import SlurmError, check_settings
from fute.cluster.storage import StorageError, writable
from fute.config.run import parse_run
from fute.config.sections import ConfigError
from fute.images.lock import NAMES, ImageError, check_images, image_file, job_environment, missing_image, read_lock
from fute.config.prompts import PromptError
from fute.data.rows import SourceError
from fute.plan.report_texts import report_settings
from fute.steps import code
from fute.plan import Workflow, settings_json

# A cluster job reads this file again for one target of its own; it must plan the same batches as the
# workflow that sent it, so that workflow's targets travel with it.
TARGETS = "FUTE_TARGETS"


def command_line_targets(argv):
    """What Snakemake was asked for; its own settings are complete only after this file has been read."""
    if "snakemake" not in argv[0]:
        return []
    known, rest = get_argument_parser().parse_known_args(argv[1:])
    return [str(target) for target in (*(known.targets or ()), *rest) if not str(target).startswith("-")]


os.environ.setdefault(TARGETS, " ".join(sorted(command_line_targets(sys.argv))))


try:
    RUN = parse_run(
        config,
        Path(workflow.basedir) / "config",
        ", ".join(map(str, workflow.configfiles)) or "config",
    )
    IMAGES = read_lock()
    TRIGGERS = IMAGES.hashes() if RUN.config.workflow.image_trigger else {}
    WF = Workflow(RUN, os.environ[TARGETS].split(), images=TRIGGERS)
    WF.embeddings.items  # reads what identifies data and plug-ins, which may not be there
except (ConfigError, ImageError, PluginError, PromptError, SourceError) as error:
    raise WorkflowError(str(error)) from None
CONFIG = RUN.config
NEEDS = JobNeeds(WF)
if workflow.is_main_process and (warning := unadopted(WF.results)):
    logger.warning(warning)
# reaches commands through the environment and is no trigger: data may move to another folder
os.environ["FUTE_DATA_ROOT"] = str(WF.data.root)


envvars:
    "FUTE_TARGETS",
    "FUTE_DATA_ROOT",


ID = r"[a-z0-9][a-z0-9.-]*"


wildcard_constraints:
    model=ID,
    task=ID,
    corpus=ID,
    dataset=ID,
    category="|".join(CONFIG.corpora),
    method="|".join(CONFIG.methods),
    variant="|".join(WF.embeddings.variants) or "none",
    surrogate=CONFIG.surrogate.name.replace(".", r"\."),


# `torch` keeps two torch processes off one machine; on a cluster it counts within a job, not over all of them
resource_scopes:
    torch="local",


# one environment with and without an image; torch's threads sleep when idle, or two processes stall each other
shell.prefix(
    "set -euo pipefail; export PYTHONPATH=src PYTHONNOUSERSITE=1 PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false"
    " OMP_WAIT_POLICY=PASSIVE HF_HUB_DISABLE_PROGRESS_BARS=1 TQDM_DISABLE=1 TRANSFORMERS_VERBOSITY=error; "
)
# of the steps that read nothing from a network
OFFLINE = "HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1"
# of the steps that need one thread; those that may read a hub take ONE_THREAD alone
ONE_THREAD = "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1"
LIGHT = f"{OFFLINE} {ONE_THREAD}"
# End of the command of a step that may be long: what it says goes to the terminal and to the log. Such a step takes
# the shell's place (`exec`) and tee ignores SIGTERM, so that a scheduler's signal to all processes of a job is
# answered by the step alone: it keeps its state, says so, and its exit status is the command's.
LOGGED = "> >(trap '' TERM; exec tee {log}) 2>&1"


# what the phases `evaluation` and `paper` make; the experiments of the run add theirs
EVALUATION = []
PAPER = []
# what the report is made from, and its figures: file name -> (figure, method, view)
REPORTED = []
DRAWN = {}


IN_CONTAINERS = DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method
if IN_CONTAINERS:
    os.environ.update(job_environment(WF.source_folders(), os.environ, Path.cwd(), writable=[WF.results]))


def image(name):
    """Image of a step, used where a profile says so: labels (vLLM), train (surrogate), paper (all else)."""
    if IN_CONTAINERS and (why := missing_image(name, IMAGES)):
        raise WorkflowError(why)
    return image_file(name, IMAGES)


def image_of(step):
    """Name of the image of a rule; None for one without."""
    return next((name for name in NAMES if step.container_img == image_file(name, IMAGES)), None)


def trigger_on_images():
    """Where the run asks for it, a changed image is a changed parameter of the rules that use it."""
    for step in workflow.rules:
        if image_of(step) in TRIGGERS:
            step.set_params(image=TRIGGERS[image_of(step)])


def keep_signatures():
    """Snakemake asks two or three times a job for the signature of each function of its rule, a tenth of the planning
    time: asked once, a function has it as an attribute."""
    for step in workflow.rules:
        for function in filter(callable, (*step.input, *step.params)):
            function.__signature__ = inspect.signature(function)


def ready():
    """Before the first job: the images are those of the lock, and results can be written."""
    gc.freeze()
    gc.enable()
    try:
        if IN_CONTAINERS:
            check_images(sorted({image_of(step) for step in workflow.rules} - {None}))
        writable(Path("results"))
    except (ImageError, StorageError) as error:
        raise WorkflowError(str(error)) from None


def sidecar(path):
    """The record beside an artifact, as a second output."""
    return f"{path}.prov.json"


def flags(name, files):
    """`--name key=path` for every entry of a mapping or list of (key, path)."""
    return " ".join(f"--{name} {key}={path}" for key, path in sorted(dict(files).items()))


def check_slurm(workflow):
    """Refuse a run on a SLURM cluster before its first job is sent, where its profile cannot go well."""
    jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    asked = {
        name: {job.resources.get(name) for job in jobs}
        for name in ("slurm_account", "slurm_partition", "mem_mb_per_cpu")
    }
    try:
        check_settings(asked, workflow.executor_settings.array_jobs)
    except SlurmError as error:
        raise WorkflowError(str(error)) from None


def made(phases):
    """What the run asked for has made: for people, after a run without errors."""
    targets = os.environ[TARGETS].split()
    asked = [name for name in targets if name in phases] or ([] if targets else ["paper"])
    lines = []
    for name in asked:
        folders = sorted({str(Path(f).parent) for f in phases[name]})
        more = f" and {len(folders) - 3} more folders" if len(folders) > 3 else ""
        lines.append(f"{name}: {len(phases[name])} files in {', '.join(folders[:3])}{more}")
    return "\n".join(lines) or f"made {', '.join(targets)}"
