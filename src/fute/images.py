"""`fute images build | lock | check`: the container images of this machine, made from `containers/*.def`.

An image holds dependencies, never the project's code, and its file is named by a hash over all it is built from:
definition, package lists, base, arguments, wheels. The image carries these inputs in a label, so that `lock` knows
them for a file that was built elsewhere, too. Apptainer's builds are not byte-reproducible: the lock therefore
records the hash of the file beside its inputs.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from fute.artifacts import atomic, canonical_json, content_key, sha256_file
from fute.containers import FOLDER, LOCK, NAMES, ImageError, Lock, LockedImage, check_images, read_lock

ENVS = Path("envs")
SCRIPTS = (FOLDER / "post.sh", FOLDER / "environment.sh", ENVS / "install.sh")
INPUTS = "fute.inputs"
BY_DIGEST = re.compile(r"docker://[^@\s]+@(sha256:[0-9a-f]{64})")
OF_CPU = ("torch-cpu.txt", "torch-cpu-index.txt")
"""What install.sh reads with steps-cpu.txt without being told."""
FULL_DISK = "No space left on device"

app = typer.Typer(no_args_is_help=True, help="Container images: build what is missing, lock, check.")


class Options(NamedTuple):
    """What the command line changes in an image. None: the definition's default."""

    base: str | None = None
    lists: str | None = None
    packages: str | None = None
    wheels: Path | None = None
    cpu: bool = False


def defaults(definition: str) -> dict[str, str]:
    """The section %arguments of a definition."""
    section = definition.partition("%arguments")[2].partition("\n%")[0]
    return dict(line.strip().split("=", 1) for line in section.splitlines() if "=" in line)


def arguments(name: str, options: Options, folder: Path = FOLDER) -> dict[str, str]:
    """Build arguments of an image. Raises ImageError for a base that is neither a file nor named by its digest."""
    values = defaults((folder / f"{name}.def").read_text(encoding="utf8"))
    if options.base is not None:
        local = Path(options.base).is_file()
        if not local and not BY_DIGEST.fullmatch(options.base):
            raise ImageError(
                f"image {name}: base {options.base} is neither a file nor docker://NAME@sha256:DIGEST; make a file of "
                "a folder with `apptainer build base.sif FOLDER`, or look up the digest of a tag at its registry"
            )
        values["bootstrap"] = "localimage" if local else "docker"
        values["base"] = str(Path(options.base).resolve()) if local else options.base.removeprefix("docker://")
    if options.lists is not None:
        values["lists"] = options.lists
    if options.cpu:
        values["lists"] = values["lists"].replace("-gpu.txt", "-cpu.txt")
    if options.packages is not None:
        values["packages"] = options.packages
    return values


def list_files(lists: str, envs: Path = ENVS) -> list[Path]:
    """What install.sh reads for package lists. Raises ImageError for one that is not there."""
    names = lists.split()
    return [*_with_included(names, envs), *(envs / other for other in OF_CPU if "steps-cpu.txt" in names)]


def _with_included(names: list[str], envs: Path) -> Iterator[Path]:
    for name in names:
        path = envs / name
        if not path.is_file():
            raise ImageError(f"{path}: no such package list; there are {sorted(p.name for p in envs.glob('*.txt'))}")
        yield path
        yield from _with_included(re.findall(r"^-r (\S+)", path.read_text(encoding="utf8"), re.MULTILINE), envs)


def inputs(name: str, values: dict[str, str], wheels: Path | None) -> dict[str, Any]:
    """All that an image is built from, without a path of this machine."""
    local = values["bootstrap"] == "localimage"
    base = Path(values["base"])
    return {
        "base": base.name if local else f"docker://{values['base']}",
        "base_sha256": sha256_file(base) if local else values["base"].partition("@sha256:")[2],
        "definition": sha256_file(FOLDER / f"{name}.def"),
        "files": {path.name: sha256_file(path) for path in (*SCRIPTS, *list_files(values["lists"]))},
        "lists": values["lists"],
        "packages": values["packages"],
        "wheels": {path.name: sha256_file(path) for path in sorted(wheels.glob("*.whl"))} if wheels else {},
    }


def build_image(name: str, options: Options, folder: Path = FOLDER) -> Path:
    """Build an image unless its file is there. Raises ImageError with what Apptainer said last."""
    values = arguments(name, options)
    made_of = inputs(name, values, options.wheels)
    path = folder / f"{name}-{content_key(made_of)[:12]}.sif"
    if path.is_file():
        print(f"{path}: is there")
        return path
    print(
        f"{path}: building (lists {values['lists']}; minutes, and several GB in APPTAINER_TMPDIR or /tmp)", flush=True
    )
    bound = ["--bind", f"{options.wheels.resolve()}:/mnt"] if options.wheels else []
    given = [f"--build-arg={quoted(key, value)}" for key, value in values.items()]
    given.append(f"--build-arg={quoted('inputs', canonical_json(made_of))}")
    with atomic(path) as unfinished:
        said = _apptainer(["apptainer", "build", "--force", *bound, *given, str(unfinished), f"{FOLDER / name}.def"])
        if said is not None:
            raise ImageError(f"image {name}: the build failed: {said}")
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
    return "\n".join(shown[-5:]) or f"{line[0]} ended with code {run.returncode}"


def inputs_of(path: Path) -> dict[str, Any]:
    """What an image says it was built from. Raises ImageError for a file that is no image of this project."""
    run = subprocess.run(["apptainer", "inspect", "--json", "--labels", str(path)], capture_output=True, text=True)
    labels = json.loads(run.stdout)["data"]["attributes"]["labels"] if run.returncode == 0 else {}
    if INPUTS not in labels:
        why = run.stderr.strip().splitlines()[-1:] or [f"it has no label {INPUTS}"]
        raise ImageError(f"{path} is no image built by `fute images build`: {why[0]}")
    return json.loads(labels[INPUTS])


def lock_images(chosen: dict[str, Path], folder: Path = FOLDER) -> Lock:
    """Write the lock anew: the chosen images, and for the others those it had, or the only file that is there.

    Raises ImageError where several files of an image are there and none is chosen.
    """
    images = {name: entry for name, entry in read_lock(folder).images.items() if (folder / entry.file).is_file()}
    for name in NAMES:
        found = sorted(folder.glob(f"{name}-*.sif"))
        if name not in chosen and name not in images and len(found) > 1:
            raise ImageError(
                f"image {name}: several files: {', '.join(map(str, found))}; choose one, "
                f"e.g. `fute images lock {name}={found[-1]}`"
            )
        path = chosen.get(name) or (folder / images[name].file if name in images else found[0] if found else None)
        if path is None:
            continue
        if not path.is_file():
            raise ImageError(f"image {name}: {path} is missing")
        if path.parent.resolve() != folder.resolve():
            raise ImageError(f"image {name}: {path} is not in {folder}; move it there")
        made_of = inputs_of(path)
        images[name] = LockedImage(file=path.name, sha256=sha256_file(path), bytes=path.stat().st_size, inputs=made_of)
        print(f"{path}: {images[name].sha256}, {path.stat().st_size / 1e6:.0f} MB")
    lock = Lock(images=images)
    with atomic(folder / LOCK) as unfinished:
        unfinished.write_text(json.dumps(lock.model_dump(), indent=1, sort_keys=True) + "\n", encoding="utf8")
    return lock


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
    lock_images({name: Path(path) for name, path in pairs.items()})


@app.command()
def check(names: Names = None) -> None:
    """See that every image is there and is the one in the lock."""
    chosen = _known(names)
    check_images(chosen)
    for name in chosen:
        print(f"{FOLDER / read_lock().images[name].file}: as in the lock")
