"""`fute images build | lock | check`: the container images of this machine, made from `containers/*.def`.

An image holds dependencies, never the project's code. Its file is named by a hash over everything it is built from:
definition, package lists, base, arguments, wheels. The image carries these inputs in a label, so that `lock` can read
them from a file that was built elsewhere. Apptainer's builds are not byte-reproducible, so the lock records the
hash of the file in addition to its inputs.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer

from fute.artifacts import atomic, canonical_json, content_key, sha256_file
from fute.images.inputs import Options, arguments, inputs
from fute.images.lock import FOLDER, LOCK, NAMES, NO_APPTAINER, ImageError, Lock, LockedImage, check_images, read_lock

INPUTS = "fute.inputs"
FULL_DISK = "No space left on device"

app = typer.Typer(no_args_is_help=True, help="Container images: build what is missing, lock, check.")


def build_image(name: str, options: Options) -> Path:
    """Build an image unless its file exists; return its path. Raises ImageError with Apptainer's last message."""
    values = arguments(name, options)
    built_from = inputs(name, values, options.wheels)
    path = FOLDER / f"{name}-{content_key(built_from)[:12]}.sif"
    if path.is_file():
        print(f"{path}: is there")
        return path
    print(f"{path}: building (minutes, and several GB in APPTAINER_TMPDIR or /tmp)", flush=True)
    bound = ["--bind", f"{options.wheels.resolve()}:/mnt"] if options.wheels else []
    build_arguments = [f"--build-arg={quoted(key, value)}" for key, value in values.items()]
    build_arguments.append(f"--build-arg={quoted('inputs', canonical_json(built_from))}")
    with atomic(path) as unfinished:
        failure = _apptainer(
            ["apptainer", "build", "--force", *bound, *build_arguments, str(unfinished), f"{FOLDER / name}.def"]
        )
        if failure is not None:
            hint = "" if values["bootstrap"] == "localimage" else "; without a registry, give --base FILE.sif"
            raise ImageError(f"image {name}: the build failed: {failure}{hint}")
    return path


def quoted(key: str, value: str) -> str:
    """Quote a build argument for Apptainer, which reads it as one field of CSV."""
    return '"' + f"{key}={value}".replace('"', '""') + '"'


def _apptainer(line: list[str]) -> str | None:
    """Run Apptainer and show its output while it runs; return None, or why it failed. Raises ImageError without it."""
    try:
        run = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    except FileNotFoundError:
        raise ImageError(NO_APPTAINER) from None
    shown: list[str] = []
    for text in run.stdout or ():
        print(text, end="", flush=True)
        shown.append(text.strip())
    if run.wait() == 0:
        return None
    if any(FULL_DISK.lower() in text.lower() for text in shown):
        return (
            f"{FULL_DISK}; set APPTAINER_TMPDIR to a folder with several GB of free space, and make sure that the "
            "image itself has room"
        )
    return next((text for text in reversed(shown) if text.startswith("FATAL")), f"exit code {run.returncode}")


def inputs_of(path: Path) -> dict[str, Any]:
    """Read from an image what it was built from.

    Raises ImageError for a file that is not an image of this project, and without Apptainer.
    """
    line = ["apptainer", "inspect", "--json", "--labels", str(path)]
    try:
        run = subprocess.run(line, capture_output=True, text=True)
    except FileNotFoundError:
        raise ImageError(NO_APPTAINER) from None
    labels = json.loads(run.stdout)["data"]["attributes"]["labels"] if run.returncode == 0 else {}
    if INPUTS not in labels:
        reason = run.stderr.strip().splitlines()[-1:] or [f"it has no label {INPUTS}"]
        raise ImageError(f"{path} was not built by `fute images build`: {reason[0]}; build it, or choose another file")
    return json.loads(labels[INPUTS])


def present() -> dict[str, Path]:
    """File of each image: the one in the lock, else the only one in the folder.

    Raises ImageError if an image has several files and the lock names none of them.
    """
    locked = read_lock().images
    chosen = {}
    for name in NAMES:
        files = sorted(FOLDER.glob(f"{name}-*.sif"))
        if name in locked and FOLDER / locked[name].file in files:
            chosen[name] = FOLDER / locked[name].file
        elif len(files) > 1:
            raise ImageError(
                f"image {name}: several files: {', '.join(map(str, files))}; choose one, "
                f"e.g. `fute images lock {name}={files[-1]}`"
            )
        elif files:
            chosen[name] = files[0]
    return chosen


def lock_images(chosen: dict[str, Path]) -> None:
    """Put images into the lock; other entries stay. Raises ImageError for none, and for files that are no images."""
    if not chosen:
        raise ImageError(f"{FOLDER}: holds no image; build them with `fute images build`, or copy their files there")
    images = dict(read_lock().images)
    for name, path in chosen.items():
        if not path.is_file() or path.parent.resolve() != FOLDER.resolve():
            raise ImageError(f"image {name}: there is no {path} in {FOLDER}; copy the file there")
        built_from = inputs_of(path)
        images[name] = LockedImage(
            file=path.name, sha256=sha256_file(path), bytes=path.stat().st_size, inputs=built_from
        )
        print(f"{path}: {images[name].sha256}, {path.stat().st_size / 1e6:.0f} MB")
    with atomic(FOLDER / LOCK) as unfinished:
        text = json.dumps(Lock(images=images).model_dump(), indent=1, sort_keys=True)
        unfinished.write_text(text + "\n", encoding="utf8")


Names = Annotated[list[str] | None, typer.Argument(help=f"any of {', '.join(NAMES)}; without names, all")]


def _known(names: list[str] | None) -> tuple[str, ...]:
    if unknown := set(names or ()) - set(NAMES):
        raise typer.BadParameter(f"there is no image {', '.join(sorted(unknown))}; the images are {', '.join(NAMES)}")
    return tuple(names or NAMES)


@app.command()
def build(
    names: Names = None,
    base: Annotated[str | None, typer.Option(help="docker://NAME@sha256:DIGEST, or an image file")] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="use the CPU builds of torch and vLLM")] = False,
    lists: Annotated[str | None, typer.Option(help="package lists in envs/, in one quoted argument")] = None,
    packages: Annotated[str | None, typer.Option(help="Debian packages, in one quoted argument; may be empty")] = None,
    wheels: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="folder of wheels that no index has")
    ] = None,
) -> None:
    """Build the images that are missing, and lock them."""
    options = Options(base, lists, packages, wheels, cpu)
    for name in _known(names):
        lock_images({name: build_image(name, options)})


@app.command()
def lock(
    files: Annotated[list[str] | None, typer.Argument(help="NAME=FILE, to choose one of several files")] = None,
) -> None:
    """Write the lock from the images in containers/."""
    pairs = dict(pair.partition("=")[::2] for pair in files or ())
    _known(list(pairs))
    lock_images({name: Path(path) for name, path in pairs.items()} or present())


@app.command()
def check(names: Names = None) -> None:
    """Check that every image exists and is the one in the lock."""
    chosen = _known(names)
    check_images(chosen)
    for name in chosen:
        print(f"{FOLDER / read_lock().images[name].file}: as in the lock")
