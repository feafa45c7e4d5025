"""The import closure of a step: neither more nor less."""

import re
from types import SimpleNamespace

import pytest

import fute
from fute import code_hash as closure
from fute import steps
from fute.config.methods import form_module, method_module
from fute.steps import module_of


def _package(tmp_path, files):
    for name, text in files.items():
        path = tmp_path / "fute" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "fute"


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = _package(
        tmp_path,
        {
            "__init__.py": "",
            "a.py": "from fute.b import thing\nimport json\n",
            "b.py": "def thing():\n    from fute.sub import late\n",
            "sub/__init__.py": "",
            "sub/late.py": "import fute.sub.deep\n",
            "sub/deep.py": "",
            "other.py": "from fute.a import x\n",
            "progress.py": "",
        },
    )
    monkeypatch.setattr(closure, "PACKAGE", folder)
    caches = (closure._source, closure._imports, closure.closure, closure.code_sha256)
    for cached in caches:
        cached.cache_clear()
    yield folder
    for cached in caches:
        cached.cache_clear()


def test_closure_follows_imports_inside_functions_and_no_others(package):
    assert closure.closure("fute.a") == ("a.py", "b.py", "sub/__init__.py", "sub/deep.py", "sub/late.py")


def test_the_hash_moves_with_any_file_of_the_closure_and_no_other(package):
    before = closure.code_sha256("fute.a")
    for name, moves in (("sub/deep.py", True), ("other.py", False)):
        (package / name).write_text("# edited\n")
        closure._source.cache_clear(), closure._imports.cache_clear()
        closure.closure.cache_clear(), closure.code_sha256.cache_clear()
        after = closure.code_sha256("fute.a")
        assert (after != before) == moves, name
        before = after


def test_a_record_has_the_code_that_a_step_began_with(package, monkeypatch):
    """A step may run for hours, and its record is written at the end."""
    began = closure.code_sha256("fute.a")
    for cached in (closure._source, closure._imports, closure.closure, closure.code_sha256):
        cached.cache_clear()

    def edited_meanwhile() -> None:
        (package / "sub/deep.py").write_text("# edited\n")
        records.append(closure.code_sha256("fute.a"))

    records = []
    monkeypatch.setattr(steps, "import_module", lambda _: SimpleNamespace(figure=edited_meanwhile))
    steps.run("figure", [])
    assert records == [began]


def test_an_unknown_module_is_an_error(package):
    with pytest.raises(ValueError, match="nowhere"):
        closure.closure("fute.nowhere")


def test_imports_for_type_checkers_alone_do_not_count(package):
    (package / "a.py").write_text(
        "if TYPE_CHECKING:\n    from fute.b import thing\n\n    from fute.sub import x\nimport json\n"
    )
    closure._source.cache_clear(), closure._imports.cache_clear()
    assert closure.closure("fute.a") == ("a.py",)


def test_modules_that_are_loaded_by_name_are_named(package):
    assert closure.closure("fute.sub.late", "fute.other") == (
        "a.py", "b.py", "other.py", "sub/__init__.py", "sub/deep.py", "sub/late.py",
    )  # fmt: skip
    assert closure.code_sha256("fute.sub.late", "fute.other") != closure.code_sha256("fute.sub.late")


def test_steps_do_not_depend_on_what_they_do_not_use():
    label = closure.closure(module_of("label_batch"))
    assert "llm/label_batch_step.py" in label and "config/prompts.py" in label
    for stranger in (
        "baselines/prompts.py", "evaluation/metrics.py", "config/run.py", "plan/plan.py", "steps.py",
        "surrogate/fisher/diagonal.py",
    ):  # fmt: skip
        assert stranger not in label
    assert "evaluation/metrics.py" in closure.closure(module_of("selection"))
    assert "llm/class_scores.py" in closure.closure(module_of("extract_labels"))
    for expensive in ("label_batch", "embed_batch", "finetune_model", "transfer_batch", "embed_dataset"):
        assert "display_names.py" not in closure.closure(module_of(expensive)), "a new title would make it run again"


def test_a_vector_depends_on_its_own_method_and_form_alone():
    def code(method: str, form: str) -> set[str]:
        return set(closure.closure(module_of("embed_batch"), method_module(method), form_module(form)))

    prefix, lora, fisher = code("tupate", "text2text"), code("tupate-lora", "text2text"), code("taskemb", "heads")
    assert "surrogate/prefix.py" in prefix - lora - fisher
    assert {"surrogate/lora.py", "surrogate/adapters.py"} <= lora - prefix - fisher
    assert {"surrogate/fisher/diagonal.py", "surrogate/heads.py"} <= fisher - prefix - lora


def test_no_step_imports_a_name_that_its_closure_cannot_see():
    """What a package imports only when asked is for people: a step that took it from there would not be run again."""
    late = [path for path in closure.PACKAGE.rglob("__init__.py") if "def __getattr__" in path.read_text()]
    packages = {".".join(("fute", *path.parent.relative_to(closure.PACKAGE).parts)) for path in late}
    assert packages == {"fute", "fute.embeddings"}
    for path in closure.PACKAGE.rglob("*.py"):
        for package in packages - {"fute"}:
            assert f"from {package} import" not in path.read_text(), path
        for names in re.findall(r"^ *from fute import (.+)$", path.read_text(), re.MULTILINE):
            assert not set(re.findall(r"\w+", names)) & set(fute.EXPORTS), path
    assert "embeddings/vectors.py" in closure.closure(module_of("similarities"))
