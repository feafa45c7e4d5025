"""What the targets of a run need: a request for single files narrows what is labelled, embedded and transferred."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fute.artifacts import SIDECAR
from fute.config.prompts import Prompt

LABELS = re.compile(
    r"results/labels/(?P<model>[^/]+)/(?!batches/)(?P<task>[^/]+)/(?P<corpus>[^/]+?)(?:\.jsonl\.gz|\.offset\.json)"
)
MTE = re.compile(
    r"results/embeddings/[^/]+/(?P<method>[^/]+)/(?:mte|controls)/(?P<model>[^/]+)/(?P<task>[^/]+?)"
    r"(?:\.(?P<variant>null-\d+|abc))?\.safetensors"
)
DTE = re.compile(r"results/embeddings/[^/]+/(?P<method>[^/]+)/dte/(?P<dataset>[^/]+)\.safetensors")
TRANSFER = re.compile(r"results/transfer/(?P<model>[^/]+)/(?P<source>[^/]+)/(?P<target>[^/]+)\.json")
BEFORE_LABELS = re.compile(r"results/(data|unsup|models|finetuned|baselines/vectors)/.*")


class Requested(NamedTuple):
    """What the workflow's targets need: label cells, files of vectors, transfer pairs. None: all of them."""

    labels: frozenset[tuple[str, ...]] | None = None
    embeddings: frozenset[str] | None = None
    transfers: frozenset[tuple[str, str]] | None = None


def requested(targets: Iterable[str], prompts: Mapping[str, Prompt]) -> Requested:
    """What these targets need; everything where there are none, or one of them is not a file of its own.

    prompts: the run's, by id.
    """
    targets = [name.removesuffix(SIDECAR) for name in targets]
    labels: set[tuple[str, ...]] = set()
    embeddings: set[str] = set()
    transfers: set[tuple[str, str]] = set()
    for target in targets:
        if match := LABELS.fullmatch(target):
            model, task, corpus = match["model"], match["task"], match["corpus"]
            labels.add((model, task, corpus))
            labels.add((model, task, prompts[task].category if task in prompts else corpus))
        elif match := MTE.fullmatch(target):
            embeddings.add(target)
            if match["task"] in prompts:
                labels.add((match["model"], match["task"], prompts[match["task"]].category))
        elif DTE.fullmatch(target):
            embeddings.add(target)
        elif match := TRANSFER.fullmatch(target):
            transfers.add((match["source"], match["target"]))
        elif not BEFORE_LABELS.fullmatch(target):
            return Requested()
    if not targets:
        return Requested()
    return Requested(frozenset(labels), frozenset(embeddings), frozenset(transfers))
