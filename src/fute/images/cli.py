"""`fute images build | lock | check`: the container images of this machine, made from `containers/*.def`.

An image holds dependencies, never the project's code, and its file is named by a hash over all it is built from:
definition, package lists, base, arguments, wheels. The image carries these inputs in a label, so that `lock` knows
them for a file that was built elsewhere, too. Apptainer's builds are not byte-reproducible: the lock therefore
records the hash of the file beside its inputs.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer

from fute.artifacts import atomic, canonical_json, content_key, sha256_file
from fute.images.inputs import Options, arguments, inputs
from fute.images.lock import FOLDER, LOCK, NAMES, ImageError, Lock, LockedImage, check_images, read_lock

INPUTS = "fute.inputs"
FULL_DISK = "No space left on device"

app = typer.Typer(no_args_is_help=True, help="Container images: build what is missing, lock, check.")


def build_image(name: str, options: Options, folder: Path = FOLDER) -> Path:
    """Build an image unless its file is there. Raises ImageError with what Apptainer said last."""
    values = arguments(name, options)
    made_of = inputs(name, values, options.wheels)
    path = folder / f"{name}-{content_key(made_of)[:12]}.sif"
    if path.is_file():
        print(f"{path}: is there")
        return path
    print(f"{path}: building (minutes, and several GB in APPTAINER_TMPDIR or /tmp)", flush=True)
    bound = ["--bind", f"{options.wheels.resolve()}:/mnt"] if options.wheels else []
    given = [f"--build-arg={quoted(key, value)}" for key, value in values.items()]
    given.append(f"--build-arg={quoted('inputs', canonical_json(made_of))}")
    with atomic(path) as unfinished:
        said = _apptainer(["apptainer", "build", "--force", *bound, *given, str(unfinished), f"{FOLDER / name}.def"])
        if said is not None:
            hint = "" if values["bootstrap"] == "localimage" else "; without a registry, give --base FILE.sif"
            raise ImageError(f"image {name}: the build failed: {said}{hint}")
    return path


def quoted(key: str, value: str) -> str:
    """A build argument as Apptainer reads it: one field of CSV."""
    return '"' + f"{key}={value}".replace('"', '""') + '"'


def _apptainer(line: list[str]) -> str | None:
    """Run a command, its output shown as it comes; None, or why it failed."""
    try:
        run = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    except FileNotFoundError:
        raise ImageError("apptainer is not installed here; load its module, or ask for it to be installed") from None
    shown: list[str] = []
    for text in run.stdout or ():
        print(text, end="", flush=True)
        shown.append(text.strip())
    if run.wait() == 0:
        return None
    if any(FULL_DISK.lower() in text.lower() for text in shown):
        return (
            f"{FULL_DISK}; set APPTAINER_TMPDIR to a folder with several GB of free space, and see that there is room "
            "for the image"
        )
    return next((text for text in reversed(shown) if text.startswith("FATAL")), f"exit code {run.returncode}")


def inputs_of(path: Path) -> dict[str, Any]:
    """What an image says it was built from. Raises ImageError for a file that is no image of this project."""
    run = subprocess.run(["apptainer", "inspect", "--json", "--labels", str(path)], capture_output=True, text=True)
    labels = json.loads(run.stdout)["data"]["attributes"]["labels"] if run.returncode == 0 else {}
    if INPUTS not in labels:
        why = run.stderr.strip().splitlines()[-1:] or [f"it has no label {INPUTS}"]
        raise ImageError(f"{path} is no image built by `fute images build`: {why[0]}")
    return json.loads(labels[INPUTS])


def present(folder: Path = FOLDER) -> dict[str, Path]:
    """Each image's file: the one in the lock, else the only one that is there.

    Raises ImageError where several files of an image are there and the lock names none of them.
    """
    locked = read_lock(folder).images
    chosen = {}
    for name in NAMES:
        found = sorted(folder.glob(f"{name}-*.sif"))
        if name in locked and folder / locked[name].file in found:
            chosen[name] = folder / locked[name].file
        elif len(found) > 1:
            raise ImageError(
                f"image {name}: several files: {', '.join(map(str, found))}; choose one, "
                f"e.g. `fute images lock {name}={found[-1]}`"
            )
        elif found:
            chosen[name] = found[0]
    return chosen


def lock_images(chosen: dict[str, Path], folder: Path = FOLDER) -> None:
    """Put images into the lock; what it says of others stays. Raises ImageError for a file that cannot be one."""
    images = dict(read_lock(folder).images)
    for name, path in chosen.items():
        if not path.is_file() or path.parent.resolve() != folder.resolve():
            raise ImageError(f"image {name}: there is no {path} in {folder}; copy the file there")
        made_of = inputs_of(path)
        images[name] = LockedImage(file=path.name, sha256=sha256_file(path), bytes=path.stat().st_size, inputs=made_of)
        print(f"{path}: {images[name].sha256}, {path.stat().st_size / 1e6:.0f} MB")
    with atomic(folder / LOCK) as unfinished:
        text = json.dumps(Lock(images=images).model_dump(), indent=1, sort_keys=True)
        unfinished.write_text(text + "\n", encoding="utf8")


Names = Annotated[list[str] | None, typer.Argument(help=f"of {', '.join(NAMES)}; all where none is given")]


def _known(names: list[str] | None) -> tuple[str, ...]:
    if unknown := set(names or ()) - set(NAMES):
        raise typer.BadParameter(f"no image {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return tuple(names or NAMES)


@app.command()
def build(
    names: Names = None,
    base: Annotated[str | None, typer.Option(help="docker://NAME@sha256:DIGEST, or an image file")] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="the CPU builds of torch and vLLM")] = False,
    lists: Annotated[str | None, typer.Option(help="package lists in envs/, in one word")] = None,
    packages: Annotated[str | None, typer.Option(help="Debian packages, in one word; may be empty")] = None,
    wheels: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="wheels no index has")] = None,
) -> None:
    """Build the images that are missing, and lock them."""
    options = Options(base, lists, packages, wheels, cpu)
    for name in _known(names):
        lock_images({name: build_image(name, options)})


@app.command()
def lock(files: Annotated[list[str] | None, typer.Argument(help="NAME=FILE, to choose among several")] = None) -> None:
    """Write the lock from the images that are there."""
    pairs = dict(pair.partition("=")[::2] for pair in files or ())
    _known(list(pairs))
    lock_images({name: Path(path) for name, path in pairs.items()} or present())


@app.command()
def check(names: Names = None) -> None:
    """See that every image is there and is the one in the lock."""
    chosen = _known(names)
    check_images(chosen)
    for name in chosen:
        print(f"{FOLDER / read_lock().images[name].file}: as in the lock")
