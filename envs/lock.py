"""Resolve the dependencies in pyproject.toml into the lists that everything is installed from: `make locks`.

A list names what its group needs beyond the lists it includes, with the sha256 of every file on PyPI, and holds for
Python 3.11 to 3.13. Versions stay what they are, unless pyproject.toml or an option of uv asks for others: --upgrade,
or --upgrade-package NAME.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ENVS = Path(__file__).resolve().parent
INCLUDES = {
    "build": [],
    "light": ["build"],
    "steps-cpu": ["light", "torch-cpu"],
    "vllm-cpu": ["steps-cpu"],
    "bench": ["steps-cpu"],
    "dev": ["light"],
    "steps-gpu": ["light"],
    "vllm-gpu": ["steps-gpu"],
}
"""Each list, and what it includes; torch-cpu.txt is written by hand."""
NOT_ON_PYPI = ("torch", "torchaudio", "torchcodec", "torchvision")
"""vLLM's CPU build requires a CPU build of torch (see torch-cpu.txt), and others of these that no step needs."""
CONDITION = re.compile(
    r" ; ((?:python_full_version [<>]=? '[\d.]+' and )*)implementation_name == 'cpython' and "
    r"(?:\(\(platform_machine .*\)\)|(platform_machine == '\w+') and .* == 'linux')(?= \\$)",
    re.MULTILINE,
)
"""What uv writes behind a version: Python versions, and the platforms of pyproject.toml or one processor of these."""

Pins = dict[str, str]
"""Package -> its lines in a list: version, condition, hashes."""


def resolve(groups: list[str], *options: str | Path) -> Pins:
    """All packages that groups need; `light` is what the project itself depends on."""
    line = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version=3.11", "--generate-hashes"]
    line += ["--no-annotate", "--no-header", *map(str, options)]
    line += [] if groups == ["build"] else ["pyproject.toml"]
    line += [f"--group={group}" for group in groups if group != "light"]
    return pins(subprocess.run(line, cwd=ENVS.parent, check=True, stdout=subprocess.PIPE, text=True).stdout)


def pins(text: str) -> Pins:
    found: Pins = {}
    for lines in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE):
        package, equals, _ = lines.partition("==")
        if equals:  # one package may have several versions, each with its condition
            found[package] = found.get(package, "") + lines
    return found


def written(names: list[str]) -> str:
    """The lines of lists as they are now."""
    paths = [ENVS / f"{name}.txt" for name in names]
    return "".join("".join(pins(path.read_text(encoding="utf8")).values()) for path in paths if path.is_file())


def without_platform(lines: str) -> str:
    """Leave of each condition what differs between the platforms and Python versions of pyproject.toml."""

    def shortened(match: re.Match[str]) -> str:
        parts = [*match[1].replace("python_full_version < '3.14' and ", "").split(" and ")[:-1], match[2]]
        return " ; " + " and ".join(filter(None, parts)) if any(parts) else ""

    return CONDITION.sub(shortened, lines)


def lock(names: list[str], made: dict[str, Pins], solution: Path, *options: str | Path) -> None:
    """Write lists with the solution's versions, each without what the lists have that it includes."""
    for name in names:
        needed = resolve([name], "--constraints", solution, *options)
        taken = {package for one in included(name) for package in made.get(one, ())}
        made[name] = {package: lines for package, lines in needed.items() if package not in taken}
        head = f"# Written by `make locks` from pyproject.toml: the group {name}.\n"
        head += "".join(f"-r {one}.txt\n" for one in INCLUDES[name])
        (ENVS / f"{name}.txt").write_text(head + without_platform("".join(made[name].values())), encoding="utf8")
        print(f"envs/{name}.txt: {len(made[name])} packages", flush=True)


def included(name: str) -> set[str]:
    """The lists that a list includes, and those that they do."""
    return {other for one in INCLUDES.get(name, ()) for other in (one, *included(one))}


def main(options: list[str]) -> None:
    gpu = [name for name in INCLUDES if name.endswith("-gpu")]
    cpu = [name for name in INCLUDES if name not in gpu]
    made: dict[str, Pins] = {}
    with tempfile.TemporaryDirectory() as folder:
        excludes, solution, shared = (Path(folder) / name for name in ("excludes", "solution", "shared"))
        excludes.write_text("\n".join(NOT_ON_PYPI))
        # one version of each package for all lists; uv keeps those that its output file already has
        solution.write_text(written(cpu))
        resolve(cpu, "--excludes", excludes, *options, "--output-file", solution)
        lock(cpu, made, solution, "--excludes", excludes)
        # for a GPU likewise, with the same versions of what runs with and without one
        shared.write_text("".join(lines for name in ("light", "steps-cpu") for lines in made[name].values()))
        solution.write_text(written(gpu))
        resolve(["build", *gpu], "--constraints", shared, *options, "--output-file", solution)
        lock(gpu, made, solution)


if __name__ == "__main__":
    main(sys.argv[1:])
