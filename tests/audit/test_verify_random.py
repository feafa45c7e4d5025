"""Random damage to a finished run: all of it is noticed, and nothing else is reported."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from support.audited_run import Run
from support.thoroughness import LONG

from fute.artifacts import SIDECAR, content_key
from fute.audit.findings import OK, Report, Verdict
from fute.audit.manifest import MANIFEST, Manifest, manifest_json
from fute.audit.paths import ResultsFolder
from fute.audit.verify import verify_folder

EXAMPLES = 1000 if LONG else 100
BAD = (Verdict.DRIFTED, Verdict.MISSING, Verdict.UNVERIFIED, Verdict.REFUSED)


def verified(run: Run) -> Report:
    """As `fute audit verify` does it, in the run's folder."""
    here = Path.cwd()
    os.chdir(run.folder)
    try:
        return verify_folder(ResultsFolder(Path("results")), Path(MANIFEST))
    finally:
        os.chdir(here)


@pytest.fixture(scope="module")
def target(made: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made.copy(tmp_path_factory.mktemp("random") / "copy")


def files_of(made: Run) -> list[str]:
    """Everything whose bytes the audit vouches for."""
    entries = made.manifest.entries
    weights = [file for entry in entries.values() for file in entry.files]
    return sorted([*entries, *(name + SIDECAR for name in entries), *weights, MANIFEST])


def owner(name: str) -> str:
    return name.removesuffix(SIDECAR)


def evidence(run: Run, name: str) -> list[object]:
    """All that a verdict on an artifact may rest on: not time, machine and cost of its run."""
    sidecar = json.loads((run / f"{name}{SIDECAR}").read_text())
    entry = run.manifest.entries[name].model_copy(update={"sidecar_sha256": "", "environment": ""})
    return [(run / name).read_bytes(), sidecar["record"], sidecar["record_sha256"], entry]


# --- what can be done to a file; each returns the artifacts that a verdict must name, none if nothing changed ------


def overwrite(run: Run, name: str, data: st.DataObject) -> set[str]:
    """A byte, a cut, an end, or all of it."""
    path = run / name
    before = path.read_bytes()
    after = bytearray(before)
    kind = data.draw(st.sampled_from(["flip", "cut", "append", "replace"]))
    if kind == "flip":
        at = data.draw(st.integers(0, len(before) - 1))
        after[at] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del after[data.draw(st.integers(0, len(before) - 1)) :]
    elif kind == "append":
        after += data.draw(st.binary(min_size=1, max_size=8))
    else:
        after = bytearray(data.draw(st.binary(max_size=64)))
    path.write_bytes(bytes(after))
    return {owner(name)} if bytes(after) != before else set()


def remove(run: Run, name: str, data: st.DataObject) -> set[str]:
    (run / name).unlink()
    return {owner(name)}


def swap(run: Run, name: str, data: st.DataObject) -> set[str]:
    other = data.draw(st.sampled_from(files_of(run)))
    one, two = (run / name).read_bytes(), (run / other).read_bytes()
    (run / name).write_bytes(two)
    (run / other).write_bytes(one)
    return {owner(name), owner(other)} if one != two else set()


def link_outside(run: Run, name: str, data: st.DataObject) -> set[str]:
    outside = run.folder.parent / "outside"
    shutil.copy(run / name, outside)
    (run / name).unlink()
    (run / name).symlink_to(outside)
    # the manifest is named on the command line, and may lie anywhere
    return set() if name == MANIFEST else {owner(name)}


def edit_record(run: Run, name: str, data: st.DataObject) -> set[str]:
    """A field of the record, with a record hash that fits again."""
    name = data.draw(st.sampled_from([each for each in files_of(run) if each.endswith(SIDECAR)]))
    side = json.loads((run / name).read_text())
    field = data.draw(
        st.sampled_from(["sha256", "code_sha256", "size", "step", "seeds", "params", "inputs", "artifact"])
    )
    new = {
        "sha256": st.text("0123456789abcdef", min_size=64, max_size=64),
        "code_sha256": st.text("0123456789abcdef", min_size=64, max_size=64),
        "size": st.integers(0, 10**6),
        "step": st.text("abc_", min_size=1),
        "seeds": st.dictionaries(st.text("ab", min_size=1), st.integers(0, 99)),
        "params": st.dictionaries(st.text("ab", min_size=1), st.integers(0, 99)),
        "inputs": st.just([]),
        "artifact": st.sampled_from(["results/x", "../x", "/x", ""]),
    }[field]
    before = side["record"][field]
    side["record"][field] = data.draw(new)
    side["record_sha256"] = content_key(side["record"])
    (run / name).write_text(json.dumps(side, sort_keys=True, indent=1) + "\n")
    return {owner(name)} if side["record"][field] != before else set()


def edit_manifest(run: Run, name: str, data: st.DataObject) -> set[str]:
    """A line of the manifest, with hashes that fit again: the sidecar tells."""
    body = json.loads((run / MANIFEST).read_text())
    name = data.draw(st.sampled_from(sorted(body["entries"])))
    entry = body["entries"][name]
    field = data.draw(
        st.sampled_from(["sha256", "record_sha256", "params_sha256", "code_sha256", "sidecar_sha256", "step"])
    )
    entry[field] = "f" * 64
    manifest = {key: value for key, value in body.items() if key not in ("root", "sha256")}
    (run / MANIFEST).write_text(manifest_json(Manifest.model_validate(manifest)))
    return {name}


def touch(run: Run, name: str, data: st.DataObject) -> set[str]:
    when = data.draw(st.integers(0, 2**31))
    os.utime(run / name, (when, when))
    return set()


def rewrite(run: Run, name: str, data: st.DataObject) -> set[str]:
    """A copy in its place: another inode, mode and time, the same bytes."""
    content = (run / name).read_bytes()
    (run / name).unlink()
    (run / name).write_bytes(content)
    (run / name).chmod(data.draw(st.sampled_from([0o600, 0o644, 0o755])))
    return set()


def add_elsewhere(run: Run, name: str, data: st.DataObject) -> set[str]:
    """A file of nobody's, or a log."""
    path = run / data.draw(
        st.sampled_from(["results/logs/x.log", "results/data/mini-films/x.csv", "results/x", ".snakemake/x"])
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.draw(st.binary(max_size=8)))
    return set()


MUTATIONS = [
    overwrite, overwrite, overwrite, remove, swap, link_outside, edit_record, edit_record, edit_manifest, touch,
    rewrite, add_elsewhere,
]  # fmt: skip


@pytest.mark.long
@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_every_damage_is_noticed_and_nothing_else(made: Run, target: Run, data: st.DataObject):
    for folder in ("results", ".snakemake"):
        shutil.rmtree(target / folder, ignore_errors=True)
    shutil.copytree(made / "results", target / "results")
    mutation = data.draw(st.sampled_from(MUTATIONS))
    name = data.draw(st.sampled_from(files_of(made)))
    event(mutation.__name__)
    damaged = mutation(target, name, data)
    report = verified(target)
    equivalent = {each for each, verdict in report.verdicts().items() if verdict is Verdict.EQUIVALENT}
    assert (report.exit_code == OK) == (damaged <= equivalent), (mutation.__name__, name, damaged, report.findings)
    assert all(evidence(made, each) == evidence(target, each) for each in equivalent)
    if MANIFEST in damaged:
        assert set(report.verdicts()) == {MANIFEST}
        return
    found = set(report.verdicts())
    if mutation is edit_manifest:  # what is made from an artifact whose hash is another now is named with it
        entries = made.manifest.entries.items()
        found -= {each for each, entry in entries if damaged & {source.path for source in entry.inputs}} - damaged
    # what is made from a damaged artifact is not itself damaged
    assert found == damaged, (mutation.__name__, name, damaged, report.findings)
    for finding in report.findings:
        assert finding.artifact in finding.message
        assert finding.verdict in (*BAD, Verdict.EQUIVALENT) or mutation is edit_manifest
