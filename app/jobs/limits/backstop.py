"""What the leader looks for each second, in case a hint was lost: jobs that wait at a limit, and what is due under one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from app.database import Db
from app.jobs import lifecycle
from app.jobs.holds import AT_LIMIT, LIMITED_LATER

CHUNK = 500
#: Limits that one round looks at.
LIMITS = 100

# ix_jobs_at_limit, ix_jobs_limited_later
#: Whether a job waits at a limit, or has come due under one.
HAS_WAITING = f"""
((SELECT limit_name FROM jobs WHERE hold = {AT_LIMIT} ORDER BY limit_name LIMIT 1) IS NOT NULL
 OR (SELECT run_at FROM jobs WHERE hold = {LIMITED_LATER} ORDER BY run_at LIMIT 1) <= now())
"""

#: ix_jobs_at_limit: from one limit to the next.
_WAITING_LIMITS = text(f"""
WITH RECURSIVE k AS (
    (SELECT limit_name FROM jobs WHERE hold = {AT_LIMIT} AND limit_name > :after ORDER BY limit_name LIMIT 1)
    UNION ALL
    SELECT (SELECT j.limit_name FROM jobs j WHERE j.hold = {AT_LIMIT} AND j.limit_name > k.limit_name
            ORDER BY j.limit_name LIMIT 1)
    FROM k WHERE k.limit_name IS NOT NULL)
SELECT k.limit_name, l.name IS NOT NULL AS is_known
FROM k LEFT JOIN limits l ON l.name = k.limit_name WHERE k.limit_name IS NOT NULL LIMIT :limit
""")
_LEFT_BEHIND = text(
    f"SELECT id FROM jobs WHERE hold = {AT_LIMIT} AND limit_name = :name LIMIT {CHUNK}"
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a round found."""

    limits: list[str]  # at which jobs wait
    released: Sequence[Row[Any]]  # jobs of limits that are gone, with the columns REF
    last: str  # where the next round goes on; "" at the beginning
    count: int  # jobs that changed


def look(db: Db, *, after: str) -> Found:
    """One round: let due jobs wait at their limits, and find limits with waiting jobs; the caller commits."""
    due = lifecycle.all_come_due(db)
    rows = db.execute(_WAITING_LIMITS, {"after": after, "limit": LIMITS}).all()
    released: list[Row[Any]] = []
    for row in rows:
        if not row.is_known:
            ids: list[UUID] = list(db.scalars(_LEFT_BEHIND, {"name": row.limit_name}))
            released += lifecycle.assign(db, ids)
    return Found(
        [row.limit_name for row in rows if row.is_known],
        released,
        rows[-1].limit_name if len(rows) == LIMITS else "",
        due + len(released),
    )


def waiting_limits(db: Db) -> list[str]:
    """Names of limits at which jobs wait, the first LIMITS."""
    return list(db.scalars(_WAITING_LIMITS, {"after": "", "limit": LIMITS}))
