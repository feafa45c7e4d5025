"""Writes what people and editors read about the settings: docs/config.md, and JSON schemas in config/schema/.

All of it comes from the settings' descriptions, types and defaults; a test compares the files with what this writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python

from fute.config.categories import CategoryEntry
from fute.config.data import SampleEntry
from fute.config.datasets import DatasetSettings
from fute.config.models import ModelEntry
from fute.config.presets import PRESETS
from fute.config.prompts import PromptEntry
from fute.config.sections import Id
from fute.config.settings import Config
from fute.config.unsup_sources import UnsupSources

ROOT = Path(__file__).resolve().parents[3]
PAGE = "docs/config.md"
SCHEMAS = "config/schema"
REQUIRED = "required"

INTRO = """\
<!-- Written by `make docs` from src/fute/config/. Do not edit this page: edit the descriptions there. -->
# Settings of a run

One YAML file says what a run does. `config.yaml` is the demo, `config/paper.yaml` and `config/paper-lm.yaml` are the
paper's two experiments. For a run of your own, copy the one that is nearest, change it, and start it:

```
snakemake --cores all --configfile my.yaml
```

A file must have `name`, `title` and `unsup`. Every other key has a default, and the defaults are the paper's settings,
so a file states only where it departs from the paper. A key can also be given on the command line, over the file's:
`--config seed=7 data='{root: DIR}'`.

An unknown key, a misspelt name or a value of the wrong type is refused before anything runs. The error names the file
and the key, and what to write.

**How to read the tables.** *Values* says what a key may hold; `null` means that nothing is given. *Default* is what
holds where a run does not give the key; after `fute_code:` stands the default of that [preset](#presets), where it is
another. A name such as `lm.transfer.seeds` is the key `seeds` in `transfer` in `lm`:

```yaml
lm:
  transfer:
    seeds: [42, 43]
```

`NAME` in such a name stands for any name that the table above allows.

**In your editor.** The files in `config/schema/` tell an editor which keys there are: it completes them, shows what
they mean, and marks mistakes. Editors with yaml-language-server (VS Code with the extension "YAML", Neovim, Emacs, ...)
find the schema by the first line of a file, with the path as seen from that file:

```yaml
# yaml-language-server: $schema=config/schema/run.json
```

Models, datasets, categories and prompts that all runs share are entries of registries:
[config/models.yaml](#configmodelsyaml), [config/datasets.yaml](#configdatasetsyaml),
[config/categories.yaml](#configcategoriesyaml) and [config/prompts/](#configpromptssayaml-and-nliyaml). A run may have
entries of its own beside them, in its section [registry](#registry). [own-data.md](own-data.md) shows how to add one.
"""
PRESETS_INTRO = """\
`preset` chooses whose defaults hold. `paper` is the paper's text. `fute_code` is the authors' published code, where it
departs from the text and settings can express it ([methods.md](methods.md) has the reasons). What a run's file states
always wins, key by key. In a run with `llm: null` MTEs have the `epochs` of `paper`. These defaults differ:
"""
RECIPES_INTRO = """\
Where a run gives no `mte` or no `dte`, that recipe is the one below; keys that are not listed have the default of the
table above. A recipe that a run does give takes its place as a whole: keys that it leaves out have the default of the
table above{but}.
"""
BUT_CODE = ", or with `preset: fute_code` the value below"


class Book(NamedTuple):
    """The chapters of one kind of file.

    chapters: the sections of `root` in the order of the page, by their paths in it, each with others of the same keys;
    NAME stands for any key of a mapping. Every section has a chapter, or its keys are those of one that has.
    """

    title: str
    root: type[BaseModel]
    lead: str
    chapters: tuple[tuple[str, ...], ...]


def _recipes(*methods: str) -> tuple[tuple[str, ...], ...]:
    return tuple(paths for name in methods for paths in ((name,), (f"{name}.mte", f"{name}.dte")))


RUN = Book("Keys of a run", Config, "", (
    ("registry",), ("data",), ("unsup.NAME",), ("llm",), ("llm.engine",),
    ("lm",), ("lm.datasets",), ("lm.plugins.NAME",),
    ("lm.planted",), ("lm.planted.ladders.NAME",), ("lm.planted.retrievals.NAME",),
    ("lm.finetune",), ("lm.finetune.cr", "lm.finetune.qa"),
    ("lm.transfer",), ("lm.relevance",), ("lm.baselines",), ("lm.baselines.textemb",), ("lm.baselines.taskemb",),
    ("lm.baselines.tupate",), ("lm.baselines.tupate.cr", "lm.baselines.tupate.qa"),
    ("surrogate",), ("surrogate.settings",),
    *_recipes("taskemb", "tupate", "tupate_lora", "tupate_bias", "textemb", "labelcov"),
    ("gate",), ("controls",), ("baselines",), ("evaluation",), ("workflow",), ("cluster",),
))  # fmt: skip
REGISTRIES = (
    Book(
        "config/models.yaml",
        ModelEntry,
        "Where weights come from. Each entry is `id: {keys}`; `llm.models`, `lm.models` and `surrogate.name` name ids.",
        (("tuned",),),
    ),
    Book(
        "config/datasets.yaml",
        DatasetSettings,
        "The labelled datasets. Each entry is `id: {keys}`; `llm.datasets` and `lm.datasets` name ids. Where a "
        "local folder holds small samples, `config/samples.yaml` has other `files`; a run names it in `data.samples`.",
        (("splits",), ("scale",), ("max_unusable",), ("expected",), ("files",), ("hub",)),
    ),
    Book(
        "config/categories.yaml",
        CategoryEntry,
        "The classification tasks of the LLM experiment. Each entry is `id: {keys}`; the order is that of tables.",
        (("unsup",),),
    ),
    Book(
        "config/prompts/sa.yaml and nli.yaml",
        PromptEntry,
        "The prompts of the LLM experiment. A file has the keys `category` and `prompts`, a list of entries with these "
        "keys; their `category` is the file's, and is left out. `llm.prompts` names their numbers.",
        (),
    ),
    Book(
        "config/unsup.yaml",
        UnsupSources,
        "Where `fute fetch-unsup` finds the training lines of CrossFit's scripts, for a U of kind `crossfit_full`.",
        (("scripts.NAME",),),
    ),
)


# --- JSON schemas -----------------------------------------------------------------------------------------------------


class _Untitled(GenerateJsonSchema):
    """Without a title for every key, which would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schemas() -> dict[str, dict[str, Any]]:
    """File name -> JSON schema: of a run's file, the registries, and a file of prompts."""
    entry = PromptEntry.model_json_schema(schema_generator=_Untitled)
    category = TypeAdapter(Id).json_schema()
    prompts = {
        "type": "object",
        "properties": {"category": category, "prompts": {"type": "array", "items": entry}},
        "required": ["category", "prompts"],
        "additionalProperties": False,
    }
    run = Config.model_json_schema(schema_generator=_Untitled)
    _complete_dte_span(run["$defs"])
    registries = {
        "categories": dict[Id, CategoryEntry],
        "models": dict[Id, ModelEntry],
        "datasets": dict[Id, DatasetSettings],
        "samples": dict[Id, SampleEntry],
        "unsup": UnsupSources,
    }
    made = {name: TypeAdapter(kind).json_schema(schema_generator=_Untitled) for name, kind in registries.items()}
    made |= {"run": run, "prompts": prompts}
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {f"{SCHEMAS}/{name}.json": dialect | _finished(schema) for name, schema in made.items()}


def _complete_dte_span(definitions: dict[str, Any]) -> None:
    """`dte_span` holds any keys of `dte`, which its type does not say."""
    for section in definitions.values():
        if "dte_span" in section.get("properties", {}):
            recipe = {"$ref": section["properties"]["dte"]["$ref"]}
            section["properties"]["dte_span"] |= recipe


def _finished(node: Any) -> Any:
    """The schema without defaults that are whole sections, whose keys have their own, and with ids for names alone."""
    if isinstance(node, dict):
        kept = {k: v for k, v in node.items() if not (k == "default" and isinstance(v, dict) and "$ref" in node)}
        if "patternProperties" in kept:
            kept.setdefault("additionalProperties", False)
        return {key: _finished(value) for key, value in kept.items()}
    return [_finished(item) for item in node] if isinstance(node, list) else node


# --- the page ---------------------------------------------------------------------------------------------------------


def inner_section(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """(the section that a type holds, whether as values of a mapping); (None, False) for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    for part in get_args(annotation):
        section, mapping = inner_section(part)
        if section is not None:
            return section, mapping or get_origin(annotation) is dict
    return None, False


def section_at(root: type[BaseModel], path: str) -> type[BaseModel]:
    """The section at a dotted path, in which NAME stands for any key of a mapping."""
    section = root
    for name in path.split("."):
        if name != "NAME":
            inner, _ = inner_section(section.model_fields[name].annotation)
            assert inner is not None, f"{path}: {name} is no section"
            section = inner
    return section


def _code(value: Any) -> str:
    """A value as YAML on one line, in code marks."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).strip()
    return f"`{text.removesuffix('...').strip()}`"


def _values(node: Mapping[str, Any]) -> str:
    """Put into words what a key may hold, by its JSON schema."""
    if "enum" in node or "const" in node:
        return ", ".join(f"`{choice}`" for choice in node.get("enum", [node.get("const")]))
    if "anyOf" in node:
        choices = [choice for kind in node["anyOf"] for choice in kind.get("enum", ())]
        others = [_values(kind) for kind in node["anyOf"] if "enum" not in kind]
        return ", or ".join([*([_values({"enum": choices})] if choices else []), *others])
    kind = node.get("type")
    if kind == "array":
        return f"list ({_values(node['items'])})"
    if kind == "object":
        inner = next(iter(node.get("patternProperties", {}).values()), node.get("additionalProperties"))
        if not isinstance(inner, Mapping):
            return "mapping"
        return _mapping_to(_values(inner), node)
    words = {"integer": "whole number", "number": "number", "boolean": "`true`, `false`", "null": "`null`"}
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {node[key]:g}" for key, sign in signs.items() if key in node]
    return f"{words.get(str(kind), 'text')} {', '.join(bounds)}".strip()


def _mapping_to(held: str, node: Mapping[str, Any]) -> str:
    """Put into words that a mapping has `held` under each of its names, or under any where the schema has no names."""
    names = node.get("propertyNames", {}).get("enum")
    return f"for each of {', '.join(f'`{name}`' for name in names)}: {held}" if names else f"mapping to {held}"


def _anchor(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return "".join(c for c in heading.lower().replace(" ", "-") if c.isalnum() or c in "-_")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _heading(paths: Sequence[str]) -> str:
    return ", ".join(f"`{path}`" for path in paths)


def _own_default(section: type[BaseModel], name: str) -> Any:
    """The value where the section is given without this key; REQUIRED where there is no default."""
    field = section.model_fields[name]
    return REQUIRED if field.is_required() else to_jsonable_python(field.default)


def _at(values: Any, path: str) -> Any:
    """The value at a dotted path; REQUIRED where there is none."""
    for name in path.split("."):
        values = values.get(name, REQUIRED) if isinstance(values, Mapping) else REQUIRED
    return values


def preset_defaults() -> dict[str, dict[str, Any]]:
    """Preset -> the settings of a run that states nothing but that it has both experiments."""
    bare = {"name": "x", "title": "x", "unsup": {}, "lm": {}}
    return {name: Config.model_validate(bare | {"preset": name}).model_dump(mode="json") for name in PRESETS}


def _default(section: type[BaseModel], name: str, path: str | None) -> str:
    """The cell Default of a key. path: of the section in a run; None where no preset reaches it."""
    own = _own_default(section, name)
    cell = own if own == REQUIRED else _code(own)
    if path is None or "NAME" in path or name == "preset":
        return cell
    paper, code = (_at(values, f"{path}.{name}".lstrip(".")) for values in preset_defaults().values())
    if paper != own and path:
        cell += f"; {_code(paper)} where `{path}` is not given"
    return cell if code in (paper, own) else f"{cell}; `fute_code:` {_code(code)}"


def _keys(book: Book, paths: Sequence[str]) -> str:
    """The table of keys that the sections at these paths have."""
    sections = [section_at(book.root, path) if path else book.root for path in paths]
    first, *others = sections
    schema = first.model_json_schema(schema_generator=_Untitled)
    single = paths[0] if book is RUN and len(paths) == 1 else None
    rows = []
    for name, field in first.model_fields.items():
        node = schema["properties"][name]
        if "const" in node:  # the id of a method, which follows from the section
            continue
        inner, mapping = inner_section(field.annotation)
        if inner is None:
            default = _default(first, name, single)
            for path, other in zip(paths[1:], others, strict=True):
                if (own := _default(other, name, None)) != default:
                    default += f"; `{path.rsplit('.', 1)[-1]}:` {own}"
            values = _values(node)
        else:
            link = f"[section](#{_anchor(_chapter_of(book, f'{paths[0]}.{name}'.lstrip('.'), inner))})"
            values = _mapping_to(link, node) if mapping else link
            if any(kind.get("type") == "null" for kind in node.get("anyOf", ())):
                values += ", or `null`"
            default = REQUIRED if field.is_required() else "`null`" if field.default is None else ""
        rows.append((f"`{name}`", values, default, field.description or ""))
    return _table(("Key", "Values", "Default", "Meaning"), rows)


def _chapter_of(book: Book, path: str, section: type[BaseModel]) -> str:
    """Heading of the chapter that has a section's keys: its own, that of the first section of its kind, or a registry's
    where the section is an entry of one."""
    for chapter in book.chapters:
        if {path, f"{path}.NAME"} & {*chapter}:
            return _heading(chapter)
    for registry in REGISTRIES if book is RUN else ():
        if registry.root is section:
            return registry.title
    return _heading(next(c for c in book.chapters if issubclass(section_at(book.root, c[0]), section)))


def _recipes_of(paths: Sequence[str]) -> str:
    """The table of a method's recipes where a run gives none, by preset; empty where they are the keys' defaults."""
    presets = preset_defaults()
    sections = [section_at(Config, path) for path in paths]
    kinds = [path.rsplit(".", 1)[-1] for path in paths]
    method = paths[0].split(".")[0]
    in_code = method in PRESETS["fute_code"]
    if not in_code:
        presets.pop("fute_code")
    rows = []
    for name in sections[0].model_fields:
        values = [_at(values, f"{path}.{name}") for values in presets.values() for path in paths]
        own = [_own_default(section, name) for section in sections] * len(presets)
        if values != own:
            rows.append((f"`{name}`", *map(_code, values)))
    if not rows:
        return ""
    head = ("Key", *(f"`{kind}` of `{preset}`" if in_code else f"`{kind}`" for preset in presets for kind in kinds))
    return f"{RECIPES_INTRO.format(but=BUT_CODE if in_code else '')}\n{_table(head, rows)}"


def _differences() -> str:
    """The table of presets."""
    paper, code = preset_defaults().values()

    def differing(one: Any, other: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
        if isinstance(one, dict) and isinstance(other, dict) and {*one} == {*other} and one:
            for name in one:
                yield from differing(one[name], other[name], (*path, name))
        elif one != other:
            yield f"`{'.'.join(path)}`", _code(one), _code(other)

    rows = [row for row in differing(paper, code, ()) if row[0] != "`preset`"]
    return _table(("Key", "`paper`", "`fute_code`"), rows)


def _pages(book: Book) -> Iterator[str]:
    """The chapters of a book, as Markdown."""
    yield f"## {book.title}\n"
    if book.lead:
        yield f"{book.lead}\n"
    yield _keys(book, ("",))
    for paths in book.chapters:
        section = section_at(book.root, paths[0])
        depth = paths[0].removesuffix(".NAME").count(".")
        yield f"{'#' * min((2 if book is RUN else 3) + depth, 4)} {_heading(paths)}\n"
        yield f"{(section.__doc__ or '').strip()}\n"
        yield _keys(book, paths)
        if book is RUN and len(paths) > 1 and (recipes := _recipes_of(paths)):
            yield recipes


def page() -> str:
    """The text of docs/config.md."""
    chapters = [INTRO, *_pages(RUN), "## Presets\n", PRESETS_INTRO, _differences()]
    return "\n".join([*chapters, *(text for book in REGISTRIES for text in _pages(book))])


def files() -> dict[str, str]:
    """Path from the project's folder -> text of everything that is written."""
    return {PAGE: page()} | {path: json.dumps(schema, indent=1) + "\n" for path, schema in schemas().items()}


def main() -> None:
    """Write all files into the checkout that this module is part of."""
    for path, text in files().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf8")


if __name__ == "__main__":
    main()
