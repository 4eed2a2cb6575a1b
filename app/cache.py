"""Results shared by all threads of a process for a short time, so that many tabs need a single query."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Names may contain what people type; above this number, expired entries are dropped.
MAX_NAMES = 256


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    good_until: float = float("-inf")  # time.monotonic()


_entries: dict[str, _Entry] = {}
_kept: dict[str, _Entry] = {}
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


def kept(name: str, seconds: float, fn: Callable[[], T]) -> T:
    """As cached(), for an ``fn`` that takes long: the previous result is returned while a thread calls it again.

    Only the first caller waits. ``fn`` is called outside of the request: it opens its own connection.
    """
    entry = _entry(name, _kept)
    if entry.value is None:
        with entry.lock:
            if entry.value is None:
                entry.good_until, entry.value = time.monotonic() + seconds, fn()
    elif time.monotonic() >= entry.good_until and entry.lock.acquire(blocking=False):
        # The thread releases the lock.
        threading.Thread(target=_renew, args=(entry, seconds, fn), daemon=True).start()
    return entry.value


def _renew(entry: _Entry, seconds: float, fn: Callable[[], Any]) -> None:
    try:
        started_at = time.monotonic()
        entry.value = fn()
        # A slow one runs for a tenth of the time at most.
        entry.good_until = time.monotonic() + max(seconds, 10 * (time.monotonic() - started_at))
    except Exception as error:  # of any driver: the previous result stays
        log.warning("A figure could not be renewed: %s", type(error).__name__)
    finally:
        entry.lock.release()


def forget() -> None:
    """Drop all cached results; those of kept() are renewed when they are next read. For tests and after a change."""
    with _entries_lock:
        _entries.clear()
        for entry in _kept.values():
            entry.good_until = float("-inf")


def _entry(name: str, entries: dict[str, _Entry] = _entries) -> _Entry:
    with _entries_lock:
        if name not in entries and len(entries) >= MAX_NAMES:
            now = time.monotonic()
            # A thread may still use a dropped entry; at worst fn is called once more.
            for stale in [key for key, entry in entries.items() if entry.good_until <= now]:
                del entries[stale]
        return entries.setdefault(name, _Entry())
