"""Verification: every file is hashed again, every record is followed to the records of its inputs.

Needs the folder of results, its manifest and the checkout; no metadata of Snakemake, no network, no GPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from fute.artifacts import SIDECAR
from fute.audit.config_and_locks import (
    IMAGES,
    config_problem,
    image_problem,
    lock_problem,
    project_sha256,
    read_images,
    unlisted_files,
)
from fute.audit.findings import Cause, Report, Verdict, cause_of
from fute.audit.manifest import MANIFEST, Entry, Manifest, ManifestError, entry_of, read_manifest
from fute.audit.paths import RESULTS, ResultsFolder, UnsafePath, inside
from fute.audit.sidecars import DATA, PLUGIN, Input, NoRecord, RecordError, Sidecar, read_sidecar
from fute.audit.staleness import same_code
from fute.config.run_lock import lock_file, read_run_lock
from fute.config.sections import ConfigError
from fute.data.run_lock import results_differ
from fute.file_hashes import Hashed, hash_files
from fute.progress import Track


def verify_manifest(
    manifest: Manifest, results: ResultsFolder, *, root: str | None = None, threads: int | None = None
) -> Report:
    """Compare everything that a manifest lists with what exists. Writes nothing, reads nothing outside.

    The code, configuration and images are those of the current checkout. root: hash that the manifest must have, from
    a receipt or a paper. threads: default all cores.
    """
    return _Verifier(manifest, results).report(root, threads)


def verify_folder(
    results: ResultsFolder, manifest: Path, *, root: str | None = None, threads: int | None = None
) -> Report:
    """`verify_manifest`; an unusable manifest or lock of images is a finding."""
    report = Report("verify", checked=1)
    try:
        return verify_manifest(read_manifest(manifest), results, root=root, threads=threads)
    except ManifestError as error:
        report.add(MANIFEST, error.verdict, Cause.RECORD, str(error))
    except RecordError as error:
        report.add(str(IMAGES), Verdict.DRIFTED, Cause.IMAGE, str(error))
    return report


class _Verifier:
    def __init__(self, manifest: Manifest, results: ResultsFolder) -> None:
        self.manifest, self.results = manifest, results
        # files of weights -> (sha256, the lock that lists them)
        self._weights = {
            file: (digest, lock) for lock, entry in manifest.entries.items() for file, digest in entry.files.items()
        }
        listed = (manifest.entries, manifest.missing, manifest.unrecorded, self._weights)
        self._report = Report("verify", checked=sum(map(len, listed)))
        images = read_images()
        self._image_problem = lru_cache(lambda image: image_problem(image, images))
        self._project_sha256 = lru_cache(project_sha256)

    def report(self, root: str | None, threads: int | None) -> Report:
        started, read = time.monotonic(), 0
        self._check_run(root)
        with Track("reading records", len(self.manifest.entries), "records", brief=True) as track:
            for name, entry in self.manifest.entries.items():
                self._check_record(name, entry)
                track.advance()
        files = list(self._files_to_hash())
        with Track("hashing", sum(size for _, _, size in files) // 10**6, "MB", brief=True) as track:
            hashes = hash_files(((path, size) for _, path, size in files), threads)
            for (name, _, size), digest in zip(files, hashes, strict=True):
                self._check_bytes(name, digest)
                read += size
                track.advance(read // 10**6 - track.done)
        seconds = time.monotonic() - started
        self._report.facts = {"root": self.manifest.root, "MB": round(read / 1e6, 1), "seconds": round(seconds, 2)}
        if self.manifest.config.file is None:
            self._report.facts["not compared"] = "the configuration, which no file of the project holds"
        return self._report

    # --- the run as a whole -----------------------------------------------------------------------------

    def _check_run(self, root: str | None) -> None:
        manifest, add = self.manifest, self._report.add
        if root is not None:
            self._report.checked += 1
            if root != manifest.root:
                problem = (
                    f"{MANIFEST}: its root is {manifest.root}, not {root}: give --results of the run with that root"
                )
                add(MANIFEST, Verdict.DRIFTED, Cause.CONTENT, problem)
        if file := manifest.config.file:
            self._report.checked += 1
            if problem := config_problem(file, manifest.config.sha256):
                add(file, Verdict.DRIFTED, Cause.CONFIG, f"{file}: {problem}")
        self._check_run_lock()
        for name in manifest.missing:
            problem = f"{name}: was missing when the manifest was made; {manifest.make_it(name)}"
            add(name, Verdict.MISSING, Cause.ABSENT, problem)
        for name, why in manifest.unrecorded.items():
            add(name, Verdict.UNVERIFIED, Cause.RECORD, why)
        for name, reasons in manifest.lasting_stale.items():
            for why in reasons:
                add(name, Verdict.DRIFTED, cause_of(why), f"{name}: is stale: {why}; {manifest.make_it(name)}")

    def _check_run_lock(self) -> None:
        """Compare what was read with the lock that was committed with the run, if there is one."""
        path = lock_file(self.manifest.config.name)
        try:
            lock = read_run_lock(inside(Path(), path.as_posix()))
        except (ConfigError, UnsafePath) as error:
            self._report.checked += 1
            self._report.add(path.as_posix(), Verdict.DRIFTED, Cause.CONFIG, str(error))
            return
        if lock:
            self._report.checked += 1
            for name, why in results_differ(lock, self.results.path).items():
                cause = Cause.MODEL if name.startswith(f"{RESULTS}/models/") else Cause.DATA
                problem = f"{why}, or bring back the lock of the run ({path})"
                self._report.add(name, Verdict.DRIFTED, cause, problem)

    # --- records ----------------------------------------------------------------------------------------

    def _check_record(self, name: str, entry: Entry) -> None:
        add = self._report.add
        try:
            sidecar, digest = read_sidecar(self.results, name)
        except UnsafePath as error:
            add(name, Verdict.REFUSED, Cause.PATH, str(error))
            return
        except RecordError as error:
            verdict = Verdict.UNVERIFIED if isinstance(error, NoRecord) else Verdict.DRIFTED
            add(name, verdict, Cause.RECORD, str(error))
            return
        self._compare_record(name, entry, sidecar, digest)
        for source in entry.inputs:
            self._check_input(name, entry, source)
        if not same_code(entry):
            problem = (
                f"{name}: {entry.module} or what it imports was edited; check out the code of the run, or "
                f"{self.manifest.make_it(name)}"
            )
            add(name, Verdict.DRIFTED, Cause.CODE, problem)
        if entry.image and (problem := self._image_problem(entry.image)):
            add(name, Verdict.DRIFTED, Cause.IMAGE, f"{name}: {problem}")

    def _compare_record(self, name: str, entry: Entry, sidecar: Sidecar, digest: str) -> None:
        """Compare a sidecar with the manifest's entry. Facts of the run (time, machine, cost) are no evidence."""
        where, add = name + SIDECAR, self._report.add
        now = entry_of(sidecar, digest, files=entry.files, rule=entry.rule, wildcards=entry.wildcards)
        facts = {"sidecar_sha256": entry.sidecar_sha256, "environment": entry.environment}
        if sidecar.record.artifact != name:
            problem = f"{where}: is the record of {sidecar.record.artifact}: files were exchanged; copy both again"
            add(name, Verdict.DRIFTED, Cause.RECORD, problem)
        elif sidecar.record_sha256 != entry.record_sha256:
            problem = f"{where}: is another record than the manifest lists; copy it again, or make the manifest again"
            add(name, Verdict.DRIFTED, Cause.RECORD, problem)
        elif now.model_copy(update=facts) != entry:
            problem = f"{where}: the manifest's entry was edited: it is not that of the record; make the manifest again"
            add(name, Verdict.DRIFTED, Cause.RECORD, problem)
        elif now != entry:
            problem = f"{where}: was made again since the manifest: the same record, another time, machine or cost"
            add(name, Verdict.EQUIVALENT, Cause.RECORD, problem)

    def _check_input(self, name: str, entry: Entry, source: Input) -> None:
        known = self.manifest.entries.get(source.path)
        if known is not None:
            now: str | None = known.sha256
        elif source.path.startswith((f"{RESULTS}/", DATA, PLUGIN)):
            return  # a missing artifact is listed as such; a file outside the project is known by its hash alone
        else:
            now = self._project_sha256(source.path)
        if now is None:
            problem = f"{name}: was made from {source.path}, which the project does not have any more; bring it back"
            self._report.add(name, Verdict.UNVERIFIED, Cause.ABSENT, problem)
        elif now != source.sha256 and not entry.rule:
            problem = f"{name}: {source.path} changed; the batch's cells that were made from it are not used any more"
            self._report.add(name, Verdict.UPSTREAM_REDERIVED, Cause.UPSTREAM, problem)
        elif now != source.sha256:
            problem = (
                f"{name}: was made from another {source.path} (it was {source.sha256[:12]}, is {now[:12]}); "
                f"{self.manifest.make_it(name)}"
            )
            self._report.add(name, Verdict.DRIFTED, Cause.UPSTREAM, problem)
        elif known is not None and known.record_sha256 != source.record_sha256:
            problem = f"{name}: its input {source.path} was made again, with the same bytes"
            self._report.add(name, Verdict.UPSTREAM_REDERIVED, Cause.UPSTREAM, problem)

    # --- bytes ------------------------------------------------------------------------------------------

    def _files_to_hash(self) -> Iterator[tuple[str, Path, int]]:
        """Name, path and size of every file to hash; a file that must not be read becomes a finding."""
        for name, entry in self.manifest.entries.items():
            for file in (name, *entry.files):
                try:
                    path = self.results.path(file)
                    exists = path.exists()
                    if exists and not path.is_file():  # reading a pipe would never end
                        raise UnsafePath(f"{file}: is no file; remove it, and copy the file again or run the workflow")
                    yield file, path, path.stat().st_size if exists else 0
                except UnsafePath as error:
                    self._report.add(file, Verdict.REFUSED, Cause.PATH, str(error))
                except OSError as error:
                    self._unreadable(file, error)
            for file in unlisted_files(name, entry.files, self.results) if entry.files else ():
                self._report.checked += 1
                problem = f"{file}: is not in {name}; remove it, or fetch the model again"
                self._report.add(file, Verdict.DRIFTED, Cause.MODEL, problem)

    def _unreadable(self, name: str, error: OSError) -> None:
        problem = f"{name}: cannot be read: {error.strerror}; copy it again, or let this user read it"
        self._report.add(name, Verdict.UNVERIFIED, Cause.CONTENT, problem)

    def _check_bytes(self, name: str, digest: Hashed) -> None:
        entry = self.manifest.entries.get(name)
        expected, target = (entry.sha256, name) if entry else self._weights[name]
        delete = "" if entry and not entry.rule else f"delete {target} and "
        remedy = f"copy it again, or {delete}{self.manifest.make_it(target)}"
        if isinstance(digest, FileNotFoundError):
            self._report.add(name, Verdict.MISSING, Cause.ABSENT, f"{name}: is missing; {remedy}")
        elif isinstance(digest, OSError):
            self._unreadable(name, digest)
        elif digest != expected:
            problem = (
                f"{name}: its bytes are not those that were recorded ({digest[:12]}, not {expected[:12]}); {remedy}"
            )
            self._report.add(name, Verdict.DRIFTED, Cause.CONTENT if entry else Cause.MODEL, problem)
        elif entry and (problem := lock_problem(name, entry.files, self.results)):
            self._report.add(name, Verdict.DRIFTED, Cause.MODEL, problem)
