"""Learn task embeddings (DTEs, MTEs) from pairs (x, y), many from one load of the surrogate.

One process loads the surrogate once and learns many vectors. Each vector is stored as soon as it is done, so that a
killed batch continues with the next one.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from accelerate import Accelerator

from fute.artifacts import Step, sha256_file
from fute.batching import CellStore, write_keys
from fute.config.methods import LabelCovSettings, MethodSettings, TaskEmbSettings, form_module, method_module
from fute.device import compute_device
from fute.embeddings.embedder import Embedder
from fute.embeddings.extract_embedding_step import INDEX, SUFFIX, learned_from, member
from fute.embeddings.pairs import gate_of, item_pairs, sources_of
from fute.embeddings.vectors import EmbeddingError, save
from fute.progress import Track, TrainingProgress
from fute.specs.embeddings import EmbeddingSpec, Item
from fute.surrogate.checkpoint import Preempted, heed_sigterm
from fute.surrogate.states import States, load_states
from fute.surrogate.text2text import PairError

NOT_MADE = (EmbeddingError, PairError, FloatingPointError)
"""Errors of one vector, which say nothing of the next one."""
MOST_FAILED = 3
"""If so many fail and none was made, the reason is likely one of all."""


def _name(item: Item) -> str:
    return f"{item.kind}:{item.source}" + (f".{item.variant}" if item.variant else "")


def _unit(item: Item) -> str:
    return f"{item.key}/{member(item.key)}"


def labelcov() -> ModuleType:
    """The module of LabelCov, loaded by name like every method."""
    return import_module(method_module("labelcov"))


def load_embedder(model: Path, spec: EmbeddingSpec, settings: MethodSettings, sha256: str) -> Any:
    """The model of a batch, ready to make vectors: LabelCov's encoder, or the surrogate with a method."""
    if isinstance(settings, LabelCovSettings):
        return labelcov().LabelCov(model, settings, sha256)
    assert spec.settings is not None, f"a batch of {spec.method} has the surrogate's settings"
    return Embedder(model, spec.settings, settings, sha256)


def texts_of_training(settings: MethodSettings, pairs: Sequence, held_out: Sequence | None) -> int:
    """Number of pairs over all epochs of one training."""
    epochs = getattr(settings, "epochs" if held_out is None else "max_epochs", 1)
    return len(pairs) * epochs


def _zip(path: Path, members: Mapping[str, bytes | Path]) -> None:
    """Write an uncompressed zip with fixed dates, so that equal content gives equal bytes. Files are never read whole:
    together, vectors may be larger than the memory."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(members.items()):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.file_size = data.stat().st_size if isinstance(data, Path) else len(data)
            with (
                archive.open(info, "w") as target,
                data.open("rb") if isinstance(data, Path) else BytesIO(data) as source,
            ):
                shutil.copyfileobj(source, target)


class _Maker:
    """Makes the vectors of a batch one by one; what several of them need is loaded once."""

    def __init__(
        self, spec: EmbeddingSpec, model: Path, files: Mapping[str, Path], sha256: str, accelerator: Accelerator
    ) -> None:
        self._spec, self._model, self._files, self._sha256 = spec, model, files, sha256
        self._accelerator = accelerator
        self._embedder: tuple[int, Any] | None = None
        self._states: tuple[str, States] | None = None

    def make(self, item: Item, settings: MethodSettings, checkpoints: Path) -> Any:
        """The embedding of an item. checkpoints: folder for the state of its training."""
        if self._embedder is None or self._embedder[0] != item.recipe:
            self._embedder = self._states = None  # one surrogate at a time in memory
            self._embedder = item.recipe, load_embedder(self._model, self._spec, settings, self._sha256)
        embedder = self._embedder[1]
        if self._spec.settings is None:
            return embedder.embed(*labelcov().item_outputs(item, self._files))
        gate = gate_of(settings, self._spec.gate)
        pairs = item_pairs(item, settings.early_stops, self._files, gate, self._spec.settings.form)
        with TrainingProgress(_name(item), texts_of_training(settings, pairs.learned, pairs.dev)) as progress:
            return embedder.embed(
                pairs.learned,
                dev=pairs.dev,
                held_out=pairs.held_out,
                accuracy=item.kind == "dte",
                progress=progress if self._accelerator.is_main_process else None,
                states=self._states_of(item, embedder.surrogate.device),
                checkpoints=checkpoints,
            )

    def forget(self) -> None:
        """Load the surrogate again before the next vector: one that failed may have left it half trained."""
        self._embedder = self._states = None

    def _states_of(self, item: Item, device: torch.device) -> States | None:
        """The encoder's states of the U that a black box labelled, if they are shared."""
        name = f"states:{item.category}"
        if item.kind != "mte" or name not in self._files:
            return None
        if self._states is None or self._states[0] != name:
            self._states = name, load_states(self._files[name]).on(device)
        return self._states[1]


def embed_batch(spec: EmbeddingSpec, *, model: Path, lock: Path, files: Mapping[str, Path], output: Path) -> None:
    """Learn all vectors of a batch. A killed run continues after its last finished vector, also in another batch.

    files: name -> path. Names are `train:{dataset}`, `dev:{dataset}`, `unsup:{category}`, `labels:{model}/{prompt}`,
    and `states:{category}` if the encoder's states are shared.
    output: the batch's zip; `.keys` and sidecars are written next to it.
    A black box that LabelCov has no vector of does not stop the others: its file holds zeros and says why. Nor does a
    vector that cannot be made, as where the loss is not finite: the others are made, then EmbeddingError names it. It
    is raised at once if the first `MOST_FAILED` fail.
    """
    accelerator = Accelerator(cpu=compute_device().type == "cpu")
    surrogate_sha256 = sha256_file(lock)
    index = {
        item.key: {kind: learned_from(kind, path) for kind, path in sources_of(item, files).items()}
        | {"surrogate": surrogate_sha256}
        for item in spec.items
    }
    store = CellStore(output, SUFFIX, index)
    units = [_unit(item) for item in spec.items]
    store.adopt(units)
    resumed = store.begun
    missing = set(store.missing(units))
    finished = len(spec.items) - len(missing)
    if accelerator.is_main_process:
        print(f"{spec.method}: {len(spec.items)} vectors, {finished} of them already finished", flush=True)
    maker = _Maker(spec, model, files, surrogate_sha256, accelerator)
    # Items with the same recipe and texts follow each other, to load the surrogate and states once for them.
    ordered = sorted(spec.items, key=lambda item: (item.recipe, item.kind, item.category, item.source))
    failed: dict[str, str] = {}
    with heed_sigterm() as asked_to_stop, Track(f"{spec.method} vectors", len(missing), "vectors") as track:
        for item in ordered:
            if _unit(item) not in missing:
                continue
            settings = spec.method_settings(item)
            try:
                embedding = maker.make(item, settings, store.path(f"{item.key}/.training"))
            except NOT_MADE as error:
                if accelerator.num_processes > 1:  # the others may wait for this one
                    raise
                print(f"{_name(item)}: cannot be made: {error}", flush=True)
                failed[_name(item)] = str(error)
                maker.forget()
                if len(failed) == MOST_FAILED and not finished + track.done:
                    break
                continue
            if accelerator.is_main_process:
                options = {"store": settings.store} if isinstance(settings, TaskEmbSettings) else {}
                store.put(_unit(item), lambda path, vector=embedding, how=options: save(vector, path, **how))
                shutil.rmtree(store.path(f"{item.key}/.training"), ignore_errors=True)
            track.advance()
            if asked_to_stop():
                raise Preempted(
                    f"stopped by SIGTERM; {track.done} new vectors are kept; run the same command again to go on"
                )
    accelerator.end_training()
    if failed:
        name, problem = next(iter(failed.items()))
        others = f" (and {len(failed) - 1} more: {', '.join(list(failed)[1:])})" if len(failed) > 1 else ""
        raise EmbeddingError(
            f"{name}: {problem}{others}; {finished + track.done} of the batch's {len(units)} vectors are made and kept"
        )
    if not accelerator.is_main_process:
        return
    members: dict[str, bytes | Path] = {member(item.key): store.path(_unit(item)) for item in spec.items}
    members[INDEX] = json.dumps(index, sort_keys=True).encode()
    cells = {_name(item): item.key for item in spec.items}
    inputs = [*files.values(), lock]
    by_name = [method_module(spec.method), *([form_module(spec.settings.form)] if spec.settings else [])]
    seeds = {"data": spec.items[0].seed}
    with Step(__name__, settings=spec.model_dump(), more_code=by_name, inputs=inputs, seeds=seeds) as step:
        step.resumed = resumed
        step.write(output, lambda path: _zip(path, members), vectors=len(spec.items))
        write_keys(step, output, SUFFIX, cells)
