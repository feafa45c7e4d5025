"""The three images, built from their definitions on a Debian base of this machine: for the cluster tests.

What is built stays in a folder between runs (FUTE_TEST_IMAGES, else one under the system's temporary folder), and
image files are named by what they are built from, so that only a changed definition or list costs time again.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fute.images.lock import read_lock
from support.checkouts import ROOT, Checkout, copy_project
from support.local_slurm import INSTALLER

BUILDER = "builder"
"""The ordinary user that builds."""
QUICK = {"APPTAINER_MKSQUASHFS_ARGS": "-comp zstd -Xcompression-level 3"}
"""Several times faster to write than gzip, Apptainer's default, which every kernel can read."""
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")


def folder() -> Path:
    named = os.environ.get("FUTE_TEST_IMAGES")
    return Path(named) if named else Path(tempfile.gettempdir()) / "fute-test-images"


def install() -> None:
    """Apptainer and debootstrap on this machine, installed where they are missing, and a user that builds."""
    if not (shutil.which("apptainer") and shutil.which("debootstrap")):
        assert os.geteuid() == 0, "apptainer or debootstrap is missing: install both, or run the tests as root"
        if INSTALLER.is_file():
            subprocess.run([INSTALLER, "apptainer"], check=True)
        elif subprocess.run(["apt-get", "install", "-y", "apptainer", "debootstrap"]).returncode != 0:
            raise RuntimeError("Apptainer is missing, and this distribution has no package of it: see apptainer.org")
    if os.geteuid() == 0 and BUILDER not in {user.pw_name for user in pwd.getpwall()}:
        subprocess.run(["useradd", "--create-home", BUILDER], check=True)


def build_all() -> Path:
    """Build what is missing, and lock it; the project copy whose `containers` folder holds images and lock."""
    install()
    place = folder()
    site = place / "site"
    (site / "containers").mkdir(parents=True, exist_ok=True)
    copy_project(site)
    if not (place / "base.sif").is_file():
        make_base(place)
    if not list((place / "wheels").glob("torch-*.whl")):
        fetch_wheels(place / "wheels")
    _give_to_builder(site / "containers")
    started = time.monotonic()
    for done in build(site, place):
        assert done.returncode == 0, done.stdout[-6000:]
    needed = {entry.file for entry in read_lock(site / "containers").images.values()}
    for path in (site / "containers").glob("*.sif"):
        if path.name not in needed:  # of an earlier definition
            path.unlink()
    print(f"\nimages in {site / 'containers'} after {time.monotonic() - started:.0f} s", flush=True)
    return site


def build(site: Path, place: Path) -> list[subprocess.CompletedProcess[str]]:
    """`fute images build` with what these images are built from; the Debian base has Python already."""
    common = ["--cpu", "--base", str(place / "base.sif"), "--wheels", str(place / "wheels")]
    return [
        images(site, place, "build", "labels", *common, "--packages", "python3-dev g++ libnuma1"),
        images(site, place, "build", "train", "paper", *common, "--packages", ""),
    ]


def images(site: Path, place: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`fute images ...` in a copy of the project; root's builds are made by the ordinary user."""
    path = f"{_as_builder(place)}:{os.environ['PATH']}" if os.geteuid() == 0 else os.environ["PATH"]
    return subprocess.run(
        [sys.executable, "-m", "fute", "images", *arguments], cwd=site, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=Checkout(site).environment() | QUICK | {"PATH": path} | environment,
    )  # fmt: skip


def make_base(place: Path) -> None:
    """A minimal Debian with Python as an image file. Needs root."""
    assert os.geteuid() == 0, f"{place / 'base.sif'} is missing, and debootstrap needs root"
    print("a Debian base for the images (about a minute)", flush=True)
    tree = place / "base"
    shutil.rmtree(tree, ignore_errors=True)
    include = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(["debootstrap", "--variant=minbase", include, "bookworm", tree], check=True, capture_output=True)
    # devices cannot be copied by an ordinary user; certificates as here, or no index may be reached
    shutil.rmtree(tree / "dev")
    (tree / "dev").mkdir()
    if (Path("/") / CERTIFICATES).is_file():
        shutil.copyfile(Path("/") / CERTIFICATES, tree / CERTIFICATES)
    _give_to_builder(place, recursive=True)
    line = [_as_builder(place) / "apptainer", "build", "--force", place / "base.sif", tree]
    subprocess.run(line, check=True, capture_output=True)
    shutil.rmtree(tree)


def fetch_wheels(wheels: Path) -> None:
    """torch's CPU build, from where this Python's pip knows it, else from PyTorch's index."""
    line = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), "-r"]
    line.append(str(ROOT / "envs/torch-cpu.txt"))
    index = (ROOT / "envs/torch-cpu-index.txt").read_text().strip()
    if subprocess.run(line, capture_output=True).returncode != 0:
        subprocess.run([*line, "--index-url", index], check=True)


def use_images(checkout: Checkout, site: Path) -> None:
    """Let a checkout use the images: links to their files, and the lock."""
    for path in (site / "containers").glob("*.sif"):
        (checkout / "containers" / path.name).symlink_to(path)
    shutil.copy(site / "containers/lock.json", checkout / "containers/lock.json")


def _give_to_builder(path: Path, recursive: bool = False) -> None:
    if os.geteuid() == 0:
        subprocess.run(["chown", *(["-R"] if recursive else []), BUILDER, path], check=True)


def _as_builder(place: Path) -> Path:
    """A folder with a command `apptainer` that runs the real one as the ordinary user."""
    commands = place / "commands"
    commands.mkdir(exist_ok=True)
    command = commands / "apptainer"
    real = shutil.which("apptainer")
    user = f"setpriv --reuid={BUILDER} --regid={BUILDER} --init-groups env HOME=/home/{BUILDER}"
    command.write_text(f'#!/bin/sh\nexec {user} nice {real} "$@"\n')
    command.chmod(0o755)
    return commands
