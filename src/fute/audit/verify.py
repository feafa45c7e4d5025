"""Verification: every byte hashed again, every record followed to the records of its inputs.

What is needed is the folder of results, its manifest and the checkout: no metadata of Snakemake, no network, no GPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from fute.artifacts import SIDECAR
from fute.audit import config_and_locks as identity
from fute.audit.findings import Cause, Report, Verdict, cause_of
from fute.audit.hashing import Hashed, Task, hash_files
from fute.audit.manifest import MANIFEST, Entry, Manifest, ManifestError, entry_of, read_manifest
from fute.audit.paths import RESULTS, ResultsFolder, UnsafePath
from fute.audit.sidecars import Input, NoRecord, RecordError, read_sidecar
from fute.audit.staleness import same_code, seen_by_verify
from fute.progress import Track


def verify_manifest(
    manifest: Manifest, results: ResultsFolder, *, root: str | None = None, threads: int = 1, project: Path = Path()
) -> Report:
    """Hold everything that a manifest lists against what is there. Nothing is written, nothing outside is read.

    root: the hash that the manifest must have, from a receipt or a paper. project: the checkout, whose code,
    configuration and images are compared.
    """
    return _Verifier(manifest, results, project).report(root, threads)


def verify_folder(results: ResultsFolder, manifest: Path, *, root: str | None = None, threads: int = 1) -> Report:
    """`verify_manifest` in the current checkout; a manifest or a lock of images that cannot be used is a finding."""
    report = Report("verify", checked=1)
    try:
        return verify_manifest(read_manifest(manifest), results, root=root, threads=threads)
    except ManifestError as error:
        report.add(MANIFEST, error.verdict, Cause.RECORD, str(error))
    except RecordError as error:
        report.add(str(identity.IMAGES), Verdict.DRIFTED, Cause.IMAGE, str(error))
    return report


class _Verifier:
    def __init__(self, manifest: Manifest, results: ResultsFolder, project: Path) -> None:
        self.manifest, self.results, self.project = manifest, results, project
        self.images = identity.read_images(project)
        self._weights = {name: digest for entry in manifest.entries.values() for name, digest in entry.files.items()}
        listed = (manifest.entries, manifest.missing, manifest.unrecorded, self._weights)
        self.found = Report("verify", checked=sum(map(len, listed)))
        self._image_problem = lru_cache(lambda image: identity.image_problem(image, self.images, project))
        self._project_sha256 = lru_cache(lambda name: identity.project_sha256(project, name))

    def report(self, root: str | None, threads: int) -> Report:
        started, read = time.monotonic(), 0
        self._whole(root)
        with Track("reading records", len(self.manifest.entries), "records", brief=True) as track:
            for name, entry in self.manifest.entries.items():
                self._record(name, entry)
                track.advance()
        tasks = list(self._tasks())
        with Track("hashing", sum(task.size for task in tasks) // 10**6, "MB", brief=True) as track:

            def count(more: int) -> None:
                nonlocal read
                read += more
                if read // 10**6 > track.done:
                    track.advance(read // 10**6 - track.done)

            for name, digest in hash_files(tasks, threads, count):
                self._bytes(name, digest)
        seconds = time.monotonic() - started
        self.found.facts = {"root": self.manifest.root, "MB": round(read / 1e6, 1), "seconds": round(seconds, 2)}
        return self.found

    # --- the run as a whole -----------------------------------------------------------------------------

    def _whole(self, root: str | None) -> None:
        manifest, add = self.manifest, self.found.add
        if root is not None:
            self.found.checked += 1
            if root != manifest.root:
                problem = f"{MANIFEST}: its root is {manifest.root}, not {root}: these are not the results meant"
                add(MANIFEST, Verdict.DRIFTED, Cause.CONTENT, problem)
        if file := manifest.config.file:
            self.found.checked += 1
            if problem := identity.config_problem(file, manifest.config.sha256, self.project):
                add(file, Verdict.DRIFTED, Cause.CONFIG, f"{file}: {problem}")
        for name in manifest.missing:
            add(
                name, Verdict.MISSING, Cause.ABSENT, f"{name}: was missing when the manifest was made; run the workflow"
            )
        for name, why in manifest.unrecorded.items():
            add(name, Verdict.UNVERIFIED, Cause.RECORD, why)
        for name, reasons in manifest.stale.items():
            module = manifest.entries[name].module if name in manifest.entries else ""
            for why in reasons:
                if not seen_by_verify(why, module):
                    add(name, Verdict.DRIFTED, cause_of(why), f"{name}: is stale: {why}; run the workflow")

    # --- records ----------------------------------------------------------------------------------------

    def _record(self, name: str, entry: Entry) -> None:
        where, add = name + SIDECAR, self.found.add
        try:
            sidecar, digest = read_sidecar(self.results.sidecar(name), where)
        except UnsafePath as error:
            add(name, Verdict.REFUSED, Cause.PATH, str(error))
            return
        except RecordError as error:
            verdict = Verdict.UNVERIFIED if isinstance(error, NoRecord) else Verdict.DRIFTED
            add(name, verdict, Cause.RECORD, str(error))
            return
        if sidecar.record.artifact != name:
            add(name, Verdict.DRIFTED, Cause.RECORD, f"{where}: speaks of {sidecar.record.artifact}: it was exchanged")
        elif sidecar.record_sha256 != entry.record_sha256:
            add(name, Verdict.DRIFTED, Cause.RECORD, f"{where}: is another record than the manifest lists")
        elif entry != entry_of(sidecar, digest, files=entry.files, rule=entry.rule, wildcards=entry.wildcards):
            add(
                name, Verdict.DRIFTED, Cause.RECORD, f"{where}: was edited outside its record, or its manifest line was"
            )
        for source in entry.inputs:
            self._input(name, entry, source)
        if not same_code(entry):
            problem = (
                f"{name}: {entry.module} or what it imports was edited since; run the workflow, or check out its code"
            )
            add(name, Verdict.DRIFTED, Cause.CODE, problem)
        if entry.image and (problem := self._image_problem(entry.image)):
            add(name, Verdict.DRIFTED, Cause.IMAGE, f"{name}: {problem}")

    def _input(self, name: str, entry: Entry, source: Input) -> None:
        known = self.manifest.entries.get(source.path)
        if known is not None:
            now: str | None = known.sha256
        elif source.path.startswith((f"{RESULTS}/", "data:", "plugin:")):
            return  # what is absent is listed as such; what lies outside the project is known by its hash alone
        else:
            now = self._project_sha256(source.path)
        if now is None:
            problem = f"{name}: was made from {source.path}, which is not in the project any more"
            self.found.add(name, Verdict.UNVERIFIED, Cause.ABSENT, problem)
        elif now != source.sha256 and not entry.rule:
            problem = (
                f"{name}: {source.path} was made again since; what the batch made of it before is not used any more"
            )
            self.found.add(name, Verdict.UPSTREAM_REDERIVED, Cause.UPSTREAM, problem)
        elif now != source.sha256:
            problem = f"{name}: was made from another {source.path} ({source.sha256[:12]}, there is {now[:12]})"
            self.found.add(name, Verdict.DRIFTED, Cause.UPSTREAM, problem)
        elif known is not None and known.record_sha256 != source.record_sha256:
            problem = f"{name}: {source.path} was made again since, with the same bytes"
            self.found.add(name, Verdict.UPSTREAM_REDERIVED, Cause.UPSTREAM, problem)

    # --- bytes ------------------------------------------------------------------------------------------

    def _tasks(self) -> Iterator[Task]:
        """Every file to hash; what must not be read is reported instead."""
        for name, entry in self.manifest.entries.items():
            for file in (name, *entry.files):
                try:
                    path = self.results.path(file)
                    there = path.exists()
                    if there and not path.is_file():  # reading a pipe would never end
                        raise UnsafePath(f"{file}: is no file; remove it, and copy the file again or run the workflow")
                    yield Task(file, path, path.stat().st_size if there else 0)
                except UnsafePath as error:
                    self.found.add(file, Verdict.REFUSED, Cause.PATH, str(error))
                except OSError as error:
                    self._unread(file, error)
            for file in identity.unlisted_files(name, entry.files, self.results) if entry.files else ():
                self.found.checked += 1
                problem = f"{file}: is not in {name}; remove it, or fetch the model again"
                self.found.add(file, Verdict.DRIFTED, Cause.MODEL, problem)

    def _unread(self, name: str, error: OSError) -> None:
        problem = f"{name}: cannot be read: {error.strerror}; copy it again, or let this user read it"
        self.found.add(name, Verdict.UNVERIFIED, Cause.CONTENT, problem)

    def _bytes(self, name: str, digest: Hashed) -> None:
        entry = self.manifest.entries.get(name)
        expected, cause = (entry.sha256, Cause.CONTENT) if entry else (self._weights[name], Cause.MODEL)
        if isinstance(digest, FileNotFoundError):
            self.found.add(
                name, Verdict.MISSING, Cause.ABSENT, f"{name}: is missing; copy it again, or run the workflow"
            )
        elif isinstance(digest, OSError):
            self._unread(name, digest)
        elif digest != expected:
            problem = f"{name}: its bytes are not those that were recorded ({digest[:12]}, not {expected[:12]})"
            self.found.add(name, Verdict.DRIFTED, cause, problem)
        elif entry and (problem := identity.lock_problem(name, entry.files, self.results)):
            self.found.add(name, Verdict.DRIFTED, Cause.MODEL, problem)
