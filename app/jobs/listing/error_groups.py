"""Failing jobs and dead letters by error group: what failed where, how many, since when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from app.database import DbSession
from app.jobs.error_groups import place_in_traceback

MAX_ERROR_GROUPS = 50
HOURS = 24

# ix_jobs_fingerprint alone; then two short walks of ix_job_attempts_fingerprint for each group.
_GROUPS = text("""
    WITH open AS MATERIALIZED (
        SELECT fingerprint, count(*) FILTER (WHERE status = 'failed') AS dead,
               count(*) FILTER (WHERE status <> 'failed') AS trying
        FROM jobs WHERE fingerprint IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT :limit)
    SELECT open.*, seen.*, latest.*
    FROM open
    CROSS JOIN LATERAL (
        SELECT min(ended_at) AS first_seen, max(ended_at) AS last_seen, count(*) AS attempts
        FROM job_attempts WHERE fingerprint = open.fingerprint) AS seen
    CROSS JOIN LATERAL (
        SELECT j.type, a.error, a.error_class, a.traceback, a.outcome
        FROM job_attempts a JOIN jobs j ON j.id = a.job_id
        WHERE a.fingerprint = open.fingerprint ORDER BY a.ended_at DESC LIMIT 1) AS latest
    ORDER BY open.dead + open.trying DESC, open.fingerprint
""")
_HOURS = text("""
    SELECT fingerprint, date_trunc('hour', ended_at, 'UTC') AS hour, count(*) AS n
    FROM job_attempts
    WHERE fingerprint = ANY(:groups) AND ended_at >= date_trunc('hour', now(), 'UTC') - make_interval(hours => :hours)
    GROUP BY 1, 2
""")


# ix_job_attempts_fingerprint
_NAME = text("""
    SELECT j.type, a.error_class, a.outcome FROM job_attempts a JOIN jobs j ON j.id = a.job_id
    WHERE a.fingerprint = :fingerprint ORDER BY a.ended_at DESC LIMIT 1
""")


@dataclass(frozen=True)
class ErrorGroup:
    """Jobs whose last attempt failed for the same reason, and which are not resolved."""

    fingerprint: str  # 12 hex digits
    type: str
    error_class: str | None
    place: str  # "" where the error itself shows it
    error: str  # of the latest attempt
    outcome: str
    dead: int  # failed, with an open dead letter
    trying: int  # pending or processing
    attempts: int  # as far back as retention reaches; so are first_seen and per_hour
    first_seen: datetime
    last_seen: datetime
    per_hour: list[int]  # failed attempts in the last HOURS, oldest first


def error_group_name(db: DbSession, fingerprint: str) -> str | None:
    """Such as "KeyError in charge-card"; None if no attempt of the group is kept."""
    row = db.execute(_NAME, {"fingerprint": fingerprint}).first()
    return f"{row.error_class or row.outcome.replace('_', ' ')} in {row.type}" if row else None


def list_error_groups(db: DbSession) -> list[ErrorGroup]:
    """The MAX_ERROR_GROUPS largest, largest first."""
    rows = db.execute(_GROUPS, {"limit": MAX_ERROR_GROUPS}).all()
    groups = [row.fingerprint for row in rows]
    now = db.execute(text("SELECT date_trunc('hour', now(), 'UTC')")).scalar_one()
    counted = {
        (row.fingerprint, row.hour): row.n
        for row in db.execute(_HOURS, {"groups": groups, "hours": HOURS - 1})
    }
    hours = [now - timedelta(hours=HOURS - 1 - i) for i in range(HOURS)]
    return [
        ErrorGroup(
            fingerprint=row.fingerprint, type=row.type, error_class=row.error_class,
            place="" if row.outcome == "timed_out" else place_in_traceback(row.traceback or ""), error=row.error or "",
            outcome=row.outcome, dead=row.dead, trying=row.trying,
            attempts=row.attempts, first_seen=row.first_seen, last_seen=row.last_seen,
            per_hour=[counted.get((row.fingerprint, hour), 0) for hour in hours],
        )
        for row in rows
    ]  # fmt: skip
