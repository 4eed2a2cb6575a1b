"""Results shared by all threads of a process for a short time, so that many tabs need a single query."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

#: Names may contain what people type; above this number, expired entries are dropped.
MAX_NAMES = 256


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    good_until: float = float("-inf")  # time.monotonic()


_entries: dict[str, _Entry] = {}
_entries_lock = threading.Lock()


def cached(name: str, seconds: float, fn: Callable[[], T]) -> T:
    """The result of ``fn()``, or its result from less than ``seconds`` ago in this process.

    One thread calls ``fn``, the others wait for the result. An exception is not cached: it is raised in the thread
    that called, and the next thread tries again. ``fn`` must not use the same name.
    """
    entry = _entry(name)
    # Without the lock: good_until is set after value, and only forget() removes them.
    if time.monotonic() < entry.good_until:
        return entry.value
    with entry.lock:
        if time.monotonic() >= entry.good_until:
            entry.value = fn()
            entry.good_until = time.monotonic() + seconds
        return entry.value


def forget() -> None:
    """Drop all cached results. For tests and after a change."""
    with _entries_lock:
        _entries.clear()


def _entry(name: str) -> _Entry:
    with _entries_lock:
        if name not in _entries and len(_entries) >= MAX_NAMES:
            now = time.monotonic()
            # A thread may still use a dropped entry; at worst fn is called once more.
            for stale in [key for key, entry in _entries.items() if entry.good_until <= now]:
                del _entries[stale]
        return _entries.setdefault(name, _Entry())
