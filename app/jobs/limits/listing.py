"""Limits and their keys as they are now: what runs, what waits, and for how long.

Every count has a bound, so that a million waiting jobs cost no more than ten thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from app.database import DbSession, rows_in_order
from app.jobs.limits.definition import RESERVED, Definition
from app.jobs.limits.numbers import definition_of
from app.jobs.limits.store import not_found
from app.jobs.statistics.count import COUNT_BOUND, Count

#: Rows that the counts of all limits together read, and the least for one; the same for keys.
ROWS, MIN_ROWS = 20_000, 500
KEYS, MIN_KEYS = 4_000, 100
MAX_KEYS = 1_000
#: Due jobs, the oldest first, among which the oldest of each limit is looked for if not all were counted.
OLDEST = 10_000


@dataclass(frozen=True)
class Move:
    """The backlog of a type, queue or limit that is being moved under its limit, or out of one."""

    kind: str  # queue, type, limit
    name: str
    done: int  # jobs so far
    started_at: datetime


@dataclass(frozen=True)
class LimitSummary:
    """One limit. ``definition`` is what code or the API set, ``effective`` what holds with the operator's numbers."""

    name: str
    source: str  # code, api
    definition: Definition
    effective: Definition
    override: dict[str, Any]  # by column; empty: none
    overridden_by: str | None
    overridden_at: datetime | None
    types: list[str]
    queues: list[str]
    running: int
    admitted: int  # may start, and have not yet
    waiting: Count
    keys_waiting: Count
    oldest_wait_seconds: (
        float | None
    )  # of the waiting job that is due for the longest; None if none waits
    blocked_until: datetime | None  # in the future: closed by a Throttle
    paused_at: datetime | None
    paused_by: str | None
    moves: list[Move]

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None

    @property
    def is_used(self) -> bool:
        """Whether a type or a queue is under it."""
        return bool(self.types or self.queues)


@dataclass(frozen=True)
class KeySummary:
    """One key of a limit."""

    key: str
    running: int
    admitted: int
    waiting: Count
    oldest_wait_seconds: float | None  # of the jobs that were counted
    concurrency: int | None  # its own, instead of the limit's
    blocked_until: datetime | None
    paused_at: datetime | None
    paused_by: str | None

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None


# Each LATERAL reads the first rows of one partial index, in its order: ix_jobs_admitted, ix_jobs_at_limit (twice).
_LIMITS = text("""
SELECT l.*, CASE WHEN l.blocked_until > now() THEN l.blocked_until END AS blocked, used.running, used.admitted,
       waiting.n AS waiting, extract(epoch FROM now() - waiting.first)::float8 AS wait, keys.n AS keys
FROM limits l
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE status = 'processing') AS running,
           count(*) FILTER (WHERE status = 'pending') AS admitted
    FROM (SELECT status FROM jobs
          WHERE limit_name = l.name AND limit_name IS NOT NULL AND hold = 0
            AND status IN ('pending', 'processing')
          ORDER BY limit_name, limit_key LIMIT :rows) AS u) AS used
CROSS JOIN LATERAL (
    SELECT count(*) AS n, min(run_at) AS first
    FROM (SELECT run_at FROM jobs WHERE hold = 1 AND limit_name = l.name
          ORDER BY limit_name, limit_key, priority DESC, run_at, id LIMIT :rows) AS w) AS waiting
CROSS JOIN LATERAL (
    WITH RECURSIVE k AS (
        (SELECT limit_key FROM jobs WHERE hold = 1 AND limit_name = l.name
         ORDER BY limit_name, limit_key LIMIT 1)
        UNION ALL
        SELECT (SELECT j.limit_key FROM jobs j
                WHERE j.hold = 1 AND j.limit_name = l.name AND j.limit_key > k.limit_key
                ORDER BY j.limit_name, j.limit_key LIMIT 1) FROM k WHERE k.limit_key IS NOT NULL)
    SELECT count(limit_key) AS n FROM (SELECT limit_key FROM k LIMIT :keys) AS few) AS keys
WHERE l.name <> ALL(:reserved) AND (CAST(:name AS text) IS NULL OR l.name = :name)
ORDER BY l.name
""")
_N = text("SELECT count(*) FROM limits")
# ix_jobs_run_at
_OLDEST = text("""
SELECT limit_name, extract(epoch FROM now() - min(run_at))::float8 AS wait
FROM (SELECT limit_name, hold, run_at FROM jobs WHERE status = 'pending'
      ORDER BY run_at, id LIMIT :oldest) AS first
WHERE hold = 1 GROUP BY 1
""")
_USES = text("SELECT kind, name, limit_name FROM limit_attachments ORDER BY name")
_MOVES = text("""
SELECT m.kind, m.name, m.done, m.started_at, COALESCE(a.limit_name, m.name) AS limit_name
FROM limit_moves m LEFT JOIN limit_attachments a ON a.kind = m.kind AND a.name = m.name
ORDER BY m.started_at, m.name
""")


def list_limits(db: DbSession) -> list[LimitSummary]:
    """Every limit, by name."""
    n = max(1, db.execute(_N).scalar_one())
    return _summaries(db, None, rows=max(MIN_ROWS, ROWS // n), keys=max(MIN_KEYS, KEYS // n))


def get_limit(db: DbSession, name: str) -> LimitSummary:
    """One limit. Raises LimitNotFound."""
    for summary in _summaries(db, name, rows=COUNT_BOUND, keys=MAX_KEYS):
        return summary
    raise not_found(db, name)


def _summaries(db: DbSession, name: str | None, *, rows: int, keys: int) -> list[LimitSummary]:
    rows, keys = min(rows, COUNT_BOUND), min(keys, MAX_KEYS)
    values = {"rows": rows, "keys": keys, "name": name, "reserved": list(RESERVED)}
    limits = rows_in_order(db, _LIMITS, values)
    waits: dict[str, float] = {}
    if any(limit.waiting == rows for limit in limits):
        waits = {row.limit_name: row.wait for row in rows_in_order(db, _OLDEST, {"oldest": OLDEST})}
    uses, moves = db.execute(_USES).all(), db.execute(_MOVES).all()
    return [
        _summary(row, Count(row.waiting, row.waiting < rows), Count(row.keys, row.keys < keys),
                 waits.get(row.name), uses, moves)
        for row in limits
    ]  # fmt: skip


def _summary(
    row: Row[Any],
    waiting: Count,
    keys: Count,
    wait: float | None,
    uses: Sequence[Row[Any]],
    moves: Sequence[Row[Any]],
) -> LimitSummary:
    columns = row._mapping
    waits = [seconds for seconds in (row.wait, wait) if seconds is not None]
    return LimitSummary(
        name=row.name,
        source=row.source,
        definition=definition_of(row.name, dict(columns)),
        effective=definition_of(row.name, {**columns, **row.override}),
        override=row.override,
        overridden_by=row.overridden_by,
        overridden_at=row.overridden_at,
        types=[u.name for u in uses if u.kind == "type" and u.limit_name == row.name],
        queues=[u.name for u in uses if u.kind == "queue" and u.limit_name == row.name],
        running=row.running,
        admitted=row.admitted,
        waiting=waiting,
        keys_waiting=keys,
        oldest_wait_seconds=max(0.0, *waits) if waits else None,
        blocked_until=row.blocked,
        paused_at=row.paused_at,
        paused_by=row.paused_by,
        moves=[
            Move(m.kind, m.name, m.done, m.started_at) for m in moves if m.limit_name == row.name
        ],
    )
