"""Draw the unlabelled texts U, which every model labels, from lines of CrossFit or of a similar pool.

The paper gives 100 entries per task and 104,162 in all, which cannot both hold. The authors' code (repository
xnyuwg/fute) draws up to 1,000 lines per script for language models; its 109 scripts then give exactly 104,162.
For LLMs it draws up to 100 per script, then 10,000 in all. U is the same, in the same order, for every model.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

from fute.config.categories import UnsupDefaults
from fute.config.sections import Section
from fute.config.unsup import UnsupSettings
from fute.data.crossfit_tasks import LM_EXCLUDED, LM_EXCLUDED_STRICT, SCRIPTS, SHORT_SCRIPTS, canonical
from fute.data.rows import Row, SourceError

Segments = tuple[str, ...]


class UnsupEntry(Section):
    """What the draw of U uses of a category's registry entry. segments: names of a row's texts; none: any one or two
    texts."""

    segments: tuple[str, ...]
    unsup: UnsupDefaults


LANGUAGE_MODELS = UnsupEntry(
    segments=(),
    unsup=UnsupDefaults(max_per_script=1000, limit=None, exclude=LM_EXCLUDED, exclude_strict=LM_EXCLUDED_STRICT),
)
"""Stands for the entry of a category where U is drawn for the language-model experiment."""


def segment(line: str, names: Segments) -> Segments | None:
    """Text(s) that a model reads from a CrossFit line; None if there are none.

    A line is cut at `[SEP]`; empty parts and all after the second are dropped (authors' code). Then, by the names of
    the texts of the category's rows:
    none   one or two segments, unchanged (language models)
    one    one segment: the second if there are two, else the first
    two    two segments; a single one that holds both names, as `premise:` and `hypothesis:`, is cut before the later of
           the two (premise first), any other in its middle. These words stay
    """
    parts = _parts(line)
    if not parts:
        return None
    if not names:
        return parts
    if len(names) == 1:
        return (parts[-1],)
    if len(parts) == 2:
        return parts
    (text,) = parts
    first, second = (re.search(f"{name}:", text, re.IGNORECASE) for name in names)
    if first and second:
        cut = max(first.start(), second.start())
        pair = (text[:cut].strip(), text[cut:].strip())
        if second.start() < first.start():
            pair = pair[::-1]
    else:
        cut = len(text) // 2
        pair = (text[:cut].strip(), text[cut:].strip())
    return pair if all(pair) else None


def form(line: str, names: Segments) -> int:
    """Rank of a line's form, 0 the most natural; low ranks are kept if there are over `limit` lines.

    Pairs: single `premise:` texts, then pairs, then halves. One text: single texts, then second segments.
    """
    parts = _parts(line)
    if not names:
        return 0
    if len(names) == 1:
        return len(parts) - 1
    if len(parts) == 2:
        return 1
    return 0 if f"{names[0]}:" in parts[0].lower() else 2


def _parts(line: str) -> Segments:
    return tuple(part for part in (piece.strip() for piece in line.split("[SEP]")) if part)[:2]


class _Candidate(NamedTuple):
    form: int
    row: Row


def draw_unsup(
    tasks: Mapping[str, list[str]],
    category: str,
    settings: UnsupSettings,
    entry: UnsupEntry,
    *,
    families: Mapping[str, str] | None = None,
) -> tuple[list[Row], list[dict[str, Any]]]:
    """Draw U; return its rows and, for each script or task, counts of its lines.

    tasks     script or task -> input lines, as `read_unsup` gives them; each is read once
    category  its id, for errors
    entry     what the category's registry entry says; `LANGUAGE_MODELS` for these
    families  script or task -> family; needed if `settings.stratify` is set
    Row ids are `{task}/{line from 0}`. Each count has the keys script, family, lines, empty, excluded, capped
    (lines left by max_per_script) and drawn (lines in U). For crossfit_full it also has paper, the authors' number
    before their limit; and the authors' scripts that are missing here get a count with 0 lines.
    Every draw is Random(seed) on sorted scripts (the authors leave the order of scripts unseeded).
    Raises SourceError if no text is left, if a name in `exclude` is no script or task, and if a task has no
    family when stratifying.
    """
    families = families or {}
    excluded = _excluded(tasks, entry.unsup, settings)
    cap = settings.max_per_script or entry.unsup.max_per_script
    candidates: list[_Candidate] = []
    counts = []
    for task in sorted(tasks):
        count = {"script": task, "family": families.get(task), "lines": 0, "empty": 0, "excluded": task in excluded}
        of_script = _draw_script(task, tasks[task], entry, 0 if task in excluded else cap, settings.seed, count)
        candidates += of_script
        counts.append(count | {"capped": len(of_script)})
    if not candidates:
        raise SourceError(f"{settings.path}: no text is left for {category}; check unsup.exclude and the files")

    rows = _draw(candidates, settings, settings.limit or entry.unsup.limit, families)
    if settings.max_words is not None:
        rows = [Row(row.id, cut_words(row.segments, settings.max_words), task=row.task) for row in rows]
    drawn = Counter(row.task for row in rows)
    for count in counts:
        count["drawn"] = drawn[count["script"]]
    return rows, _beside_paper(counts, entry.unsup) if settings.kind == "crossfit_full" else counts


def _draw_script(
    task: str, lines: list[str], entry: UnsupEntry, cap: int, seed: int, count: dict[str, Any]
) -> list[_Candidate]:
    """Draw at most `cap` of a script's texts; its lines and those that hold no text are counted in `count`."""
    usable = [number for number, line in enumerate(lines) if segment(line, entry.segments) is not None]
    count |= {"lines": len(lines), "empty": len(lines) - len(usable)}
    random.Random(seed).shuffle(usable)
    return [
        _Candidate(
            form(lines[number], entry.segments),
            Row(f"{task}/{number}", segment(lines[number], entry.segments), task=task),
        )
        for number in usable[:cap]
    ]


def cut_words(segments: Segments, limit: int) -> Segments:
    """Cut the segments to at most `limit` words in all, the longest first; texts that fit stay as they are."""
    words = [segment.split() for segment in segments]
    if sum(map(len, words)) <= limit:
        return segments
    kept = [len(part) for part in words]
    while sum(kept) > limit:
        kept[kept.index(max(kept))] -= 1
    return tuple(" ".join(part[:n]) for part, n in zip(words, kept, strict=True))


def _draw(
    candidates: list[_Candidate], settings: UnsupSettings, limit: int | None, families: Mapping[str, str]
) -> list[Row]:
    """Draw at most `limit` rows, natural forms first (within each family if stratified), in a seeded order."""
    random.Random(settings.seed).shuffle(candidates)
    if limit is not None and len(candidates) > limit:
        candidates = sorted(candidates, key=lambda candidate: candidate.form)
        if settings.stratify == "family":
            candidates = _in_turn(candidates, families)
        candidates = candidates[:limit]
        random.Random(settings.seed).shuffle(candidates)
    return [candidate.row for candidate in candidates]


def _in_turn(candidates: list[_Candidate], families: Mapping[str, str]) -> list[_Candidate]:
    """Reorder: one of each family in turn; within a family by form, and then one of each task in turn."""
    grouped: dict[str, dict[int, dict[str, list[_Candidate]]]] = {}
    for candidate in candidates:
        task = candidate.row.task
        if task not in families:
            remedy = "add it to the rows or to tasks.csv next to the pool, or do not stratify"
            raise SourceError(f"task {task!r}: has no family, which unsup.stratify needs; {remedy}")
        by_task = grouped.setdefault(families[task], {}).setdefault(candidate.form, {})
        by_task.setdefault(task, []).append(candidate)
    return _interleave(
        [
            [candidate for _, by_task in sorted(by_form.items()) for candidate in _interleave(by_task.values())]
            for _, by_form in sorted(grouped.items())
        ]
    )


def _interleave(lists: Iterable[list[_Candidate]]) -> list[_Candidate]:
    return [item for items in zip_longest(*lists) for item in items if item is not None]


def scripts_of(settings: UnsupSettings, entry: UnsupEntry) -> tuple[str, ...]:
    """CrossFit's scripts that a U of kind `crossfit_full` is drawn from when all are there."""
    unwanted = _unwanted(entry.unsup, settings)
    return tuple(script for script in SCRIPTS if script not in unwanted)


def _unwanted(defaults: UnsupDefaults, settings: UnsupSettings) -> set[str]:
    """Names, in canonical spelling, of scripts and tasks to leave out."""
    names = defaults.exclude if settings.exclude is None else settings.exclude
    if settings.exclude_strict:
        names = (*names, *defaults.exclude_strict)
    return {canonical(name) for name in names}


def _excluded(tasks: Mapping[str, list[str]], defaults: UnsupDefaults, settings: UnsupSettings) -> set[str]:
    if settings.exclude is not None:
        here = {canonical(task) for task in tasks}
        if unknown := [name for name in settings.exclude if canonical(name) not in here]:
            raise SourceError(f"unsup.exclude: {settings.path} has no script or task {unknown[0]!r}; correct it")
    unwanted = _unwanted(defaults, settings)
    # the authors do not read three of CrossFit's scripts
    foreign = {t for t in tasks if canonical(t) not in SCRIPTS} if settings.kind == "crossfit_full" else set()
    return foreign | {task for task in tasks if canonical(task) in unwanted}


def texts_in_paper(script: str, defaults: UnsupDefaults) -> int:
    """How many texts a CrossFit script gives to the U of the paper that `defaults` describes; 0 if it is not in it."""
    if script not in SCRIPTS or script in defaults.exclude:
        return 0
    return min(defaults.max_per_script, SHORT_SCRIPTS.get(script, defaults.max_per_script))


def _beside_paper(counts: list[dict[str, Any]], defaults: UnsupDefaults) -> list[dict[str, Any]]:
    blank = {"family": None, "lines": 0, "empty": 0, "excluded": False, "capped": 0, "drawn": 0}
    here = {canonical(count["script"]) for count in counts}
    counts = counts + [{"script": script} | blank for script in SCRIPTS if script not in here]
    for count in counts:
        count["paper"] = texts_in_paper(canonical(count["script"]), defaults)
    return sorted(counts, key=lambda count: count["script"])
