"""What becomes of an attempt whose worker is gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, text

from app.extensions import current_settings
from app.jobs import registry
from app.jobs.lifecycle.attempts import BURY, CRASH, RELEASE, end_attempts
from app.jobs.lifecycle.sql import LEASE_IS_OVER
from app.jobs.publication import Db

_EXPIRED_LEASES = text(f"""
SELECT j.id, j.lease_token, j.type, j.attempts, w.stopping_at IS NOT NULL AS was_stopping
FROM jobs j LEFT JOIN workers w ON w.id = j.worker_id
WHERE j.status = 'processing' AND {LEASE_IS_OVER} ORDER BY j.id LIMIT :limit
FOR UPDATE OF j SKIP LOCKED
""")


def rescue(db: Db, *, limit: int = 500) -> Sequence[Row[Any]]:
    """processing with an expired lease → pending, or failed at the last crash its type allows.

    The crash is counted instead of the attempt. A worker that had announced its shutdown did not
    crash. Returns rows as end_attempts does.
    """
    expired = db.execute(_EXPIRED_LEASES, {"limit": limit}).all()
    if not expired:
        return []
    ends = [stopped(row.type) if row.was_stopping else _crashed(row.type) for row in expired]
    return end_attempts(
        db,
        [
            {"id": row.id.hex, "token": row.lease_token.hex, "only_expired": True, **end}
            for row, end in zip(expired, ends, strict=True)
        ],
    )


def _crashed(type_name: str) -> dict[str, Any]:
    return {
        "verb": CRASH,
        "outcome": "crashed",
        "error": "The worker stopped sending heartbeats while it ran this job.",
        "max_crashes": max_crashes(type_name),
    }


def stopped(type_name: str) -> dict[str, Any]:
    """How an attempt ends whose worker shut down first: verb, outcome and error for end_attempts.

    It is given back; if the type runs at most once, it fails, because it may have had its effect.
    """
    if not _crash_limit(type_name):
        error = "The worker was stopped while it ran this job, which runs at most once."
        return {"verb": BURY, "outcome": "released", "error": error}
    error = "The worker was stopped before this attempt ended."
    return {"verb": RELEASE, "outcome": "released", "error": error}


def max_crashes(type_name: str) -> int:
    """After how many crashes a job of the type fails (its policy, else MAX_CRASHES); at least 1."""
    # 0 means "at most once": the first crash is the last.
    return max(1, _crash_limit(type_name))


def _crash_limit(type_name: str) -> int:
    policy = registry.find(type_name)
    own = policy.max_crashes if policy else None
    return current_settings().max_crashes if own is None else own
