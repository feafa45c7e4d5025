"""What `diff` says of artifacts that one run lacks."""

from __future__ import annotations

from pathlib import Path

from support.large_run import write_run

from fute.audit.diff import Side, diff
from fute.audit.manifest import MANIFEST, manifest_json, read_manifest


def test_an_artifact_that_lost_its_record_is_not_said_to_be_absent_alone(tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        name, _ = write_run(folder, [0, 0])
    manifest = read_manifest(two / MANIFEST)
    kept = {each: entry for each, entry in manifest.entries.items() if each != name}
    for unrecorded, said in (({}, "run"), ({name: "damaged"}, "record is missing or damaged")):
        lost = manifest.model_copy(update={"entries": kept, "unrecorded": unrecorded})
        (two / MANIFEST).write_text(manifest_json(lost))
        for sides, where in (((one, two), "first"), ((two, one), "second")):
            (finding,) = diff(*map(Side, (side / "results" for side in sides))).findings
            assert finding.message.startswith(f"{name}: only in the {where} run") and finding.message.endswith(said)
