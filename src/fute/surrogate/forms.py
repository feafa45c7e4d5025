"""Loading of a surrogate by its form: `text2text` (a language-model head gives y) or `heads` (a small head does)."""

from importlib import import_module
from pathlib import Path

from fute.config.methods import form_module
from fute.config.surrogate import SurrogateSettings
from fute.surrogate.text2text import Surrogate


def load_form(path: Path, settings: SurrogateSettings, *, frozen: bool = True) -> Surrogate:
    """Load a surrogate in the form named by its settings. path: folder of a saved model."""
    return import_module(form_module(settings.form)).load_surrogate(path, settings, frozen=frozen)
