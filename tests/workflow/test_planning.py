"""Planning is quick: the paper's run plans about as fast as a bare workflow of as many jobs."""

from __future__ import annotations

import pytest
from support import planning
from support.planning import Plan, bare, ratio

pytestmark = pytest.mark.workflow

PLANNING = 1.4
"""Planning the paper's run, whose jobs have up to five inputs, over a bare workflow of as many with one each."""
READING = 1.5
"""Reading our Snakefile, and all it imports, over reading an empty one."""


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return planning.paper(tmp_path_factory.mktemp("planning") / "project")


def test_planning_the_papers_run(paper, tmp_path):
    jobs = paper.run().jobs
    # three LLMs, 26 prompts: labels on U and three datasets each, two vectors and the controls
    assert jobs > 3 * 26 * (4 + 2 + 4)
    assert ratio(PLANNING, paper, bare(tmp_path / "bare", jobs), jobs) <= PLANNING


def test_reading_the_snakefile(paper, tmp_path):
    (tmp_path / "Snakefile").write_text("")
    ours = Plan(paper.folder, (*paper.arguments, "--list-rules"))
    assert ratio(READING, ours, Plan(tmp_path, ("--list-rules",)), 0, least=1) <= READING


def test_planning_what_is_all_there(paper, tmp_path):
    # the last test: it changes the project
    plain = bare(tmp_path / "bare", paper.finish())
    plain.finish()
    assert ratio(PLANNING, paper, plain, 0) <= PLANNING
