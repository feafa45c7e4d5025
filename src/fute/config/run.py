"""A run: a configuration and what it names in the registries, read from files and checked.

A named run (`config.yaml` is the demo, `config/*.yaml` the others) states only where it departs from the paper.
Registries: `config/models.yaml`, `config/datasets.yaml`, `config/prompts/*.yaml`; a run may name a file of samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from fute.config import strict_yaml
from fute.config.categories import CATEGORIES
from fute.config.data import SampleEntry, with_samples
from fute.config.datasets import DatasetSettings
from fute.config.lm_experiment import LM, check_heads, check_lm, check_shared
from fute.config.models import ModelEntry
from fute.config.prompts import Prompt, load_prompts, unusable_words
from fute.config.sections import ConfigError, explain, is_id
from fute.config.settings import Config

REGISTRIES = Path("config")
"""Folder of the registries in a project."""


class Run:
    """A configuration with the registry entries it names, all checked.

    Attributes: config, models, datasets, prompts (prompt id -> Prompt, those of the run, in order).
    """

    def __init__(self, config: Config, registries: Path, where: str = "config") -> None:
        self.config = config
        _check_names(config, where)
        self.models = _registry(registries / "models.yaml", ModelEntry)
        self.datasets = _registry(registries / "datasets.yaml", DatasetSettings)
        if config.data.samples:
            samples = _registry(registries.parent / Path(config.data.samples).expanduser(), SampleEntry)
            self.datasets = with_samples(self.datasets, samples, config.data.samples)
        if unknown := sorted(set(config.data.sources) - set(self.datasets)):
            raise ConfigError(f"{where}: data.sources: {unknown[0]!r} is not in config/datasets.yaml; correct the id")
        self.prompts: dict[str, Prompt] = {}
        for category in config.categories:
            known = {p.number: p for p in load_prompts(registries / "prompts" / f"{category}.yaml")}
            wanted = config.llm.prompts.get(category, "all")
            if reserved := sorted(RESERVED["prompts"].intersection(p.id for p in known.values())):
                raise ConfigError(f"config/prompts/{category}.yaml: the id {reserved[0]!r} is a baseline's; rename it")
            for number in known if wanted == "all" else wanted:
                if number not in known:
                    raise ConfigError(
                        f"llm.prompts.{category}: no prompt {number} in config/prompts/{category}.yaml; "
                        f"there are {sorted(known)}"
                    )
                prompt = known[number]
                if problem := unusable_words(tuple(prompt.verbalizers.values()), config.llm.engine):
                    raise ConfigError(
                        f"config/prompts/{category}.yaml: prompt {prompt.id} cannot be used with engine "
                        f"{config.llm.engine.engine}: {problem}"
                    )
                self.prompts[prompt.id] = prompt
        for name in (*config.llm.models, *config.vector_models):
            if name not in self.models:
                raise ConfigError(
                    f"model {name!r} is not in config/models.yaml; add an entry, or use {sorted(self.models)}"
                )
        servers = [name for name in config.llm.models if self.models[name].server]
        if len(servers) > 1:
            raise ConfigError(
                f"llm.models: {servers} are servers, and a run has one engine address; run them one by one"
            )
        for category, names in config.llm.datasets.items():
            for name in names:
                if name not in self.datasets:
                    raise ConfigError(f"llm.datasets.{category}: {name!r} is not in config/datasets.yaml")
                if self.datasets[name].category != category:
                    raise ConfigError(
                        f"llm.datasets.{category}: {name!r} is of category {self.datasets[name].category!r}"
                    )
        missing = set(config.categories) - set(config.unsup)
        if missing:
            raise ConfigError(f"unsup: no entry for {sorted(missing)}, whose prompts need a U")
        if config.lm:
            check_lm(config.lm, self.models, self.datasets, where)
            llm_datasets = {name for names in config.llm.datasets.values() for name in names}
            check_shared(config.lm, llm_datasets, config.surrogate.settings.max_input_tokens, where)
            if config.surrogate.settings.form == "heads":
                check_heads(config.lm, where)
            if LM not in config.unsup:
                raise ConfigError(f"{where}: unsup: no entry for {LM!r}, which the section lm needs")

    def prompts_of(self, category: str) -> list[Prompt]:
        """The run's prompts of one category, by number."""
        return sorted((p for p in self.prompts.values() if p.category == category), key=lambda p: p.number)

    def datasets_of(self, category: str) -> tuple[str, ...]:
        return self.config.llm.datasets.get(category, ())  # type: ignore[call-overload]


RESERVED = {
    "datasets": {*CATEGORIES, LM, "none"},
    "prompts": {"self-select"},
}
"""Ids that stand for something else in results: each U, the source of a run without transfer, a baseline's answers."""


def _check_names(config: Config, where: str) -> None:
    """Raise ConfigError for a name in a list twice, or one that files of results use for something else."""
    lm = config.lm
    lists = {"llm.models": config.llm.models, "methods": config.methods, "lm.models": lm.models if lm else ()}
    lists |= {f"llm.prompts.{name}": numbers for name, numbers in config.llm.prompts.items() if numbers != "all"}
    datasets = {f"llm.datasets.{name}": names for name, names in config.llm.datasets.items()}
    if lm:
        datasets |= {f"lm.datasets.{group}": getattr(lm.datasets, group) for group in ("cr", "qa", "domain")}
    for key, names in (lists | datasets).items():
        if twice := [name for name, times in Counter(names).items() if times > 1]:
            raise ConfigError(f"{where}: {key}: {twice[0]!r} is named twice; name it once")
    for key, names in datasets.items():
        if reserved := sorted(RESERVED["datasets"].intersection(names)):
            raise ConfigError(f"{where}: {key}: {reserved[0]!r} means something else in results; rename it")


def _refused(error: ValidationError, section: type[BaseModel], where: str) -> ConfigError:
    problems = explain(error, section)
    return ConfigError("\n".join(f"{where}: {key or '(top level)'}: {what}" for key, what in problems))


def read_yaml(path: Path) -> Any:
    """A YAML file's content; ConfigError naming file and line where it does not parse or gives a key twice."""
    try:
        return strict_yaml.load(path.read_text(encoding="utf8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a file that can be read") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None


T = TypeVar("T", bound=BaseModel)


def _registry(path: Path, entry: type[T]) -> dict[str, T]:
    entries = {}
    for name, value in (read_yaml(path) or {}).items():
        if not isinstance(name, str):
            raise ConfigError(f"{path}: the id {name!r} is no text to YAML; put it in quotes, letter by letter")
        try:
            entries[is_id(name)] = entry.model_validate(value)
        except ValidationError as error:
            raise _refused(error, entry, f"{path}: {name}") from None
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from None
    return entries


def parse_run(values: Mapping[str, Any], registries: Path, where: str = "config") -> Run:
    """Check configuration values (already read from files and command line) and load what they name."""
    if not isinstance(values or {}, Mapping):
        raise ConfigError(f"{where}: holds a {type(values).__name__}; a configuration is lines of `name: value`")
    try:
        config = Config.model_validate(dict(values or {}))
    except ValidationError as error:
        raise _refused(error, Config, where) from None
    return Run(config, registries, where)


def load_run(path: Path, registries: Path | None = None) -> Run:
    """Read one configuration file. registries: folder of the registries; default: the project's, as in the workflow."""
    if registries is None:
        own = (REGISTRIES / "models.yaml").is_file()  # else the project is not the current folder
        registries = REGISTRIES if own else Path(__file__).resolve().parents[3] / REGISTRIES
    return parse_run(read_yaml(path), registries, str(path))
