"""Task embeddings and rankings on plain lists and arrays, for notebooks: `fute.embed`, `fute.labelcov`, `fute.rank`.

Nothing is written and no configuration is read. The workflow computes the same vectors from files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np

    from fute.config.sections import Section
    from fute.embeddings.vectors import Embedding

Text: TypeAlias = "str | tuple[str, str]"
S = TypeVar("S", bound="Section")

ROUNDING = 1e-12
"""Similarities closer than this are equal: vectors of one direction differ in the last digit."""


class Ranked(NamedTuple):
    """One candidate in a ranking.

    rank: 1 for the most similar; equal similarities (to 12 digits) share the lower number. similarity: cosine with the
    dataset, in [-1, 1]. centred: cosine around the mean of the candidates, without what all of them share; NaN for one
    candidate.
    """

    rank: int
    name: str
    similarity: float
    centred: float


def embed(
    pairs: Sequence[tuple[Text, str]],
    surrogate: str | Path,
    *,
    method: str = "tupate",
    kind: Literal["mte", "dte"] = "mte",
    recipe: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    dev: Sequence[tuple[Text, str]] | None = None,
) -> Embedding:
    """Learn the task embedding of pairs (x, y) on a surrogate.

    pairs: x is a text or two texts, y is what a black box (`kind="mte"`) or a person (`kind="dte"`) said of it. The
    order of a black box's counts; the others are taken in a seeded order, as in the workflow. surrogate: folder of a
    saved T5-like or causal language model. method: `taskemb`, `tupate`, `tupate-lora`, `tupate-bias` or `textemb`.
    recipe: settings in which the recipe departs from the paper's of this method and kind (docs/config.md); vectors are
    only comparable if they are learned by one recipe from equally many pairs. settings: how the surrogate is loaded, as
    in the section `surrogate.settings`; its family is read from its files. dev: pairs for early stopping, which the
    paper's recipes of DTEs have.

    Some pairs are held out, at most a quarter, or those of dev, and `meta["gate"]` says whether the surrogate learned:
    do not rank by a vector that did not. Raises ValueError for settings that cannot be, or pairs that cannot be
    embedded.

    >>> pairs = [("a great film", "positive"), ("a dull film", "negative")] * 12
    >>> recipe = {"epochs": 4, "batch_size": 4, "learning_rate": 0.05, "length": 3}
    >>> vector = fute.embed(pairs, surrogate, recipe=recipe)
    >>> vector.vector.shape, vector.meta["pairs"], vector.meta["gate"]["rows"]
    ((48,), 18, 6)
    """
    from fute.config.gate import GateConfig
    from fute.config.methods import METHODS
    from fute.config.settings import Config
    from fute.config.surrogate import SurrogateSettings
    from fute.embeddings.embed_file import surrogate_sha256
    from fute.embeddings.embedder import Embedder
    from fute.embeddings.pairs import gate_of, own_pairs

    names = [name for name in METHODS if name != "labelcov"]
    if method not in names:
        raise ValueError(f"method {method!r} learns on no surrogate: give one of {names}, or call fute.labelcov")
    if kind not in ("mte", "dte"):
        raise ValueError(f"kind must be 'mte' or 'dte', got {kind!r}")
    default = getattr(Config.model_fields[method.replace("-", "_")].default, kind)
    learned_by = _settings(type(default), default.model_dump() | dict(recipe or {}), "recipe")
    if learned_by.early_stops and dev is None:
        raise ValueError(
            f"the paper's {method} recipe of a {kind.upper()} stops early: give held-out pairs as dev, or a recipe "
            "with epochs and without max_epochs and patience"
        )
    folder = _model_folder(surrogate)
    seq2seq = json.loads((folder / "config.json").read_text(encoding="utf8")).get("is_encoder_decoder", False)
    family = {"family": "encoder-decoder" if seq2seq else "causal"}
    loaded_by = _settings(SurrogateSettings, family | dict(settings or {}), "settings")
    if loaded_by.form == "heads":
        raise ValueError("form 'heads' needs the classes of a dataset: use `fute embed --classes`, or form 'text2text'")
    stopping = None if dev is None else _pairs(dev, "dev, ")
    gate, seed = gate_of(learned_by, GateConfig()), Config.model_fields["seed"].default
    to_learn, held_out = own_pairs(_pairs(pairs), None, gate, kind=kind, seed=seed, dev=stopping)
    embedder = Embedder(folder, loaded_by, learned_by, surrogate_sha256(folder))
    return embedder.embed(to_learn, dev=stopping, held_out=held_out, accuracy=kind == "dte")


def labelcov(
    texts: Sequence[Text], labels: Sequence[str], encoder: str | Path, *, classes: Sequence[str] | None = None
) -> Embedding:
    """LabelCov: the covariance of a frozen encoder's text embeddings with labels, (classes x d,), without training.

    texts, labels: n each; the labels are names of classes. encoder: folder of a saved sentence encoder. classes: all
    names, if some have no text. For embeddings of your own use `fute.label_covariance` (n, d) on arrays.
    Raises EmbeddingError if all labels are one class, ValueError for a label that is not one of the classes.

    >>> texts = ["a great film", "a dull film", "it was good", "it was bad"]
    >>> vector = fute.labelcov(texts, ["positive", "negative", "positive", "negative"], encoder)
    >>> [name for name, *_ in vector.segments]
    ['negative', 'positive']
    """
    from fute.config.methods import LabelCovSettings
    from fute.embeddings.embed_file import surrogate_sha256
    from fute.embeddings.labelcov import LabelCov, Outputs
    from fute.embeddings.vectors import EmbeddingError

    texts, labels = list(texts), list(labels)
    if len(texts) != len(labels):
        raise ValueError(f"{len(texts)} texts and {len(labels)} labels: give one label per text")
    if odd := [(index, label) for index, label in enumerate(labels) if not isinstance(label, str)]:
        raise ValueError(f"label {odd[0][0]}: must be the name of a class, got {odd[0][1]!r}")
    folder = _model_folder(encoder)
    names = tuple(sorted(set(labels))) if classes is None else tuple(classes)
    box = LabelCov(folder, LabelCovSettings(), surrogate_sha256(folder))
    embedding = box.embed(
        [_texts(text, f"text {index}") for index, text in enumerate(texts)], Outputs("labels", labels, names)
    )
    if reason := embedding.meta.get("no_vector"):
        raise EmbeddingError(f"there is no vector: {reason}")
    return embedding


def rank(candidates: Mapping[str, Embedding | np.ndarray], dataset: Embedding | np.ndarray) -> list[Ranked]:
    """Rank candidates (MTEs) by their cosine with a dataset's embedding (DTE), the most similar first.

    candidates: name -> vector, as a dict; all vectors are embeddings of one basis, or all are arrays (d,). LabelCov's
    are all compared by class names if all have the same ones, else all by scatters. A ranking says nothing of how sure
    it is: see `meta["gate"]` of the vectors, and repeat it with other orders.
    Raises EmbeddingError for vectors of different bases, of zero norm, or with values that are not finite; ValueError
    without candidates.

    >>> for row in fute.rank({"prompt 1": [1.0, 0.0], "prompt 2": [1.0, 1.0], "prompt 3": [0.0, 1.0]}, [2.0, 1.0]):
    ...     print(row.rank, row.name, round(row.similarity, 3), round(row.centred, 3))
    1 prompt 2 0.949 0.857
    2 prompt 1 0.894 0.217
    3 prompt 3 0.447 -0.759
    """
    import numpy as np

    from fute.embeddings.similarity import cosine_around
    from fute.embeddings.vectors import LABELCOV, Embedding, EmbeddingError, cosine, in_one_space

    if not isinstance(candidates, Mapping):
        raise ValueError(
            f"candidates must be a dict, name -> vector, got a {type(candidates).__name__}; give every vector a name"
        )
    if not candidates:
        raise ValueError("there are no candidates to rank; give at least one")
    every = [dataset, *candidates.values()]
    if not any(isinstance(one, Embedding) for one in every):
        every = [np.asarray(one, dtype=np.float64) for one in every]
        if len({one.shape for one in every}) > 1 or every[0].ndim != 1:
            raise ValueError(f"vectors must all be (d,), got {sorted({one.shape for one in every})}")
    similar = []
    for name, one in zip(candidates, every[1:], strict=True):
        try:
            similar.append(cosine(one, every[0]))
        except EmbeddingError as error:
            raise EmbeddingError(f"{name} and the dataset: {error}") from None
    if isinstance(every[0], Embedding) and every[0].method == LABELCOV:
        every = in_one_space(every)
        similar = [cosine(one, every[0]) for one in every[1:]]
    arrays = [one.vector if isinstance(one, Embedding) else one for one in every]
    centre = np.mean(arrays[1:], axis=0, dtype=np.float64)  # in fp32, rounding would tell equal candidates apart
    rows = [
        Ranked(1 + sum(other > own + ROUNDING for other in similar), name, own, cosine_around(array, arrays[0], centre))
        for name, own, array in zip(candidates, similar, arrays[1:], strict=True)
    ]
    return sorted(rows, key=lambda row: row.rank)


def _settings(kind: type[S], values: Mapping[str, Any], where: str) -> S:
    """Check settings. Raises ConfigError, a ValueError, with a line for each that cannot be. where: their argument."""
    from pydantic import ValidationError

    from fute.config.sections import refused

    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise refused(error, kind, where) from None


def _model_folder(path: str | Path) -> Path:
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no saved model: give the folder that has its config.json")
    return folder


def _texts(x: Text, where: str) -> tuple[str, ...]:
    texts = tuple(x) if isinstance(x, (tuple, list)) else (x,)
    if len(texts) not in (1, 2) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{where}: must be a text or two texts, got {x!r}")
    return texts


def _pairs(pairs: Iterable[tuple[Text, str]], where: str = "") -> list[Any]:
    from fute.surrogate.text2text import Pair

    pairs = list(pairs)
    if not pairs:
        raise ValueError("there are no pairs to learn from; give at least one")
    for index, pair in enumerate(pairs):
        if isinstance(pair, str) or not isinstance(pair, Sized) or len(pair) != 2:
            raise ValueError(f"{where}pair {index}: must be (x, y), got {pair!r}")
        if not isinstance(y := pair[1], str):
            raise ValueError(f"{where}pair {index}: y must be a text, got {y!r}")
    return [Pair(_texts(x, f"{where}pair {index}, x"), y) for index, (x, y) in enumerate(pairs)]
