"""Starts `python -m fute` and `python -m snakemake` as forks of one process that has the large libraries loaded.

A step that trains loads torch and transformers, ten seconds of processor time on a slow machine, and the tests start
some hundred steps. A server imports the libraries once, nothing of this project, and forks for every step. In a test's
PATH `python` is a client of it: the step runs in the fork with the client's arguments, folder, environment and open
files, signals are passed on, and the client ends as the step does. Whatever the server cannot stand in for is started
as it always is: other modules, and an environment that libraries read when they are loaded (threads, hubs, the seed of
hashes) other than the server's.

    python fork_server.py serve FOLDER          until the last of its users has gone
    python fork_server.py client FOLDER ...     what `python` is in a test's PATH
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = (
    *("fute", "fute.launch", "snakemake", "accelerate.commands.launch"),
    *("support.small_lms", "support.toy_training", "support.twin"),
)
# what libraries read while they are imported
READ_AT_IMPORT = (
    *("OMP_", "OPENBLAS_", "MKL_", "HF_", "TRANSFORMERS_", "TQDM_", "CUDA_", "PYTHONHASHSEED"),
    *("MPL", "LC_", "LANG"),
)
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# what steps of this project use of them, deep enough that a step imports nothing large of its own
LOADED = """
accelerate.commands.launch httpx huggingface_hub jinja2 numpy pandas peft pydantic rich.live safetensors.torch
scipy.stats sklearn.cluster sklearn.manifold sklearn.metrics torch typer yaml
matplotlib.figure matplotlib.style matplotlib.backends.backend_agg matplotlib.backends.backend_pdf
transformers.models.auto.modeling_auto transformers.models.auto.tokenization_auto transformers.masking_utils
transformers.models.bert.modeling_bert transformers.models.llama.modeling_llama transformers.models.t5.modeling_t5
snakemake.api snakemake.cli snakemake.workflow snakemake.executors.local
"""


def import_environment() -> dict[str, str]:
    """What a fork cannot take from its client; a token is read where it is used."""
    return {name: value for name, value in os.environ.items() if name.startswith(READ_AT_IMPORT) and name != "HF_TOKEN"}


# --- who uses a server -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A server in a folder for processes of an environment: one that serves, or a new one.

    It ends with the last of its users, and whoever started it waits for that: what forks used of the processor is then
    counted as that of any other child.
    """
    from filelock import FileLock  # which a client has not

    folder.parent.mkdir(parents=True, exist_ok=True)
    server = None
    with FileLock(f"{folder}.lock"):
        if (use := joined(folder)) is None:
            shutil.rmtree(folder, ignore_errors=True)
            server, use = start(folder, environment)
    try:
        yield
    finally:
        use.close()
        if server:
            server.wait()


def joined(folder: Path) -> socket.socket | None:
    """A connection that keeps a server serving; None where there is none."""
    use = socket.socket(socket.AF_UNIX)
    try:
        use.connect(str(folder / "users"))
        if use.recv(1):
            return use
    except OSError:
        pass
    use.close()
    return None


def start(folder: Path, environment: dict[str, str]) -> tuple[subprocess.Popen, socket.socket]:
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{__file__}" client "{folder}" "$@"\n')
    python.chmod(0o755)
    line = [sys.executable, __file__, "serve", str(folder)]
    environment = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(line, env=environment, stdout=log, stderr=log, start_new_session=True)
    while (use := joined(folder)) is None:
        if server.poll() is not None:
            raise RuntimeError(f"the fork server did not start:\n{(folder / 'log').read_text()}")
        time.sleep(0.05)
    return server, use


# --- the client, which must be quick: only the standard library, without `site` -----------------------------------


def client(folder: Path, arguments: list[str]) -> None:
    command = arguments[arguments[:1] == ["-u"] :]  # torchrun's, whose output then goes through a buffer
    ours = command[:1] == ["-m"] and command[1] in MODULES
    if not ours or json.loads((folder / "environment.json").read_text()) != import_environment():
        python = (folder / "interpreter").read_text()
        os.execv(python, [python, *arguments])
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(folder / "socket"))
    request = json.dumps([command[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(connection, [len(request).to_bytes(8, "big")], [0, 1, 2])
    connection.sendall(request)
    for number in PASSED_ON:
        signal.signal(number, lambda number, _: connection.send(bytes([number])))
    status = int(connection.recv(16) or -signal.SIGKILL)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        os.kill(os.getpid(), -status)
    os._exit(status)


# --- the server ----------------------------------------------------------------------------------------------------


class Step:
    """A fork that runs, and the client that waits for it."""

    def __init__(self, client: socket.socket, words: list[str], process: int) -> None:
        self.client, self.words, self.process = client, words, process
        self.end = os.pidfd_open(process)

    def heed_client(self) -> bool:
        """Pass a signal on; False where the client has gone, and without a client there is no step."""
        sent = self.client.recv(1)
        os.kill(self.process, sent[0] if sent else signal.SIGKILL)
        return bool(sent)

    def finish(self) -> None:
        """Tell the client the status."""
        _, status, used = os.wait4(self.process, 0)
        print(f"{used.ru_utime + used.ru_stime:.2f} s", *self.words, flush=True)
        with contextlib.suppress(OSError):
            self.client.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        self.client.close()
        os.close(self.end)


def serve(folder: Path) -> None:
    """Import the libraries, and fork for each client; returns in a fork, which is then the step."""
    for name in LOADED.split():
        __import__(name)
    gc.collect()
    gc.freeze()  # a collection in a fork would touch, and so copy, all of this
    (folder / "environment.json").write_text(json.dumps(import_environment()))
    (folder / "interpreter").write_text(sys.executable)
    watched = selectors.DefaultSelector()
    clients, users = (watched.register(listening(folder / name), selectors.EVENT_READ) for name in ("socket", "users"))
    connected: set[socket.socket] = set()
    while True:
        for key, _ in watched.select():
            if key is clients:
                client, _ = clients.fileobj.accept()
                header, files, _, _ = socket.recv_fds(client, 8, 3)
                request = json.loads(client.makefile("rb").read(int.from_bytes(header, "big")))
                if (process := os.fork()) == 0:
                    for other in list(watched.get_map().values()):
                        os.close(other.fd)
                    client.close()
                    return become(folder, files, *request)
                for file in files:
                    os.close(file)
                step = Step(client, request[0][:3], process)
                for file in (step.end, client):
                    watched.register(file, selectors.EVENT_READ, step)
            elif key is users:
                user, _ = users.fileobj.accept()
                watched.register(user, selectors.EVENT_READ)
                connected.add(user)
                user.send(b"+")
            elif key.fileobj in connected:  # it has gone
                watched.unregister(key.fileobj)
                connected.remove(key.fileobj)
                if not connected:
                    os._exit(0)
            elif watched.get_map().get(key.fd) is not key:  # of a step that has ended since
                continue
            elif key.fileobj == key.data.end:
                watched.unregister(key.fileobj)
                if key.data.client in watched.get_map():
                    watched.unregister(key.data.client)
                key.data.finish()
            elif not key.data.heed_client():
                watched.unregister(key.fileobj)


def listening(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen(64)
    return made


def become(folder: Path, files: list[int], arguments: list[str], where: str, environment: dict[str, str]) -> None:
    """What a new interpreter would have set up: files, folder, environment, arguments, where modules are looked for."""
    import random
    import tempfile

    import numpy as np

    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.setpgrp()
    os.chdir(where)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # the server's, once it has asked for one
    # new ones, as those of the server are of a log file, whose place a pipe cannot tell
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stdout.reconfigure(write_through=bool(environment.get("PYTHONUNBUFFERED")))
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.executable = str(folder / "bin/python")
    sys.argv = arguments
    added = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = [where, *(os.path.abspath(path) for path in added), *sys.path[1:]]
    random.seed()
    np.random.seed()


def run(arguments: list[str]) -> None:
    """The module as `python -m` runs it, and an end that does not take the libraries apart first."""
    import atexit
    import runpy
    import threading
    import traceback

    status = 0
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, int | None):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status & 0xFF)


if __name__ == "__main__":
    if sys.argv[1] == "client":
        client(Path(sys.argv[2]), sys.argv[3:])
    serve(Path(sys.argv[2]))
    run(sys.argv)
