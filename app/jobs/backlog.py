"""What waits in each queue: due, scheduled, retrying, and for how long."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import text

from app.jobs.count import COUNT_BOUND, Count
from app.jobs.counters import COUNTED
from app.jobs.models import PENDING, STATUSES
from app.jobs.sessions import Database, rows_in_order

# ix_jobs_due, twice: the farthest ahead, and back from now. What is ahead is seldom much, so
# "due = pending (by the counters) − ahead" is exact for a backlog of any length. One statement:
# parts that are subtracted must come from one snapshot.
SPLIT = text(f"""
    WITH ahead AS (
        SELECT queue, attempts FROM jobs WHERE status = 'pending' AND run_at > now()
        ORDER BY run_at DESC LIMIT :bound + 1),
    due AS (
        SELECT queue, attempts FROM jobs WHERE status = 'pending' AND run_at <= now()
        ORDER BY run_at DESC LIMIT :bound + 1)
    SELECT 'ahead' AS part, queue, attempts > 0 AS is_retry, count(*) AS n
    FROM ahead GROUP BY 2, 3
    UNION ALL
    SELECT 'due', queue, attempts > 0, count(*) FROM due GROUP BY 2, 3
    UNION ALL
    SELECT status, queue, false, sum(n)::bigint FROM ({COUNTED}) AS counted GROUP BY 1, 2
""")
# ix_jobs_claim_order (queue, priority DESC, run_at, id): one look per queue and priority, from lane
# to lane. min(run_at) by queue would read the whole backlog.
LANES = text("""
    WITH RECURSIVE lane AS (
        (SELECT queue, priority, run_at FROM jobs WHERE status = 'pending'
         ORDER BY queue, priority DESC, run_at, id LIMIT 1)
        UNION ALL
        SELECT following.* FROM lane CROSS JOIN LATERAL (
            (SELECT queue, priority, run_at FROM jobs
             WHERE status = 'pending' AND queue = lane.queue AND priority < lane.priority
             ORDER BY queue, priority DESC, run_at, id LIMIT 1)
            UNION ALL
            (SELECT queue, priority, run_at FROM jobs
             WHERE status = 'pending' AND queue > lane.queue
             ORDER BY queue, priority DESC, run_at, id LIMIT 1)
            LIMIT 1) AS following)
    SELECT queue, extract(epoch FROM now() - min(run_at))::float8 AS seconds
    FROM (SELECT * FROM lane LIMIT 2000) AS lanes WHERE run_at <= now() GROUP BY 1
""")


@dataclass(frozen=True)
class Backlog:
    """One queue: jobs by stored status, exact, and what pending is made of, as far as counted."""

    by_status: Counter[str]
    due: Count
    scheduled: Count
    retrying: Count


def backlogs(db: Database) -> dict[str, Backlog]:
    """Queue → its backlog, for every queue that ever had a job."""
    parts: dict[str, Counter[tuple[str, bool]]] = defaultdict(Counter)
    looked_at: Counter[str] = Counter()
    for row in rows_in_order(db, SPLIT, {"bound": COUNT_BOUND}):
        parts[row.queue][row.part, row.is_retry] += row.n
        looked_at[row.part] += row.n
    return {
        queue: _backlog(
            counted,
            is_ahead_exact=looked_at["ahead"] <= COUNT_BOUND,
            is_due_exact=looked_at["due"] <= COUNT_BOUND,
        )
        for queue, counted in parts.items()
    }


def _backlog(
    counted: Counter[tuple[str, bool]], *, is_ahead_exact: bool, is_due_exact: bool
) -> Backlog:
    by_status = Counter({status: counted[status, False] for status in STATUSES})
    ahead = counted["ahead", False] + counted["ahead", True]
    due = Count(counted["due", False] + counted["due", True], is_due_exact)
    return Backlog(
        by_status=by_status,
        due=Count(max(by_status[PENDING] - ahead, 0)) if is_ahead_exact else due,
        scheduled=Count(counted["ahead", False], is_ahead_exact),
        retrying=Count(
            counted["ahead", True] + counted["due", True], is_ahead_exact and is_due_exact
        ),
    )


def total(counts: Iterable[Count]) -> Count:
    """The sum, exact if every part is."""
    parts = list(counts)
    return Count(sum(parts), all(one.is_exact for one in parts))


def oldest_waits(db: Database) -> dict[str, float]:
    """Queue → seconds since its oldest due job was due, paused queues too; only queues with one."""
    return {row.queue: max(row.seconds, 0.0) for row in rows_in_order(db, LANES)}
