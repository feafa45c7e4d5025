"""docs/config.md and the JSON schemas: as the settings say, and what editors accept is what a run accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from fute.config.document import PAGE, REGISTRIES, ROOT, RUN, SCHEMAS, Book, files, inner_section, schemas, section_at
from fute.config.run import read_yaml

MADE = files()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUNS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "config.yaml", *(ROOT / "config").glob("*.yaml"), *(ROOT / "tests/workflow").glob("*.yaml"))
    if path.stem not in ("models", "datasets", "categories", "samples", "unsup")
)
REGISTRY_FILES = {
    "config/categories.yaml": "categories",
    "config/models.yaml": "models",
    "config/datasets.yaml": "datasets",
    "config/samples.yaml": "samples",
    "config/unsup.yaml": "unsup",
    "config/prompts/sa.yaml": "prompts",
    "config/prompts/nli.yaml": "prompts",
}


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = schemas()[f"{SCHEMAS}/{name}.json"]
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


RUN_SCHEMA = validator("run")


def bare(**more: Any) -> dict[str, Any]:
    return {"name": "a", "title": "A", "unsup": {"sa": {"kind": "pool", "path": "pool.jsonl"}}} | more


def sections(section: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """(path, section) of a section and of all within it."""
    yield path, section
    for name, field in section.model_fields.items():
        inner, mapping = inner_section(field.annotation)
        if inner is not None:
            yield from sections(inner, f"{path}.{name}{'.NAME' * mapping}".lstrip("."))


@pytest.mark.parametrize("path", sorted(MADE))
def test_what_is_written_is_what_the_settings_say(path):
    assert (ROOT / path).read_text(encoding="utf8") == MADE[path], "run `make docs` and commit what it writes"


def test_no_other_schema_lies_there():
    assert {f"{SCHEMAS}/{path.name}" for path in (ROOT / SCHEMAS).iterdir()} == {*MADE} - {PAGE}


@pytest.mark.parametrize("book", [RUN, *REGISTRIES], ids=lambda book: book.title)
def test_every_key_is_described_and_every_section_has_its_chapter(book: Book):
    chapters = {path: section_at(book.root, path) for paths in book.chapters for path in paths}
    # entries that a run has of its own have their chapters with the registries
    entries = {each.root for each in REGISTRIES} if book is RUN else set()
    entries |= {section_at(each.root, paths[0]) for each in REGISTRIES for paths in each.chapters}
    for path, section in sections(book.root):
        for name, field in section.model_fields.items():
            assert (field.description or "").endswith("."), f"{section.__name__}.{name} has no description"
        assert section.__doc__ and "\n" not in section.__doc__.strip(), f"{section.__name__}: one line of purpose"
        if path and path not in chapters:
            # its keys stand in the chapter of a section of its kind
            assert section in entries or any(issubclass(other, section) for other in chapters.values()), path
    for paths in book.chapters:
        keys = [[*section_at(book.root, path).model_fields] for path in paths]
        assert all(one == keys[0] for one in keys), f"{paths} do not have the same keys"


def anchors(page: Path) -> set[str]:
    """GitHub's anchors of a page's headings, in which a link is its words."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf8"), re.MULTILINE)
    words = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path):
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf8")) if ":" not in link]
    assert links
    for link in links:
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_defaults_of_both_presets_are_told():
    rows = {line.split("|")[1].strip(): line for line in MADE[PAGE].splitlines() if line.startswith("| `")}
    assert "`false`; `fute_code:` `true`" in rows["`keep_head`"]
    assert "| `tupate.mte.backbone_dropout` | `0.0` | `0.1` |" in MADE[PAGE]
    # a recipe that is given replaces the paper's, whose dropout is another than the key's default
    table = MADE[PAGE].split("### `tupate.mte`, `tupate.dte`")[1].split("\n## ")[0]
    assert re.search(r"^\| `dropout` \| number ≥ 0, < 1 \| `0.0` \|", table, re.MULTILINE)
    assert "| `dropout` | `0.15` | `0.15` | `0.15` | `0.15` |" in table


@pytest.mark.parametrize("path", RUNS)
def test_shipped_runs_fit_the_schema(path):
    RUN_SCHEMA.validate(read_yaml(ROOT / path))


@pytest.mark.parametrize(("path", "name"), REGISTRY_FILES.items())
def test_shipped_registries_fit_their_schemas(path, name):
    validator(name).validate(read_yaml(ROOT / path))


@pytest.mark.parametrize(
    "values",
    [
        bare(),
        bare(llm=None),
        bare(lm=None, note=None),
        bare(llm={"prompts": {"sa": [1, 2], "nli": "all"}}),
        bare(lm={"plugins": {"svm": {"callable": "a:b", "folder": "x", "options": {"c": 0.5, "on": True}}}}),
        bare(tupate={"dte_span": {"max_epochs": 60}}),
    ],
)
def test_the_schema_takes_what_a_run_may_say(values):
    RUN_SCHEMA.validate(values)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        (bare(sedd=1), []),
        (bare(llm={"modles": ["x"]}), ["llm"]),
        (bare(llm={"engine": {"engine": "vllm", "batchsize": 4}}), ["llm"]),
        (bare(lm={"finetune": {"models": {"gpt2": {"cr": {"epoch": 3}}}}}), ["lm"]),
        (bare(tupate={"mte": {"lr": 1.0}}), ["tupate", "mte"]),
        (bare(tupate={"dte_span": {"max_epoch": 60}}), ["tupate", "dte_span"]),
        (bare(unsup={"Sentiment": {"kind": "pool", "path": "p"}}), ["unsup"]),
        (bare(name="My run"), ["name"]),
        (bare(threads="many"), ["threads"]),
        (bare(data={"dev_share": 1}), ["data", "dev_share"]),
        (bare(methods=["tupate", "lora"]), ["methods", 1]),
        ({"name": "a", "title": "A"}, []),
    ],
)
def test_the_schema_refuses_what_a_run_must_not_say(values, place):
    errors = list(RUN_SCHEMA.iter_errors(values))
    assert [list(error.absolute_path) for error in errors] == [place]


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("config/models.yaml", lambda content: content["t5-base"].update(repos="x")),
        ("config/datasets.yaml", lambda content: content["imdb"].update(label=["a", "b"])),
        ("config/prompts/sa.yaml", lambda content: content["prompts"][0].update(temperature=1)),
    ],
)
def test_a_misspelt_key_of_a_registry_is_refused(path, change):
    content = read_yaml(ROOT / path)
    change(content)
    assert not validator(REGISTRY_FILES[path]).is_valid(content)


@pytest.mark.parametrize("path", [path for path in RUNS if path.startswith("config")] + [*REGISTRY_FILES])
def test_editors_find_the_schema_by_the_first_line(path):
    line = (ROOT / path).read_text(encoding="utf8").splitlines()[0]
    schema = (ROOT / path).parent / line.removeprefix("# yaml-language-server: $schema=")
    expected = ROOT / SCHEMAS / f"{REGISTRY_FILES.get(path, 'run')}.json"
    assert schema.resolve() == expected
    json.loads(expected.read_text(encoding="utf8"))
    yaml.safe_load((ROOT / path).read_text(encoding="utf8"))
