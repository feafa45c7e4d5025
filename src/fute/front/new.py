"""Make the folder of a run of one's own: look at the data, choose settings, check them, write one YAML (`fute new`)."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fute.artifacts import jsonl_bytes
from fute.config.categories import NAME
from fute.config.datasets import DatasetSettings
from fute.config.models import ModelEntry
from fute.config.prompts import PromptError, prompt_list, user_message
from fute.config.run import Run, load_run, read_yaml
from fute.config.sections import ConfigError, is_id
from fute.data.rows import BadRow, SourceError
from fute.data.splits import Normalised, SplitSettings, normalised
from fute.data.tables import READERS
from fute.front.look import (
    FrontError,
    Look,
    Table,
    classes_of,
    columns,
    label_text,
    look,
    raw_labels,
    read_table,
    read_unlabelled,
)
from fute.front.places import PROJECT, RUN_FILE, START, snakefile_folder
from fute.front.run_yaml import LIMIT, TEST_ROWS, run_yaml

HELDOUT = 0.2
"""Share of a single file's rows that is drawn to check on."""
FEW_ROWS = 64
FEWEST_TEXTS = 16
OWN_TEXTS = "unlabelled.jsonl"
SECOND = "mini-topics"
"""A dataset that ships with the project, because the section `lm` asks for two."""
ANY = {"share": 0.999, "rows": 10**9}


@dataclass(frozen=True)
class Wanted:
    """What `fute new` is asked for; options as on the command line.

    folder: of the run, whose last name is the run's. test: a second file, to check on. texts, label: columns. prompts:
    file of prompts, with `model`, or None. models: to start from, in place of prompts. server: address of an
    OpenAI-compatible server that has `model`.
    """

    folder: Path
    data: Path
    test: Path | None = None
    texts: tuple[str, ...] = ()
    label: str | None = None
    prompts: Path | None = None
    model: str | None = None
    models: tuple[str, ...] = ()
    unlabelled: Path | None = None
    server: str | None = None
    score: str = "first_token"


def new_run(wanted: Wanted) -> None:
    """Write a run's folder and say what is in it. Raises FrontError in one line; then nothing is left behind."""
    name = _name(wanted)
    _kind(wanted)
    known = _registry("models.yaml")
    models = [_model(text, known, wanted) for text in (wanted.models or (wanted.model,)) if text]
    if twice := [one for number, (one, _) in enumerate(models) if one in [other for other, _ in models[:number]]]:
        raise FrontError(f"--models: {twice[0]!r} is named twice, or two folders have this name; rename one")
    data = _read_data(wanted)
    templates = _templates(wanted.prompts, data.classes) if wanted.prompts else []
    segments = _segments(wanted.prompts, data.texts, templates) if wanted.prompts else []
    texts = read_unlabelled(wanted.unlabelled, data.texts) if wanted.unlabelled else None
    if texts is not None and len(texts) < FEWEST_TEXTS:
        raise FrontError(
            f"{wanted.unlabelled}: has {len(texts)} different texts, and candidates are compared by their answers to "
            f"at least {FEWEST_TEXTS}; give more, or leave --unlabelled out"
        )
    values = _values(wanted, name, data, segments, models, texts)
    said = [*data.said, _u_said(wanted, texts)]
    title = f"Which model to start from for {name}" if wanted.models else f"Prompts for {name}"
    folder = wanted.folder.absolute()
    schema = os.path.relpath(PROJECT / "config/schema/run.json", folder)
    text = run_yaml(name, title, schema, values, _u_said(wanted, texts).removeprefix("U: "))
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        (temporary / RUN_FILE).write_text(text, encoding="utf8")
        if texts is not None:
            rows = ({"task": "own", "family": "own", "text": each} for each in texts)
            (temporary / OWN_TEXTS).write_bytes(jsonl_bytes(rows))
        try:
            run = load_run(temporary / RUN_FILE, PROJECT / "config")
            said += _prompts_said(wanted, run) if wanted.prompts else []
        except (ConfigError, PromptError) as error:
            shown = str(error).replace(str(temporary), str(wanted.folder)).replace("Value error, ", "")
            shown = shown.replace("or score: sequence", "or --score sequence")
            raise FrontError("; ".join(map(str.strip, shown.splitlines()))) from None
        temporary.chmod(0o755)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for line in (*said, _cost_said(wanted, run, data, texts)):
        print(line)
    print(f"{wanted.folder / RUN_FILE}: written; next: fute run {wanted.folder}")


# --- what is asked for --------------------------------------------------------------------------------------


def _name(wanted: Wanted) -> str:
    """The run's name: that of its folder. Raises FrontError for a name that is taken or no id."""
    snakefile_folder()
    folder = wanted.folder.absolute()
    name = folder.name
    if os.path.lexists(folder):
        raise FrontError(f"{wanted.folder}: exists already; name a new folder, or remove this one first")
    if not folder.parent.is_dir():
        raise FrontError(f"{folder.parent}: is no folder; make it, or name the run elsewhere")
    try:
        is_id(name)
    except ValueError as error:
        raise FrontError(f"{name!r} cannot name a run: {error}") from None
    taken = {*_registry("categories.yaml"), *_registry("datasets.yaml"), "lm", "none", "cr", "qa", "self-select"}
    if name in taken or _dataset(name) in taken:
        raise FrontError(f"{name!r} is the name of a shipped task or dataset; take another one")
    return name


def _dataset(name: str) -> str:
    """Id of the run's dataset; its category has the run's name."""
    return f"{name}-data"


def _kind(wanted: Wanted) -> None:
    """Raise FrontError for options that do not go together."""
    if wanted.models and (wanted.prompts or wanted.model or wanted.server):
        raise FrontError("--models compares models, --prompts and --model compare prompts; give one of the two kinds")
    if not wanted.models and wanted.prompts is None:
        raise FrontError(
            "what is to be compared? give --prompts FILE and --model ID for prompts (the file: a YAML list of "
            "`template: ... {text}`), or --models a,b,c for models to start from"
        )
    if wanted.prompts and not wanted.model:
        raise FrontError(f"which model gets these prompts? give --model, one of {', '.join(_registry('models.yaml'))}")
    if wanted.models and len(wanted.models) < 3:
        raise FrontError(
            f"--models names {len(wanted.models)}, and an order of so few says nothing; name three or more, with commas"
        )
    if wanted.score not in ("first_token", "sequence"):
        raise FrontError(f"--score {wanted.score}: is neither first_token nor sequence; write one of them")
    if wanted.server and not re.match(r"https?://\S+$", wanted.server):
        raise FrontError(f"--server {wanted.server}: is no address; write one such as http://localhost:8000/v1")


def _registry(name: str) -> dict[str, Any]:
    return read_yaml(PROJECT / "config" / name)


def _model(text: str, known: Mapping[str, Any], wanted: Wanted) -> tuple[str, dict[str, Any] | None]:
    """(id, entry of the run's own registry or None) of a model: a registry's id, a folder, or a hub's repository."""
    if wanted.server:
        return _free_id(text, known), {"title": text, "server": True}
    if text in known:
        return text, None
    path = Path(text)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise FrontError(f"{text}: has no config.json, so it is no saved model; name the folder that has one")
        relative = os.path.relpath(path.absolute(), wanted.folder.absolute())
        return _free_id(path.absolute().name, known), {"title": path.absolute().name, "folder": relative}
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", text) and not path.exists():
        return _free_id(text.rpartition("/")[2], known), {"title": text, "repo": text}
    option = "--models" if wanted.models else "--model"
    raise FrontError(
        f"{option} {text}: is neither in config/models.yaml ({', '.join(known)}), nor a folder, nor a repository "
        "`owner/name`; correct it, or give --server for a served model"
    )


def _free_id(text: str, known: Mapping[str, Any]) -> str:
    """An id made of a name, which no shipped model has."""
    made = re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "model"
    return f"own-{made}" if made in known or not made[0].isalpha() else made


# --- the data -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """What the data are: columns, classes, the entry of the registry, and lines that say so."""

    texts: tuple[str, ...]
    label: str
    classes: tuple[str, ...]
    entry: dict[str, Any]
    said: list[str]
    train: int
    test: int


def _read_data(wanted: Wanted) -> Data:
    """Look at the data, and split them as the run will. Raises FrontError."""
    table = read_table(wanted.data)
    texts, label = columns(table, wanted.texts, wanted.label)
    test = read_table(wanted.test) if wanted.test else None
    said = []
    if test is not None:
        if missing := [name for name in texts if name not in test.columns]:
            raise FrontError(f"{test.path}: has no column {missing[0]!r}; name its columns as those of {table.path}")
        if label not in test.columns or not any(label_text(row.get(label)) for row in test.rows):
            said.append(
                f"{test.path}: no row has a label, so nothing can be checked on it; rows of {table.path} are held out "
                f"in its place (its texts can be U: --unlabelled {test.path})"
            )
            test = None
    tables = [table, *([test] if test else [])]
    classes = classes_of(tables, label)
    looks = [look(each, texts, label, classes) for each in tables]
    for each, seen in zip(tables, looks, strict=True):
        _check_rows(each, seen, texts, label)
    said[:0] = [f"{each.path}: {seen.sentence()}" for each, seen in zip(tables, looks, strict=True)]
    said.insert(0, f"texts: {' and '.join(map(repr, texts))}; labels: {label!r}; {len(classes)} classes")
    entry = _entry(wanted, tables, texts, label, classes)
    made = _split(wanted, entry, tables)
    unusable = [len(count.get("unusable", ())) for count in made.counts.values()]
    if most := max(unusable):
        share = max(n / len(t.rows) for n, t in zip(unusable[::2], tables, strict=False))
        entry["max_unusable"] = {"share": min(0.999, round(share + 0.005, 2)), "rows": most}
    else:
        del entry["max_unusable"]
    train, tested = len(made.rows["train"]), len(made.rows["test"])
    how = "" if test else f", a fifth of {table.path} drawn by a fixed seed" if tested < TEST_ROWS else ""
    said.append(f"to learn from: {train} rows; to check on: {tested} rows{how}{_dropped(made)}")
    only_tested = [name for name, count in made.counts["train"]["classes"].items() if not count]
    if only_tested:
        said.append(f"Warning: no row to learn from has the class {', '.join(map(repr, only_tested))}")
    if train < FEW_ROWS:
        said.append(f"Warning: {train} rows to learn from are few; differences between candidates may not show")
    return Data(texts, label, classes, entry, said, train, tested)


def _check_rows(table: Table, seen: Look, texts: Sequence[str], label: str) -> None:
    where = f"{table.path}, column {' and '.join(map(repr, texts))}"
    if not seen.words:
        raise FrontError(f"{where}: has no text in any row; name the column of texts by --text")
    if seen.labelled == 0:
        raise FrontError(f"{table.path}, column {label!r}: no row with a text has a label; label some rows")
    if 2 * seen.empty > seen.rows:
        raise FrontError(f"{where}: is empty in {seen.empty} of {seen.rows} rows; fill it, or name another by --text")
    if len(seen.keys) < 2:
        raise FrontError(f"{where}: has the same text in all rows; name the column of texts by --text")


def _dropped(made: Normalised) -> str:
    leaks = made.counts["train"].get("in_own_test", 0)
    return f"; {leaks} rows to learn from are left out, because their text is among those to check on" if leaks else ""


def _stem(path: Path) -> str:
    """Name of a file without its ending; a registry names files so. Raises FrontError where two files have it."""
    stem = next(path.name.removesuffix(ending) for ending in READERS if path.name.endswith(ending))
    others = [path.with_name(f"{stem}{ending}") for ending in READERS if path.name != f"{stem}{ending}"]
    if there := [other for other in others if other.is_file()]:
        raise FrontError(f"{path}: {there[0].name} stands beside it, and files are named without ending; rename one")
    return stem


def _entry(
    wanted: Wanted, tables: Sequence[Table], texts: Sequence[str], label: str, classes: Sequence[str]
) -> dict[str, Any]:
    """The dataset's entry in the run's registry; any number of rows may be of no use yet."""
    paths = [table.path.absolute() for table in tables]
    if len({path.parent for path in paths}) > 1:
        raise FrontError(f"{tables[1].path}: is in another folder than {tables[0].path}; put both into one folder")
    splits: dict[str, Any] = {"train": _stem(paths[0]), "test": _stem(paths[1]) if len(paths) > 1 else None}
    raw_empty = {
        str(row[label]) for table in tables for row in table.rows if label in row and not label_text(row[label])
    }
    entry: dict[str, Any] = {
        "title": wanted.folder.absolute().name,
        "category": "cr" if wanted.models else wanted.folder.absolute().name,
        "fields": list(texts),
        "label_field": label,
        "labels": raw_labels(tables, label),
        "classes": list(classes),
        "unlabelled": sorted(raw_empty),
        "files": {"folder": os.path.relpath(paths[0].parent, wanted.folder.absolute())},
        "splits": splits,
        "max_unusable": ANY,
    }
    if raw_empty:
        entry["max_unlabelled"] = 0.99
    if splits["test"] is None:
        entry["heldout_share"] = HELDOUT
    return entry


def _split(wanted: Wanted, entry: Mapping[str, Any], tables: Sequence[Table]) -> Normalised:
    """The rows as the run will split them. Raises FrontError where it could not."""
    local = {**entry, "files": {"folder": "."}, "category": "cr"}
    dataset = _dataset(wanted.folder.absolute().name)
    settings = SplitSettings(
        dataset=dataset, entry=DatasetSettings.model_validate(local), source="files", test_rows=TEST_ROWS,
        train_rows=None, dev_share=0, seed=42,
    )  # fmt: skip
    try:
        made, _ = normalised(settings, tables[0].path.absolute().parent)
    except (BadRow, SourceError) as error:
        remedy = "" if len(tables) > 1 else f" (both are drawn from {tables[0].path}: remove the repeated rows there)"
        raise FrontError(str(error).replace(f"{dataset}: ", f"{tables[0].path}: ", 1) + remedy) from None
    return made


# --- prompts ------------------------------------------------------------------------------------------------


def _templates(path: Path, classes: Sequence[str]) -> list[str]:
    """The templates of a file of prompts, as far as it can be read; the run's own check says more."""
    try:
        content = prompt_list(path, classes)
    except PromptError as error:
        raise FrontError(" ".join(str(error).split())) from None
    if isinstance(content, dict):
        content = content.get("prompts")
    if not isinstance(content, list) or not content:
        raise FrontError(f"{path}: must hold a list of prompts, each `- template: ... {{text}}`; write at least two")
    return [
        entry["template"] for entry in content if isinstance(entry, dict) and isinstance(entry.get("template"), str)
    ]


def _segments(path: Path, texts: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Names of the texts in braces: the columns' where a template has them, else `text`, or `text1` and `text2`."""
    used = [set(re.findall(r"\{([^{}]*)\}", template)) for template in templates]
    plain = ["text"] if len(texts) == 1 else ["text1", "text2"]
    forms = [plain, *([list(texts)] if all(NAME.fullmatch(name) for name in texts) else [])]
    form = next((each for each in forms[::-1] if any(set(each) <= names for names in used)), plain)
    for place, names in enumerate(used, start=1):
        if names != set(form):
            wanted = " and ".join(f"{{{name}}}" for name in form)
            wrong = " and ".join(f"{{{name}}}" for name in sorted(names)) or "no name in braces"
            raise FrontError(
                f"{path}, prompt {place}: its template has {wrong}, and a text stands where {wanted} does; write "
                f"{wanted} there, as in every prompt of the file"
            )
    return form


def _prompts_said(wanted: Wanted, run: Run) -> list[str]:
    """What was checked of the prompts. Raises FrontError for words that the model's tokenizer cannot tell apart."""
    prompts = list(run.prompts.values())
    lines = [f"prompts: {wanted.prompts}: {len(prompts)}, {', '.join(prompt.id for prompt in prompts)}"]
    for prompt in prompts:
        words = {name: "/".join(said) for name, said in prompt.verbalizers.items()}
        if any(name != word for name, word in words.items()):
            lines.append(f"{prompt.id}: words of the classes: {', '.join(f'{n} = {w}' for n, w in words.items())}")
    if len(prompts) == 1:
        lines.append("Warning: there is one prompt, so nothing to choose from; add a second one")
    if same := [p.id for i, p in enumerate(prompts) if any(p.template == o.template and p.verbalizers == o.verbalizers
                                                           and p.cot == o.cot for o in prompts[:i])]:  # fmt: skip
        lines.append(f"Warning: {', '.join(same)} ask the same as an earlier prompt, so they tie with it")
    model = run.config.llm.models[0]
    entry = run.models[model]
    folder = _tokenizer_folder(model, entry)
    if entry.server:
        lines.append(f"words of the classes: not checked, as the tokenizer of {model} is the server's")
        key = run.config.llm.engine.api_key_env
        if not os.environ.get(key):
            lines.append(
                f"key: put the server's into the environment variable {key} first (any word if it asks for none)"
            )
        return lines
    if not (folder / "tokenizer_config.json").is_file():
        return [*lines, f"words of the classes: {model} is not fetched yet; the run checks them before its first label"]
    _check_tokens(wanted, run, folder)
    return [*lines, f"words of the classes: told apart by the tokenizer of {model}"]


def _tokenizer_folder(model: str, entry: ModelEntry) -> Path:
    """Where the files of a model are, or will be."""
    return Path(entry.folder) if entry.folder else PROJECT / "results/models" / model


def _check_tokens(wanted: Wanted, run: Run, folder: Path) -> None:
    """Raise FrontError for a prompt whose classes the tokenizer of a model cannot tell apart."""
    from fute.llm.engine import EngineError, PromptTokenizer
    from fute.llm.scoring import verbalizer_ids
    from fute.tokenizer import load_tokenizer

    settings = run.config.llm.engine
    try:
        tokenizer = PromptTokenizer(load_tokenizer(folder), settings, 10**9)
    except EngineError as error:
        raise FrontError(f"{folder}: {error}") from None
    for prompt in run.prompts.values():
        rendered = tokenizer.render(user_message(prompt, ["text"] * len(prompt.segments)), system=None)
        led = [[tokenizer.lead + word for word in words] for words in prompt.verbalizers.values()]
        try:
            verbalizer_ids(lambda text: tokenizer.encode([text])[0], rendered, led, settings.score)
        except EngineError as error:
            problem = str(error).replace("set score: sequence", "give --score sequence")
            raise FrontError(f"{wanted.prompts}: prompt {prompt.id}: {problem}") from None


# --- the settings -------------------------------------------------------------------------------------------


def _values(
    wanted: Wanted, name: str, data: Data, segments: list[str],
    models: Sequence[tuple[str, dict[str, Any] | None]], texts: list[str] | None,
) -> dict[str, Any]:  # fmt: skip
    """The sections of the run's file that depend on what was asked for."""
    folder = wanted.folder.absolute()
    dataset = name if wanted.models else _dataset(name)
    registry: dict[str, Any] = {}
    if not wanted.models:
        registry["categories"] = {name: {"title": name, "segments": segments, "classes": list(data.classes)}}
    registry["datasets"] = {dataset: data.entry}
    if wanted.prompts:
        registry["prompts"] = {name: os.path.relpath(wanted.prompts.absolute(), folder)}
    if own := {model: entry for model, entry in models if entry}:
        registry["models"] = own
    unsup: dict[str, Any] = {
        "kind": "pool",
        "path": "pool.jsonl",
        "limit": LIMIT,
        "stratify": "family",
        "max_words": 24,
    }
    source: dict[str, Any] = {"source": "builtin", "test_rows": TEST_ROWS, "dev_share": 0}
    if texts is not None:
        unsup = {"kind": "pool", "path": OWN_TEXTS, "limit": LIMIT, "max_per_script": LIMIT, "max_words": 64}
        source = {"source": "files", "root": "."} | source | {"source": "files"}
    values = {"registry": registry, "data": source, "unsup": {"lm" if wanted.models else name: unsup}}
    ids = [model for model, _ in models]
    if wanted.models:
        finetune = {"steps": 150, "batch_size": 16, "learning_rate": 1e-4, "max_tokens": 64, "dropout": False}
        boxes = {dataset: {f"{model}/{dataset}": "score" for model in ids}}
        ladder = {START: {"methods": ["labelcov"], "boxes": boxes}}
        return values | {
            "lm": {
                "models": ids,
                "datasets": {"cr": [dataset, SECOND], "qa": [], "domain": []},
                "finetune": {"cr": finetune},
                "transfer": {"model": ids[0]},
                "planted": {"ladders": ladder},
            }
        }
    engine: dict[str, Any] = {"engine": "transformers", "dtype": "bfloat16", "batch_size": 32, "reasoning_tokens": 64}
    if wanted.server:
        engine = {"engine": "openai", "base_url": wanted.server, "api_model": wanted.model, "reasoning_tokens": 256}
    llm = {
        "models": ids,
        "prompts": {name: "all"},
        "datasets": {name: [dataset]},
        "engine": engine | ({"score": wanted.score} if wanted.score != "first_token" else {}),
        "max_text_words": 64,
        "calibration": "unsup",
        "baselines": ["mi", "local-e", "global-e", "zps-log"],
    }
    return values | {"llm": llm}


def _u_said(wanted: Wanted, texts: list[str] | None) -> str:
    if texts is None:
        return f"U: at most {LIMIT} texts of the pool that ships with the project, of many tasks"
    return f"U: {min(len(texts), LIMIT)} of the {len(texts)} different texts of {wanted.unlabelled}"


def _cost_said(wanted: Wanted, run: Run, data: Data, texts: list[str] | None) -> str:
    """What the run will take, in answers or trainings."""
    u = min(len(texts), LIMIT) if texts is not None else LIMIT
    if wanted.models:
        return (
            f"cost: {len(wanted.models)} trainings of 150 steps, each on {data.train} rows; each model labels {u} texts"
        )
    prompts = len(run.prompts)
    return (
        f"cost: {prompts} prompts x ({u} + {data.test} texts) = {prompts * (u + data.test)} answers of "
        f"{run.config.llm.models[0]}"
    )
