"""A run: a configuration and what it names in the registries, read from files and checked.

A named run (`config.yaml` is the demo, `config/*.yaml` the others) states only where it departs from the paper.
Registries: `config/models.yaml`, `config/datasets.yaml`, `config/categories.yaml`, `config/prompts/*.yaml`, and the
section `registry` of the run; a run may also name a file of samples.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from fute.config import strict_yaml
from fute.config.categories import CategoryEntry, context
from fute.config.data import SampleEntry, with_samples
from fute.config.datasets import OWN_CLASSES, DatasetSettings
from fute.config.engines import EngineSettings
from fute.config.lm_experiment import check_heads, check_lm
from fute.config.models import ModelEntry, TunedSettings
from fute.config.own_entries import with_paths, with_root
from fute.config.prompts import Prompt, listed_prompts, load_prompts, own_prompts, unusable_words
from fute.config.sections import ConfigError, is_id, refused
from fute.config.settings import Config
from fute.config.unsup import LM

T = TypeVar("T", bound=BaseModel)
REGISTRIES = Path("config")
"""Folder of the registries in a project."""


class Run:
    """A configuration with the registry entries it names, all checked.

    categories: those of the project and the run's own, which the configuration was checked against. registries: folder
    of the project's registries. where: file(s) of the configuration, for errors. folders: dataset of the run's own ->
    the folder that its files lie in.

    Attributes: config, categories (all, in the order of tables), models, datasets, prompts (prompt id -> Prompt, those
    of the run, in order), folders, tuned (LLM of the run that the run itself fine-tunes -> how), tuned_with (such an
    LLM -> category -> the prompts that it is fine-tuned with).
    """

    def __init__(
        self,
        config: Config,
        categories: Mapping[str, CategoryEntry],
        registries: Path,
        where: str = "config",
        folders: Mapping[str, Path] | None = None,
    ) -> None:
        self.config, self.categories, self.folders = config, dict(categories), dict(folders or {})
        own, known = config.registry, context(categories)
        reserved = RESERVED["datasets"].union(categories)
        _check_names(config, where, reserved)
        self.models = _beside(_registry(registries / "models.yaml", ModelEntry), own.models, "models", where)
        shipped = _registry(registries / "datasets.yaml", DatasetSettings, known)
        if config.data.samples:
            samples = _registry(registries.parent / Path(config.data.samples).expanduser(), SampleEntry)
            shipped = with_samples(shipped, samples, config.data.samples)
        self.datasets = _beside(shipped, own.datasets, "datasets", where)
        if taken := sorted(name for name in own.datasets if name in reserved or name.endswith(TRAIN)):
            raise ConfigError(f"{where}: registry.datasets: {taken[0]!r} means something else in results; rename it")
        if unknown := sorted(set(config.data.sources) - set(self.datasets)):
            raise ConfigError(f"{where}: data.sources: {unknown[0]!r} is not in config/datasets.yaml; correct the id")
        _check_models(config, self.models, where)
        self.tuned = {name: how for name in config.llm.models if (how := self.models[name].tuned)}
        asked = (*config.categories, *own.prompts, *(name for how in self.tuned.values() for name in how.prompts))
        each = dict.fromkeys(asked)
        prompts = {name: _known_prompts(name, categories[name], config, registries, where) for name in each}
        self.prompts = _all_prompts(config, categories, prompts, where)
        self.tuned_with: dict[str, dict[str, list[Prompt]]] = {}
        for name, how in self.tuned.items():
            key = f"{where}: model {name}: tuned"
            _check_tuned(how, self.models, self.datasets, key)
            self.tuned_with[name] = {
                category: _tuned_with(numbers, prompts[category], f"{key}.prompts.{category}")
                for category, numbers in how.prompts.items()
            }
        _check_llm(config, self.datasets, where)
        if config.lm:
            check_lm(config.lm, self.models, self.datasets, where)
            if config.surrogate.settings.form == "heads":
                check_heads(config.lm, where)
            if LM not in config.unsup:
                raise ConfigError(f"{where}: unsup: no entry for {LM!r}, which the section lm needs; add one")

    def prompts_of(self, category: str) -> list[Prompt]:
        """The run's prompts of one category, by number."""
        return sorted((p for p in self.prompts.values() if p.category == category), key=lambda p: p.number)

    def title_of(self, category: str) -> str:
        """Name of a category in tables and figures."""
        return self.categories[category].title_of(category)

    def engine_of(self, category: str) -> EngineSettings:
        """The engine's settings for the prompts of a category."""
        return _engine(self.config, self.categories[category])

    def datasets_of(self, category: str) -> tuple[str, ...]:
        return self.config.llm.datasets.get(category, ())


TRAIN = ".train"
"""End of a corpus's id, after that of a dataset: some of its training rows, which prompts label."""
RESERVED = {
    "datasets": {LM, "none"},
    "prompts": {"self-select"},
    "categories": {LM, "none", *OWN_CLASSES},
}
"""Ids that stand for something else in results: a U (each category's, too), the source of a run without transfer, a
baseline's answers; and the categories whose datasets have classes of their own."""


def _beside(shipped: Mapping[str, T], own: Mapping[str, T], kind: str, where: str) -> dict[str, T]:
    """The project's registry with the run's own entries. Raises ConfigError for an id that both have."""
    if both := [name for name in own if name in shipped]:
        raise ConfigError(
            f"{where}: registry.{kind}: {both[0]!r} is also in config/{kind}.yaml; give yours another name"
        )
    return {**shipped, **own}


def _engine(config: Config, entry: CategoryEntry) -> EngineSettings:
    engine = config.llm.engine
    return engine if entry.answer is None else engine.model_copy(update={"score": entry.answer})


Placed = Mapping[int, tuple[Prompt, str]]
"""Number -> prompt of a category, and its place for errors."""


def _all_prompts(
    config: Config, categories: Mapping[str, CategoryEntry], known: Mapping[str, Placed], where: str
) -> dict[str, Prompt]:
    """Prompt id -> prompt, of the categories with datasets; other prompts of the run's registry are checked alone."""
    prompts: dict[str, Prompt] = {}
    for category in dict.fromkeys((*config.categories, *config.registry.prompts)):
        chosen = _prompts(category, categories[category], known[category], config, where)
        if twice := [prompt.id for prompt in chosen if prompt.id in prompts]:
            raise ConfigError(
                f"{where}: prompt {twice[0]!r} of {category} and one of {prompts[twice[0]].category} have the same id; "
                "rename one"
            )
        if category in config.categories:
            prompts |= {prompt.id: prompt for prompt in chosen}
    return prompts


def _prompts(category: str, entry: CategoryEntry, known: Placed, config: Config, where: str) -> list[Prompt]:
    """The prompts of a category that a run has: those it names of the shipped and of its own."""
    for prompt, place in known.values():
        if prompt.id in RESERVED["prompts"]:
            raise ConfigError(f"{place}: the id {prompt.id!r} is a baseline's; rename it")
    wanted, engine = config.llm.prompts.get(category, "all"), _engine(config, entry)
    chosen = []
    for number in known if wanted == "all" else wanted:
        if number not in known:
            files = " and ".join(dict.fromkeys(place for _, place in known.values()))
            raise ConfigError(
                f"{where}: llm.prompts.{category}: no prompt {number} in {files}; there are {sorted(known)}"
            )
        prompt, place = known[number]
        if problem := unusable_words(tuple(prompt.verbalizers.values()), engine):
            raise ConfigError(f"{place}: prompt {prompt.id} cannot be used with engine {engine.engine}: {problem}")
        chosen.append(prompt)
    return chosen


def _tuned_with(numbers: Sequence[int], known: Placed, key: str) -> list[Prompt]:
    """The prompts that an LLM is fine-tuned with, which the run need not ask."""
    if unknown := [number for number in numbers if number not in known]:
        raise ConfigError(f"{key}: there is no prompt {unknown[0]}; there are {sorted(known)}")
    if thinking := [number for number in numbers if known[number][0].cot]:
        raise ConfigError(f"{key}: prompt {thinking[0]} is a chain of thought, which no label teaches; leave it out")
    return [known[number][0] for number in numbers]


def _known_prompts(category: str, entry: CategoryEntry, config: Config, registries: Path, where: str) -> Placed:
    """The prompts of a category that are shipped, and those that the run adds."""
    path, shown = registries / "prompts" / f"{category}.yaml", f"config/prompts/{category}.yaml"
    own, key = config.registry.prompts.get(category), f"registry.prompts.{category}"
    if own is None and category in config.registry.categories and not os.path.lexists(path):
        raise ConfigError(f"{where}: category {category!r} has no prompts; give some in {key}")
    # a file in its place that cannot be read is no missing one
    shipped = [] if own is not None and not os.path.lexists(path) else load_prompts(path, category, entry)
    if own is None:
        return {prompt.number: (prompt, shown) for prompt in shipped}
    place = own if isinstance(own, str) else f"{where}: {key}"
    after = max((prompt.number for prompt in shipped), default=0)
    if isinstance(own, str):
        added = own_prompts(Path(own), category, entry, after)
    else:
        added = listed_prompts(own, category, entry, place, place, after)
    for what in ("number", "id"):
        taken = {getattr(prompt, what) for prompt in shipped}
        if both := [value for prompt in added if (value := getattr(prompt, what)) in taken]:
            raise ConfigError(f"{place}: {what} {both[0]!r} is also in {shown}; give yours another {what}")
    return {p.number: (p, at) for prompts, at in ((shipped, shown), (added, place)) for p in prompts}


def _check_models(config: Config, models: Mapping[str, ModelEntry], where: str) -> None:
    """Raise ConfigError for a model that no registry has, and for two servers among the LLMs."""
    named = {"llm.models": config.llm.models, "surrogate.name": (config.surrogate.name,)}
    encoders = {f"{method}.encoder": config.model_of(method) for method in config.methods}
    named |= {key: (name,) for key, name in encoders.items() if name != config.surrogate.name}
    for key, names in named.items():
        if unknown := [name for name in names if name not in models]:
            raise ConfigError(
                f"{where}: {key}: {unknown[0]!r} is not in config/models.yaml; add an entry, or use one of "
                f"{', '.join(sorted(models))}"
            )
        if tuned := [name for name in names if models[name].tuned and key != "llm.models"]:
            raise ConfigError(
                f"{where}: {key}: {tuned[0]!r} is fine-tuned by the run, for llm.models alone; name another"
            )
    servers = [name for name in config.llm.models if models[name].server]
    if len(servers) > 1:
        raise ConfigError(
            f"{where}: llm.models: {servers} are servers, and a run has one engine address; run them one by one"
        )


def _check_tuned(
    how: TunedSettings, models: Mapping[str, ModelEntry], datasets: Mapping[str, DatasetSettings], key: str
) -> None:
    """Raise ConfigError for a model that cannot be fine-tuned, and for a dataset of another category."""
    if how.model not in models or models[how.model].tuned or models[how.model].server:
        raise ConfigError(f"{key}.model: {how.model!r} is no model of the registry with files of its own; name one")
    for category, names in how.datasets.items():
        for name in names:
            if name not in datasets or datasets[name].category != category:
                raise ConfigError(f"{key}.datasets.{category}: {name!r} is no dataset of this category; correct the id")


def _check_llm(config: Config, datasets: Mapping[str, DatasetSettings], where: str) -> None:
    """Raise ConfigError for a dataset that no registry has or that is of another category, and for a missing U."""
    for category, names in config.llm.datasets.items():
        key = f"{where}: llm.datasets.{category}"
        for name in names:
            if name not in datasets:
                raise ConfigError(f"{key}: {name!r} is not in config/datasets.yaml; correct the id, or add an entry")
            if datasets[name].category != category:
                raise ConfigError(f"{key}: {name!r} is of category {datasets[name].category!r}; name it there")
    if config.categories and not config.llm.models:
        raise ConfigError(f"{where}: llm.models: names no LLM; name one, or write llm: null for a run without prompts")
    if missing := sorted(set(config.categories) - set(config.unsup)):
        raise ConfigError(f"{where}: unsup: no entry for {missing}, whose prompts need a U; add one for each")


def _check_names(config: Config, where: str, reserved: Set[str]) -> None:
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
        if taken := sorted(name for name in names if name in reserved or name.endswith(TRAIN)):
            raise ConfigError(f"{where}: {key}: {taken[0]!r} means something else in results; rename it")


def read_yaml(path: Path) -> Any:
    """A YAML file's content; ConfigError naming file and line where it does not parse or gives a key twice."""
    try:
        return strict_yaml.load(path.read_text(encoding="utf8"))
    except OSError as error:
        elsewhere = not path.is_absolute() and not Path("Snakefile").is_file()
        remedy = "run this in the project's folder, or give" if elsewhere else "give"
        raise ConfigError(f"{path}: {error.strerror}; {remedy} a file that can be read") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None


def _registry(path: Path, entry: type[T], known: dict[str, Any] | None = None) -> dict[str, T]:
    """The entries of a registry's file. known: the validation context."""
    return _checked(read_yaml(path) or {}, str(path), entry, known)


def _checked(values: Mapping[Any, Any], path: str, entry: type[T], known: dict[str, Any] | None = None) -> dict[str, T]:
    entries = {}
    for name, value in values.items():
        if not isinstance(name, str):
            raise ConfigError(f"{path}: the id {name!r} is no text to YAML; put it in quotes, letter by letter")
        try:
            entries[is_id(name)] = entry.model_validate(value, context=known)
        except ValidationError as error:
            raise refused(error, entry, f"{path}: {name}") from None
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from None
    return entries


def parse_run(values: Mapping[str, Any], registries: Path, where: str = "config", files: Sequence[Path] = ()) -> Run:
    """Check configuration values (already read from files and command line) and load what they name.

    files: the YAML files that the values were merged from, in order; paths in their sections `registry` are relative
    to them, and so is `data.root` of a run with such a section. Paths that no file states are relative to the
    current folder.
    """
    if not isinstance(values or {}, Mapping):
        raise ConfigError(f"{where}: holds a {type(values).__name__}; a configuration is lines of `name: value`")
    values = dict(values or {})
    folders: dict[str, Path] = {}
    categories = _registry(registries / "categories.yaml", CategoryEntry)
    if isinstance(values.get("registry"), Mapping):
        contents = [(path, read_yaml(path)) for path in files]
        values["registry"], folders = with_paths(values["registry"], contents)
        values["data"] = with_root(values.get("data", {}), contents)
        categories = _with_own(categories, values["registry"].get("categories"), where)
    try:
        config = Config.model_validate(values, context=context(categories))
    except ValidationError as error:
        raise refused(error, Config, where) from None
    return Run(config, categories, registries, where, folders)


def _with_own(shipped: dict[str, CategoryEntry], own: Any, where: str) -> dict[str, CategoryEntry]:
    """The project's categories with the run's own. Values that are no mapping are left to the check of the section."""
    if not isinstance(own, Mapping):
        return shipped
    made = _checked(own, f"{where}: registry.categories", CategoryEntry)
    if taken := [name for name in made if name in RESERVED["categories"]]:
        raise ConfigError(f"{where}: registry.categories: {taken[0]!r} means something else in results; rename it")
    return _beside(shipped, made, "categories", where)


def load_run(path: Path, registries: Path | None = None) -> Run:
    """Read one configuration file. registries: folder of the registries; default: the project's, as in the workflow."""
    if registries is None:
        own = (REGISTRIES / "models.yaml").is_file()  # else the project is not the current folder
        registries = REGISTRIES if own else Path(__file__).resolve().parents[3] / REGISTRIES
    return parse_run(read_yaml(path), registries, str(path), [path])
