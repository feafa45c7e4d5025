"""Noticing results that Snakemake knows nothing of: asked whenever the workflow is planned, so it must be quick."""

from __future__ import annotations

import os
from pathlib import Path

from fute.artifacts import SIDECAR

METADATA = Path(".snakemake/metadata")


def unadopted(results: Path) -> str | None:
    """A warning where there are artifacts and no metadata of Snakemake's at all; None where all is well."""
    if METADATA.is_dir():
        with os.scandir(METADATA) as entries:  # looks at the first entry only, of possibly many thousands
            if any(entries):
                return None
    if not any(results.rglob(f"*{SIDECAR}")):
        return None
    return (
        f"WARNING: {results}/ holds results, and Snakemake's record of how they were made ({METADATA}) is missing, as "
        "after copying them. By file times alone it may make again what is good, and keep what an edited setting has "
        "made stale. Verify the results and hand them over first: python -m fute audit adopt --config YOUR.yaml"
    )
