"""What ended when, how, and how long it took: the last hour in detail, a week by the minute.

Read from the time series that triggers keep, never from the jobs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import text

from app.jobs.histogram import percentile_ms
from app.jobs.sessions import Database

MINUTES = 60
#: "The present rate" is that of so many minutes, the running one left out.
RATE_MINUTES = 5

# job_series_pkey (minute, …); base + deltas in one statement, as with the counters.
LAST_HOUR = text("""
    WITH ended AS (
        SELECT minute, type, outcome, run_bucket, wait_bucket, n FROM job_series
        WHERE minute >= :first AND outcome IN ('completed', 'retried', 'failed')
        UNION ALL
        SELECT minute, type, outcome, run_bucket, wait_bucket, n FROM job_series_deltas
        WHERE minute >= :first AND outcome IN ('completed', 'retried', 'failed'))
    SELECT grouping(minute) = 0 AS is_minute, minute, type, outcome, run_bucket, wait_bucket,
           sum(n)::bigint AS n
    FROM ended
    GROUP BY GROUPING SETS ((minute, type, outcome), (type, run_bucket), (type, wait_bucket))
""")


class Minute(NamedTuple):
    """What ended in one minute: jobs completed, and jobs failed for good."""

    minute: datetime
    completed: int
    failed: int


@dataclass
class TypeActivity:
    """The last hour of one type, in attempts."""

    completed: int = 0
    retried: int = 0  # failed, and run again
    failed: int = 0  # failed for the last time
    completed_per_minute: float = 0.0  # over RATE_MINUTES
    run_buckets: Counter[int] = field(default_factory=Counter)
    wait_buckets: Counter[int] = field(default_factory=Counter)

    @property
    def failure_share(self) -> float | None:
        """Failed attempts of all that ended, 0…1; None if none ended."""
        ended = self.completed + self.retried + self.failed
        return (self.retried + self.failed) / ended if ended else None

    def run_ms(self, share: float) -> float | None:
        """The run time in ms that ``share`` of the attempts did not exceed."""
        return percentile_ms(self.run_buckets, share)


@dataclass
class LastHour:
    """MINUTES minutes up to the running one, oldest first, and the types that ended anything."""

    minutes: list[Minute]
    types: dict[str, TypeActivity]

    def run_ms(self, share: float) -> float | None:
        """As TypeActivity.run_ms, over all types."""
        return percentile_ms(sum((t.run_buckets for t in self.types.values()), Counter()), share)

    def wait_ms(self, share: float) -> float | None:
        """From due to started, in ms."""
        return percentile_ms(sum((t.wait_buckets for t in self.types.values()), Counter()), share)

    def ended_per_second(self) -> float:
        """Jobs that became final, over RATE_MINUTES."""
        recent = self.minutes[-RATE_MINUTES - 1 : -1]
        return sum(m.completed + m.failed for m in recent) / (60 * RATE_MINUTES)


def last_hour(db: Database) -> LastHour:
    """The last hour by the database clock."""
    this_minute = db.execute(text("SELECT date_trunc('minute', now())")).scalar_one()
    first = this_minute - timedelta(minutes=MINUTES - 1)
    recent = this_minute - timedelta(minutes=RATE_MINUTES)
    types: dict[str, TypeActivity] = {}
    ended: Counter[tuple[datetime, str]] = Counter()
    for row in db.execute(LAST_HOUR, {"first": first}):
        one = types.setdefault(row.type, TypeActivity())
        if row.is_minute:
            ended[row.minute, row.outcome] += row.n
            setattr(one, row.outcome, getattr(one, row.outcome) + row.n)
            if row.outcome == "completed" and recent <= row.minute < this_minute:
                one.completed_per_minute += row.n / RATE_MINUTES
        elif row.run_bucket is not None:
            one.run_buckets[row.run_bucket] += row.n
        else:
            one.wait_buckets[row.wait_bucket] += row.n
    instants = (first + timedelta(minutes=i) for i in range(MINUTES))
    minutes = [Minute(at, ended[at, "completed"], ended[at, "failed"]) for at in instants]
    return LastHour(minutes, types)


@dataclass(frozen=True)
class Trend:
    """What came and went in the last RATE_MINUTES whole minutes, and failed in the hour before them."""

    enqueued: int = 0
    ended: int = 0  # completed, failed for good or cancelled
    failed: int = 0
    failed_before: int = 0  # in the 55 minutes before


_TREND = text("""
    SELECT coalesce(sum(n) FILTER (WHERE is_recent AND outcome = 'enqueued'), 0)::bigint AS enqueued,
           coalesce(sum(n) FILTER (WHERE is_recent AND outcome IN ('completed', 'failed', 'cancelled')), 0)::bigint
               AS ended,
           coalesce(sum(n) FILTER (WHERE is_recent AND outcome = 'failed'), 0)::bigint AS failed,
           coalesce(sum(n) FILTER (WHERE NOT is_recent AND outcome = 'failed'), 0)::bigint AS failed_before
    FROM (SELECT minute >= date_trunc('minute', now()) - make_interval(mins => :recent) AS is_recent, outcome, n
          FROM (SELECT minute, outcome, n FROM job_minutes
                UNION ALL SELECT minute, outcome, n FROM job_series_deltas) AS s
          WHERE minute >= date_trunc('minute', now()) - make_interval(mins => :all)
            AND minute < date_trunc('minute', now())) AS hour
""")


def trend(db: Database) -> Trend:
    """By the database clock; the running minute is left out."""
    row = db.execute(_TREND, {"recent": RATE_MINUTES, "all": MINUTES}).one()
    return Trend(*(int(n) for n in row))


#: range → (how many points, seconds each)
RANGES = {"hour": (60, 60), "day": (144, 600), "week": (168, 3600)}

# job_minutes_pkey; base + deltas in one statement.
_HISTORY = text("""
    SELECT date_bin(make_interval(secs => :step), minute, 'epoch') AS at, outcome, sum(n)::bigint AS n
    FROM (SELECT minute, outcome, n FROM job_minutes WHERE minute >= :first
          UNION ALL SELECT minute, outcome, n FROM job_series_deltas WHERE minute >= :first) AS s
    WHERE outcome IN ('completed', 'failed') GROUP BY 1, 2
""")


def history(db: Database, name: str) -> list[Minute]:
    """What ended in each point of a range of RANGES, oldest first; the last point is still running."""
    count, seconds = RANGES[name]
    now = db.execute(
        text("SELECT date_bin(make_interval(secs => :step), now(), 'epoch')"), {"step": seconds}
    ).scalar_one()
    step = timedelta(seconds=seconds)
    first = now - step * (count - 1)
    found: Counter[tuple[datetime, str]] = Counter()
    for row in db.execute(_HISTORY, {"step": seconds, "first": first}):
        found[row.at, row.outcome] += row.n
    instants = (first + step * i for i in range(count))
    return [Minute(at, found[at, "completed"], found[at, "failed"]) for at in instants]
