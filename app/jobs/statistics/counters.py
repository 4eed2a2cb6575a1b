"""Counters and time series: what the triggers on ``jobs`` write, folded, read, checked.

A trigger appends deltas in the transaction of the change, so base + deltas, read in one statement,
is exact at every instant. fold() only moves deltas into the base. The series by type, with its
histograms, is kept per minute for two hours and per hour after that (``minute`` is then the start of
the hour); the number of attempts by outcome is kept per minute throughout, in job_minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, text

from app.database import Db
from app.jobs.models import STATUSES

#: Past this age the series is kept per hour. Compaction waits an hour longer than fold, so that
#: the two never lock the same rows in a different order.
MINUTES_KEPT = "2 hours"
COMPACTED_AFTER = "3 hours"
SERIES_DAYS = 7

#: Whether fold() has anything to do.
HAS_DELTAS = """
(EXISTS (SELECT FROM job_counter_deltas) OR EXISTS (SELECT FROM job_series_deltas)
 OR EXISTS (SELECT FROM job_waiting_deltas))
"""
# FOLD_*: ordered, since two that upsert in different order would deadlock; SKIP LOCKED, so that
# concurrent ones share the work instead of waiting.
FOLD_COUNTERS = text("""
    WITH taken AS (
        DELETE FROM job_counter_deltas WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM job_counter_deltas LIMIT :limit FOR UPDATE SKIP LOCKED))
        RETURNING queue, type, status, n),
    folded AS (
        INSERT INTO job_counters AS c (queue, type, status, n)
        SELECT queue, type, status, sum(n) FROM taken GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (queue, type, status) DO UPDATE SET n = c.n + excluded.n)
    SELECT count(*) FROM taken
""")
FOLD_SERIES = text(f"""
    WITH taken AS (
        DELETE FROM job_series_deltas WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM job_series_deltas LIMIT :limit FOR UPDATE SKIP LOCKED))
        RETURNING *),
    folded AS (
        INSERT INTO job_series AS s (minute, type, outcome, run_bucket, wait_bucket, n)
        SELECT CASE WHEN minute < now() - interval '{MINUTES_KEPT}'
                    THEN date_trunc('hour', minute, 'UTC') ELSE minute END,
               type, outcome, run_bucket, wait_bucket, sum(n)
        FROM taken GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT (minute, type, outcome, run_bucket, wait_bucket)
        DO UPDATE SET n = s.n + excluded.n),
    by_minute AS (
        INSERT INTO job_minutes AS m (minute, outcome, n)
        SELECT minute, outcome, sum(n) FROM taken GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (minute, outcome) DO UPDATE SET n = m.n + excluded.n)
    SELECT count(*) FROM taken
""")
FOLD_WAITING = text("""
    WITH taken AS (
        DELETE FROM job_waiting_deltas WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM job_waiting_deltas LIMIT :limit FOR UPDATE SKIP LOCKED))
        RETURNING queue, is_retry, minute, n),
    folded AS (
        INSERT INTO job_waiting AS w (queue, is_retry, minute, n)
        SELECT queue, is_retry, minute, sum(n) FROM taken GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (queue, is_retry, minute) DO UPDATE SET n = w.n + excluded.n)
    SELECT count(*) FROM taken
""")
# Past minutes whose jobs have all started.
PRUNE_WAITING = text("""
    DELETE FROM job_waiting WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM job_waiting WHERE n = 0 AND minute < now() - interval '1 hour'
        ORDER BY queue, is_retry, minute LIMIT :limit FOR UPDATE SKIP LOCKED))
""")
IS_OVERDUE = text("""
    SELECT current_setting('transaction_read_only') = 'off'
       AND (EXISTS (SELECT FROM job_counter_deltas OFFSET :limit)
            OR EXISTS (SELECT FROM job_series_deltas OFFSET :limit)
            OR EXISTS (SELECT FROM job_waiting_deltas OFFSET :limit))
""")
PRUNE_SERIES = text("""
    WITH old_minutes AS (
        DELETE FROM job_minutes WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM job_minutes WHERE minute < now() - make_interval(days => :days)
            ORDER BY minute, outcome LIMIT :limit FOR UPDATE SKIP LOCKED))),
    gone AS (
        DELETE FROM job_series WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM job_series WHERE minute < now() - make_interval(days => :days)
            ORDER BY minute LIMIT :limit FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
""")
COMPACT_SERIES = text(f"""
    WITH taken AS (
        DELETE FROM job_series WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM job_series
            WHERE minute < now() - interval '{COMPACTED_AFTER}'
              AND minute >= now() - interval '1 day'
              AND minute <> date_trunc('hour', minute, 'UTC')
            ORDER BY minute LIMIT :limit FOR UPDATE SKIP LOCKED))
        RETURNING *),
    folded AS (
        INSERT INTO job_series AS s (minute, type, outcome, run_bucket, wait_bucket, n)
        SELECT date_trunc('hour', minute, 'UTC'), type, outcome, run_bucket, wait_bucket, sum(n)
        FROM taken GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT (minute, type, outcome, run_bucket, wait_bucket)
        DO UPDATE SET n = s.n + excluded.n)
    SELECT count(*) FROM taken
""")
# One statement, so one snapshot: what other transactions are writing is in neither or in both.
COUNTED = """
    SELECT queue, type, status, sum(n)::bigint AS n FROM (
        SELECT queue, type, status, n FROM job_counters
        UNION ALL
        SELECT queue, type, status, n FROM job_counter_deltas) AS parts
    GROUP BY 1, 2, 3
"""
#: Jobs that were scheduled when written, or were tried before: by queue and the minute in which they start.
WAITING = """
    SELECT queue, is_retry, minute, sum(n)::bigint AS n FROM (
        SELECT queue, is_retry, minute, n FROM job_waiting
        UNION ALL
        SELECT queue, is_retry, minute, n FROM job_waiting_deltas) AS parts
    GROUP BY 1, 2, 3
"""
# As the triggers tr_jobs_wait_… do it.
COMPARE_WAITING = f"""
    SELECT queue, is_retry, minute, coalesce(c.n, 0) AS counted, coalesce(a.n, 0) AS actual
    FROM ({WAITING}) AS c
    FULL JOIN (
        SELECT queue, attempts > 0 AS is_retry,
               CASE WHEN run_at > updated_at THEN date_trunc('minute', run_at, 'UTC') ELSE '-infinity' END AS minute,
               count(*) AS n
        FROM jobs WHERE status = 'pending' AND (attempts > 0 OR run_at > updated_at) GROUP BY 1, 2, 3) AS a
    USING (queue, is_retry, minute)
    WHERE coalesce(c.n, 0) <> coalesce(a.n, 0)
    ORDER BY 1, 2, 3
"""
_WAITING_DRIFT = """
    SELECT queue, CASE WHEN is_retry THEN 'retrying' ELSE 'scheduled' END AS type,
           'waiting for ' || minute AS status, counted, actual
"""
REPAIR_WAITING = f"""
    WITH drift AS ({COMPARE_WAITING}),
    repaired AS (
        INSERT INTO job_waiting_deltas (queue, is_retry, minute, n)
        SELECT queue, is_retry, minute, actual - counted FROM drift)
    {_WAITING_DRIFT} FROM drift
"""
COMPARE = f"""
    SELECT queue, type, status, coalesce(c.n, 0) AS counted, coalesce(a.n, 0) AS actual
    FROM ({COUNTED}) AS c
    FULL JOIN (SELECT queue, type, status, count(*) AS n FROM jobs GROUP BY 1, 2, 3) AS a
    USING (queue, type, status)
    WHERE coalesce(c.n, 0) <> coalesce(a.n, 0)
    ORDER BY 1, 2, 3
"""
REPAIR = f"""
    WITH drift AS ({COMPARE}),
    repaired AS (
        INSERT INTO job_counter_deltas (queue, type, status, n)
        SELECT queue, type, status, actual - counted FROM drift)
    SELECT * FROM drift
"""


@dataclass(frozen=True)
class CounterDrift:
    """A counter that differs from the table."""

    queue: str
    type: str
    status: str
    counted: int
    actual: int


@dataclass(frozen=True)
class Drift:
    """The result of a check: no rows if all counters are exact."""

    rows: list[CounterDrift]
    is_fixed: bool

    @property
    def is_clean(self) -> bool:
        return not self.rows


def status_counts(db: Db) -> dict[str, int]:
    """Status → number of jobs, all five statuses, exact."""
    result = db.execute(
        text(f"SELECT status, sum(n)::bigint FROM ({COUNTED}) AS all_counts GROUP BY 1")
    )
    counts = {status: int(n) for status, n in result}
    return {status: counts.get(status, 0) for status in STATUSES}


def count(
    db: Db, *, queue: str | None = None, type: str | None = None, status: str | None = None
) -> int:
    """How many jobs have that queue, type and status (None: any), exact."""
    result = db.execute(
        text(f"""
            SELECT coalesce(sum(n), 0)::bigint FROM ({COUNTED}) AS all_counts
            WHERE (:queue IS NULL OR queue = :queue) AND (:type IS NULL OR type = :type)
              AND (:status IS NULL OR status = :status)
        """),
        {"queue": queue, "type": type, "status": status},
    )
    return int(result.scalar_one())


def fold(db: Db, limit: int = 20_000) -> int:
    """Move up to ``limit`` deltas of each kind into the base; returns how many, 0 when none are left.

    Safe in several processes at once; the caller commits soon.
    """
    statements = (FOLD_COUNTERS, FOLD_SERIES, FOLD_WAITING)
    return sum(
        int(db.execute(statement, {"limit": limit}).scalar_one()) for statement in statements
    )


def fold_if_overdue(engine: Engine, limit: int = 20_000) -> int:
    """Fold in a transaction of its own if more than ``limit`` deltas of a kind are waiting; returns how many.

    For the web: while no sweeper runs, deltas accumulate and every read of the counters gets slower.
    """
    with engine.begin() as connection:
        if not connection.execute(IS_OVERDUE, {"limit": limit}).scalar_one():
            return 0
        return fold(connection, limit)


def check(db: Db, *, fix: bool = False) -> Drift:
    """Compare the counters with count(*) in one snapshot; ``fix`` adds the difference.

    Reads the whole table (seconds with millions of jobs) and blocks nobody. The caller commits.
    """
    if not fix:
        waiting = f"{_WAITING_DRIFT} FROM ({COMPARE_WAITING}) AS drift"
        return _drift(db, COMPARE, waiting, is_fixed=False)
    # Two repairs at once would both add the same difference. The lock is a statement of its own,
    # since the snapshot of the next one must be taken after it is held.
    db.execute(text("SELECT pg_advisory_xact_lock(hashtext('job_counters.check'))"))
    return _drift(db, REPAIR, REPAIR_WAITING, is_fixed=True)


def _drift(db: Db, *statements: str, is_fixed: bool) -> Drift:
    rows = [
        CounterDrift(**row)
        for statement in statements
        for row in db.execute(text(statement)).mappings()
    ]
    return Drift(rows, is_fixed=is_fixed)


def prune_series(db: Db, limit: int = 20_000) -> int:
    """Delete series older than SERIES_DAYS, and merge minutes of some hours ago into hours.

    At most ``limit`` rows of each; returns how many, 0 when there is nothing left to do.
    Safe if two run. The caller commits.
    """
    pruned = db.execute(PRUNE_SERIES, {"limit": limit, "days": SERIES_DAYS}).scalar_one()
    db.execute(PRUNE_WAITING, {"limit": limit})
    return int(pruned + db.execute(COMPACT_SERIES, {"limit": limit}).scalar_one())
