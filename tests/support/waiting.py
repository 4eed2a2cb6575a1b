"""Patience with a limit: the only place where tests sleep."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def patience() -> float:
    """How much longer things take now than on a free machine: programs that want a core, for each core."""
    return min(max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)), 10.0)


def wait_until(
    predicate: Callable[[], T], timeout: float = 10.0, *, interval: float = 0.02, what: str = ""
) -> T:
    """The first true value of ``predicate()``; AssertionError after ``timeout`` seconds of a free machine.

    AssertionErrors inside the predicate mean "not yet"; the last one is shown at the end.
    """
    began = time.monotonic()
    while True:
        last: object
        try:
            last = predicate()
            if last:
                return last  # type: ignore[return-value]
        except AssertionError as error:
            last = error
        if time.monotonic() - began > timeout and time.monotonic() - began > timeout * patience():
            raise AssertionError(f"not within {timeout:g} s: {what or predicate}; last: {last!r}")
        time.sleep(interval)
