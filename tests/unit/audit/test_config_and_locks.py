"""What counts as the same configuration, and locks that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fute.audit.config_and_locks import config_sha256, lock_files
from fute.audit.paths import ResultsFolder
from fute.audit.sidecars import RecordError
from fute.config.run import parse_run, read_yaml

ROOT = Path(__file__).resolve().parents[3]


def identity(section: str | None = None, **changes: Any) -> str:
    """Of a run with other settings, at its top or in a section `a.b`."""
    values = read_yaml(ROOT / "tests/support/both.yaml")
    inner = values
    for name in section.split(".") if section else ():
        inner = inner.setdefault(name, {})
    inner |= changes
    return config_sha256(parse_run(values, ROOT / "config"))


@pytest.mark.parametrize(
    ("section", "setting"),
    [
        (None, {"embeddings_per_process": 3}),
        ("lm", {"datasets_per_process": 3}),
        ("lm.transfer", {"runs_per_process": 3}),
        ("workflow", {"image_trigger": True}),
    ],
)
def test_a_setting_that_moves_nothing_makes_no_other_run(section: str | None, setting: dict[str, Any]):
    assert identity(section, **setting) == identity()
    assert identity("lm.transfer", seeds=[1]) != identity()


@pytest.mark.parametrize("digest", ["abc", None, "F" * 64])
def test_a_lock_with_a_hash_that_is_none_is_no_lock(tmp_path: Path, digest: str | None):
    lock = tmp_path / "models/m.lock.json"
    lock.parent.mkdir()
    lock.write_text(json.dumps({"model": "m", "files": {"a.bin": {"sha256": digest}}}))
    with pytest.raises(RecordError, match=r"results/models/m\.lock\.json: is no lock of a model's files"):
        lock_files("results/models/m.lock.json", ResultsFolder(tmp_path))
