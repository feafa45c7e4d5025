"""Paths below results/: a path is read back into the names it was made of, and steps agree on their endings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fute import paths
from fute.baselines import score_sources_step
from fute.batching import KEYS
from fute.blackbox import transfer_batch_step
from fute.embeddings import extract_embedding_step
from fute.llm import label_batch_step

FILES = [
    paths.model_lock, paths.unsup, paths.rows, paths.row_counts, paths.finetuned, paths.labels, paths.label_offset,
    paths.label_batch, paths.dte, paths.dte_control, paths.mte, paths.control, paths.vector_batch, paths.encoder_states,
    paths.transfer_score, paths.transfer_batch, paths.prompt_scores, paths.dataset_vector, paths.figure,
]  # fmt: skip
WITHOUT_DOTS = ("ending", "variant", "method")
"""Names that stand behind a dot in a path."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.__name__)
@given(data=st.data())
def test_a_path_is_read_back(file: Callable[..., str], data):
    names = {
        name: data.draw(st.from_regex(r"[a-z0-9][a-z0-9-]*" if name in WITHOUT_DOTS else r"[a-z0-9][a-z0-9.-]*",
                                      fullmatch=True))
        for name in inspect.signature(file).parameters
    }  # fmt: skip
    match = paths.pattern(file).fullmatch(file(**names))
    assert match is not None and match.groupdict() == names


def test_no_vector_is_taken_for_one_of_another_kind():
    kinds = {
        paths.dte: paths.dte("t5-base", "tupate", "rte"),
        paths.dte_control: paths.dte_control("t5-base", "tupate", "rte", "abc"),
        paths.mte: paths.mte("t5-base", "tupate", "bert-base", "rte"),
        paths.control: paths.control("t5-base", "tupate", "llama", "sa-1", "null-1"),
        paths.encoder_states: paths.encoder_states("t5-base", "sa"),
        paths.vector_batch: paths.vector_batch("t5-base", "tupate", "0123456789abcdef"),
    }
    for file in kinds:
        assert [kind for kind, path in kinds.items() if paths.pattern(file).fullmatch(path)] == [file]
    assert {paths.method_of(kinds[kind]) for kind in (paths.dte, paths.mte, paths.control)} == {"tupate"}


@pytest.mark.parametrize(
    ("batch", "suffix"),
    [
        (paths.label_batch("m", "b"), label_batch_step.SUFFIX),
        (paths.transfer_batch("m", "b"), transfer_batch_step.SUFFIX),
        (paths.vector_batch("s", "m", "b"), extract_embedding_step.SUFFIX),
        (paths.source_score_batch("m", "b"), score_sources_step.SUFFIX),
    ],
)
def test_a_batch_has_the_ending_its_step_gives_it(batch, suffix):
    assert batch.endswith(f"/batches/b{suffix}")
    assert paths.batch_index(batch) == batch.removesuffix(suffix) + KEYS


def test_another_folder_of_results():
    assert paths.below(Path("elsewhere"), paths.unsup("sa")) == Path("elsewhere/unsup/sa.jsonl.gz")
