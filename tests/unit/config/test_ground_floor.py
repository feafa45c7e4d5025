"""Settings stand below all else: they import nothing of the package, and planning, which reads them, nothing heavy."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from fute.code_hash import PACKAGE

HEAVY = ("torch", "transformers", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "datasets", "accelerate", "peft")


@pytest.mark.parametrize(("folder", "allowed"), [("config", {"config"}), ("specs", {"config", "specs", "artifacts"})])
def test_what_settings_import(folder, allowed):
    files = sorted((PACKAGE / folder).glob("*.py"))
    assert files
    for path in files:
        for module in re.findall(r"^ *(?:from|import) fute(?:\.(\w+))?", path.read_text(encoding="utf8"), re.MULTILINE):
            assert module in allowed, f"{folder}/{path.name} imports fute.{module}"


def test_planning_imports_nothing_heavy():
    line = f"import sys; import fute.plan; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
