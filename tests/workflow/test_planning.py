"""Planning is quick: the paper's run plans about as fast as a bare workflow of as many jobs."""

from __future__ import annotations

import pytest
from support import planning
from support.checkouts import say
from support.planning import Plan, alternating, bare

pytestmark = pytest.mark.workflow

RATIO = 1.4
"""Planning the paper's run, whose jobs have up to five inputs, over a bare workflow of as many with one each."""
PARSING_S = 1.0
"""What reading our Snakefile may add to reading an empty one."""
ROUNDS = 5


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return planning.paper(tmp_path_factory.mktemp("planning") / "project")


def test_planning_the_papers_run(paper, tmp_path):
    jobs = paper.run().jobs
    # three LLMs, 26 prompts: labels on U and three datasets each, two vectors and the controls
    assert jobs > 3 * 26 * (4 + 2 + 4)
    plain = bare(tmp_path / "bare", jobs)
    assert plain.run().jobs == jobs
    ours, other = alternating(ROUNDS, (paper, ("--quiet",)), (plain, ("--quiet",)))
    say(f"{jobs} jobs: {ours.seconds:.2f} s, bare {other.seconds:.2f} s, ratio {ours.seconds / other.seconds:.2f}")
    assert ours.seconds <= RATIO * other.seconds


def test_reading_the_snakefile(paper, tmp_path):
    (tmp_path / "Snakefile").write_text("")
    ours, empty = alternating(ROUNDS, (paper, ("--list-rules",)), (Plan(tmp_path), ("--list-rules",)))
    say(f"read in {ours.seconds:.2f} s, an empty Snakefile in {empty.seconds:.2f} s")
    assert ours.seconds - empty.seconds <= PARSING_S


def test_planning_what_is_all_there(paper, tmp_path):
    # the last test: it changes the project
    jobs = paper.finish()
    plain = bare(tmp_path / "bare", jobs)
    plain.finish()
    ours, other = alternating(ROUNDS, (paper, ("--quiet",)), (plain, ("--quiet",)))
    say(f"{jobs} jobs: {ours.seconds:.2f} s, bare {other.seconds:.2f} s, ratio {ours.seconds / other.seconds:.2f}")
    assert ours.seconds <= RATIO * other.seconds
