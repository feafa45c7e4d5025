"""What tests of `fute new`, `rank` and `view` share: a folder of their own, in which nothing asks a tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from fute.front import new


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # the words of classes are checked against a tokenizer by tests of engines
    monkeypatch.setattr(new, "_tokenizer_folder", lambda *_: tmp_path / "none")
    return tmp_path
