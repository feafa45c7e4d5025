"""Look into the wheels of the lists for GPUs, and record what each owns and requires: `make locks` runs it.

Two wheels that own one file install, one over the other, without a word from pip, and one of them is broken then. So
are packages beside a version that they do not work with. The lists are written without pip's own look at either (see
`exclude-dependencies` in pyproject.toml), hence this one. envs/gpu-wheels.json holds for each wheel

sha256    of the file
requires  what it needs of other packages, for Python 3.12 on x86_64, with the extras that the others ask of it
owns      the shortest paths that no other wheel has anything under; folders end in /

A test compares this file with the lists. Of most wheels only the table of contents is fetched, of small ones all.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ENVS = Path(__file__).resolve().parent
RECORD = ENVS / "gpu-wheels.json"
LISTS = ("build", "light", "steps-gpu", "vllm-gpu")
"""What an environment for GPUs is installed from, all of it together."""
PYTHON = "3.12"
MARKERS = {
    "implementation_name": "cpython", "os_name": "posix", "platform_machine": "x86_64", "platform_system": "Linux",
    "platform_python_implementation": "CPython", "python_full_version": f"{PYTHON}.0", "python_version": PYTHON,
    "sys_platform": "linux",
}  # fmt: skip
PLATFORMS = [*(f"manylinux_2_{minor}_x86_64" for minor in range(5, 40)), "manylinux2014_x86_64", "linux_x86_64"]
HARMLESS = {"build_backend.py"}
"""Files that several wheels own and nothing reads: what these were built with, packed by mistake."""
AT_ONCE = 6


def pinned(names: Iterable[str] = LISTS) -> dict[str, dict[str, set[str]]]:
    """Package -> version -> hashes of its files, of the versions for `PYTHON` in these lists."""
    found: dict[str, dict[str, set[str]]] = {}
    for name in names:
        text = (ENVS / f"{name}.txt").read_text(encoding="utf8")
        for lines in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]:
            requirement = Requirement(lines.split("\\\n")[0].strip())
            if requirement.marker is None or requirement.marker.evaluate(MARKERS):
                version = str(requirement.specifier).removeprefix("==")
                hashes = set(re.findall(r"--hash=sha256:(\w+)", lines))
                found.setdefault(canonicalize_name(requirement.name), {})[version] = hashes
    return found


def shortest_paths(files: Mapping[str, set[str]]) -> dict[str, list[str]]:
    """Wheel -> the shortest paths that it alone has something under, and the files that another has too."""
    owners: dict[str, set[str]] = defaultdict(set)
    for wheel, names in files.items():
        for path in names:
            for folder in (*_folders(path), path):
                owners[folder].add(wheel)
    return {
        wheel: sorted({next((f for f in _folders(path) if len(owners[f]) == 1), path) for path in names})
        for wheel, names in files.items()
    }


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:length]) + "/" for length in range(1, len(parts))]


def shared(owned: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Path that several wheels have -> these wheels. owned: wheel -> paths; a folder stands for all that is in it."""
    wheels: dict[str, set[str]] = defaultdict(set)
    for wheel, paths in owned.items():
        for path in paths:
            wheels[path].add(wheel)
    for path in list(wheels):
        for folder in _folders(path):
            if folder in wheels:
                wheels[path] |= wheels[folder]
    return {path: sorted(names) for path, names in sorted(wheels.items()) if len(names) > 1}


def unmet(requires: Mapping[str, Iterable[str]], versions: Mapping[str, str], excluded: Iterable[str]) -> list[str]:
    """Requirements that these versions do not meet. requires: package -> its requirements. excluded: not missed."""
    problems = []
    for package, requirements in requires.items():
        for requirement in map(Requirement, requirements):
            name = canonicalize_name(requirement.name)
            if name not in versions and name not in excluded:
                problems.append(f"{package} requires {requirement}, which no list has")
            elif name in versions and not requirement.specifier.contains(versions[name], prereleases=True):
                problems.append(f"{package} requires {requirement}, and the lists have {versions[name]}")
    return problems


def excluded() -> set[str]:
    """Packages that are left out on purpose."""
    settings = tomllib.loads((ENVS.parent / "pyproject.toml").read_text(encoding="utf8"))["tool"]["uv"]
    return {canonicalize_name(name) for name in settings["exclude-dependencies"]}


def problems(record: Mapping[str, Any]) -> list[str]:
    """What is wrong with the wheels of a record: files with several owners, requirements that are not met."""
    wheels = record["wheels"]
    twice = {
        path: names
        for path, names in shared({name: wheel["owns"] for name, wheel in wheels.items()}).items()
        if path not in HARMLESS
    }
    versions = {name: version for name, of in pinned().items() for version in of}
    requires = {name: wheel["requires"] for name, wheel in wheels.items()}
    return [f"{path} is in {' and in '.join(names)}" for path, names in twice.items()] + unmet(
        requires, versions, excluded()
    )


# --- from the package index ---------------------------------------------------------------------------------


def look() -> dict[str, Any]:
    """Record of the wheels that pip takes for the lists, as the index has them now."""
    versions = {name: version for name, of in pinned().items() for version in of}
    report = {canonicalize_name(wheel["metadata"]["name"]): wheel for wheel in _report(versions)}
    metadata = {name: wheel["metadata"] for name, wheel in report.items()}
    extras = _extras({name: metadata[name].get("requires_dist", []) for name in metadata})
    with ThreadPoolExecutor(AT_ONCE) as pool:
        contents = pool.map(_contents, (wheel["download_info"]["url"] for wheel in report.values()))
        owned = shortest_paths(dict(zip(report, contents, strict=True)))
    wheels = {
        name: {
            "sha256": wheel["download_info"]["archive_info"]["hashes"]["sha256"],
            "requires": sorted({str(one) for one in _applying(metadata[name].get("requires_dist", []), extras[name])}),
            "owns": [path for path in owned[name] if not re.match(r"[^/]+\.dist-info/", path)],
        }
        for name, wheel in sorted(report.items())
    }
    return {"without_wheel": sorted(versions.keys() - report.keys()), "wheels": wheels}


def _report(versions: Mapping[str, str]) -> list[dict[str, Any]]:
    """What pip says that it would install; without what the index has as a source package alone."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, report = Path(folder) / "wanted", Path(folder) / "report"
        line = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run"]
        line += ["--no-deps", f"--report={report}", f"--requirement={wanted}", f"--target={folder}/none"]
        line += ["--only-binary=:all:", f"--python-version={PYTHON}", *(f"--platform={name}" for name in PLATFORMS)]
        left = dict(versions)
        while True:
            wanted.write_text("".join(f"{name}=={version}\n" for name, version in left.items()))
            run = subprocess.run(line, stderr=subprocess.PIPE, text=True)
            if run.returncode == 0:
                return json.loads(report.read_text(encoding="utf8"))["install"]
            missing = re.search(r"No matching distribution found for ([\w.-]+)==", run.stderr)
            if missing is None or left.pop(canonicalize_name(missing[1]), None) is None:
                sys.exit(f"pip cannot name the wheels: {run.stderr.strip().splitlines()[-1:]}")


def _extras(requires: Mapping[str, list[str]]) -> dict[str, set[str]]:
    """Package -> extras that other packages ask of it."""
    asked: dict[str, set[str]] = {name: set() for name in requires}
    waiting = list(requires)
    while waiting:
        name = waiting.pop()
        for requirement in _applying(requires[name], asked[name], with_extras=True):
            other = canonicalize_name(requirement.name)
            if other in asked and not requirement.extras <= asked[other]:
                asked[other] |= requirement.extras
                waiting.append(other)
    return asked


def _applying(requires: Iterable[str], extras: set[str], *, with_extras: bool = False) -> list[Requirement]:
    """Requirements that hold here, without their conditions."""
    kept = []
    for requirement in map(Requirement, requires):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({**MARKERS, "extra": extra}) for extra in ("", *extras)):
            requirement.marker = None
            requirement.extras = requirement.extras if with_extras else set()
            kept.append(requirement)
    return kept


def _contents(url: str) -> set[str]:
    """Paths of a wheel's files, from where they are installed; `@` stands for the root of the environment."""
    from pip._internal.network.lazy_wheel import HTTPRangeRequestUnsupported, LazyZipOverHTTP
    from pip._internal.network.session import PipSession

    session = PipSession()
    try:
        with LazyZipOverHTTP(url, session) as wheel:
            names = ZipFile(wheel).namelist()
    except HTTPRangeRequestUnsupported:
        answer = session.get(url)
        answer.raise_for_status()
        names = ZipFile(io.BytesIO(answer.content)).namelist()
    files = (name for name in names if not name.endswith("/"))
    return {re.sub(r"^[^/]+\.data/", "@", re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", name)) for name in files}


def main() -> None:
    record = look()
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(wheel)}" for name, wheel in record["wheels"].items())
    without = json.dumps(record["without_wheel"])
    RECORD.write_text(f'{{"without_wheel": {without},\n"wheels": {{\n{lines}\n}}}}\n', encoding="utf8")
    print(f"envs/{RECORD.name}: {len(record['wheels'])} wheels")
    if found := problems(record):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
