"""Templates that are jinja's: which texts they have, and what they give, by its sandbox."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template, nodes
    from jinja2.sandbox import SandboxedEnvironment


class JinjaError(ValueError):
    """A template that jinja cannot compile or fill; the message says why, in one line."""


@cache
def _sandbox() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    sandbox = ImmutableSandboxedEnvironment(autoescape=False, undefined=StrictUndefined)
    del sandbox.filters["random"]  # a text must be asked with the same words every time
    return sandbox


@cache
def _compiled(template: str) -> Template:
    from jinja2 import TemplateSyntaxError

    try:
        return _sandbox().from_string(template)
    except TemplateSyntaxError as error:
        raise JinjaError(f"is no jinja template: {error.message} (line {error.lineno})") from None


def parsed(template: str) -> nodes.Template:
    """The parts of a template. Raises JinjaError for one that does not compile."""
    _compiled(template)
    return _sandbox().parse(template)


def names_in(template: str) -> set[str]:
    """Names that a template must be given. Raises JinjaError for one that does not compile."""
    from jinja2 import meta

    return meta.find_undeclared_variables(parsed(template))


def render(template: str, **texts: str) -> str:
    """Fill a template with these texts, and cut blanks around it. Raises JinjaError, also for what is unsafe."""
    compiled = _compiled(template)
    try:
        return compiled.render(texts).strip()
    except Exception as error:  # a template can raise whatever an expression of Python can
        raise JinjaError(f"cannot be filled: {' '.join(str(error).split())}") from None
