"""A step that is given a broken file says so on one line, whatever is wrong with it."""

from __future__ import annotations

import pytest
from support.broken_files import KINDS, Broken
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


@pytest.mark.parametrize("broken", ["config/models.yaml", "config/datasets.yaml", "config/prompts/sa.yaml"])
def test_a_broken_registry_says_so_without_a_traceback(finished, tmp_path, broken):
    run = copied(finished, tmp_path / "project")
    wrong = []
    for kind in KINDS.keys() - {"cut"}:  # half of a YAML file may be a whole one
        with Broken(run / broken, kind):
            done = run.snakemake("--dry-run", check=False)
        if done.returncode not in (1, 2) or "Traceback" in done.stdout or broken not in done.stdout:
            wrong.append(f"{kind}: exit {done.returncode}: {done.stdout[-600:]}")
    assert not wrong, "\n\n".join(wrong)


def test_a_key_given_twice_is_refused(finished, tmp_path):
    run = copied(finished, tmp_path / "project")
    config = run / run.config
    config.write_text(f"{config.read_text()}\nthreads: 2\n")
    done = run.snakemake("--dry-run", check=False)
    assert done.returncode == 1 and "the key 'threads' is given twice; keep one entry" in done.stdout
    assert "Traceback" not in done.stdout
