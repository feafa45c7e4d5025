"""A checkpoint file: whole or absent, of this training or refused; and SIGTERM as a flag."""

import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from fute.surrogate import checkpoint as module
from fute.surrogate.checkpoint import Checkpoint, Preempted, heed_sigterm

RUN = {"steps": 7, "parameters": [["w", [2, 3]]]}
TENSORS = {"w": torch.arange(6.0).view(2, 3), "turned": torch.arange(6.0).view(2, 3).T, "step": torch.tensor(3.0)}
FACTS = {"losses": [0.1, 1 / 3, float("inf")], "finished": False}


def saved(folder: Path) -> Checkpoint:
    made = Checkpoint(folder / "below" / "state.safetensors", "recipe and texts")
    made.save(RUN, TENSORS, FACTS)
    return made


def test_what_was_saved_is_loaded(tmp_path):
    made = saved(tmp_path)
    tensors, facts = made.load(RUN)
    assert facts == FACTS
    assert tensors.keys() == TENSORS.keys() and all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    before = made.path.read_bytes()
    tensors["w"].zero_()
    assert made.path.read_bytes() == before, "what is loaded is a copy"
    assert [file.name for file in made.path.parent.iterdir()] == ["state.safetensors"]


def test_nothing_is_loaded_where_there_is_no_file(tmp_path):
    assert Checkpoint(tmp_path / "state", "a").load(RUN) is None


def test_another_training_is_named_by_what_differs(tmp_path):
    made = saved(tmp_path)
    with pytest.raises(
        ValueError, match=rf"{made.path} .*\(differing: texts, settings or code\); delete it to train from the start"
    ):
        Checkpoint(made.path, "others").load(RUN)
    with pytest.raises(ValueError, match=r"\(differing: extra, steps\)"):
        made.load(RUN | {"steps": 8, "extra": 1})


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:20], lambda b: b"", lambda b: b"{" * len(b)])
def test_a_damaged_file_is_named(tmp_path, damage):
    made = saved(tmp_path)
    made.path.write_bytes(damage(made.path.read_bytes()))
    with pytest.raises(ValueError, match=rf"{made.path} is not a whole checkpoint .*delete the file"):
        made.load(RUN)


def test_a_safetensors_file_of_something_else_is_named(tmp_path):
    made = Checkpoint(tmp_path / "state", "a")
    module.save_file(TENSORS | {"turned": torch.zeros(1)}, made.path)
    with pytest.raises(ValueError, match="is not a whole checkpoint"):
        made.load(RUN)


def test_a_write_that_fails_leaves_the_last_state(tmp_path, monkeypatch):
    made = saved(tmp_path)
    before = made.path.read_bytes()

    def full(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(OSError, match="no space"):
        made.save(RUN, TENSORS, FACTS | {"finished": True})
    assert made.path.read_bytes() == before
    assert len(list(made.path.parent.iterdir())) == 1


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    made = saved(tmp_path)
    left = made.path.with_name(f".{made.path.name}.abc123.tmp")
    other = made.path.with_name(".other.safetensors.abc123.tmp")
    left.write_bytes(b"half")
    other.write_bytes(b"another's")
    made.load(RUN)
    assert not left.exists() and other.exists()


def test_what_another_process_writes_of_the_same_training_is_left_to_it(tmp_path):
    """A job on a lost node goes on beside its second attempt, which began later."""
    made = saved(tmp_path)
    with module.atomic(made.path) as theirs:
        made.save(RUN, TENSORS, FACTS)
        assert theirs.exists()


def test_a_checkpoint_is_due_by_the_clock(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    made = Checkpoint(tmp_path / "state", "a", every_s=10)
    assert not made.due
    now[0] = 110.0
    assert made.due
    made.save(RUN, TENSORS, FACTS)
    assert not made.due
    assert [made.worth_keeping(seconds) for seconds in (0.5, 1.0, 30.0)] == [False, True, True]


def test_sigterm_becomes_a_flag_and_the_old_handler_comes_back(tmp_path):
    made, calls = Checkpoint(tmp_path / "state", "a"), []
    old = signal.signal(signal.SIGTERM, lambda *_: calls.append("old"))
    try:
        with pytest.raises(Preempted), heed_sigterm() as came:
            made.stop_if_asked()
            assert not came() and not made.asked_to_stop
            os.kill(os.getpid(), signal.SIGTERM)
            assert came() and made.asked_to_stop and calls == []
            made.stop_if_asked()
        assert not made.asked_to_stop, "the next block starts anew"
        os.kill(os.getpid(), signal.SIGTERM)
        assert calls == ["old"]
        with heed_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
        assert calls == ["old", "old"], "nobody acted on it, so it is raised again"
    finally:
        signal.signal(signal.SIGTERM, old)


def test_preempted_says_where_the_state_is(tmp_path, capsys):
    made = Checkpoint(tmp_path / "state", "a")
    for expected in ("the training was too short to keep", f"the training's state is in {made.path}"):
        with pytest.raises(SystemExit) as stopped, heed_sigterm():
            signal.raise_signal(signal.SIGTERM)
            made.stop_if_asked()
        assert stopped.value.code == 143
        assert expected in str(stopped.value) and str(stopped.value) in capsys.readouterr().err
        made.save(RUN, TENSORS, FACTS)


def test_another_error_is_not_hidden_by_a_signal():
    with pytest.raises(KeyError, match="mine"), heed_sigterm():
        signal.raise_signal(signal.SIGTERM)
        raise KeyError("mine")


def test_signals_are_for_the_main_thread():
    errors = []

    def work():
        try:
            with heed_sigterm():
                pass
        except ValueError as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(errors) == 1 and "main thread" in errors[0]
