"""Patience with a limit: the only place where tests sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    predicate: Callable[[], T], timeout: float = 10.0, *, interval: float = 0.02, what: str = ""
) -> T:
    """The first true value of ``predicate()``; AssertionError after ``timeout`` seconds.

    AssertionErrors inside the predicate mean "not yet"; the last one is shown at the end.
    """
    give_up_at = time.monotonic() + timeout
    while True:
        last: object
        try:
            last = predicate()
            if last:
                return last  # type: ignore[return-value]
        except AssertionError as error:
            last = error
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not within {timeout:g} s: {what or predicate}; last: {last!r}")
        time.sleep(interval)
