"""The small run that is audited, made once, and copies of it to damage."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.audited_run import Run, make_run
from support.checkouts import say


@pytest.fixture(scope="session", autouse=True)
def forks(quick_starts: None) -> None:
    """All tests of this folder start processes by the fork server."""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run as it was made; tests only read it."""
    say("running the data steps (20 s)")
    return make_run(tmp_path_factory.mktemp("audit") / "project")


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    """A copy that a test may damage."""
    return made.copy(tmp_path / "copy")
