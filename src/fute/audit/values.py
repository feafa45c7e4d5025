"""Where two JSON values differ, in words for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

LONGEST = 60


def differences(was: Any, now: Any, *, defaults: bool = False, where: str = "") -> Iterator[str]:
    """`a.b[0] 1, then 2` for every place where two JSON values differ.

    defaults: what only the first value has is no difference: it may have been filled in.
    """
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(now if defaults else {*was, *now}):
            inner = f"{where}.{key}" if where else key
            yield from differences(was.get(key), now.get(key), defaults=defaults, where=inner)
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for index, (one, two) in enumerate(zip(was, now, strict=True)):
            yield from differences(one, two, defaults=defaults, where=f"{where}[{index}]")
    elif was != now:
        yield f"{where or 'all'} {short(was)}, then {short(now)}"


def short(value: Any) -> str:
    """A value as JSON, cut to a line's worth."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
