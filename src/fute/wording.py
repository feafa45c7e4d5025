"""Lists of names in messages."""

from collections.abc import Sequence


def listed(names: Sequence[str], most: int | None = None) -> str:
    """Join names: `a, b and c`; with more than `most` of them `a, b and 4 more`. Empty for none."""
    if most is not None and len(names) > most:
        names = [*names[:most], f"{len(names) - most} more"]
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
