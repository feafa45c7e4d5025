"""Ways in which a file can be broken."""

from __future__ import annotations

import gzip
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

BINARY = bytes(range(256)) * 4


def _cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _other(path: Path) -> None:
    """A good file of its kind that holds something else."""
    if path.name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(b'{"a": 1}\n'))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", "b")
    elif path.suffix == ".safetensors":
        save_file({"a": np.zeros(2, np.float32)}, path)
    else:
        path.write_text({".csv": "a,b\n1,2\n", ".jsonl": '{"a": 1}\n'}.get(path.suffix, '{"a": 1}'))


def _wrong_json(path: Path) -> None:
    text = b'{"x": "a", "y": \n'
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def _circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


KINDS = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": _cut,
    "binary": lambda path: path.write_bytes(BINARY),
    "wrong JSON": _wrong_json,
    "another kind": _other,
    "a folder": _folder,
    "a link in a circle": _circle,
    "unreadable": lambda path: path.chmod(0),
}
"""Name -> what does it to a file."""
if os.geteuid() == 0:  # who may read everything
    del KINDS["unreadable"]


class Broken:
    """A file that is broken in one way inside a `with` block, and whole again after it."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind, self.kept = path, kind, path.with_name(f".{path.name}.kept")

    def __enter__(self) -> None:
        shutil.copy2(self.path, self.kept)
        KINDS[self.kind](self.path)

    def __exit__(self, *_: object) -> None:
        if self.path.is_dir() and not self.path.is_symlink():
            self.path.rmdir()
        else:
            self.path.unlink(missing_ok=True)
        self.kept.replace(self.path)
