"""Progress in a log: what is said, when, and by which process."""

import pytest
from rich.console import Console

from fute import progress
from fute.progress import Track


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time that progress sees, in its only element."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end(clock, capfd):
    with Track("labels", 40, "texts") as track:
        for _ in range(4):
            clock[0] += 6
            track.advance(10)
    assert capfd.readouterr().err.splitlines() == [
        "labels: 20/40 texts, 1.67/s, 12 s left", "labels: 40/40 texts, 1.67/s, 0 s left", "labels: 40 texts in 24.0 s",
    ]  # fmt: skip


@pytest.mark.parametrize(("rank", "lines"), [(None, 1), ("0", 1), ("1", 0)])
def test_of_several_processes_the_first_one_reports(clock, capfd, monkeypatch, rank, lines):
    if rank is None:
        monkeypatch.delenv("RANK", raising=False)
    else:
        monkeypatch.setenv("RANK", rank)
    with Track("labels", 40, "texts") as track:
        track.advance(40)
    assert len(capfd.readouterr().err.splitlines()) == lines


def test_the_label_of_a_bar_is_no_markup(monkeypatch, capsys):
    monkeypatch.setattr(progress, "Console", lambda **_: Console(force_terminal=True, width=120))
    bar, task = progress._bar("mine[v2]", 2, "texts")
    bar.update(task, completed=2)
    bar.stop()
    assert "mine[v2]" in capsys.readouterr().out
