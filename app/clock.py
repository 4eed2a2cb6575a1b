"""The time by the database's clock. It judges everything: a machine's own clock may be an hour off.

Read from PostgreSQL whenever a connection is taken and the last reading is old (see database.attend), and
carried on in between by a clock that nobody sets.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

#: A reading older than this is taken again with the next connection.
STALE_SECONDS = 10.0
_offset: float | None = None
_read_at = float("-inf")


def steady() -> float:
    """Seconds of a clock that goes on while the machine sleeps, where there is one."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)


def is_stale() -> bool:
    """Whether the database should be asked; the caller that gets True is the one to do it."""
    global _read_at
    now = steady()
    if now - _read_at < STALE_SECONDS:
        return False
    _read_at = now
    return True


def observe(database_now: float, *, asked_at: float) -> None:
    """``database_now``: seconds since 1970, read from PostgreSQL; ``asked_at``: ``steady()`` before it was asked.

    So that our time is never behind: what PostgreSQL has just made due is due here as well.
    """
    global _offset
    _offset = database_now - asked_at


def epoch() -> float:
    """Seconds since 1970, now; by this machine's clock only before the first connection."""
    return time.time() if _offset is None else _offset + steady()


def now() -> datetime:
    return datetime.fromtimestamp(epoch(), UTC)


def forget() -> None:
    """For tests: as in a process that has just started."""
    global _offset, _read_at
    _offset, _read_at = None, float("-inf")
