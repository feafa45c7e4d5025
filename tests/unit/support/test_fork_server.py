"""The tests' fork server: a fork says and returns what a process does, and stands in for no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.checkouts import ENVIRONMENT, ROOT

pytestmark = pytest.mark.usefixtures("quick_starts")


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT / "src"), **more}


def said(python: str, *arguments: str, **more: str) -> tuple[int, str, str]:
    done = subprocess.run([python, *arguments], env=environment(**more), capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def forked(shared: Path, word: str) -> bool:
    """Whether a process with this argument was a fork."""
    return word in (shared / "fork-server/log").read_text().split()


def test_a_fork_says_and_returns_what_a_process_does(shared):
    found = said("python", "-m", "fute", "no-such-step")
    assert found == said(sys.executable, "-m", "fute", "no-such-step") and found[0] == 2
    assert forked(shared, "no-such-step")


def test_what_it_cannot_stand_in_for_is_no_fork(shared):
    assert said("python", "-m", "fute", "with-threads", OMP_NUM_THREADS="2")[0] == 2
    assert said("python", "-m", "json.tool", "no-such-file")[0] != 0
    assert said("python", "-c", "print(1)") == (0, "1\n", "")
    assert not forked(shared, "with-threads") and not forked(shared, "no-such-file")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_both_and_is_the_status(tmp_path, number):
    """The end of the step closes the pipe."""
    (tmp_path / "fute").mkdir()
    (tmp_path / "fute/__init__.py").touch()
    (tmp_path / "fute/__main__.py").write_text("import time; print('here', flush=True); time.sleep(600)")
    line = ["python", "-m", "fute"]
    process = subprocess.Popen(line, env=environment(PYTHONPATH=str(tmp_path)), stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "here\n"
    process.send_signal(number)
    assert process.stdout.read() == "" and process.wait() == -number
