"""UUIDv7 in Python: ordered by time, and monotonic within a process."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app import clock

_lock = threading.Lock()
_last = 0
_random = b""  # read ahead
IDS_PER_READ = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_id() -> UUID:
    """A UUIDv7 by the database's clock, greater than every earlier one of this process."""
    global _last, _random
    # 48 bits of milliseconds and 12 bits of their fraction, as RFC 9562 method 3 allows.
    now = int(clock.epoch() * 4_096_000)
    with _lock:
        _last = now = max(now, _last + 1)
        # A system call for each id takes 3 µs, and lets another thread run.
        if not _random:
            _random = os.urandom(8 * IDS_PER_READ)
        random, _random = _random[:8], _random[8:]
    tail = int.from_bytes(random, "big") >> 2
    return UUID(int=(now >> 12) << 80 | 7 << 76 | (now & 0xFFF) << 64 | 2 << 62 | tail)


def created_at(job_id: UUID) -> datetime:
    """The instant in a UUIDv7, in milliseconds."""
    return datetime.fromtimestamp((job_id.int >> 80) / 1000, UTC)


def first_id_at(instant: datetime) -> UUID:
    """The smallest UUIDv7 of that millisecond: a bound for id ranges by time."""
    # Whole numbers only: a float of seconds may fall a millisecond short.
    return UUID(int=(instant - _EPOCH) // timedelta(milliseconds=1) << 80 | 7 << 76 | 2 << 62)


def _forget_random() -> None:
    global _random
    _random = b""


# Otherwise a process and its fork would make ids with the same random bits.
os.register_at_fork(after_in_child=_forget_random)
