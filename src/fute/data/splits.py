"""Turn raw rows of a labelled dataset into rows with canonical target strings, in the splits train, dev and test.

Texts lose outer whitespace (in GLUE's SST-2 they end in a blank) and are otherwise unchanged (IMDB keeps its `<br />`).
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from fute.config.datasets import DatasetSettings, Source
from fute.config.sections import Section
from fute.data.examples import Example, Raw, Skipped
from fute.data.readers import Form, form_of
from fute.data.rows import BadRow, Row, SourceError, at, overlap_key
from fute.data.sources import RawRow, RawSplits, load_dataset_rows
from fute.data.squad_form import YES_NO
from fute.data.stored_rows import StoredRows
from fute.data.text2text import UNANSWERABLE, answer_target, number_target

MAX_TWINS = 0.1
"""Largest share of the training rows whose text may also stand in the dataset's test split; they are dropped."""
TWINS_NAMED = 3

DROPPED = {
    "shares_field_with_test": "share a field with the test split",
    "in_own_test": "stand in the test split",
    "excluded": "stand in the evaluation rows of an overlapping dataset",
}
"""Why training rows are dropped: name of the count -> its words."""


class Normalised(NamedTuple):
    """Rows of the splits train, dev and test, and for each split counts of the rows kept and dropped."""

    rows: dict[str, Sequence[Row]]
    counts: dict[str, dict[str, Any]]


def normalise(
    dataset_id: str,
    settings: DatasetSettings,
    raw: RawSplits,
    *,
    test_rows: int | None = None,
    train_rows: int | None = None,
    dev_share: float = 0.1,
    seed: int = 42,
    exclude: AbstractSet[str] = frozenset(),
    scratch: Path | None = None,
) -> Normalised:
    """Make the rows of train, dev and test with canonical target strings.

    The rows are not held in memory but in a nameless file in the folder `scratch` (None: the system's own for that).

    test  the first `test_rows` (None: the entry's sample; all if there are fewer) of the row indices shuffled by
          Random(seed), then sorted, as in the authors' code. A dataset without a split for it first gives
          `heldout_share` of train, drawn the same way, in place of that split
    dev   `dev_share` of train, drawn the same way (the authors stop early on the rows they evaluate on)
    train the other rows; with `train_rows`, train and dev together have that many
    Train and dev never hold a text of the dataset's own test split (sampled or not; `rows.overlap_key`), nor one whose
    `exclusion_key` is in `exclude`.
    Unusable rows are left out and counted, up to `max_unusable` of the entry.
    Raises BadRow for a single unusable row that may not be left out; SourceError for several, if over 10 % of a split
    are unlabelled, more questions are skipped than the entry allows, over 10 % of train stand in the dataset's own test
    split, or no row is left.
    """
    form = form_of(settings, raw.source)
    train, train_counts = _labelled(dataset_id, settings, form, raw.train, "train", seed, scratch)
    if settings.heldout_share is None:
        test, test_counts = _labelled(dataset_id, settings, form, raw.test, "test", seed, scratch)
    else:
        test, train = _sample(train, round(settings.heldout_share * len(train)), seed)
        test_counts = {"held_out_of_train": len(test)}
    if raw.source == "files" and settings.files.drop_shared:
        positions = [settings.fields.index(field) for field in settings.files.drop_shared]
        in_test = {i: {_digest([row.segments[i]]) for row in test} for i in positions}
        train = _drop(
            train,
            lambda row: any(_digest([row.segments[i]]) in texts for i, texts in in_test.items()),
            train_counts,
            "shares_field_with_test",
        )
    train = _drop_twins(dataset_id, settings, train, test, train_counts)
    train = _drop(
        train, lambda row: bool(exclude) and exclusion_key(settings, row) in exclude, train_counts, "excluded"
    )

    wanted = settings.sample if test_rows is None else test_rows
    test, _ = _sample(test, len(test) if wanted is None else wanted, seed)
    if train_rows is not None:
        train, _ = _sample(train, train_rows, seed)
    dev, train = _sample(train, round(dev_share * len(train)), seed)
    rows = {"train": train, "dev": dev, "test": test}
    counts = {"train": train_counts, "dev": {}, "test": test_counts}
    for split, kept in rows.items():
        if not kept and not (split == "dev" and dev_share == 0):
            raise SourceError(f"{dataset_id}, split {split}: no rows are left; counts so far: {counts}")
        counts[split] |= {"kept": len(kept), "classes": _class_counts(settings, kept)}
    return Normalised(rows, counts)


def exclusion_key(settings: DatasetSettings, row: Row) -> str:
    """Text that a train row of this dataset must not share with an evaluation row of an overlapping dataset."""
    return overlap_key(row.segments if settings.overlap_by == "row" else row.segments[:1])


def exclusion_keys(dataset_id: str, settings: DatasetSettings, rows: Iterable[Row]) -> frozenset[str]:
    """`exclusion_key` of the evaluation rows of other datasets; `normalise` itself sees all of this dataset's."""
    own_prefix = f"{dataset_id}/"
    return frozenset(exclusion_key(settings, row) for row in rows if not row.id.startswith(own_prefix))


def size_warnings(settings: DatasetSettings, counts: dict[str, dict[str, Any]]) -> list[str]:
    """Warnings for unusable rows, and for another number of labelled rows than the official split has."""
    official = {"train": settings.expected.train, "test": settings.expected.dev}
    labelled = {part: counts[part]["raw"] - counts[part]["unlabelled"] for part in official if "raw" in counts[part]}
    left_out = [
        f"left out of {part}: {problem}" for part, count in counts.items() for problem in count.get("unusable", ())
    ]
    return left_out + [
        f"{rows} labelled rows for {part}, the official split has {official[part]}"
        for part, rows in labelled.items()
        if official[part] not in (None, rows)
    ]


def _labelled(
    dataset_id: str,
    settings: DatasetSettings,
    form: Form,
    raw: Iterable[RawRow],
    part: str,
    seed: int,
    scratch: Path | None,
) -> tuple[StoredRows, dict[str, Any]]:
    """Usable rows of a part, with counts of all rows read; a raw row may hold several questions."""
    rows = StoredRows(scratch)
    skipped: Counter[str] = Counter()
    unusable: list[BadRow] = []
    raw_rows = read = unlabelled = 0
    waiting = iter(raw)
    for raw_rows, item in enumerate(waiting, start=1):
        where = at(item.origin, item.number)
        name = f"{dataset_id}/{item.split}/{item.index}"
        examples = enumerate(form.read(Raw(item.values, where, settings, random.Random(f"{seed}/{name}"))))
        try:
            for number, example in examples:
                read += 1
                if isinstance(example, Skipped):
                    if settings.max_skipped == 0:
                        remedy = f"correct it, or allow a share of such rows: max_skipped of {dataset_id}"
                        raise BadRow(where, None, f"cannot be used: {example.reason}", remedy)
                    skipped[example.reason] += 1
                elif settings.is_unlabelled(example.label):
                    unlabelled += 1
                else:
                    row_id = f"{name}.{number}" if form.many else name
                    rows.append(_row(dataset_id, settings, row_id, example, where))
        except BadRow as error:
            unusable.append(error)
            if len(unusable) > settings.max_unusable.rows:
                raw_rows += sum(1 for _ in waiting)
                break
    if not settings.max_unusable.allows(len(unusable), raw_rows):
        _refuse(dataset_id, settings, part, unusable, raw_rows)
    _check_shares(dataset_id, settings, part, read, unlabelled, skipped)
    counts: dict[str, Any] = {"raw": read, "unlabelled": unlabelled}
    if skipped:
        counts["skipped"] = dict(skipped)
    if unusable:
        counts["unusable"] = [str(error) for error in unusable]
    return rows, counts


def _refuse(dataset_id: str, settings: DatasetSettings, part: str, unusable: list[BadRow], rows: int) -> NoReturn:
    """Raise the error for more unusable rows than the entry allows: a single one's own, or a list of the first."""
    if len(unusable) == 1:
        raise unusable[0]
    limit = settings.max_unusable
    listed = "; ".join(str(error) for error in unusable[:5])
    count = f"{'at least ' if len(unusable) > limit.rows else ''}{len(unusable)}"
    raise SourceError(
        f"{dataset_id}, split {part}: {count} of {rows} rows cannot be used, and at most "
        f"{limit.rows} and {limit.share:.2%} may be left out (max_unusable of {dataset_id}). The first are {listed}"
    )


def _check_shares(
    dataset_id: str, settings: DatasetSettings, part: str, read: int, unlabelled: int, skipped: Counter[str]
) -> None:
    """Raise SourceError if more of a part's rows than the entry allows have no label, or are skipped as questions."""
    if unlabelled > settings.max_unlabelled * read:
        raise SourceError(
            f"{dataset_id}, split {part}: {unlabelled} of {read} rows are unlabelled, more than "
            f"{settings.max_unlabelled:.0%}; its labels are probably hidden: name another split in the registry, or "
            "raise max_unlabelled"
        )
    if skipped.total() > settings.max_skipped * read:
        raise SourceError(
            f"{dataset_id}, split {part}: {skipped.total()} of {read} questions cannot be used, more than "
            f"{settings.max_skipped:.0%} ({dict(skipped)}); check that the file is the one the registry means, "
            "or raise max_skipped"
        )


def _row(dataset_id: str, settings: DatasetSettings, row_id: str, example: Example, where: str) -> Row:
    """Canonical row of an example. Raises BadRow for a label that the registry entry does not list."""
    if example.answers is not None:
        return Row(row_id, example.segments, answer_target(example.answers), answers=example.answers)
    label, field = example.label, settings.label_field or "label"
    if settings.scale is not None:
        low, high = settings.scale.low, settings.scale.high
        if isinstance(label, bool) or not isinstance(label, int | float) or not math.isfinite(label):
            text = "cells of CSV and TSV are text: save the rows as JSON lines or Parquet, numbers without quotes"
            remedy = text if isinstance(label, str) else "correct the row"
            raise BadRow(where, field, f"is {label!r}, not a number", remedy)
        if not low <= label <= high:
            raise BadRow(where, field, f"is {label}, outside {low} to {high}", f"correct it or scale of {dataset_id}")
        target = number_target(label, low=low, high=high, step=settings.scale.step)
        return Row(row_id, example.segments, target, value=float(label))
    if not isinstance(label, str | int | float):
        raise BadRow(where, field, f"is {label!r}, neither text nor number", "correct the row")
    name = settings.class_of(label)
    if name is None:
        labels = ", ".join(settings.label_map)
        remedy = f"correct it, or add it to labels or unlabelled of {dataset_id} (known: {labels})"
        raise BadRow(where, field, f"has the unknown label {label!r}", remedy)
    return Row(row_id, example.segments, name)


def _class_counts(settings: DatasetSettings, rows: Iterable[Row]) -> dict[str, int]:
    """Number of rows per class; per number that occurs; or of spans, yes, no and unanswerable questions."""
    if settings.task == "span":
        rows_of = Counter(_answer_kind(row) for row in rows)
        return {kind: rows_of[kind] for kind in ("span", *YES_NO, UNANSWERABLE)}
    rows_of = Counter(str(row.label) for row in rows)
    return {name: rows_of[name] for name in settings.classes or sorted(rows_of, key=float)}


def _answer_kind(row: Row) -> str:
    if not row.answers:
        return UNANSWERABLE
    first = row.answers[0]
    return first.text if first in YES_NO.values() and row.segments[1].startswith("[aug]") else "span"


def _drop(rows: StoredRows, unwanted: Callable[[Row], bool], counts: dict[str, Any], reason: str) -> StoredRows:
    kept = rows.take(position for position, row in enumerate(rows) if not unwanted(row))
    counts[reason] = len(rows) - len(kept)
    return kept


def _drop_twins(
    dataset_id: str, settings: DatasetSettings, train: StoredRows, test: StoredRows, counts: dict[str, Any]
) -> StoredRows:
    """Training rows without the texts of the test split; SourceError if those are over 10 % of them."""
    own_test: dict[bytes, int] = {}
    for position, row in enumerate(test):
        own_test.setdefault(_digest(row.segments), position)
    twins = {
        position: own_test[key] for position, row in enumerate(train) if (key := _digest(row.segments)) in own_test
    }
    if len(twins) > MAX_TWINS * len(train):
        first = [(train[position], test[twin]) for position, twin in list(twins.items())[:TWINS_NAMED]]
        named = "; ".join(f"{row.id} {_start(row)} is {twin.id} {_start(twin)}" for row, twin in first)
        of, remedy = "the test split", "remove the copies from one of the two splits"
        if settings.heldout_share is not None:
            of, remedy = "those that are held out of the same split", "remove the repeated rows"
        raise SourceError(
            f"{dataset_id}: {len(twins)} of {len(train)} training rows hold a text of {of}, more than "
            f"{MAX_TWINS:.0%}: {named}; {remedy}"
        )
    counts["in_own_test"] = len(twins)
    return train.take(position for position in range(len(train)) if position not in twins)


def _digest(segments: Iterable[str]) -> bytes:
    """Short stand-in for `overlap_key`, since the keys of a whole split are as large as its texts."""
    return hashlib.blake2b(overlap_key(segments).encode(), digest_size=16).digest()


def _start(row: Row) -> str:
    text = " / ".join(row.segments)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _sample(rows: StoredRows, size: int, seed: int) -> tuple[StoredRows, StoredRows]:
    """Draw `size` rows by Random(seed); return (these rows, the others), both in the original order."""
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    return rows.take(sorted(order[:size])), rows.take(sorted(order[size:]))


class SplitSettings(Section):
    """Settings that determine the rows of one dataset."""

    dataset: str
    entry: DatasetSettings
    source: Source
    test_rows: int | None
    train_rows: int | None
    dev_share: float
    seed: int


def normalised(
    settings: SplitSettings,
    root: Path,
    exclude: frozenset[str] = frozenset(),
    revision: str | None = None,
    scratch: Path | None = None,
) -> tuple[Normalised, dict[str, Any]]:
    """Rows of every split, and the lock of the files that were read.

    exclude: normalised texts that no training row may hold. revision: of a repository, taken from an earlier lock.
    scratch: folder with room for the texts of all splits (None: the system's temporary folder).
    """
    raw = load_dataset_rows(settings.dataset, settings.entry, source=settings.source, root=root, revision=revision)
    result = normalise(
        settings.dataset,
        settings.entry,
        raw,
        test_rows=settings.test_rows,
        train_rows=settings.train_rows,
        dev_share=settings.dev_share,
        seed=settings.seed,
        exclude=exclude,
        scratch=scratch,
    )
    return result, raw.lock
