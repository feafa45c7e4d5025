"""The form of a surrogate, by name: `text2text` (a language-model head says y) or `heads` (a small head does)."""

from importlib import import_module
from pathlib import Path

from fute.config.recipes import form_module
from fute.config.surrogate import SurrogateSettings
from fute.surrogate.text2text import Surrogate


def load_form(path: Path, settings: SurrogateSettings, *, frozen: bool = True) -> Surrogate:
    """Load a surrogate in the form that its settings name. path: folder of a saved model."""
    return import_module(form_module(settings.form)).load(path, settings, frozen=frozen)
