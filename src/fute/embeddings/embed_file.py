"""`fute embed`: a task embedding of a user's own pairs, without the workflow."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from transformers.utils import logging as transformers_logging

from fute import paths
from fute.artifacts import Step, content_key, sha256_file
from fute.config.categories import Categories
from fute.config.methods import LabelCovConfig, MethodId, form_module, method_module
from fute.config.run import Run
from fute.config.sections import ConfigError
from fute.data.model_folder import model_files
from fute.data.rows import BadRow, at, read_raw_jsonl
from fute.embeddings.embed_batch_step import labelcov, texts_of_training
from fute.embeddings.embedder import Embedder
from fute.embeddings.gate import gate_words
from fute.embeddings.pairs import gate_of, own_pairs
from fute.embeddings.vectors import Embedding, EmbeddingError, save
from fute.progress import TrainingProgress
from fute.surrogate.checkpoint import heed_sigterm
from fute.surrogate.labelled import ClassTarget, Labelled
from fute.surrogate.text2text import Pair


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs from a JSON-lines file: `{"x": text, "y": text}`, or x as a list of two texts.

    Raises BadRow, naming file, row and field.
    """
    pairs = []
    for number, row in read_raw_jsonl(path):
        where = at(path, number)
        x = [row["x"]] if isinstance(row.get("x"), str) else row.get("x")
        if not isinstance(x, list) or len(x) not in (1, 2) or not all(isinstance(part, str) for part in x):
            raise BadRow(where, "x", "must be a text or a list of two texts", "correct the line")
        if not any(part.strip() for part in x):
            raise BadRow(where, "x", "is empty", "drop the line")
        y = row.get("y")
        if not isinstance(y, str):
            raise BadRow(where, "y", "must be a text", "write it in quotes, numbers too" if "y" in row else "add it")
        if not y.strip():
            raise BadRow(where, "y", "is empty", "give empty answers a name, such as 'unknown'")
        pairs.append(Pair(tuple(x), y))
    if not pairs:
        raise BadRow(str(path), None, "holds no pairs", "write one object with x and y per line")
    return pairs


def _class_pairs(pairs: Sequence[Pair], classes: Sequence[str]) -> list[Labelled]:
    """Pairs whose y is the name of a class, for a head."""
    return [Labelled(pair.x, ClassTarget(classes.index(pair.y), len(classes))) for pair in pairs]


def _category_classes(path: Path, names: set[str], categories: Categories) -> tuple[str, ...]:
    """Classes of the one category that has all names, in the order of a run's heads. Raises ConfigError."""
    matching = [entry.classes for entry in categories.values() if names <= set(entry.classes)]
    if len(matching) != 1:
        raise ConfigError(
            f"{path}: y takes {sorted(names)}, which are not the classes of one category; name all classes, in the "
            "same order for all vectors: --classes first,second,..."
        )
    return matching[0]


def _check_classes(path: Path, names: set[str], classes: Sequence[str]) -> None:
    """Raise ConfigError if classes that were given lack a y of the file, or one is given twice."""
    if twice := [name for name in classes if classes.count(name) > 1]:
        raise ConfigError(f"--classes: {twice[0]!r} is named twice; name it once")
    if classes and (unknown := sorted(names - set(classes))):
        raise ConfigError(
            f"{path}: y takes {unknown[0]!r}, which is not in --classes {','.join(classes)}; add it there"
        )


def surrogate_sha256(folder: Path) -> str:
    """Hash of a model folder, as in the workflow's vectors: of its lock, or of the model's files if it has no lock."""
    lock = folder.with_name(f"{folder.name}.lock.json")
    if lock.is_file():
        return sha256_file(lock)
    return content_key({name: sha256_file(path) for name, path in model_files(folder).items()})


def embed_file(
    run: Run,
    pairs: Path,
    output: Path,
    *,
    method: MethodId,
    kind: Literal["dte", "mte"],
    model: Path | None = None,
    dev: Path | None = None,
    classes: Sequence[str] = (),
) -> None:
    """Learn one vector by a configuration's recipe, so that it can be compared with that run's vectors.

    kind: `dte` takes the pairs in a seeded order and repeats them until the recipe's number of pairs is reached; `mte`
        takes them in the order of the file.
    model: folder of a saved model; None: the run's own surrogate. dev: held-out pairs, for recipes that stop early.
    classes: for a surrogate of the heads form, where every y is the name of a class. Not needed if all names are of one
        of the run's categories; otherwise the same for all vectors that are compared. For LabelCov, whose every y is
        the name of a class too, only needed to name classes that no y has.

    A killed call continues where it was if it is repeated. Raises ConfigError for a missing model, missing held-out
    pairs or unknown classes, BadRow for a bad line, and ValueError for what a killed call left of other pairs, settings
    or code.
    """
    files = [pairs, *([dev] if dev else [])]
    if output.exists() and any(each.exists() and output.samefile(each) for each in files):
        raise ConfigError(f"--output {output}: is a file of pairs, which would be lost; name another file")
    read = read_pairs(pairs)
    if method == "labelcov":
        if dev:
            raise ConfigError("labelcov trains nothing, so that nothing stops early: leave out --dev")
        _check_classes(pairs, {pair.y for pair in read}, classes)
        embedding = _covariance(read, _folder(run, method, model), run.config.labelcov, kind, run.config.seed, classes)
        _save(embedding, run, pairs, output, method=method, kind=kind, learned=embedding.meta["pairs"])
        return
    chosen = _chosen(run, pairs, read, method=method, kind=kind, dev=dev, classes=classes)
    recipe, folder = getattr(run.config.method(method), kind), _folder(run, method, model)
    embedder = Embedder(folder, run.config.surrogate.settings, recipe, surrogate_sha256(folder))
    partial = output.with_name(f"{output.name}.partial")
    texts = texts_of_training(recipe, chosen.to_learn, chosen.for_stopping)
    with heed_sigterm(), TrainingProgress(output.stem, texts) as progress:
        shown = progress if embedder.accelerator.is_main_process else None
        embedding = embedder.embed(
            chosen.to_learn,
            dev=chosen.for_stopping,
            held_out=chosen.held_out,
            accuracy=kind == "dte",
            progress=shown,
            checkpoints=partial,
        )
        embedder.accelerator.end_training()
    if not embedder.accelerator.is_main_process:
        return
    _save(embedding, run, pairs, output, method=method, kind=kind, learned=len(chosen.to_learn), dev=dev)
    shutil.rmtree(partial, ignore_errors=True)


def _folder(run: Run, method: MethodId, model: Path | None) -> Path:
    """Folder of the model that vectors are learned with. Raises ConfigError if it holds none."""
    folder = model or Path(paths.model_folder(run.config.model_of(method)))
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"{folder} holds no model: give the folder of a saved model by --model, or fetch the run's own by "
            f"`snakemake --cores 1 {paths.model_lock(run.config.model_of(method))}`"
        )
    transformers_logging.disable_progress_bar()  # of its weights; a log would get every state of the bar
    return folder


class _Chosen(NamedTuple):
    """What a vector is learned from, in order, what its gate holds out, and what stops it early."""

    to_learn: Sequence[Any]
    held_out: Sequence[Any]
    for_stopping: Sequence[Any] | None


def _chosen(
    run: Run, path: Path, pairs: list[Pair],
    *, method: MethodId, kind: Literal["dte", "mte"], dev: Path | None, classes: Sequence[str],
) -> _Chosen:  # fmt: skip
    """Divide pairs as the workflow does, in the form of the surrogate. Raises ConfigError. path: of the pairs."""
    section = run.config.method(method)
    recipe = getattr(section, kind)
    for_stopping = read_pairs(dev) if dev else None
    gate = gate_of(recipe, run.config.gate)
    to_learn, held_out = own_pairs(pairs, section.pairs, gate, kind=kind, seed=run.config.seed, dev=for_stopping)
    if kind == "dte" and recipe.early_stops and for_stopping is None:
        raise ConfigError(f"the configuration's {method} recipe stops DTEs early: give held-out pairs by --dev")
    if run.config.surrogate.settings.form != "heads":
        return _Chosen(to_learn, held_out, for_stopping)
    names = {pair.y for pair in (*to_learn, *held_out, *(for_stopping or ()))}
    _check_classes(path, names, classes)
    classes = classes or _category_classes(path, names, run.categories)
    of_head = [_class_pairs(each, classes) for each in (to_learn, held_out, for_stopping or ())]
    return _Chosen(of_head[0], of_head[1], of_head[2] or None)


def _covariance(
    pairs: list[Pair], folder: Path, section: LabelCovConfig, kind: str, seed: int, classes: Sequence[str]
) -> Embedding:
    """LabelCov of pairs whose y is the name of a class. Raises EmbeddingError if all are one class."""
    module = labelcov()
    if kind == "dte":
        random.Random(seed).shuffle(pairs)
    pairs = pairs[: section.pairs]
    names = tuple(classes) or tuple(sorted({pair.y for pair in pairs}))
    box = module.LabelCov(folder, getattr(section, kind), surrogate_sha256(folder))
    embedding = box.embed([pair.x for pair in pairs], module.Outputs("labels", [pair.y for pair in pairs], names))
    if reason := embedding.meta.get("no_vector"):
        raise EmbeddingError(f"there is no vector: {reason}; leave this file out of the comparison")
    return embedding


def _save(
    embedding: Embedding, run: Run, pairs: Path, output: Path,
    *, method: MethodId, kind: str, learned: int, dev: Path | None = None,
) -> None:  # fmt: skip
    """Write the vector with its sidecar, and say what it is. learned: number of pairs that were given."""
    recipe = getattr(run.config.method(method), kind)
    settings = {"method": method, "kind": kind, "recipe": recipe.model_dump(mode="json")}
    inputs = [pairs, *([dev] if dev else [])]
    more_code = [method_module(method)]
    if method != "labelcov":
        more_code.append(form_module(run.config.surrogate.settings.form))
    with Step(__name__, settings=settings, more_code=more_code, inputs=inputs, seeds={"data": run.config.seed}) as step:
        step.write(output, lambda path: save(embedding, path), pairs=learned)
    meta = embedding.meta
    loss = f", loss {meta['loss_start']:.3f} -> {meta['loss_end']:.3f}" if "loss_end" in meta else ""
    print(f"{output}: {len(embedding.vector)} numbers from {learned} pairs{loss}{gate_words(meta)}")
