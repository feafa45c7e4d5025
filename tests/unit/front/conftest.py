"""What tests of `fute new`, `rank` and `view` share: a folder of their own, in which no model is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from fute.front import new


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # no model of the project counts as fetched
    monkeypatch.setattr(new, "_tokenizer_folder", lambda *_: tmp_path / "none")
    return tmp_path
