"""The audits that receipts and the page tell of: verification and claims, run over one manifest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fute.audit.claims.check import ClaimReport, check_claims
from fute.audit.claims.file import read_claims
from fute.audit.claims.sources import Project
from fute.audit.findings import Report
from fute.audit.hashing import cores
from fute.audit.manifest import Manifest, read_manifest
from fute.audit.paths import ResultsFolder
from fute.audit.verify import verify_manifest


@dataclass(frozen=True)
class Audits:
    """A manifest, and what verification and claims say of its run."""

    manifest: Manifest
    verified: Report
    claims: ClaimReport

    def as_json(self) -> list[dict[str, Any]]:
        """The reports as `--json` prints them."""
        return [json.loads(self.verified.to_json()), json.loads(self.claims.to_json())]


def run_audits(results: ResultsFolder, manifest: Path, claims: Path, project: Path = Path()) -> Audits:
    """Verify a manifest's artifacts and check all claims. Raises ManifestError, ClaimsError."""
    listed = read_manifest(manifest)
    verified = verify_manifest(listed, results, threads=cores(), project=project)
    checked = check_claims(read_claims(claims).claims, Project(project, results, listed))
    return Audits(listed, verified, checked)
