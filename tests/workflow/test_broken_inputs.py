"""A step that is given a broken file says so on one line, whatever is wrong with it."""

from __future__ import annotations

import pytest
from support.broken_inputs import silent_or_noisy, step_calls
from support.checkouts import copied

pytestmark = pytest.mark.workflow


def test_every_step_of_the_llm_experiment_with_broken_inputs(finished, tmp_path):
    run = copied(finished, tmp_path / "project")
    assert len(list(step_calls(run))) >= 15
    wrong = silent_or_noisy(run)
    assert not wrong, "\n\n".join(wrong)
