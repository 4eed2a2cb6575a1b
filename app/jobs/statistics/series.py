"""Which attempts ended when, how, and how long they took: the last hour in detail, a week by the minute.

Read from the time series that triggers maintain, never from the jobs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import text

from app.database import Db
from app.jobs.statistics.histogram import percentile_ms

MINUTES = 60
#: Rates by queue and type, latencies and trends are those of the last RATE_MINUTES minutes.
RATE_MINUTES = 5
#: A running minute shorter than this is no measure of the current pace.
MIN_PACE_SECONDS = 15

# job_series_pkey (minute, …); base + deltas in one statement, as with the counters.
LAST_HOUR = text("""
    WITH ended AS (
        SELECT minute, type, outcome, run_bucket, wait_bucket, n FROM job_series
        WHERE minute >= :first AND outcome IN ('completed', 'retried', 'failed')
        UNION ALL
        SELECT minute, type, outcome, run_bucket, wait_bucket, n FROM job_series_deltas
        WHERE minute >= :first AND outcome IN ('completed', 'retried', 'failed'))
    SELECT grouping(minute) = 0 AS is_minute, minute, type, outcome, run_bucket, wait_bucket,
           is_recent, sum(n)::bigint AS n
    FROM (SELECT *, minute >= :recent AS is_recent FROM ended) AS dated
    GROUP BY GROUPING SETS ((minute, type, outcome), (type, is_recent, run_bucket),
                            (type, is_recent, wait_bucket))
""")


class Minute(NamedTuple):
    """One minute: jobs completed, and jobs failed for good."""

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
    #: Only attempts that ended in the last RATE_MINUTES or in the running minute.
    recent_run_buckets: Counter[int] = field(default_factory=Counter)
    recent_wait_buckets: Counter[int] = field(default_factory=Counter)

    @property
    def failure_share(self) -> float | None:
        """Failed attempts of all that ended, 0…1; None if none ended."""
        ended = self.completed + self.retried + self.failed
        return (self.retried + self.failed) / ended if ended else None

    def run_ms(self, share: float) -> float | None:
        """The run time in ms that ``share`` of the attempts did not exceed."""
        return percentile_ms(self.run_buckets, share)


@dataclass(frozen=True)
class Pace:
    """Jobs that became final, per minute, over the last one to two minutes."""

    completed: float
    failed: float
    #: False while work began too recently to measure.
    is_settled: bool
    is_this_minute: bool  # measured in the running minute alone

    @property
    def ended(self) -> float:
        """All of them, per minute."""
        return self.completed + self.failed


@dataclass
class LastHour:
    """MINUTES minutes up to the running one, oldest first, and the types with attempts that ended."""

    minutes: list[Minute]
    types: dict[str, TypeActivity]
    running_seconds: float  # how long the running minute has lasted

    def run_ms(self, share: float) -> float | None:
        """As TypeActivity.run_ms, over all types, of the last RATE_MINUTES."""
        buckets = (t.recent_run_buckets for t in self.types.values())
        return percentile_ms(sum(buckets, Counter()), share)

    def wait_ms(self, share: float) -> float | None:
        """From due to started, in ms, of the last RATE_MINUTES."""
        buckets = (t.recent_wait_buckets for t in self.types.values())
        return percentile_ms(sum(buckets, Counter()), share)

    def pace(self) -> Pace:
        """How fast jobs finish now: the last whole minute and the running one.

        A minute in which work began is left out as soon as the next one is long enough: when
        exactly work began is not known.
        """
        before, last, running = self.minutes[-3:]
        began_lately = not _ended(before)
        is_alone = (
            began_lately
            and _ended(running) > 0
            and (not _ended(last) or self.running_seconds >= MIN_PACE_SECONDS)
        )
        used, seconds = (
            ([running], self.running_seconds)
            if is_alone
            else ([last, running], 60 + self.running_seconds)
        )
        factor = 60 / max(seconds, 1)
        return Pace(
            completed=sum(m.completed for m in used) * factor,
            failed=sum(m.failed for m in used) * factor,
            is_settled=not began_lately or (is_alone and _ended(last) > 0),
            is_this_minute=is_alone,
        )


def _ended(minute: Minute) -> int:
    return minute.completed + minute.failed


def last_hour(db: Db) -> LastHour:
    """The last hour by the database clock."""
    now = db.execute(text("SELECT now()")).scalar_one()
    this_minute = now.replace(second=0, microsecond=0)
    first = this_minute - timedelta(minutes=MINUTES - 1)
    recent = this_minute - timedelta(minutes=RATE_MINUTES)
    types: dict[str, TypeActivity] = {}
    ended: Counter[tuple[datetime, str]] = Counter()
    for row in db.execute(LAST_HOUR, {"first": first, "recent": recent}):
        activity = types.setdefault(row.type, TypeActivity())
        if row.is_minute:
            ended[row.minute, row.outcome] += row.n
            setattr(activity, row.outcome, getattr(activity, row.outcome) + row.n)
            if row.outcome == "completed" and recent <= row.minute < this_minute:
                activity.completed_per_minute += row.n / RATE_MINUTES
        elif row.run_bucket is not None:
            activity.run_buckets[row.run_bucket] += row.n
            if row.is_recent:
                activity.recent_run_buckets[row.run_bucket] += row.n
        elif row.is_recent:
            activity.recent_wait_buckets[row.wait_bucket] += row.n
    instants = (first + timedelta(minutes=i) for i in range(MINUTES))
    minutes = [Minute(at, ended[at, "completed"], ended[at, "failed"]) for at in instants]
    return LastHour(minutes, types, (now - this_minute).total_seconds())


@dataclass(frozen=True)
class Trend:
    """What arrived and finished in the last RATE_MINUTES whole minutes, and failed in the hour before."""

    enqueued: int = 0
    ended: int = 0  # completed, failed for good or cancelled
    failed: int = 0
    failed_before: int = 0  # in the 55 minutes before

    @property
    def usual_failed(self) -> float:
        """How many failed in RATE_MINUTES before, on average."""
        return self.failed_before * RATE_MINUTES / (MINUTES - RATE_MINUTES)


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


def trend(db: Db) -> Trend:
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


def history(db: Db, name: str) -> list[Minute]:
    """What ended in each point of a range of RANGES, oldest first; the last point is still running."""
    count, seconds = RANGES[name]
    now = db.execute(
        text("SELECT date_bin(make_interval(secs => :step), now(), 'epoch')"), {"step": seconds}
    ).scalar_one()
    step = timedelta(seconds=seconds)
    first = now - step * (count - 1)
    counts: Counter[tuple[datetime, str]] = Counter()
    for row in db.execute(_HISTORY, {"step": seconds, "first": first}):
        counts[row.at, row.outcome] += row.n
    instants = (first + step * i for i in range(count))
    return [Minute(at, counts[at, "completed"], counts[at, "failed"]) for at in instants]
