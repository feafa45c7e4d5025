"""YAML whose mappings name each key once. PyYAML keeps the last of two entries of one name and says nothing."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import yaml

MERGE = "tag:yaml.org,2002:merge"


class _UniqueKeys(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # the base class complains
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice; keep one entry", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load(text: str, mappings: Sequence[str] = ()) -> Any:
    """The content of a YAML text. Raises yaml.YAMLError, with the line, also for a key that is given twice.

    mappings: tags that may stand before a mapping and change nothing. Any other tag of an application is refused.
    """

    class Loader(_UniqueKeys):
        pass

    for tag in mappings:
        Loader.add_constructor(tag, lambda loader, node: loader.construct_mapping(node, deep=True))
    return yaml.load(text, Loader=Loader)
