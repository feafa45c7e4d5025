"""How tests are shared among several workers (pytest -n 2 --dist loadgroup)."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay with one worker, in their order; so do all tests on the one finished run."""
    for item in items:
        on_the_run = "finished" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("the finished run" if on_the_run else str(item.path)))
