"""The community's validator of RO-Crates, fed with the JSON-LD contexts that it would fetch.

The contexts are those of RO-Crate 1.1 (CC0, the terms that a crate of ours may use) and of the workflow-run terms.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from rocrate_validator import services
from rocrate_validator.models import Severity, ValidationResult, ValidationSettings

PROFILE = "provenance-run-crate-0.5"
CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": "ro-crate-1.1.json",
    "https://w3id.org/ro/terms/workflow-run/context": "workflow-run.json",
}


class _Served(HTTPAdapter):
    """Answers requests for the contexts from files; anything else is an error."""

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        body = (Path(__file__).with_name("contexts") / CONTEXTS[str(request.url)]).read_bytes()
        headers = {"Content-Type": "application/ld+json"}
        raw = urllib3.HTTPResponse(io.BytesIO(body), status=200, headers=headers, preload_content=False)
        return self.build_response(request, raw)


def validate(crate: Path, cache: Path, severity: Severity = Severity.REQUIRED) -> ValidationResult:
    """Validate a crate against the Provenance Run Crate profile without a network. cache: a file that is written."""
    with CachedSession(str(cache), backend="sqlite") as session:
        session.mount("https://", _Served())
        for url in CONTEXTS:
            assert session.get(url).ok
    settings = ValidationSettings(
        rocrate_uri=str(crate), profile_identifier=PROFILE, requirement_severity=severity, offline=True,
        cache_path=str(cache),
    )  # fmt: skip
    return services.validate(settings)


def read_metadata(crate: Path) -> dict[str, dict]:
    """Entities of a crate by their ids."""
    graph = json.loads((crate / "ro-crate-metadata.json").read_text(encoding="utf8"))["@graph"]
    assert len({entity["@id"] for entity in graph}) == len(graph)
    return {entity["@id"]: entity for entity in graph}
