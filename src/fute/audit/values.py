"""Where two JSON values differ, in words for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

LONGEST = 60


Compared = Literal["all", "second", "common"]


def differences(was: Any, now: Any, *, keys: Compared = "all", where: str = "") -> Iterator[str]:
    """`a.b[0] 1, then 2` for every place where two JSON values differ.

    keys: of objects, "all", those of the "second" value (the first may have defaults filled in), or those that both
    have ("common"; lists of other lengths are then passed over, too).
    """
    if isinstance(was, dict) and isinstance(now, dict):
        compared = {"all": {*was, *now}, "second": {*now}, "common": {*was} & {*now}}[keys]
        for key in sorted(compared):
            inner = f"{where}.{key}" if where else key
            yield from differences(was.get(key), now.get(key), keys=keys, where=inner)
    elif isinstance(was, list) and isinstance(now, list) and (len(was) == len(now) or keys == "common"):
        for index, (one, two) in enumerate(zip(was, now, strict=True) if len(was) == len(now) else ()):
            yield from differences(one, two, keys=keys, where=f"{where}[{index}]")
    elif was != now:
        yield f"{where or 'all'} {short(was)}, then {short(now)}"


def short(value: Any) -> str:
    """A value as JSON, cut to a line's worth."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
