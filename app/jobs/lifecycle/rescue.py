"""What happens to an attempt whose worker is gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Row, text

from app.database import Db
from app.extensions import current_settings
from app.jobs import registry
from app.jobs.ending import BURY, CRASH, RELEASE, AttemptError, Ending, Held
from app.jobs.lifecycle.attempts import end_attempts
from app.jobs.lifecycle.sql import LEASE_IS_OVER

_EXPIRED_LEASES = text(f"""
SELECT j.id, j.lease_token AS token, j.type, j.attempts AS attempt, j.max_attempts, j.limit_name,
       w.stopping_at IS NOT NULL AS was_stopping
FROM jobs j LEFT JOIN workers w ON w.id = j.worker_id
WHERE j.status = 'processing' AND {LEASE_IS_OVER} ORDER BY j.id LIMIT :limit
FOR UPDATE OF j SKIP LOCKED
""")

_SILENT = "The worker stopped sending heartbeats while it ran this job."
_STOPPED = "The worker was stopped before this attempt ended."
_STOPPED_ONCE = "The worker was stopped while it ran this job, which runs at most once."


def rescue(db: Db, *, limit: int = 500) -> Sequence[Row[Any]]:
    """processing with an expired lease → pending, or failed at the last crash its type allows.

    The crash is counted instead of the attempt. A worker that had announced its shutdown did not
    crash. Returns rows as end_attempts does.
    """
    expired = db.execute(_EXPIRED_LEASES, {"limit": limit}).all()
    if not expired:
        return []
    ends = [stopped(row) if row.was_stopping else crashed(row, _SILENT) for row in expired]
    return end_attempts(db, [replace(end, only_expired=True) for end in ends])


def crashed(job: Held, text: str) -> Ending:
    """The end of an attempt that took its process with it; counted as a crash."""
    reason = AttemptError.sentence(text)
    limit = max_crashes(job.type)
    return Ending(job, CRASH, outcome="crashed", error=reason, max_crashes=limit)


def stopped(job: Held) -> Ending:
    """The end of an attempt whose worker shut down first.

    The job goes back to pending; if its type runs at most once, it fails, because it may have had its effect.
    """
    is_once = not _crash_limit(job.type)
    reason = AttemptError(_STOPPED_ONCE if is_once else _STOPPED)
    return Ending(job, BURY if is_once else RELEASE, outcome="released", error=reason)


def max_crashes(type_name: str) -> int:
    """After how many crashes a job of the type fails (its policy, else MAX_CRASHES); at least 1."""
    # 0 means "at most once": the first crash is the last.
    return max(1, _crash_limit(type_name))


def _crash_limit(type_name: str) -> int:
    policy = registry.find(type_name)
    own = policy.max_crashes if policy else None
    return current_settings().max_crashes if own is None else own
