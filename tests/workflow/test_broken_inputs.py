"""A step that is given a broken file says so on one line, whatever is wrong with it."""

from __future__ import annotations

import pytest
from support.broken_inputs import forget_batches, silent_or_noisy, step_calls
from support.checkouts import copied

pytestmark = pytest.mark.workflow


def test_every_step_of_the_llm_experiment_with_broken_inputs(finished, tmp_path):
    run = copied(finished, tmp_path / "project")
    calls = {call.rule: call for call in step_calls(run)}
    wrong = silent_or_noisy(run, calls.values())
    forget_batches(run)
    batches = [call for call in step_calls(run) if call.rule not in calls]
    assert len(calls) >= 13 and {"label_batch", "embed_batch"} == {call.rule for call in batches}
    wrong += silent_or_noisy(run, batches)
    assert not wrong, "\n\n".join(wrong)
