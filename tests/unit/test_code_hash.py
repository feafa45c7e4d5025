"""The import closure of a step: neither more nor less."""

import pytest

from fute import code_hash as closure
from fute.steps import STEPS


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


def test_an_unknown_module_is_an_error(package):
    with pytest.raises(ValueError, match="nowhere"):
        closure.closure("fute.nowhere")


def test_steps_do_not_depend_on_what_they_do_not_use():
    label = closure.closure(STEPS["label"])
    assert "llm/labelling.py" in label and "data/prompts.py" in label
    for stranger in (
        "baselines/prompts.py",
        "evaluation/metrics.py",
        "config/run.py",
        "workflow/plan.py",
        "surrogate/fisher/diagonal.py",
    ):
        assert stranger not in label
    assert "evaluation/metrics.py" in closure.closure(STEPS["selection"])
    assert "llm/scoring.py" in closure.closure(STEPS["extract"])
    assert "surrogate/fisher/diagonal.py" in closure.closure(STEPS["embed"])
