"""What test processes share: a folder, and quick starts of the project's commands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import fork_server
from support.checkouts import ENVIRONMENT, first_in_path


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of this session that all its test processes have."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def quick_starts(shared: Path) -> Iterator[None]:
    """`python` in PATH is a client of one fork server for all test processes."""
    with (
        fork_server.serving(shared / "fork-server", {**os.environ, **ENVIRONMENT}),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv(*first_in_path(shared / "fork-server/bin").popitem())
        yield
