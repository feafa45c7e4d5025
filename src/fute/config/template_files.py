"""Prompts in the files of other tools: PromptSource's templates, and tasks of lm-evaluation-harness.

Both write templates for jinja. One of words, texts of the row and choices by number is written in our form; another,
with filters or conditions, stays jinja's, and is rendered by its sandbox.

PromptSource (Bach et al., 2022): `templates: {uuid: !Template {name, jinja, answer_choices}}`; in `jinja`, `|||`
separates the prompt from its answer, and `answer_choices` are words separated by `|||`, in the order of the labels.
lm-evaluation-harness: `doc_to_text` (a template, or the name of a column), `doc_to_choice` (a list of words in the
order of the labels) and `description`, which stands before the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fute.config.jinja_form import JinjaError, parsed

if TYPE_CHECKING:
    from jinja2 import nodes

TAGS = ("!Template", "!TemplateMetadata")
"""Tags of PromptSource's YAML, which stand before mappings."""
BETWEEN = "|||"


class TemplateError(ValueError):
    """A template that cannot be used; the message says which, where, and what to do."""


def is_of_another_tool(content: Any) -> bool:
    """True for the content of a file of PromptSource or of lm-evaluation-harness."""
    return isinstance(content, Mapping) and ("templates" in content or "doc_to_text" in content)


def prompt_entries(content: Mapping[str, Any], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Entries `id`, `template` and `verbalizers` of such a file, in its order.

    classes: the class names in the order of the labels, which the words of a template are in, unless they are the class
    names. Raises TemplateError, which names every template that cannot be used.
    """
    if "templates" not in content:
        return [_harness_task(content, classes)]
    templates = content["templates"]
    if not isinstance(templates, Mapping) or not templates:
        raise TemplateError("templates: holds no template; give PromptSource's mapping of them")
    entries, refused = [], []
    for key, value in templates.items():
        try:
            entries.append(_promptsource_template(str(key), value, classes))
        except TemplateError as error:
            refused.append(str(error))
    if refused:
        raise TemplateError("\n".join([*refused, "take these templates out of the file, or correct them"]))
    return entries


def _promptsource_template(key: str, value: Any, classes: Sequence[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not isinstance(value.get("jinja"), str):
        raise TemplateError(f"template {key}: must have the key jinja with a text")
    name = str(value.get("name") or key)
    where = f"template {name!r}"
    prompt, separator, _ = value["jinja"].partition(BETWEEN)
    if not separator:
        raise TemplateError(f"{where}: has no {BETWEEN} between the prompt and the answer")
    if _parses(value["jinja"]) and not _parses(prompt):
        raise TemplateError(f"{where}: its {BETWEEN} stands inside a condition or loop; write the prompt outside of it")
    given = value.get("answer_choices")
    if given is not None and ("{{" in str(given) or "{%" in str(given)):
        raise TemplateError(f"{where}: its answer_choices depend on the row; only fixed words can be classes")
    choices = None if given is None else [word.strip() for word in str(given).split(BETWEEN)]
    return _entry(name, prompt, choices, classes, where)


def _parses(jinja: str) -> bool:
    try:
        parsed(jinja)
    except JinjaError:
        return False
    return True


def _harness_task(content: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    name = str(content.get("task") or "task")
    where = f"task {name!r}"
    text, choices = content["doc_to_text"], content.get("doc_to_choice")
    if not isinstance(text, str):
        raise TemplateError(f"{where}: doc_to_text must be a template or the name of a column, as text")
    if choices is not None and not (isinstance(choices, list) and all(isinstance(word, str) for word in choices)):
        raise TemplateError(f"{where}: doc_to_choice must be a list of words here, in the order of the labels")
    if "{" not in text and re.fullmatch(r"\w+", text):
        text = "{{" + text + "}}"
    return _entry(name, str(content.get("description") or "") + text, choices, classes, where)


def _entry(name: str, jinja: str, choices: Sequence[str] | None, classes: Sequence[str], where: str) -> dict[str, Any]:
    if choices is not None and len(choices) != len(classes):
        raise TemplateError(
            f"{where}: has {len(choices)} choices ({', '.join(choices)}) for {len(classes)} classes "
            f"({', '.join(classes)}); they must be in the order of the classes"
        )
    template = _in_braces(jinja, choices or (), where)
    entry: dict[str, Any] = {"template": template}
    if template is None:
        # as a template of its own has them: in the order of the file
        # jinja reads no surrogate pairs, which JSON in ASCII has for emoji
        words = json.dumps(list(choices), ensure_ascii=False) if choices is not None else ""
        given = f"{{% set answer_choices = {words} %}}" if words else ""
        entry = {"template": f"{given}{jinja.strip()}", "form": "jinja"}
    if identifier := re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-."):
        entry["id"] = identifier
    if choices is not None:
        by_name = {word.lower(): word for word in choices}
        if set(by_name) == {name.lower() for name in classes}:  # words that are the names, in whatever order
            entry["verbalizers"] = {name: (by_name[name.lower()],) for name in classes}
        else:
            entry["verbalizers"] = {name: (word,) for name, word in zip(classes, choices, strict=True)}
    return entry


def _in_braces(jinja: str, choices: Sequence[str], where: str) -> str | None:
    """Our form of a jinja template: its words, texts of the row in braces, choices by number. None if it has more."""
    from jinja2 import nodes

    try:
        body = parsed(jinja).body
    except JinjaError as error:
        raise TemplateError(f"{where}: {error}") from None
    pieces = []
    for node in (node for statement in body for node in getattr(statement, "nodes", (statement,))):
        if isinstance(node, nodes.TemplateData) and not re.search("[{}]", node.data):
            pieces.append(node.data)
        elif isinstance(node, nodes.Name) and node.name != "answer_choices":
            pieces.append("{" + node.name + "}")
        elif (number := _choice(node)) is not None and 0 <= number < len(choices):
            pieces.append(choices[number])
        else:
            return None
    return "".join(pieces).strip()


def _choice(node: nodes.Node) -> int | None:
    """The number i of `answer_choices[i]`; None for anything else."""
    from jinja2 import nodes

    if not isinstance(node, nodes.Getitem) or not isinstance(node.node, nodes.Name):
        return None
    if node.node.name != "answer_choices" or not isinstance(node.arg, nodes.Const):
        return None
    return node.arg.value if type(node.arg.value) is int else None
