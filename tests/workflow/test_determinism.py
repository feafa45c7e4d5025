"""Two runs in two folders give the same bytes."""

from __future__ import annotations

import pytest
from support.checkouts import Checkout, add_model, copy_project

pytestmark = pytest.mark.workflow


def test_two_runs_in_two_folders_give_the_same_bytes(finished: Checkout, tmp_path, model):
    second = copy_project(tmp_path / "somewhere else")
    add_model(second, model)
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
        folder = f"results/embeddings/smollm2-135m/{method}/mte/smollm2-135m"
        vectors = [finished.first[f"{folder}/sa-{number}.safetensors"] for number in (3, 9, 1)]
        assert vectors[0] == vectors[1] != vectors[2]
