"""Jobs of types that no worker knows: noted, shown, and failed after UNKNOWN_TYPE_HOURS."""

from __future__ import annotations

import logging

from sqlalchemy import Engine

from app.config import Settings
from app.jobs import lifecycle, unknown_types
from app.worker.elections import elected

log = logging.getLogger(__name__)

MAX_INTERVAL_SECONDS = 10.0


class Orphans:
    """One round for the sweeper."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._alive_seconds = settings.lease_seconds
        self._seconds = settings.unknown_type_hours * 3600
        # Short limits are looked at often enough to be kept.
        often = self._seconds / 20 or MAX_INTERVAL_SECONDS
        self.interval = min(MAX_INTERVAL_SECONDS, max(settings.sweep_seconds, often))

    def run_once(self) -> int:
        """Note the types that no live worker knows; fail what waited too long. How many failed."""
        with elected(self._engine, "orphans") as db:
            if db is None:
                return 0
            seconds = self._seconds or float(10**9)
            over = unknown_types.mark(db, alive_seconds=self._alive_seconds, seconds=seconds)
            if not self._seconds:
                return 0
            count = 0
            for name in over:
                failed = lifecycle.give_up(db, name, seconds=self._seconds)
                if failed:
                    log.warning("Failed %s jobs of type %s, which no worker knows", failed, name)
                count += failed
            return count
