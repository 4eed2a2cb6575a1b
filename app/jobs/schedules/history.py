"""What became of the ticks of schedules, and which schedules are in trouble. Read-only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text

from app.database import Db
from app.errors import InvalidCursor
from app.jobs.listing import Page
from app.jobs.statistics.count import Count

#: A schedule is late when its next run is overdue by more than this.
LATE_SECONDS = 5
#: A run that was missed or failed is reported for this long.
TROUBLE_HOURS = 24
#: Late schedules are counted up to this number.
LATE_BOUND = 10_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# The fields of Tick, in their order.
_TICK = """t.schedule_id, t.tick_at, t.outcome, t.n, t.last_at, t.note,
       extract(epoch FROM t.made_at - t.tick_at)::float8 AS lag_seconds, t.job_id,
       CASE WHEN j.status <> 'pending' THEN j.status WHEN j.attempts > 0 THEN 'retrying'
            WHEN j.run_at > now() THEN 'scheduled' ELSE j.status END AS job_view,
       j.started_at AS job_started_at,
       extract(epoch FROM j.finished_at - j.started_at)::float8 AS job_seconds"""
# schedule_ticks_pkey, from its end; jobs_pkey.
_LATEST = text(f"""
SELECT {_TICK}
FROM unnest(CAST(:ids AS bigint[])) AS s (id)
CROSS JOIN LATERAL (
    SELECT * FROM schedule_ticks WHERE schedule_id = s.id ORDER BY tick_at DESC LIMIT :per
) AS t
LEFT JOIN jobs j ON j.id = t.job_id
ORDER BY t.schedule_id, t.tick_at
""")
_OF_ONE = text(f"""
SELECT {_TICK}
FROM (
    SELECT * FROM schedule_ticks
    WHERE schedule_id = :id AND tick_at < COALESCE(CAST(:before AS timestamptz), 'infinity')
    ORDER BY tick_at DESC LIMIT :limit
) AS t
LEFT JOIN jobs j ON j.id = t.job_id
ORDER BY t.tick_at DESC
""")
# ix_schedule_ticks_job
_MADE_BY = text("""
SELECT s.name, t.tick_at, t.outcome FROM schedule_ticks t JOIN schedules s ON s.id = t.schedule_id
WHERE t.job_id = :job_id AND t.outcome IN ('enqueued', 'manual') LIMIT 1
""")
# ix_schedules_due
_LATE = text("""
SELECT type, count(*) AS n FROM (
    SELECT type FROM schedules WHERE next_run_at < now() - make_interval(secs => :seconds)
    ORDER BY next_run_at LIMIT :bound
) AS late
GROUP BY type ORDER BY n DESC, type
""")
# ix_schedule_ticks_trouble
_TROUBLE = text("""
SELECT COALESCE(sum(n) FILTER (WHERE outcome = 'missed'), 0)::bigint AS missed,
       COALESCE(sum(n) FILTER (WHERE outcome = 'failed'), 0)::bigint AS failed
FROM (
    SELECT n, outcome FROM schedule_ticks
    WHERE outcome IN ('missed', 'failed') AND made_at > now() - make_interval(hours => :hours)
    ORDER BY made_at DESC LIMIT :bound
) AS recent
""")


class Tick(NamedTuple):
    """What became of a tick; ``n`` ticks from ``at`` to ``last_at`` if they were missed or paused."""

    schedule_id: int
    at: datetime
    outcome: str  # ScheduleTick.OUTCOMES
    n: int
    last_at: datetime | None
    note: str | None
    lag_seconds: float
    job_id: UUID | None
    #: Of the job, if it still exists: its view, when it started, and how long its last attempt took.
    job_view: str | None
    job_started_at: datetime | None
    job_seconds: float | None

    @property
    def lag_ms(self) -> int | None:
        """How late a tick was; None for one that its time did not start: missed, paused, or run by a person."""
        if self.outcome in ("missed", "paused", "manual"):
            return None
        return max(round(self.lag_seconds * 1000), 0)


@dataclass(frozen=True, slots=True)
class Maker:
    """The schedule that made a job, and the tick it was made for."""

    name: str
    tick_at: datetime
    is_manual: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with the schedules as a whole."""

    late: Count
    late_types: tuple[str, ...]  # those with the most late schedules first
    missed: int  # runs, in the last TROUBLE_HOURS
    failed: int

    @property
    def is_any(self) -> bool:
        return bool(self.late or self.missed or self.failed)


def latest_ticks(db: Db, ids: Sequence[int], *, per: int) -> dict[int, list[Tick]]:
    """The last ``per`` ticks of each of these schedules, oldest first; no entry for one without ticks."""
    ticks: dict[int, list[Tick]] = {}
    for row in db.execute(_LATEST, {"ids": list(ids), "per": per}) if ids else ():
        ticks.setdefault(row.schedule_id, []).append(Tick._make(row))
    return ticks


def ticks_of(db: Db, schedule_id: int, *, limit: int, before: datetime | None = None) -> list[Tick]:
    """The ticks of a schedule, newest first; with ``before``, those earlier than it."""
    rows = db.execute(_OF_ONE, {"id": schedule_id, "limit": limit, "before": before})
    return [Tick._make(row) for row in rows]


def tick_page(db: Db, schedule_id: int, *, limit: int, cursor: str | None = None) -> Page[Tick]:
    """The ticks of a schedule, newest first. Raises InvalidCursor."""
    before = None if cursor is None else _decode(cursor)
    ticks = ticks_of(db, schedule_id, limit=limit + 1, before=before)
    page = ticks[:limit]
    return Page(page, next_cursor=_encode(page[-1].at) if len(ticks) > limit else None)


def made_by(db: Db, job_id: UUID) -> Maker | None:
    """The schedule that made the job; None for other jobs, and once that tick or schedule is deleted."""
    row = db.execute(_MADE_BY, {"job_id": job_id}).first()
    return Maker(row.name, row.tick_at, row.outcome == "manual") if row else None


def trouble(db: Db) -> Trouble:
    """Late schedules now, and the runs that were missed or failed in the last TROUBLE_HOURS."""
    late = db.execute(_LATE, {"seconds": LATE_SECONDS, "bound": LATE_BOUND}).all()
    n = sum(row.n for row in late)
    past = db.execute(_TROUBLE, {"hours": TROUBLE_HOURS, "bound": LATE_BOUND}).one()
    types = tuple(row.type for row in late)
    return Trouble(Count(n, is_exact=n < LATE_BOUND), types, past.missed, past.failed)


def _encode(at: datetime) -> str:
    return f"{(at - _EPOCH) // _MICROSECOND:x}"


def _decode(cursor: str) -> datetime:
    try:
        return _EPOCH + int(cursor, 16) * _MICROSECOND
    except (ValueError, OverflowError):
        raise InvalidCursor from None
