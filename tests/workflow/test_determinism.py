"""Two runs in two folders give the same bytes."""

from __future__ import annotations

import pytest
from support import fork_server
from support.checkouts import MODEL, Checkout, first_in_path, tiny_checkout

pytestmark = pytest.mark.workflow


def test_two_runs_in_two_folders_give_the_same_bytes(finished: Checkout, tmp_path, weights):
    second = tiny_checkout(tmp_path / "somewhere else", weights)
    # what follows the order of a set would follow this
    seed = {"PYTHONHASHSEED": "1"}
    with fork_server.serving(tmp_path / "server", second.environment() | seed):
        second.variables = first_in_path(tmp_path / "server/bin") | seed
        second.run()
    found = second.hashes()
    kinds = (
        "results/labels/",
        "results/embeddings/",
        "results/evaluation/",
        "results/paper/tables/",
        "results/paper/figures/",
    )
    for kind in kinds:
        assert any(name.startswith(kind) for name in found), kind
    assert found == finished.first


def test_prompts_of_equal_words_have_equal_vectors(finished: Checkout):
    for method in ("taskemb", "tupate"):
        folder = f"results/embeddings/{MODEL}/{method}/mte/{MODEL}"
        vectors = [finished.first[f"{folder}/sa-{number}.safetensors"] for number in (3, 9, 1)]
        assert vectors[0] == vectors[1] != vectors[2]
