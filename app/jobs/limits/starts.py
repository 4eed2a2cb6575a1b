"""How fast the jobs of limits have started lately, from the rows of the jobs. Read-only.

Only jobs that run or have ended are looked at, and only a bounded number of them: where many jobs end, the last
seconds are known and the earlier ones are not. Attempts that failed and are retried are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from app.database import Db

#: The seconds of the line on a limit's page, and those of the rate in the list.
SECONDS, NOW_SECONDS = 60, 10
#: Rows that one of the sources below may read: about 10 ms.
ROWS = 10_000

# ix_jobs_finished, from its end, for each final status; ix_jobs_admitted.
_STARTED = """
WITH ended AS (
    SELECT e.* FROM unnest(ARRAY['completed', 'failed', 'cancelled']) AS s (status)
    CROSS JOIN LATERAL (
        SELECT limit_name, started_at, finished_at FROM jobs
        WHERE status = s.status AND finished_at IS NOT NULL
          AND finished_at > now() - make_interval(secs => :seconds)
        ORDER BY finished_at DESC, id DESC LIMIT :rows) AS e),
known AS (
    SELECT CASE WHEN count(*) < :rows THEN CAST(:seconds AS float8)
                ELSE extract(epoch FROM now() - min(finished_at))::float8 END AS seconds FROM ended),
started AS (
    SELECT limit_name, started_at FROM ended WHERE limit_name IS NOT NULL
    UNION ALL
    SELECT limit_name, started_at FROM (
        SELECT limit_name, started_at, status FROM jobs
        WHERE limit_name IS NOT NULL AND hold = 0 AND status IN ('pending', 'processing')
        LIMIT :rows) AS live
    WHERE status = 'processing')"""
_PER_SECOND = text(f"""{_STARTED}
SELECT floor(extract(epoch FROM now() - started_at))::int AS ago, count(*) AS n,
       (SELECT seconds FROM known) AS known
FROM (SELECT started_at FROM started WHERE limit_name = :name
      UNION ALL SELECT NULL) AS s
GROUP BY 1
""")
_NOW = text(f"""{_STARTED}
SELECT limit_name, count(*)::float8 / greatest((SELECT seconds FROM known), 1) AS rate
FROM started
WHERE started_at > now() - make_interval(secs => (SELECT greatest(seconds, 1) FROM known))
GROUP BY 1
""")


@dataclass(frozen=True, slots=True)
class Starts:
    """Starts per second, the oldest first and the current second last; None where they are not known."""

    per_second: list[int | None]

    @property
    def known_seconds(self) -> int:
        return sum(n is not None for n in self.per_second)

    @property
    def total(self) -> int:
        return sum(n or 0 for n in self.per_second)


def starts(db: Db, name: str) -> Starts:
    """The starts of the limit's jobs in each of the last SECONDS seconds."""
    rows = db.execute(_PER_SECOND, {"name": name, "seconds": SECONDS, "rows": ROWS}).all()
    counts = {row.ago: row.n for row in rows if row.ago is not None}
    known = int(rows[0].known)
    return Starts(
        [counts.get(ago, 0) if ago <= known else None for ago in range(SECONDS - 1, -1, -1)]
    )


def rates_now(db: Db) -> dict[str, float]:
    """Limit → starts per second, averaged over the last NOW_SECONDS; no entry for one without starts."""
    rows = db.execute(_NOW, {"seconds": NOW_SECONDS, "rows": ROWS})
    return {row.limit_name: row.rate for row in rows}
