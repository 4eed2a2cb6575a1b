"""What schedules need now and then: a bounded history, and times by the newest rules of time zones."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, text

from app.database import DbSession
from app.jobs.publication import hint_after_commit
from app.jobs.schedules import times, zones
from app.jobs.schedules.tick import HINT

HISTORY_DAYS = 30
#: Rows of the history of one schedule.
MAX_TICKS = 1000
#: Schedules, and old rows, that one call looks at.
BATCH = 200
OLD_ROWS = 2000
#: Rules of time zones that change move a tick by at most this much.
CHANGE = timedelta(hours=3)

# ix_schedule_ticks_made_at
_PRUNE_OLD = text("""
DELETE FROM schedule_ticks WHERE (schedule_id, tick_at) IN (
    SELECT schedule_id, tick_at FROM schedule_ticks
    WHERE made_at < now() - make_interval(days => :days) ORDER BY made_at LIMIT :limit)
""")
# schedule_ticks_pkey, from its end
_PRUNE_MANY = text("""
WITH chosen AS MATERIALIZED (SELECT id FROM schedules WHERE id > :after ORDER BY id LIMIT :batch),
gone AS (
    DELETE FROM schedule_ticks t USING chosen s CROSS JOIN LATERAL (
        SELECT tick_at FROM schedule_ticks WHERE schedule_id = s.id
        ORDER BY tick_at DESC OFFSET :keep LIMIT 1) AS last
    WHERE t.schedule_id = s.id AND t.tick_at <= last.tick_at)
SELECT max(id) FROM chosen HAVING count(*) = :batch
""")
# Of a due tick the time is kept: it is about to be carried out.
_FORMER_ZONES = text("""
SELECT *, now() AS now FROM schedules
WHERE cron IS NOT NULL AND next_run_at > now() AND COALESCE(zone_version, '') < :version COLLATE "C"
ORDER BY id LIMIT :batch FOR UPDATE SKIP LOCKED
""")
_MOVE = text("""
UPDATE schedules s SET next_run_at = g.next_run_at, zone_version = :version
FROM json_to_recordset(:given) AS g(id bigint, next_run_at timestamptz) WHERE s.id = g.id
""")


def prune_old(db: DbSession) -> int:
    """Delete rows of the history that are older than HISTORY_DAYS; returns how many."""
    result: Any = db.execute(_PRUNE_OLD, {"days": HISTORY_DAYS, "limit": OLD_ROWS})
    return int(result.rowcount)


def prune_many(db: DbSession, *, after: int) -> int:
    """Of each of the next schedules, delete the rows beyond the last MAX_TICKS.

    ``after``: what the former call returned, the last id that it looked at; 0 starts again.
    """
    values = {"after": after, "batch": BATCH, "keep": MAX_TICKS}
    return db.execute(_PRUNE_MANY, values).scalar() or 0


def use_new_zones(db: DbSession) -> int:
    """Compute next ticks again that were computed by an older release of the time zone database; returns how many.

    A batch; the caller commits.
    """
    rows = db.execute(_FORMER_ZONES, {"version": zones.VERSION, "batch": BATCH}).all()
    if rows:
        given = [{"id": row.id, "next_run_at": _moved(row)} for row in rows]
        db.execute(_MOVE, {"given": json.dumps(given), "version": zones.VERSION})
        hint_after_commit(db, HINT)
    return len(rows)


def _moved(row: Row[Any]) -> str | None:
    try:
        tick = times.next_tick(row, _since(row))
    except ValueError:  # a line or a zone that this release can't read
        tick = row.next_run_at
    return tick.isoformat() if tick else None


def _since(row: Row[Any]) -> datetime:
    # A tick that moved to a time that has just passed is made up for, unless it is the one that ran.
    now: datetime = row.now
    return min(now, max(now - CHANGE, (row.last_tick_at or now) + CHANGE))
