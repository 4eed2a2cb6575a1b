"""What waits in each queue: due, scheduled, retrying, and for how long."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import text

from app.database import Db, rows_in_order
from app.jobs.models import PENDING, STATUSES
from app.jobs.statistics.count import Count
from app.jobs.statistics.counters import COUNTED, WAITING

#: Jobs of one minute that are counted one by one: a tenth of a second.
SOON_BOUND = 200_000

# Jobs ahead = those of later minutes, by the counters, + those of the present minute, counted in ix_jobs_run_at.
# Due = pending − ahead. One statement: parts that are subtracted must come from one snapshot.
SPLIT = text(f"""
    WITH waiting AS (
        SELECT queue, is_retry, n, minute > date_trunc('minute', now(), 'UTC') AS is_ahead
        FROM ({WAITING}) AS counted),
    soon AS (
        SELECT queue, attempts FROM jobs
        WHERE status = 'pending' AND run_at > now()
          AND run_at < date_trunc('minute', now(), 'UTC') + interval '1 minute'
        ORDER BY run_at LIMIT :bound + 1)
    SELECT 'ahead' AS part, queue, is_retry, sum(n)::bigint AS n
    FROM waiting WHERE is_ahead GROUP BY 2, 3
    UNION ALL
    SELECT 'soon', queue, attempts > 0, count(*) FROM soon GROUP BY 2, 3
    UNION ALL
    SELECT 'tried', queue, true, sum(n)::bigint FROM waiting WHERE is_retry GROUP BY 2
    UNION ALL
    SELECT status, queue, false, sum(n)::bigint FROM ({COUNTED}) AS counted GROUP BY 1, 2
""")
# ix_jobs_claim_order (queue, priority DESC, run_at, id): one lookup per queue and priority, from one
# to the next. min(run_at) by queue would read the whole backlog.
_LANE = """RECURSIVE lane AS (
        (SELECT queue, priority, run_at FROM jobs WHERE status = 'pending' AND hold = 0
         ORDER BY queue, priority DESC, run_at, id LIMIT 1)
        UNION ALL
        SELECT following.* FROM lane CROSS JOIN LATERAL (
            (SELECT queue, priority, run_at FROM jobs
             WHERE status = 'pending' AND hold = 0 AND queue = lane.queue AND priority < lane.priority
             ORDER BY queue, priority DESC, run_at, id LIMIT 1)
            UNION ALL
            (SELECT queue, priority, run_at FROM jobs
             WHERE status = 'pending' AND hold = 0 AND queue > lane.queue
             ORDER BY queue, priority DESC, run_at, id LIMIT 1)
            LIMIT 1) AS following)"""
LANES = text(f"""
    WITH {_LANE}
    SELECT queue, extract(epoch FROM now() - min(run_at))::float8 AS seconds
    FROM (SELECT * FROM lane LIMIT 2000) AS lanes WHERE run_at <= now() GROUP BY 1
""")


# ix_jobs_run_at first: while nothing is due, nothing else is read. A due job that waits at a limit says nothing of the others.
def has_due(age: str) -> str:
    """Whether a job that may be claimed has been due for the interval ``age`` (SQL)."""
    first = "(SELECT run_at FROM jobs WHERE status = 'pending' ORDER BY run_at, id LIMIT 1)"
    return f"""{first} <= now() - {age} AND EXISTS (
    WITH {_LANE}
    SELECT FROM (SELECT run_at FROM lane LIMIT 2000) AS lanes WHERE run_at <= now() - {age})"""


@dataclass(frozen=True)
class Backlog:
    """One queue: jobs by stored status, and what pending is made of."""

    by_status: Counter[str]
    due: Count
    scheduled: Count
    retrying: Count


def backlogs(db: Db) -> dict[str, Backlog]:
    """Queue → its backlog, for every queue that ever had a job.

    Exact, unless more than SOON_BOUND jobs start within the present minute.
    """
    parts: dict[str, Counter[tuple[str, bool]]] = defaultdict(Counter)
    n_soon = 0
    for row in rows_in_order(db, SPLIT, {"bound": SOON_BOUND}):
        parts[row.queue][row.part, row.is_retry] += row.n
        n_soon += row.n if row.part == "soon" else 0
    return {
        queue: _backlog(counted, is_exact=n_soon <= SOON_BOUND) for queue, counted in parts.items()
    }


def _backlog(counted: Counter[tuple[str, bool]], *, is_exact: bool) -> Backlog:
    by_status = Counter({status: counted[status, False] for status in STATUSES})
    scheduled = counted["ahead", False] + counted["soon", False]
    ahead = scheduled + counted["ahead", True] + counted["soon", True]
    # What was not counted as ahead would count as due.
    return Backlog(
        by_status=by_status,
        due=Count(max(by_status[PENDING] - ahead, 0) if is_exact else 0, is_exact),
        scheduled=Count(scheduled, is_exact),
        retrying=Count(counted["tried", True]),
    )


def total(counts: Iterable[Count]) -> Count:
    """The sum, exact if every part is."""
    parts = list(counts)
    return Count(sum(parts), all(part.is_exact for part in parts))


def oldest_waits(db: Db) -> dict[str, float]:
    """Queue → seconds since its oldest due job became due, paused queues included; only queues with such a job."""
    return {row.queue: max(row.seconds, 0.0) for row in rows_in_order(db, LANES)}
