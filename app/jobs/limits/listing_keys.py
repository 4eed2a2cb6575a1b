"""The keys of one limit, those with the most waiting jobs first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Row, text

from app.database import DbSession, rows_in_order
from app.jobs.limits.listing import KeySummary, get_limit
from app.jobs.statistics.count import COUNT_BOUND, Count

#: Keys that are looked at, and waiting jobs of each that are counted at first.
KEYS, FIRST_ROWS = 500, 50
#: Rows that the keys of a page together may read when their jobs are counted.
ROWS = 20_000

# Keys that wait (ix_jobs_at_limit, from one to the next), that have slots (ix_jobs_admitted), and that have a row of their own.
_KEYS = text("""
WITH RECURSIVE k AS (
    (SELECT limit_key FROM jobs WHERE hold = 1 AND limit_name = :name ORDER BY limit_name, limit_key LIMIT 1)
    UNION ALL
    SELECT (SELECT j.limit_key FROM jobs j
            WHERE j.hold = 1 AND j.limit_name = :name AND j.limit_key > k.limit_key
            ORDER BY j.limit_name, j.limit_key LIMIT 1) FROM k WHERE k.limit_key IS NOT NULL),
used AS (
    SELECT limit_key, count(*) FILTER (WHERE status = 'processing') AS running,
           count(*) FILTER (WHERE status = 'pending') AS admitted
    FROM (SELECT limit_key, status FROM jobs
          WHERE limit_name = :name AND limit_name IS NOT NULL AND hold = 0
            AND status IN ('pending', 'processing')
          ORDER BY limit_name, limit_key LIMIT :rows) AS u GROUP BY 1),
own AS (
    SELECT * FROM limit_keys WHERE limit_name = :name
      AND (concurrency IS NOT NULL OR paused_at IS NOT NULL OR blocked_until > now())
    ORDER BY limit_name, key LIMIT :keys),
names AS (
    SELECT limit_key AS key FROM (SELECT limit_key FROM k LIMIT :keys) AS few WHERE limit_key IS NOT NULL
    UNION SELECT limit_key FROM used UNION SELECT key FROM own)
SELECT n.key, COALESCE(u.running, 0) AS running, COALESCE(u.admitted, 0) AS admitted,
       w.n AS waiting, extract(epoch FROM now() - w.first)::float8 AS wait,
       o.concurrency, CASE WHEN o.blocked_until > now() THEN o.blocked_until END AS blocked,
       o.paused_at, o.paused_by
FROM names n LEFT JOIN used u ON u.limit_key = n.key LEFT JOIN own o ON o.key = n.key
CROSS JOIN LATERAL (
    SELECT count(*) AS n, min(run_at) AS first
    FROM (SELECT run_at FROM jobs WHERE hold = 1 AND limit_name = :name AND limit_key = n.key
          ORDER BY limit_name, limit_key, priority DESC, run_at, id LIMIT :first) AS few) AS w
""")
_KEY = text("""
SELECT n.key, u.running, u.admitted, w.n AS waiting, extract(epoch FROM now() - w.first)::float8 AS wait,
       o.concurrency, CASE WHEN o.blocked_until > now() THEN o.blocked_until END AS blocked,
       o.paused_at, o.paused_by
FROM (SELECT CAST(:key AS text) AS key) AS n
LEFT JOIN limit_keys o ON o.limit_name = :name AND o.key = n.key
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE status = 'processing') AS running,
           count(*) FILTER (WHERE status = 'pending') AS admitted
    FROM (SELECT status FROM jobs
          WHERE limit_name = :name AND limit_key = n.key AND limit_name IS NOT NULL AND hold = 0
            AND status IN ('pending', 'processing')
          ORDER BY limit_name, limit_key LIMIT :bound) AS few) AS u
CROSS JOIN LATERAL (
    SELECT count(*) AS n, min(run_at) AS first
    FROM (SELECT run_at FROM jobs WHERE hold = 1 AND limit_name = :name AND limit_key = n.key
          ORDER BY limit_name, limit_key, priority DESC, run_at, id LIMIT :bound) AS few) AS w
""")
_COUNT = text("""
SELECT k.key, w.n, extract(epoch FROM now() - w.first)::float8 AS wait
FROM unnest(CAST(:these AS text[])) AS k(key)
CROSS JOIN LATERAL (
    SELECT count(*) AS n, min(run_at) AS first
    FROM (SELECT run_at FROM jobs WHERE hold = 1 AND limit_name = :name AND limit_key = k.key
          ORDER BY limit_name, limit_key, priority DESC, run_at, id LIMIT :bound) AS few) AS w
""")


def list_keys(db: DbSession, name: str, *, limit: int = 100) -> list[KeySummary]:
    """The keys of the limit with the most waiting jobs, then those with the most running ones; at most ``limit``.

    Of KEYS keys that wait, by name, those with slots, and those with numbers or pauses of their own. Raises LimitNotFound.
    """
    get_limit(db, name)
    values = {"name": name, "keys": KEYS, "rows": COUNT_BOUND, "first": FIRST_ROWS}
    keys = [_summary(row, FIRST_ROWS) for row in rows_in_order(db, _KEYS, values)]
    return _by_waiting(_counted(db, name, _by_waiting(keys)[:limit]))


def get_key(db: DbSession, name: str, key: str) -> KeySummary:
    """One key of the limit, whether or not it has jobs."""
    [row] = rows_in_order(db, _KEY, {"name": name, "key": key, "bound": COUNT_BOUND})
    return _summary(row, COUNT_BOUND)


def _counted(db: DbSession, name: str, keys: list[KeySummary]) -> list[KeySummary]:
    many = [key.key for key in keys if not key.waiting.is_exact]
    if not many:
        return keys
    bound = min(COUNT_BOUND, max(FIRST_ROWS, ROWS // len(many)))
    counts = {
        row.key: row
        for row in rows_in_order(db, _COUNT, {"name": name, "these": many, "bound": bound})
    }
    return [
        replace(key, waiting=Count(row.n, row.n < bound), oldest_wait_seconds=row.wait)
        if (row := counts.get(key.key))
        else key
        for key in keys
    ]


def _summary(row: Row[Any], bound: int) -> KeySummary:
    return KeySummary(
        key=row.key,
        running=row.running,
        admitted=row.admitted,
        waiting=Count(row.waiting, row.waiting < bound),
        oldest_wait_seconds=row.wait,
        concurrency=row.concurrency,
        blocked_until=row.blocked,
        paused_at=row.paused_at,
        paused_by=row.paused_by,
    )


def _by_waiting(keys: list[KeySummary]) -> list[KeySummary]:
    return sorted(keys, key=lambda k: (-int(k.waiting), -k.running, k.key))
