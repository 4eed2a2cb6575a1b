"""Summaries of all queues and all job types."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import select, text

from app.database import Db, DbSession
from app.jobs import registry
from app.jobs.models import COMPLETED, PENDING, PROCESSING, STATUSES, LimitAttachment, Pause
from app.jobs.registry import JobType
from app.jobs.statistics.backlog import Backlog, backlogs, oldest_waits
from app.jobs.statistics.count import Count
from app.jobs.statistics.counters import COUNTED
from app.jobs.statistics.series import TypeActivity, last_hour

EMPTY = Count(0)


@dataclass(frozen=True)
class QueueSummary:
    """One queue now. ``due``, ``scheduled`` and ``retrying`` say with ``is_exact`` if they are."""

    name: str
    is_paused: bool
    limit: str | None  # the name of the limit that it is under
    pending: int  # all of them: due, scheduled, and retrying whose time has not come
    due: Count  # could run now
    scheduled: Count  # never tried, not due
    retrying: Count  # tried before, due or not
    processing: int
    oldest_wait_seconds: float | None  # of the oldest due job; None if nothing is due
    #: Over the last 5 minutes. For a type that runs in several queues: its rate, shared out as
    #: its completed jobs are.
    completed_per_minute: float


@dataclass(frozen=True)
class TypeSummary:
    """One job type: its policy, its jobs by status, its last hour."""

    name: str
    job_type: JobType | None  # None: this process does not know the type
    is_paused: bool
    limit: str | None  # the name of the limit that it is under
    counts: dict[str, int]  # every status → jobs
    failure_share: float | None  # failed attempts of all that ended in the last hour, 0…1
    run_p50_ms: float | None  # of attempts that ended in the last hour
    run_p95_ms: float | None
    completed_per_minute: float  # over the last 5 minutes


def queue_overview(db: DbSession) -> list[QueueSummary]:
    """Every queue that holds jobs, is some registered type's, is paused or under a limit; by name."""
    waiting = backlogs(db)
    paused, waits, rates = paused_queues(db), oldest_waits(db), _completed_per_minute(db)
    limits = _limits(db, "queue")
    names = {queue for queue, backlog in waiting.items() if any(backlog.by_status.values())}
    names |= paused | limits.keys() | {job_type.queue for job_type in registry.all_types()}
    return [
        _queue(
            name,
            waiting.get(name),
            name in paused,
            limits.get(name),
            waits.get(name),
            rates.get(name, 0.0),
        )
        for name in sorted(names)
    ]


def _queue(
    name: str,
    backlog: Backlog | None,
    is_paused: bool,
    limit: str | None,
    wait: float | None,
    rate: float,
) -> QueueSummary:
    by_status = backlog.by_status if backlog else {}
    return QueueSummary(
        name=name,
        is_paused=is_paused,
        limit=limit,
        pending=by_status.get(PENDING, 0),
        due=backlog.due if backlog else EMPTY,
        scheduled=backlog.scheduled if backlog else EMPTY,
        retrying=backlog.retrying if backlog else EMPTY,
        processing=by_status.get(PROCESSING, 0),
        oldest_wait_seconds=wait,
        completed_per_minute=round(rate, 2),
    )


def _completed_per_minute(db: DbSession) -> dict[str, float]:
    """Queue → completed jobs per minute: rates by type from the series, shared out by the counters of queues."""
    places: dict[str, dict[str, int]] = defaultdict(dict)
    statement = text(f"SELECT queue, type, n FROM ({COUNTED}) AS counted WHERE status = :completed")
    for row in db.execute(statement, {"completed": COMPLETED}):
        places[row.type][row.queue] = max(row.n, 0)
    rates: dict[str, float] = defaultdict(float)
    for name, activity in last_hour(db).types.items():
        total = sum(places[name].values())
        for queue, n in places[name].items() if total else ():
            rates[queue] += activity.completed_per_minute * n / total
    return rates


def job_type_overview(db: DbSession) -> list[TypeSummary]:
    """Every type that is registered here, has jobs, or is paused; by name."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(STATUSES, 0))
    for row in db.execute(text(f"SELECT type, status, n FROM ({COUNTED}) AS counted")):
        counts[row.type][row.status] += row.n
    hour, paused, limits = last_hour(db), paused_types(db), _limits(db, "type")
    names = {name for name, by_status in counts.items() if any(by_status.values())}
    names |= paused | {job_type.name for job_type in registry.all_types()}
    return [
        _type(
            name,
            counts[name],
            name in paused,
            limits.get(name),
            hour.types.get(name, TypeActivity()),
        )
        for name in sorted(names)
    ]


def _type(
    name: str, counts: dict[str, int], is_paused: bool, limit: str | None, hour: TypeActivity
) -> TypeSummary:
    return TypeSummary(
        name=name,
        job_type=registry.find(name),
        is_paused=is_paused,
        limit=limit,
        counts=counts,
        failure_share=hour.failure_share,
        run_p50_ms=hour.run_ms(0.50),
        run_p95_ms=hour.run_ms(0.95),
        completed_per_minute=round(hour.completed_per_minute, 2),
    )


def _limits(db: Db, kind: str) -> dict[str, str]:
    """Names of the types or queues (``kind``) under a limit → the limit's."""
    attachments = select(LimitAttachment.name, LimitAttachment.limit_name).where(
        LimitAttachment.kind == kind
    )
    return {row.name: row.limit_name for row in db.execute(attachments)}


def paused_queues(db: Db) -> set[str]:
    """The names of the paused queues; any other runs."""
    return _paused(db, "queue")


def paused_types(db: Db) -> set[str]:
    """The names of the paused job types; any other runs."""
    return _paused(db, "type")


def _paused(db: Db, kind: str) -> set[str]:
    return set(db.execute(select(Pause.name).where(Pause.kind == kind)).scalars())
