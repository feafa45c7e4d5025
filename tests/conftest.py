"""What test processes share: a folder, and quick starts of the project's commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock
from support import fork_server
from support.checkouts import ENVIRONMENT, first_in_path


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of this session that all its test processes have."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def quick_starts(shared: Path, worker_id: str) -> None:
    """`python` in PATH is a client of one fork server for all test processes."""
    folder = shared / "fork-server"
    with FileLock(shared / "fork-server.lock"):
        if not folder.is_dir():
            owner = os.getpid() if worker_id == "master" else os.getppid()
            fork_server.start(folder, owner, {**os.environ, **ENVIRONMENT})
    os.environ |= first_in_path(folder / "bin")
