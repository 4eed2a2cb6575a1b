"""The database's clock, as this process last saw it: the machine's own may be an hour off."""

from __future__ import annotations

import time


class Clock:
    """Estimates the database's time without asking; starts from the machine's. Threads may share it."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def set(self, database_now: float) -> None:
        """``database_now``: seconds since 1970, just read from PostgreSQL."""
        self._offset = database_now - time.monotonic()

    def now_ms(self) -> float:
        """Milliseconds since 1970 by the database's clock."""
        return (self._offset + time.monotonic()) * 1000
