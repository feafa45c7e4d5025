"""The embedding step: pairs (x, y) of a dataset, or of U and a black box, become vectors.

One process loads the surrogate once and learns many vectors; each is kept as soon as it is done, so that a
killed batch goes on with the next one.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from fute.artifacts import Step, read_jsonl, sha256_file
from fute.batching import UnitStore, keys_text
from fute.config.recipes import EmbeddingSpec, Form, Item, MethodSettings, TaskEmbSettings, TupateSettings
from fute.data.rows import Answer, Row
from fute.data.text2text import labelled_pairs, mte_target
from fute.device import compute_device
from fute.embeddings.embedder import Embedder
from fute.embeddings.extract import INDEX, SUFFIX, learned_from, member
from fute.embeddings.vectors import save
from fute.progress import Track, TrainingProgress
from fute.surrogate.checkpoint import Preempted, heed_sigterm
from fute.surrogate.labelled import ClassTarget, Labelled, NumberTarget, SoftTarget, SpanTarget, Target
from fute.surrogate.prefix import PrefixShape, initial_prefix
from fute.surrogate.states import States, load_states
from fute.surrogate.text2text import Pair


def write_start(recipe: TupateSettings, *, model: Path, lock: Path, output: Path) -> None:
    """Draw and store the prefix that every TuPaTE vector of a surrogate starts from."""
    shape = PrefixShape.of(AutoConfig.from_pretrained(model), recipe.layers, recipe.scope)
    prefix = initial_prefix(shape, length=recipe.length, seed=recipe.init_seed)
    settings = recipe.model_dump(include=set(TupateSettings.START))
    seeds = {"prefix": recipe.init_seed}
    with Step("prefix_start", module=__name__, settings=settings, inputs=[lock], seeds=seeds) as step:
        step.write(output, lambda path: save_file({"prefix": prefix}, path))


def _rows(path: Path) -> list[Row]:
    return [Row.from_json(obj, str(path)) for obj in read_jsonl(path)]


def dataset_pairs(
    rows: list[Row], limit: int | None, seed: int, form: Form = "text2text", classes: Sequence[str] = ()
) -> list[Pair] | list[Labelled]:
    """`limit` labelled rows in a seeded order, as pairs (text, target); None: every row once.

    The target is the label's text, or for heads what a head says: a class of `classes`, a number, or an answer.

    A dataset with fewer rows gives them again, in the same order, until `limit` is reached: vectors are only
    comparable when the same number of pairs made them.
    """
    if form == "heads":
        return limited([Labelled(row.segments, row_target(row, classes)) for row in rows], limit, seed)
    return limited([Pair(x, y) for x, y in labelled_pairs(rows)], limit, seed)


def row_target(row: Row, classes: Sequence[str]) -> Target:
    """What a head shall say of a labelled row. Raises ValueError for a label that is none of `classes`."""
    if row.answers is not None:
        first = row.answers[0] if row.answers else Answer("", 0)
        return SpanTarget(first.start, first.start + len(first.text))
    if row.value is not None:
        return NumberTarget(row.value)
    if row.label not in classes:
        raise ValueError(f"row {row.id}: label {row.label!r} is not one of the classes {', '.join(classes)}")
    return ClassTarget(classes.index(row.label), len(classes))


T = TypeVar("T")


def limited(pairs: Sequence[T], limit: int | None, seed: int) -> list[T]:
    """Pairs in a seeded order, from the first again until there are `limit`; None: each once."""
    pairs = list(pairs)
    random.Random(seed).shuffle(pairs)
    return pairs if limit is None else list(itertools.islice(itertools.cycle(pairs), limit))


def model_pairs(
    item: Item, rows: list[Row], labels: list[dict], seed: int, form: Form = "text2text"
) -> list[Pair] | list[Labelled]:
    """The texts of U, in U's order, with what a black box said of them; at most `item.pairs`.

    The target is a text, or for heads the predicted class or (target `soft`) the probabilities of `item.classes`.

    Variant `null-i` permutes the labels over these texts with a seed of its own.
    Raises ValueError where labels and U are not of the same texts.
    """
    if [row.id for row in rows] != [label["id"] for label in labels]:
        raise ValueError(f"{item.source}: its labels are not those of U in this order; delete them and run again")
    said = labels[: item.pairs]
    if item.variant and item.variant.startswith("null-"):
        random.Random(f"{seed}/{item.variant}").shuffle(said)
    if form == "heads":
        targets = [label_target(label, item.classes, soft=item.target == "soft") for label in said]
        return [Labelled(row.segments, target) for row, target in zip(rows, targets, strict=False)]
    words = dict(zip(item.classes, ((word,) for word in item.verbalizers or ()), strict=False))
    return [
        Pair(row.segments, mte_target(item.target, label["prediction"], item.classes, words))
        for row, label in zip(rows, said, strict=False)
    ]


def label_target(label: Mapping[str, Any], classes: Sequence[str], *, soft: bool) -> Target:
    """What a head shall say where a black box gave a label: a line of its label file, with `classes` in any order."""
    if soft:
        chances = dict(zip(label["classes"], label["probabilities"], strict=True))
        return SoftTarget(tuple(chances[name] for name in classes))
    return ClassTarget(classes.index(label["prediction"]), len(classes))


def _name(item: Item) -> str:
    return f"{item.kind}:{item.source}" + (f".{item.variant}" if item.variant else "")


def _sources(item: Item, files: Mapping[str, Path]) -> dict[str, Path]:
    """The files an item is learned from, by what they are."""
    if item.kind == "dte":
        names = {"train": f"train:{item.source}", "dev": f"dev:{item.source}"}
    else:
        labels = "soft_labels" if item.target == "soft" else "labels"
        names = {"unsup": f"unsup:{item.category}", labels: f"labels:{item.source}"}
    return {kind: files[name] for kind, name in names.items()}


def item_pairs(
    item: Item, early_stop: bool, files: Mapping[str, Path], form: Form = "text2text"
) -> tuple[list[Pair] | list[Labelled], list[Pair] | list[Labelled] | None]:
    """Training pairs of an item, and for a DTE with early stopping the held-out pairs."""
    sources = _sources(item, files)
    if item.kind == "dte":
        as_pairs = {"form": form, "classes": item.classes}
        held_out = dataset_pairs(_rows(sources["dev"]), None, item.seed, **as_pairs) if early_stop else None
        return dataset_pairs(_rows(sources["train"]), item.pairs, item.seed, **as_pairs), held_out
    unsup, labels = sources.values()
    return model_pairs(item, _rows(unsup), read_jsonl(labels), item.seed, form), None


def texts_of_training(settings: MethodSettings, pairs: Sequence, held_out: Sequence | None) -> int:
    """Pairs over all epochs of one training."""
    epochs = getattr(settings, "epochs" if held_out is None else "max_epochs", 1)
    return len(pairs) * epochs


def _zip(path: Path, members: Mapping[str, bytes]) -> None:
    """A stored zip with fixed dates, so that equal content gives equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(members.items()):
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data)


def embed_batch(
    spec: EmbeddingSpec, *, model: Path, lock: Path, start: Path | None, files: Mapping[str, Path], output: Path
) -> None:
    """Learn all vectors of a batch; goes on after the last finished one of a killed run.

    files: `train:{dataset}`, `dev:{dataset}`, `unsup:{category}`, `labels:{model}/{prompt}`, and where the encoder's
    states are shared `states:{category}` -> path.
    start: the shared prefix, for TuPaTE. output: the batch's zip; `.keys` and sidecars are written beside it.
    """
    accelerator = Accelerator(cpu=compute_device().type == "cpu")
    surrogate_sha256 = sha256_file(lock)
    index = {
        item.key: {kind: learned_from(kind, path) for kind, path in _sources(item, files).items()}
        | {"surrogate": surrogate_sha256}
        for item in spec.items
    }
    store = UnitStore(output, SUFFIX, {digest for found in index.values() for digest in found.values()})
    prefix = load_file(start)["prefix"] if start else None
    missing = set(store.missing([member(item.key) for item in spec.items]))
    found = len(spec.items) - len(missing)
    print(f"{spec.method}: {len(spec.items)} vectors, {found} of them found finished", flush=True)
    embedder, recipe = None, None
    states: tuple[str, States] | None = None
    # items with one recipe and one set of texts follow each other: the surrogate and states are loaded once for them
    ordered = sorted(spec.items, key=lambda item: (item.recipe, item.kind, item.category, item.source))
    with heed_sigterm() as came, Track(f"{spec.method} vectors", len(missing), "vectors") as track:
        for item in ordered:
            if member(item.key) not in missing:
                continue
            settings = spec.method_settings(item)
            if embedder is None or item.recipe != recipe:
                embedder, recipe, states = None, item.recipe, None  # one surrogate at a time in memory
                embedder = Embedder(model, spec.settings, settings, surrogate_sha256, start=prefix)
            shared = f"states:{item.category}"
            if item.kind == "mte" and shared in files and (states is None or states[0] != shared):
                states = shared, load_states(files[shared]).on(embedder.surrogate.device)
            pairs, held_out = item_pairs(item, settings.early_stops, files, spec.settings.form)
            with TrainingProgress(_name(item), texts_of_training(settings, pairs, held_out)) as progress:
                embedding = embedder.embed(
                    pairs,
                    dev=held_out,
                    progress=progress if accelerator.is_main_process else None,
                    states=states[1] if states and item.kind == "mte" else None,
                    checkpoints=store.path(f"{item.key}.training"),
                )
            if accelerator.is_main_process:
                kept_as = {"store": settings.store} if isinstance(settings, TaskEmbSettings) else {}
                store.put(member(item.key), lambda path, made=embedding, how=kept_as: save(made, path, **how))
                shutil.rmtree(store.path(f"{item.key}.training"), ignore_errors=True)
            track.advance()
            if came():
                raise Preempted(f"stopped by SIGTERM; {track.done} vectors are kept, and running again goes on")
    accelerator.end_training()
    if not accelerator.is_main_process:
        return
    members = {member(item.key): store.path(member(item.key)).read_bytes() for item in spec.items}
    members[INDEX] = json.dumps(index, sort_keys=True).encode()
    cells = {_name(item): item.key for item in spec.items}
    inputs = [*files.values(), lock, *([start] if start else [])]
    seeds = {"data": spec.items[0].seed}
    with Step("embed_batch", module=__name__, settings=spec.model_dump(), inputs=inputs, seeds=seeds) as step:
        step.write(output, lambda path: _zip(path, members), vectors=len(spec.items))
        step.bytes(output.with_name(output.name.removesuffix(SUFFIX) + ".keys"), keys_text(cells).encode())
