"""What time does to jobs: expire, give up, prune."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text

from app.database import Db
from app.jobs.lifecycle.sql import IS_LOCKED, locked

# ix_jobs_expires
#: Whether expire() has anything to do.
HAS_EXPIRED = """
(SELECT expires_at FROM jobs WHERE status = 'pending' AND expires_at IS NOT NULL
 ORDER BY expires_at LIMIT 1) <= now()
"""
_EXPIRED = locked(
    "SELECT id FROM jobs WHERE status = 'pending' AND expires_at IS NOT NULL AND expires_at <= now()",
    limit=":limit",
    skip_locked=True,
)
_EXPIRE = text(f"""
WITH {_EXPIRED}
UPDATE jobs SET status = 'cancelled', hold = 0, finished_at = now(), updated_at = now(),
    fingerprint = NULL, last_error = 'Expired before it could start.'
WHERE {IS_LOCKED} AND status || '' = 'pending'
RETURNING id
""")


def expire(db: Db, *, limit: int = 500) -> int:
    """pending past its expires_at → cancelled; returns how many."""
    return len(db.scalars(_EXPIRE, {"limit": limit}).all())


_UNKNOWN = locked(
    """
    SELECT id FROM jobs WHERE type = :type AND status = 'pending'
      AND run_at <= now() - make_interval(secs => :seconds)
    """,
    limit=":limit",
    skip_locked=True,
)
_GIVE_UP = text(f"""
WITH {_UNKNOWN},
ended AS (
    UPDATE jobs SET status = 'failed', hold = 0, finished_at = now(), updated_at = now(),
        last_error = CAST(:error AS text),
        fingerprint = left(md5(concat_ws(chr(10), type, 'UnknownJobType', '')), 12)
    WHERE {IS_LOCKED} AND status || '' = 'pending'
    RETURNING id, queue, type, payload, attempts, fingerprint, last_error),
attempt_rows AS (
    INSERT INTO job_attempts (job_id, lease_token, attempt, outcome, error, error_class, fingerprint, started_at)
    SELECT id, gen_random_uuid(), attempts + 1, 'failed', last_error, 'UnknownJobType', fingerprint, now()
    FROM ended)
INSERT INTO dead_letters (job_id, queue, type, payload, reason, attempts)
SELECT id, queue, type, payload, last_error, attempts FROM ended
RETURNING job_id
""")


def give_up(db: Db, type_name: str, *, seconds: float, limit: int = 500) -> int:
    """pending, due for ``seconds``, of a type that no worker knows → failed + dead letter; returns how many."""
    error = (
        f"No worker knew the type {type_name} for {seconds / 3600:g} hours (UNKNOWN_TYPE_HOURS)."
    )
    values = {"type": type_name, "seconds": seconds, "limit": limit, "error": error}
    return len(db.scalars(_GIVE_UP, values).all())


_PRUNABLE = locked(
    """
    SELECT id FROM jobs j WHERE id > :after AND id < :before
      AND (status IN ('completed', 'cancelled')
           OR status = 'failed' AND NOT EXISTS (
               SELECT 1 FROM dead_letters l WHERE l.job_id = j.id AND l.closed_at IS NULL))
      AND finished_at < now() - make_interval(secs => :seconds)
    """,
    limit=":limit",
    skip_locked=True,
)
_PRUNE = text(f"""
WITH {_PRUNABLE}
DELETE FROM jobs WHERE {IS_LOCKED} RETURNING id
""")


def prune(db: Db, *, after: UUID, before: UUID, seconds: float, limit: int = 1000) -> list[UUID]:
    """completed, cancelled, or failed without an open dead letter, for longer than ``seconds`` → ∅.

    Only ids between the two bounds; returns the deleted ids in order. A failed job with an open
    dead letter waits for a person. Ids are in order of time: the bounds keep the scan from reading
    retained rows again and again.
    """
    rows = db.scalars(
        _PRUNE, {"after": after, "before": before, "seconds": seconds, "limit": limit}
    )
    return sorted(rows)
