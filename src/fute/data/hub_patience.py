"""Ask a hub again that is busy or fails for a moment; tell its errors from those of this machine's disk.

Its own client does so for some requests only: neither for what a repository is (its commit), nor for a file that is
answered with an error of the server.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
FOR_A_MOMENT = (408, 425, 429, 500, 502, 503, 504)
"""Status codes after which the same request may be answered."""
WAITS = (2, 5, 15, 30, 60)
"""Seconds before each further try, unless the hub says how long."""
LONGEST = 310
"""Most seconds that a hub is given: a window in which it counts requests is 300."""


def patiently(repo: str, ask: Callable[[], T]) -> T:
    """Result of `ask`, which is called again while the hub is busy or fails for a moment; then its last error.

    repo: what is asked for, for the line that says so.
    """
    for wait in WAITS:
        try:
            return ask()
        except Exception as error:
            if (answer := _answer(error)) is None:
                raise
            seconds = min(LONGEST, max(wait, _asked_for(answer[1])))
            print(f"{repo}: the hub answers {answer[0]}; asking again in {seconds} s", flush=True)
        time.sleep(seconds)
    return ask()


def full_disk(error: BaseException | None) -> OSError | None:
    """The error of a full disk or quota behind an error of a hub's client; None if there is none.

    To be raised in place of advice on the network: what to do then is said for every step (`fute.cluster.storage`).
    """
    full = (errno.ENOSPC, errno.EDQUOT)
    return next((each for each in _behind(error) if isinstance(each, OSError) and each.errno in full), None)


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _answer(error: BaseException | None) -> tuple[int, dict[str, str]] | None:
    """Status and headers of the answer behind an error, if it was one for a moment."""
    for each in _behind(error):
        response = getattr(each, "response", None)
        status = getattr(response, "status_code", None)
        if status in FOR_A_MOMENT:
            return status, {name.lower(): value for name, value in response.headers.items()}
    return None


def _asked_for(headers: dict[str, str]) -> int:
    """Seconds to wait, as the hub says: `Retry-After`, or the `t` of `RateLimit: "api";r=0;t=55`. 0: it does not."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(headers)
    after = headers.get("retry-after", "")
    return max(int(after) if after.isdecimal() else 0, limit.reset_in_seconds if limit else 0)
