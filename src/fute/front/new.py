"""Make the folder of a run of one's own: look at the data, choose settings, check them, write one YAML (`fute new`)."""

from __future__ import annotations

import math
import os
import re
import secrets
import shlex
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fute import paths
from fute.artifacts import jsonl_bytes
from fute.config.categories import NAME
from fute.config.jinja_form import JinjaError
from fute.config.models import ModelEntry
from fute.config.prompts import prompt_list, template_names, user_message
from fute.config.run import Run, load_run, read_yaml
from fute.config.sections import ConfigError, is_id
from fute.data.model_folder import model_files
from fute.data.rows import SourceError
from fute.front.look import read_unlabelled
from fute.front.own_data import Data, read_data
from fute.front.places import OWN_TEXTS, PROJECT, RUN_FILE, START, snakefile_folder
from fute.front.run_yaml import LIMIT, TEST_ROWS, TEXT_WORDS, TRAIN_ROWS, run_yaml
from fute.front.table import FrontError
from fute.front.wanted import REPO, Wanted

if TYPE_CHECKING:
    from fute.llm.engine import PromptTokenizer

FEWEST_TEXTS = 16
FEWEST_MODELS = 4
"""With so many models, chance finds the right order less often than 5 times in 100."""
SECOND = "mini-topics"
"""A dataset that ships with the project, because the section `lm` asks for two."""
STEPS = 150
"""Optimiser steps of a model to start from."""

NamedModel = tuple[str, dict[str, Any] | None]
"""Id of a model, and its entry in the run's own registry; None for one of the project's."""


def new_run(wanted: Wanted) -> None:
    """Write a run's folder and say what is in it. Raises FrontError in one line; then nothing is left behind."""
    _check_paths(wanted)
    _check_name(wanted)
    _check_kind(wanted)
    known = _registry("models.yaml")
    models = [_model(text, known, wanted) for text in (wanted.models or (wanted.model,)) if text]
    ids = [one for one, _ in models]
    if twice := [one for one in ids if ids.count(one) > 1]:
        raise FrontError(f"--models: {twice[0]!r} is named twice, or two folders have this name; rename one")
    folder = wanted.folder.absolute()
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir()
    except OSError as error:
        raise FrontError(f"{wanted.folder}: cannot be made ({error.strerror}); name a folder elsewhere") from None
    try:
        lines = _made(wanted, models, temporary)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for line in lines:
        print(line)
    print(f"{wanted.folder / RUN_FILE}: written; next: fute run {shlex.quote(str(wanted.folder))}")


def _made(wanted: Wanted, models: Sequence[NamedModel], folder: Path) -> list[str]:
    """Write the files of a run into a folder that is not yet its own; return what to say of it. Raises FrontError."""
    data = read_data(wanted, folder)
    names = _names(wanted.prompts, data.classes) if wanted.prompts else []
    segments = _segments(wanted.prompts, data.texts, names) if wanted.prompts else []
    texts = read_unlabelled(wanted.unlabelled, data.texts) if wanted.unlabelled else None
    if texts is not None and len(texts) < FEWEST_TEXTS:
        raise FrontError(
            f"{wanted.unlabelled}: has {len(texts)} different texts, and candidates are compared by their answers to "
            f"at least {FEWEST_TEXTS}; give more, or leave --unlabelled out"
        )
    values = _values(wanted, data, segments, models, texts)
    u = _u_words(wanted, texts)
    said = [*data.said, f"U: {u}"]
    said += [
        f"model: {one} is the one of config/models.yaml, not the folder {one} here; for that, write ./{one}"
        for one, entry in models
        if entry is None and Path(one).is_dir()
    ]
    if wanted.models and len(models) < FEWEST_MODELS:
        orders = math.factorial(len(models))
        said.append(
            f"Warning: {len(models)} models have {orders} orders, so theirs is right by chance with "
            f"p = {1 / orders:.2f}; see their accuracies, too"
        )
    title = f"Which model to start from for {wanted.name}" if wanted.models else f"Prompts for {wanted.name}"
    schema = wanted.relative(PROJECT / "config/schema/run.json")
    text = run_yaml(wanted.name, title, schema, values, u)
    (folder / RUN_FILE).write_text(text, encoding="utf8")
    if texts is not None:
        rows = ({"task": "own", "family": "own", "text": each} for each in texts)
        (folder / OWN_TEXTS).write_bytes(jsonl_bytes(rows))
    try:
        run = load_run(folder / RUN_FILE, PROJECT / "config")
        said += [*_prompts_said(wanted, run), *_words_said(wanted, run)] if wanted.prompts else []
    except ConfigError as error:
        shown = str(error).replace(str(folder), str(wanted.folder))
        shown = shown.replace("choose other words", "choose other words (verbalizers of each prompt)")
        shown = shown.replace("score: sequence (for one category: its answer: sequence)", "--score sequence")
        raise FrontError("; ".join(map(str.strip, shown.splitlines()))) from None
    return [*said, _cost_said(wanted, run, data, texts)]


# --- what is asked for --------------------------------------------------------------------------------------


def _check_paths(wanted: Wanted) -> None:
    """Raise FrontError for a path that YAML and messages cannot hold."""
    for path in (wanted.folder, wanted.data, wanted.test, wanted.prompts, wanted.unlabelled):
        if path and any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in str(path.absolute())):
            raise FrontError(
                f"{str(path.absolute())!r}: has a line break or a byte that is no text in its name; rename it"
            )


def _check_name(wanted: Wanted) -> None:
    """Raise FrontError for a folder that cannot be made, and for a name that is taken or no id."""
    snakefile_folder()
    folder, name = wanted.folder.absolute(), wanted.name
    if os.path.lexists(folder):
        raise FrontError(f"{wanted.folder}: exists already; name a new folder, or remove this one first")
    if not folder.parent.is_dir():
        raise FrontError(f"{folder.parent}: is no folder; make it, or name the run elsewhere")
    try:
        is_id(name)
    except ValueError as error:
        raise FrontError(f"{name!r} cannot name a run: {error}") from None
    taken = {*_registry("categories.yaml"), *_registry("datasets.yaml"), "lm", "none", "cr", "qa", "self-select"}
    if name in taken or f"{name}-data" in taken:
        raise FrontError(f"{name!r} is the name of a shipped task or dataset; take another one")


def _check_kind(wanted: Wanted) -> None:
    """Raise FrontError for options that do not go together."""
    if wanted.models and (wanted.prompts or wanted.model or wanted.server):
        raise FrontError("--models compares models, --prompts and --model compare prompts; give one of the two kinds")
    if not wanted.models and wanted.prompts is None:
        raise FrontError(
            "what is to be compared? give --prompts FILE and --model ID for prompts (the file: a YAML list of "
            "`template: ... {text}`), or --models a,b,c for models to start from"
        )
    if wanted.server and not wanted.model:
        raise FrontError(f"--server {wanted.server}: which of its models? give --model, the name that it serves")
    if wanted.prompts and not wanted.model:
        raise FrontError("which model gets these prompts? give --model, an LLM such as smollm2-135m")
    if len(wanted.models) == 1:
        raise FrontError(f"--models names {wanted.models[0]} alone, so nothing to choose from; name two or more, a,b")
    if wanted.server and not re.fullmatch(r"https?://[^\s@?#]+", wanted.server):
        raise FrontError(
            f"--server {wanted.server}: is no address; write one such as http://localhost:8000/v1, without a user, key "
            "or query, which run.yaml would hold"
        )
    if wanted.server and (end := re.search(r"/(chat/)?completions/?$", wanted.server)):
        raise FrontError(
            f"--server {wanted.server}: is the address of one kind of request; write the server's, which is likely "
            f"{wanted.server[: end.start()]}"
        )


def _registry(name: str) -> dict[str, Any]:
    return read_yaml(PROJECT / "config" / name)


def _model(text: str, known: Mapping[str, Any], wanted: Wanted) -> NamedModel:
    """A model that is named by a registry's id, a folder, or a hub's repository. Raises FrontError."""
    if wanted.server:
        return _free_id(text, known), {"title": text, "server": True}
    if text in known:
        return text, None
    path = Path(text)
    if path.is_dir():
        try:
            model_files(path)
        except SourceError as error:
            raise FrontError(str(error)) from None
        title = path.absolute().name
        return _free_id(title, known), {"title": title, "folder": wanted.relative(path)}
    if re.fullmatch(REPO, text) and not path.exists():
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


# --- prompts ------------------------------------------------------------------------------------------------


def _names(path: Path, classes: Sequence[str]) -> list[set[str]]:
    """Names of the texts in each template of a file, as far as it can be read; the run's own check says more."""
    try:
        content = prompt_list(path, classes)
    except ConfigError as error:
        raise FrontError(" ".join(str(error).split())) from None
    if isinstance(content, dict):
        content = content.get("prompts")
    if not isinstance(content, list) or not content:
        raise FrontError(f"{path}: must hold a list of prompts, each `- template: ... {{text}}`; write at least two")
    names = []
    for place, entry in enumerate(content, start=1):
        if isinstance(entry, dict) and isinstance(entry.get("template"), str):
            where = f"{path}, prompt {entry.get('id', place)}"
            form = entry.get("form", "braces")
            try:
                names.append(template_names(entry["template"], form))
            except JinjaError as error:
                raise FrontError(f"{where}: its template {error}") from None
    return names


def _segments(path: Path, texts: Sequence[str], used: Sequence[set[str]]) -> list[str]:
    """Names of the texts in braces, as most templates have them: `text`, or `text1` and `text2`, or the columns'."""
    forms = [["text"] if len(texts) == 1 else ["text1", "text2"]]
    if all(NAME.fullmatch(name) for name in texts):
        forms.append(list(texts))
    form = max(forms, key=lambda form: sum(set(form) <= names for names in used))
    for place, names in enumerate(used, start=1):
        if names != set(form):
            wanted = " and ".join(f"{{{name}}}" for name in form)
            wrong = " and ".join(f"{{{name}}}" for name in sorted(names)) or "no name in braces"
            words = "; braces that are words need `form: jinja`, whose texts are {{...}}"
            raise FrontError(
                f"{path}, prompt {place}: its template has {wrong}; write {wanted} where a text goes, in every prompt "
                f"of the file{words if any(not NAME.fullmatch(name) for name in names) else ''}"
            )
    return form


def _prompts_said(wanted: Wanted, run: Run) -> list[str]:
    """The prompts, and what is odd about them."""
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
        lines.append(f"Warning: a prompt that asks the same as an earlier one ties with it: {', '.join(same)}")
    return lines


def _words_said(wanted: Wanted, run: Run) -> list[str]:
    """Say what was checked of the model that is asked, and of the classes' words.

    Raises FrontError for a model that cannot be asked, and where its tokenizer cannot tell the words apart.
    """
    model = run.config.llm.models[0]
    entry = run.models[model]
    if entry.server:
        return _server_said(wanted, run)
    folder = _tokenizer_folder(model, entry)
    if not (folder / "tokenizer_config.json").is_file():
        return [f"words of the classes: {model} is not fetched yet; the run checks them before its first label"]
    from fute.llm.causal import check_causal
    from fute.llm.engine import EngineError, PromptTokenizer
    from fute.tokenizer import load_tokenizer

    try:
        check_causal(folder)
    except EngineError as error:
        raise FrontError(str(error)) from None
    try:
        loaded = load_tokenizer(folder)
    except Exception as error:  # of two libraries, by many kinds
        reason = " ".join(str(error).split())
        raise FrontError(
            f"{folder}: its tokenizer cannot be loaded ({reason}); save the model again, or name another one (Python "
            "files of a model's own are no part of a run)"
        ) from None
    try:
        tokenizer = PromptTokenizer(loaded, run.config.llm.engine, 10**9)
    except EngineError as error:
        setting = "set chat_template: none"
        problem = str(error).replace(setting, f"{setting} under engine in {wanted.folder / RUN_FILE}")
        return [f"Warning: the run would stop: {problem}"]
    _check_tokens(wanted, run, tokenizer)
    return [f"words of the classes: told apart by the tokenizer of {model}"]


def _tokenizer_folder(model: str, entry: ModelEntry) -> Path:
    """Where the files of a model are, or will be."""
    return PROJECT / (entry.folder or paths.model_folder(model))


def _server_said(wanted: Wanted, run: Run) -> list[str]:
    engine = run.config.llm.engine
    lines = [f"words of the classes: not checked, as the tokenizer of {run.config.llm.models[0]} is the server's"]
    if wanted.score == "first_token":
        lines.append(
            f"a server shows {engine.top_logprobs} tokens per answer, and the run stops if the words are seldom among "
            "them; with --score sequence a vLLM server is asked for each word"
        )
    if not os.environ.get(engine.api_key_env):
        lines.append(
            f"key: put the server's into the environment variable {engine.api_key_env} first (any word if it asks for "
            "none)"
        )
    return lines


def _check_tokens(wanted: Wanted, run: Run, tokenizer: PromptTokenizer) -> None:
    """Raise FrontError for a prompt whose classes the tokenizer of a model cannot tell apart."""
    from fute.llm.engine import EngineError
    from fute.llm.scoring import verbalizer_ids

    for prompt in run.prompts.values():
        led = [[lead + word for word in words for lead in tokenizer.leads] for words in prompt.verbalizers.values()]
        try:
            rendered = tokenizer.render(user_message(prompt, ["text"] * len(prompt.segments)))
            verbalizer_ids(lambda text: tokenizer.encode([text])[0], rendered, led, run.config.llm.engine.score)
        except EngineError as error:
            problem = str(error).replace("set score: sequence", "give --score sequence")
            raise FrontError(f"{wanted.prompts}: prompt {prompt.id}: {problem}") from None


# --- the settings -------------------------------------------------------------------------------------------


def _values(
    wanted: Wanted, data: Data, segments: list[str], models: Sequence[NamedModel], texts: list[str] | None
) -> dict[str, Any]:
    """The sections of the run's file that depend on what was asked for."""
    ids = [model for model, _ in models]
    experiment = {"lm": _lm(wanted, ids)} if wanted.models else {"llm": _llm(wanted, ids)}
    return {
        "registry": _own_entries(wanted, data, segments, models),
        "data": _data_section(wanted, texts),
        "unsup": {"lm" if wanted.models else wanted.name: _unsup(texts)},
    } | experiment


def _own_entries(
    wanted: Wanted, data: Data, segments: list[str], models: Sequence[NamedModel]
) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    if not wanted.models:
        category = {"title": wanted.name, "segments": segments, "classes": list(data.classes)}
        entries["categories"] = {wanted.name: category}
    entries["datasets"] = {wanted.dataset: data.entry}
    if wanted.prompts:
        entries["prompts"] = {wanted.name: wanted.relative(wanted.prompts)}
    if own := {model: entry for model, entry in models if entry}:
        entries["models"] = own
    return entries


def _data_section(wanted: Wanted, texts: list[str] | None) -> dict[str, Any]:
    rows = {"train_rows": TRAIN_ROWS, "test_rows": TEST_ROWS, "dev_share": 0}
    if texts is None:
        return {"source": "builtin", **rows}
    return {"source": "files", "root": ".", **rows} | ({"sources": {SECOND: "builtin"}} if wanted.models else {})


def _unsup(texts: list[str] | None) -> dict[str, Any]:
    if texts is None:
        return {"kind": "pool", "path": "pool.jsonl", "limit": LIMIT, "stratify": "family", "max_words": 24}
    return {"kind": "pool", "path": OWN_TEXTS, "limit": LIMIT, "max_per_script": LIMIT, "max_words": TEXT_WORDS}


def _lm(wanted: Wanted, models: list[str]) -> dict[str, Any]:
    dataset = wanted.dataset
    boxes = {dataset: {f"{model}/{dataset}": "score" for model in models}}
    recipe = {"steps": STEPS, "batch_size": 16, "learning_rate": 1e-4, "max_tokens": TEXT_WORDS, "dropout": False}
    return {
        "models": models,
        "datasets": {"cr": [dataset, SECOND], "qa": [], "domain": []},
        "finetune": {"cr": recipe},
        "transfer": {"model": models[0]},
        "datasets_per_process": None,
        "planted": {"ladders": {START: {"methods": ["labelcov"], "boxes": boxes}}},
    }


def _llm(wanted: Wanted, models: list[str]) -> dict[str, Any]:
    engine: dict[str, Any] = {"engine": "transformers", "dtype": "float32", "batch_size": 32, "reasoning_tokens": 64}
    if wanted.server:
        engine = {"engine": "openai", "base_url": wanted.server, "api_model": wanted.model, "reasoning_tokens": 256}
    return {
        "models": models,
        "prompts": {wanted.name: "all"},
        "datasets": {wanted.name: [wanted.dataset]},
        "engine": engine | ({"score": wanted.score} if wanted.score != "first_token" else {}),
        "max_text_words": TEXT_WORDS,
        "calibration": "unsup",
        "baselines": ["mi", "local-e", "global-e", "zps-log"],
    }


def _u_words(wanted: Wanted, texts: list[str] | None) -> str:
    if texts is None:
        return f"at most {LIMIT} texts of the pool that ships with the project, of many tasks"
    return f"{min(len(texts), LIMIT)} of the {len(texts)} different texts of {wanted.unlabelled}"


def _cost_said(wanted: Wanted, run: Run, data: Data, texts: list[str] | None) -> str:
    """Say what the run will take, in answers or trainings."""
    u = min(len(texts), LIMIT) if texts is not None else LIMIT
    if wanted.models:
        trainings = f"{len(wanted.models)} trainings of {STEPS} steps, each on {data.train} rows"
        return f"cost: {trainings}; each model labels {u} texts"
    prompts, reasoned = len(run.prompts), sum(prompt.cot for prompt in run.prompts.values())
    more = ", each with one more request per word" if wanted.server and wanted.score == "sequence" else ""
    if reasoned:
        longest = run.config.llm.engine.reasoning_tokens
        more += f"; {reasoned * (u + data.test)} of them after a chain of thought of at most {longest} tokens"
        more += ", which is a request of its own" if wanted.server else ""
    named = f"{prompts} prompt{'s' * (prompts > 1)}"
    return (
        f"cost: {named} x ({u} + {data.test} texts) = {prompts * (u + data.test)} answers "
        f"of {run.config.llm.models[0]}{more}"
    )
