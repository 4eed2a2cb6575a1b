"""How many jobs of each queue wait at which limit."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from app.database import Db
from app.jobs.limits.definition import RESERVED
from app.jobs.statistics.count import Count

#: Waiting jobs that are read, of all limits together, and the least for one.
ROWS, MIN_ROWS = 10_000, 500

# ix_jobs_at_limit, the first rows of each limit
_WAITING = text("""
SELECT l.name AS limit_name, w.queue, count(*) AS n, sum(count(*)) OVER (PARTITION BY l.name) AS of_limit
FROM limits l
CROSS JOIN LATERAL (
    SELECT queue FROM jobs WHERE hold = 1 AND limit_name = l.name
    ORDER BY limit_name, limit_key, priority DESC, run_at, id LIMIT :rows) AS w
WHERE l.name <> ALL(:reserved)
GROUP BY 1, 2 ORDER BY n DESC, 1
""")
_N = text("SELECT count(*) FROM limits")


@dataclass(frozen=True, slots=True)
class Held:
    """Jobs of a queue that wait at a limit."""

    limit: str
    n: Count


def waiting_by_queue(db: Db) -> dict[str, list[Held]]:
    """Queue → what of it waits at limits, the most first; no entry for a queue without such jobs."""
    rows = max(MIN_ROWS, ROWS // max(1, db.execute(_N).scalar_one()))
    held: dict[str, list[Held]] = {}
    for row in db.execute(_WAITING, {"rows": rows, "reserved": list(RESERVED)}):
        n = Count(row.n, is_exact=row.of_limit < rows)
        held.setdefault(row.queue, []).append(Held(row.limit_name, n))
    return held
