"""Files of a cell are those below the batch that lists them, whatever a copied lock says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fute.artifacts import StaleFile, sha256_file
from fute.blackbox.cell_files import CellFiles


def test_a_name_that_leads_elsewhere_is_no_file_of_the_cell(tmp_path: Path):
    batch = tmp_path / "0a.lock.json"
    (tmp_path / "0a/from/key/model").mkdir(parents=True)
    own, other = tmp_path / "0a/from/key/model/weights", tmp_path / "other"
    for path in (own, other):
        path.write_text("w")
    names = ["model/weights", "model/../../../../other", f"model/{other}"]
    files = {f"from/key/{name}": {"sha256": sha256_file(own)} for name in names}
    batch.write_text(json.dumps({"from": {"key": {}}, "files": files}))
    cell = CellFiles([batch], "key", {})
    assert cell.path(names[0]) == own
    for name in names[1:]:
        with pytest.raises(StaleFile, match=r"is missing, or not the file that .*0a\.lock\.json lists"):
            cell.path(name)
