"""Jobs of types that no worker knows are marked, and fail after UNKNOWN_TYPE_HOURS."""

from __future__ import annotations

import logging

from sqlalchemy import Connection, Engine

from app.config import Settings
from app.database import elected
from app.jobs import lifecycle, unknown_types

log = logging.getLogger(__name__)

MAX_INTERVAL_SECONDS = 10.0
#: Stands for "no limit" in SQL.
_NEVER_SECONDS = 1e9


def interval(settings: Settings) -> float:
    """Seconds between two checks: a twentieth of UNKNOWN_TYPE_HOURS, within bounds."""
    seconds = settings.unknown_type_hours * 3600 / 20 or MAX_INTERVAL_SECONDS
    return min(MAX_INTERVAL_SECONDS, max(settings.sweep_seconds, seconds))


def fail_orphans(engine: Engine, settings: Settings) -> int:
    """Mark types that no live worker knows; fail their jobs that waited too long. Returns how many."""
    with elected(engine, "orphans") as db:
        return _fail_orphans(db, settings) if db is not None else 0


def _fail_orphans(db: Connection, settings: Settings) -> int:
    limit = settings.unknown_type_hours * 3600
    overdue = unknown_types.mark(
        db, alive_seconds=settings.lease_seconds, seconds=limit or _NEVER_SECONDS
    )
    if not limit:
        return 0
    count = 0
    for type_name in overdue:
        failed = lifecycle.give_up(db, type_name, seconds=limit)
        if failed:
            log.warning("Failed %s jobs of type %s, which no worker knows", failed, type_name)
        count += failed
    return count
