"""What the command `fute` writes to a terminal: nothing in a file of others gives it orders."""

from __future__ import annotations

import io
import sys

import pytest

from fute import cli
from fute.front.table import FrontError

SAID = "\x1b]0;title\x07 \x1b[2J\x1b[1A \x9b2J a\rb \u202egnp.exe \x1b[1;31mred\x1b[0m \u200cمی‌خواهم\u00a0👩‍💻\tx\n"
SHOWN = "?]0;title? ?[2J?[1A ?2J a?b ?gnp.exe \x1b[1;31mred\x1b[0m \u200cمی‌خواهم\u00a0👩‍💻\tx\n"


class Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture(autouse=True)
def command(monkeypatch):
    """The streams and the hook that `main` puts its own in the place of are put back."""
    for name in ("stdout", "stderr", "excepthook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setattr(sys, "argv", ["fute", "table3"])


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_gets_colours_and_no_other_orders_and_a_file_gets_all(monkeypatch, terminal):
    stream = Stream(terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(cli.steps, "run", lambda *_: print(SAID, end=""))
    cli.main()
    assert stream.getvalue() == (SHOWN if terminal else SAID)


def test_an_error_has_none(monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise FrontError(SAID)

    monkeypatch.setattr(cli.steps, "run", fail)
    with pytest.raises(SystemExit):
        cli.main()
    assert SHOWN in capsys.readouterr().err
