"""Jobs of types that no worker knows: noted, shown, and failed after UNKNOWN_TYPE_HOURS."""

from __future__ import annotations

import logging

from sqlalchemy import Connection

from app.config import Settings
from app.jobs import lifecycle, unknown_types

log = logging.getLogger(__name__)

MAX_INTERVAL_SECONDS = 10.0


def interval(settings: Settings) -> float:
    """Seconds between two looks: short limits are looked at often enough to be kept."""
    often = settings.unknown_type_hours * 3600 / 20 or MAX_INTERVAL_SECONDS
    return min(MAX_INTERVAL_SECONDS, max(settings.sweep_seconds, often))


def look(db: Connection, settings: Settings) -> int:
    """Note the types that no live worker knows; fail what waited too long. How many failed."""
    limit = settings.unknown_type_hours * 3600
    over = unknown_types.mark(
        db, alive_seconds=settings.lease_seconds, seconds=limit or float(10**9)
    )
    if not limit:
        return 0
    count = 0
    for name in over:
        failed = lifecycle.give_up(db, name, seconds=limit)
        if failed:
            log.warning("Failed %s jobs of type %s, which no worker knows", failed, name)
        count += failed
    return count
