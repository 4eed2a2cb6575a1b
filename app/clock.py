"""The time by the database's clock, which is used everywhere: a machine's own clock may be an hour off.

Read from PostgreSQL when a connection is checked out and the last reading is old (see database.attend); between
readings, a clock that is never adjusted continues it.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

#: A reading older than this is repeated with the next connection.
STALE_SECONDS = 10.0
_offset: float | None = None
_read_at = float("-inf")


def steady() -> float:
    """Seconds of a clock that is never adjusted and, where available, also runs while the machine sleeps."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)


def is_stale() -> bool:
    """Whether the time should be read again; the caller that gets True must do it."""
    global _read_at
    now = steady()
    if now - _read_at < STALE_SECONDS:
        return False
    _read_at = now
    return True


def observe(database_now: float, *, asked_at: float) -> None:
    """Store a reading. ``database_now``: seconds since 1970; ``asked_at``: ``steady()`` before the query.

    Before the query, so that our time is never behind: what is due in PostgreSQL is due here as well.
    """
    global _offset
    _offset = database_now - asked_at


def epoch() -> float:
    """The current time in seconds since 1970; by this machine's clock only before the first connection."""
    return time.time() if _offset is None else _offset + steady()


def now() -> datetime:
    return datetime.fromtimestamp(epoch(), UTC)


def forget() -> None:
    """For tests: return to the state of a process that has just started."""
    global _offset, _read_at
    _offset, _read_at = None, float("-inf")
