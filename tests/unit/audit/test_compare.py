"""Comparing what a job made again with what is recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fute.audit.findings import Verdict
from fute.audit.rerun.compare import DEFAULTS, Tolerances, compare
from fute.baselines.components import save_components
from fute.embeddings.vectors import EmbeddingError, load


def test_a_figure_without_coordinates_beside_it_is_compared_by_its_bytes(tmp_path: Path):
    """The figure of the planted tests has no CSV."""
    one, two = tmp_path / "one/planted.pdf", tmp_path / "two/planted.pdf"
    for path in (one, two):
        path.parent.mkdir()
        path.write_bytes(path.parent.name.encode())
    result = compare("results/paper/figures/planted.pdf", one, two, Tolerances(DEFAULTS, "the defaults"))
    assert result.verdict is Verdict.DRIFTED and "equal byte for byte" in result.words


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0001, Verdict.WITHIN_TOLERANCE), (1.1, Verdict.DRIFTED), (1.0, Verdict.IDENTICAL)]
)
def test_components_of_taskemb_are_compared_tensor_by_tensor(tmp_path: Path, factor: float, verdict: Verdict):
    """They are a file of many tensors, and none of them is the vector of a task embedding."""
    layer, cls = np.arange(1, 7, dtype=np.float32).reshape(2, 3), np.ones(3, np.float32)
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    for path, scale in ((one, 1.0), (two, factor)):
        save_components({"layer": layer * np.float32(scale), "cls": cls}, {"baseline": "taskemb"}, {"rows": 3}, path)
    name = "results/baselines/vectors/minilm-l6/rte.taskemb.safetensors"
    assert compare(name, one, two, Tolerances(DEFAULTS, "the defaults")).verdict is verdict
    with pytest.raises(EmbeddingError, match=r"one\.safetensors holds no task embedding"):
        load(one)
