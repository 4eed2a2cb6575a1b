"""Rows past their retention are deleted."""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Engine, text

from app import clock
from app.config import Settings
from app.database import elected
from app.jobs import bulk, error_group_states, lifecycle
from app.jobs.bounds import IDEMPOTENCY_HOURS
from app.jobs.ids import first_id_at
from app.jobs.statistics import summary

NIL = UUID(int=0)
#: The scan continues after the last deleted row, and starts again at the oldest one this often.
RESTART_SECONDS = 3600
AUDIT_BATCH = 1000

_OLD_ROWS = text(f"""
WITH keys AS (DELETE FROM job_keys WHERE created_at < now() - interval '{IDEMPOTENCY_HOURS} hours'),
     over AS (DELETE FROM sessions WHERE expires_at < now()),
     gone AS (DELETE FROM workers WHERE COALESCE(stopped_at, heartbeat_at) < now() - interval '1 day')
DELETE FROM dead_letters WHERE closed_at < now() - make_interval(days => 90)
""")
# By id, which grows with time: only the oldest rows are read, whatever the size of the table.
_OLD_AUDIT_EVENTS = text("""
WITH oldest AS MATERIALIZED (SELECT id, at FROM audit_events ORDER BY id LIMIT :limit)
DELETE FROM audit_events WHERE id = ANY(ARRAY(
    SELECT id FROM oldest WHERE at < now() - make_interval(secs => :seconds)))
""")


class Pruner:
    """Deletes completed, cancelled and discarded jobs older than RETENTION_DAYS, the oldest id first."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._days = settings.retention_days
        self._after = NIL
        self._restart_at = 0.0

    def prune_jobs(self) -> int:
        """Delete one batch; returns how many."""
        if not self._days:
            return 0
        if time.monotonic() > self._restart_at:
            self._after, self._restart_at = NIL, time.monotonic() + RESTART_SECONDS
        before = first_id_at(clock.now() - timedelta(days=self._days))
        with elected(self._engine, "prune") as db:
            if db is None:
                return 0
            ids = lifecycle.prune(db, after=self._after, before=before, seconds=self._days * 86400)
        if ids:
            self._after = ids[-1]
        return len(ids)


def prune_small_tables(engine: Engine) -> int:
    """Delete idempotency keys after IDEMPOTENCY_HOURS, expired sessions, workers gone for a day, closed dead letters and error groups after 90 days."""
    with elected(engine, "prune_small") as db:
        if db is None:
            return 0
        db.execute(_OLD_ROWS)
        bulk.prune(db)
        error_group_states.prune(db)
        return summary.prune_series(db)


def prune_audit_events(engine: Engine, settings: Settings) -> int:
    """Delete a batch of audit events older than AUDIT_RETENTION_DAYS, oldest first; returns how many."""
    if not settings.audit_retention_days:
        return 0
    with elected(engine, "prune_audit") as db:
        if db is None:
            return 0
        # The table's trigger refuses every other DELETE.
        db.execute(text("SELECT set_config('jobqueue.audit_retention', 'on', true)"))
        seconds = settings.audit_retention_days * 86400
        return db.execute(_OLD_AUDIT_EVENTS, {"limit": AUDIT_BATCH, "seconds": seconds}).rowcount
