"""What the targets of a run need: a request for single files narrows what is labelled, embedded and transferred."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fute import paths
from fute.artifacts import SIDECAR
from fute.config.prompts import Prompt

BEFORE_LABELS = re.compile(r"results/(data|unsup|models)/.*")
"""Files that are made without any batch."""

FIGURE = paths.figure("planted")
PLANTED = ("planted", "planted_figure", paths.PLANTED, f"{FIGURE}.pdf", f"{FIGURE}.png")
"""Targets that need no other vectors than those of the tests with planted black boxes."""


class Requested(NamedTuple):
    """What the workflow's targets need; None stands for all there is.

    labels: (model, task, corpus). vectors: files. transfers: (source, target). models: (model, dataset) of fine-tuned
    models, and of plug-ins, whatever is asked of them. planted: whether the tests with planted black boxes are among
    them, whose vectors and models are not in the others.
    """

    labels: frozenset[tuple[str, ...]] | None = None
    vectors: frozenset[str] | None = None
    transfers: frozenset[tuple[str, str]] | None = None
    models: frozenset[tuple[str, str]] | None = None
    planted: bool = False


def requested(targets: Iterable[str], prompts: Mapping[str, Prompt]) -> Requested:
    """What these targets need: everything where there are none, or where one of them is not a file of its own.

    prompts: the run's, by id.
    """
    names = [target.removesuffix(SIDECAR) for target in targets]
    labels: set[tuple[str, ...]] = set()
    vectors: set[str] = set()
    transfers: set[tuple[str, str]] = set()
    models: set[tuple[str, str]] = set()
    planted = False
    for name in names:
        if paths.BATCHES in name:
            return Requested()
        if match := _match(name, paths.labels, paths.label_offset):
            model, task, corpus = match.groups()
            labels |= {(model, task, corpus), (model, task, prompts[task].category if task in prompts else corpus)}
            models.add((model, task))
        elif match := _match(name, paths.mte, paths.control):
            vectors.add(name)
            models.add((match["model"], match["task"]))
            if match["task"] in prompts:
                labels.add((match["model"], match["task"], prompts[match["task"]].category))
        elif _match(name, paths.dte, paths.dte_control):
            vectors.add(name)
        elif match := _match(name, paths.transfer_score):
            transfers.add((match["source"], match["target"]))
            models.add((match["model"], match["source"]))
        elif match := _match(name, paths.finetuned, paths.dataset_vector):
            models.add((match["model"], match["dataset"]))
        elif name in PLANTED:
            planted = True
        elif not BEFORE_LABELS.fullmatch(name):
            return Requested()
    made = Requested(frozenset(labels), frozenset(vectors), frozenset(transfers), frozenset(models), planted)
    return made if names else Requested()


def _match(name: str, *files: paths.File) -> re.Match[str] | None:
    """The first of some kinds of file that a path is one of, with the names it was made of."""
    return next((match for file in files if (match := paths.pattern(file).fullmatch(name))), None)
