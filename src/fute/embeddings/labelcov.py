"""LabelCov on texts: a frozen encoder loaded once, which turns texts and what is said of them into covariances."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fute.artifacts import StaleFile, read_jsonl
from fute.config.methods import LabelCovSettings
from fute.data.rows import Row, read_rows
from fute.embeddings.covariance import label_covariance, number_covariance, output_covariance, whitening
from fute.embeddings.pairs import answered_texts, label_number, sources_of
from fute.embeddings.sentence_encoder import SentenceEncoder
from fute.embeddings.vectors import LABELCOV, Embedding, EmbeddingError
from fute.specs.embeddings import Item
from fute.surrogate.labelled import ClassTarget, Labelled
from fute.surrogate.text2text import PairError
from fute.surrogate.training import Progress
from fute.surrogate.unknown import unknown_tokens

Texts = list[tuple[str, ...]]


@dataclass(frozen=True)
class Outputs:
    """What is said of n texts: `labels` (n names of `classes`), `probabilities` (n of all classes), `numbers` (n), or
    `answers` (n texts, which are compared by their own embeddings)."""

    kind: Literal["labels", "probabilities", "numbers", "answers"]
    values: Sequence[Any]
    classes: tuple[str, ...] = ()


class LabelCov:
    """Loads an encoder once and turns many sets of texts and outputs into vectors.

    The texts' embeddings are kept until other texts come, so that all black boxes of one U share them.
    """

    def __init__(self, folder: Path, settings: LabelCovSettings, encoder_sha256: str) -> None:
        self.settings = settings
        self.encoder = SentenceEncoder(folder, max_tokens=settings.max_tokens, batch_size=settings.batch_size)
        self._basis = {
            "method": LABELCOV, "encoder_sha256": encoder_sha256, "max_tokens": settings.max_tokens,
            "size": self.encoder.size,
        } | ({"whiten": True} if settings.whiten else {})  # fmt: skip
        self._kept: tuple[Texts, NDArray[np.float32], dict[str, Any]] | None = None
        self._whitened: tuple[NDArray[np.float32], NDArray[np.float64]] | None = None

    def embed(self, texts: Texts, outputs: Outputs, *, progress: Progress | None = None) -> Embedding:
        """The covariance of the texts' embeddings with the outputs, row by row (of classes) end to end.

        Its `segments` are the rows, by name. The record has the share of each class. Where the output is the same for
        all texts there is no covariance: the vector is zeros, and the record's `no_vector` says why.
        Raises EmbeddingError if there are no texts, or for a label that is not one of the classes.
        """
        if not texts:
            raise EmbeddingError("there are no texts to learn from; give at least one")
        phi, facts = self._embedded(texts, progress)
        names = self._row_names(outputs)
        meta: dict[str, Any] = {
            "pairs": len(texts), "outputs": outputs.kind, **facts,
            "recipe": self.settings.model_dump(mode="json"), "mode": "frozen encoder in eval mode, not trained",
        }  # fmt: skip
        if outputs.kind == "labels":
            counts = Counter(outputs.values)
            meta["shares"] = {name: counts[name] / len(texts) for name in outputs.classes}
        if len(different := {str(value) for value in outputs.values}) == 1:
            (only,) = different
            meta["no_vector"] = f"the output is the same, {only[:60]!r}, for all {len(texts)} texts"
            rows = np.zeros((len(names), self.encoder.size))
        else:
            try:
                rows = self._covariance(phi, outputs)
                if self.settings.whiten:
                    rows = rows @ self._whitening(phi)
            except ValueError as error:
                raise EmbeddingError(str(error)) from None
        size = self.encoder.size
        segments = [(name, index * size, (index + 1) * size) for index, name in enumerate(names)]
        vector = rows.astype(np.float32).ravel()
        return Embedding(vector, LABELCOV, self._basis, meta, vector[None], segments=segments)

    def _embedded(self, texts: Texts, progress: Progress | None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Embeddings of texts (n, d), and facts about them for the record."""
        if self._kept is None or self._kept[0] != texts:
            try:
                phi, cut = self.encoder.encode(texts, progress)
            except ValueError as error:
                raise EmbeddingError(str(error)) from None
            unknown = unknown_tokens(self.encoder.tokenizer, [Labelled(x, ClassTarget(0, 1)) for x in texts])
            facts = {"inputs_cut": cut, "unknown_tokens": round(unknown.share, 6), "unusable_pairs": 0}
            self._kept = texts, phi, facts
        return self._kept[1:]

    def _whitening(self, phi: NDArray[np.float32]) -> NDArray[np.float64]:
        if self._whitened is None or self._whitened[0] is not phi:
            self._whitened = phi, whitening(phi)
        return self._whitened[1]

    def _row_names(self, outputs: Outputs) -> Sequence[str]:
        if outputs.kind == "numbers":
            return ("number",)
        if outputs.kind == "answers":
            return [f"answer embedding {index}" for index in range(self.encoder.size)]
        return outputs.classes

    def _covariance(self, phi: NDArray[np.float32], outputs: Outputs) -> NDArray[np.float64]:
        if outputs.kind == "labels":
            return label_covariance(phi, outputs.values, outputs.classes)
        if outputs.kind == "numbers":
            return number_covariance(phi, outputs.values)
        if outputs.kind == "answers":
            return output_covariance(phi, self.encoder.encode([(answer,) for answer in outputs.values])[0])
        return output_covariance(phi, outputs.values)


def item_outputs(item: Item, files: Mapping[str, Path]) -> tuple[Texts, Outputs]:
    """Texts and outputs of a vector of the workflow: a dataset's labelled rows in a seeded order, each once, or U with
    a black box's labels. At most `item.pairs`.

    Raises EmbeddingError, naming the black box and the text, for labels that lack what the vector needs.
    """
    sources = sources_of(item, files)
    if item.kind == "dte":
        rows = read_rows(sources["train"])
        random.Random(item.seed).shuffle(rows)
        return _of_rows(item, rows[: item.pairs])
    unsup, labels = sources.values()
    rows, said = answered_texts(item, read_rows(unsup), read_jsonl(labels), item.seed)
    return [row.segments for row in rows], label_outputs(item, said)


def _of_rows(item: Item, rows: list[Row]) -> tuple[Texts, Outputs]:
    texts = [row.segments for row in rows]
    if unlabelled := [row.id for row in rows if row.label is None]:
        raise StaleFile(f"{item.source}: row {unlabelled[0]} has no label; a DTE needs labelled rows")
    if all(row.value is not None for row in rows):
        return texts, Outputs("numbers", [row.value for row in rows])
    if any(row.answers is not None for row in rows):
        return texts, Outputs("answers", [row.label for row in rows])
    return texts, Outputs("labels", [row.label for row in rows], item.classes)


def label_outputs(item: Item, said: Sequence[Mapping[str, Any]]) -> Outputs:
    """Outputs in the lines of a label file."""
    soft = item.target == "soft"
    if item.classes and soft:
        chances = [dict(zip(line.get("classes", ()), line.get("probabilities", ()), strict=False)) for line in said]
        for line, chance in zip(said, chances, strict=True):
            if missing := [name for name in item.classes if name not in chance]:
                raise EmbeddingError(
                    f"{item.source}: label of {line['id']} has no probability of {missing[0]!r}; set "
                    "labelcov.mte.labels: hard"
                )
        return Outputs("probabilities", [[chance[name] for name in item.classes] for chance in chances], item.classes)
    if item.classes:
        return Outputs("labels", [line["prediction"] for line in said], item.classes)
    if all("value" in line for line in said):
        try:
            return Outputs("numbers", [label_number(line, soft=soft) for line in said])
        except PairError as error:
            raise EmbeddingError(f"{item.source}: {error}") from None
    return Outputs("answers", [line["prediction"] for line in said])
