"""What `diff` says of artifacts that one run lacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.audit_tables import list_run
from support.large_run import write_run

from fute.artifacts import Step, content_key, semantic_sha256, sha256_file, sidecar_path
from fute.audit.diff import Side, diff
from fute.audit.findings import Verdict
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


@pytest.mark.parametrize("forged", [False, True])
def test_a_record_that_claims_the_content_of_the_other_run_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forged: bool
):
    path, sides = Path("results/labels/x.jsonl.gz"), []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with Step("fute.evaluation.selection_step", settings={}) as step:
            step.jsonl(path, [{"prediction": "yes" if name == "one" or not forged else "no"}])
        if name == "two":  # another compression; and in the forged run another answer, too
            data = bytearray(path.read_bytes())
            data[9] ^= 1
            path.write_bytes(data)
            side = json.loads(sidecar_path(path).read_text())
            content = semantic_sha256(tmp_path / "one" / path)
            digest = sha256_file(path)
            side["record"] |= {"sha256": digest, "semantic_sha256": content}
            side["record_sha256"] = content_key(side["record"])
            sidecar_path(path).write_text(json.dumps(side))
        list_run()
        sides.append(Side(tmp_path / name / "results"))
    (finding,) = diff(*sides).findings
    assert finding.verdict is (Verdict.DRIFTED if forged else Verdict.EQUIVALENT)
