"""The numbers of the API and the dashboard: exact where they say so, and cheap at any size."""

from __future__ import annotations

from dataclasses import dataclass

from app.cache import cached, forget
from app.database import Db
from app.jobs.listing.dead_letters import count_dead_letters
from app.jobs.models import STATUSES
from app.jobs.statistics.backlog import backlogs, oldest_waits, total
from app.jobs.statistics.count import Count
from app.jobs.statistics.counters import (
    Drift,
    check,
    fold,
    fold_if_overdue,
    prune_series,
    status_counts,
)
from app.jobs.statistics.overview import paused_queues
from app.jobs.statistics.series import (
    RANGES,
    LastHour,
    Minute,
    Pace,
    Trend,
    history,
    last_hour,
    trend,
)

__all__ = [
    "RANGES",
    "Count",
    "Drift",
    "FailingType",
    "Minute",
    "Overview",
    "Pace",
    "Trend",
    "cached",
    "check",
    "fold",
    "fold_if_overdue",
    "forget",
    "history",
    "last_hour",
    "overview",
    "prune_series",
    "status_counts",
    "total",
    "trend",
    "view_counts",
]


@dataclass(frozen=True)
class FailingType:
    """A type with failed attempts in the last hour."""

    type: str
    failed: int  # jobs that failed for good
    retried: int  # attempts that failed and run again
    failure_share: float  # failed attempts of all that ended, 0…1


@dataclass(frozen=True)
class Overview:
    """The system now, over the last minutes, and over the last hour."""

    counts: dict[str, Count]  # as view_counts
    #: 60 of (minute, completed, failed for good), oldest first; the last one is still running.
    per_minute: list[Minute]
    pace: Pace  # how fast jobs finish now
    #: Of attempts that ended in the last RATE_MINUTES; from due to started. None if none ended.
    wait_p50_ms: float | None
    wait_p95_ms: float | None
    run_p50_ms: float | None  # of one attempt, whatever its outcome
    run_p95_ms: float | None
    oldest_due_seconds: float | None  # in queues that are not paused; None if nothing is due
    #: Until what is due now has finished, at the current pace and without new jobs; None if nothing
    #: is due, nothing finished lately, or the pace is not settled.
    drain_seconds: float | None
    failing_types: list[FailingType]  # most failures first


def view_counts(db: Db) -> dict[str, Count]:
    """Jobs by status (exact), by view (``scheduled``, ``retrying``: if not ``is_exact``, at least that many),
    ``all`` of them, and open ``dead_letters``."""
    queues = backlogs(db).values()
    counts = {status: Count(sum(q.by_status[status] for q in queues)) for status in STATUSES}
    counts["all"] = total(counts.values())
    counts["scheduled"] = total(queue.scheduled for queue in queues)
    counts["retrying"] = total(queue.retrying for queue in queues)
    counts["dead_letters"] = count_dead_letters(db)
    return counts


def overview(db: Db) -> Overview:
    """All numbers of the overview page; call it through cached()."""
    paused = paused_queues(db)
    running = {name: queue for name, queue in backlogs(db).items() if name not in paused}
    waits = [seconds for name, seconds in oldest_waits(db).items() if name not in paused]
    hour, due = last_hour(db), total(queue.due for queue in running.values())
    pace = hour.pace()
    return Overview(
        counts=view_counts(db),
        per_minute=hour.minutes,
        pace=pace,
        wait_p50_ms=hour.wait_ms(0.50),
        wait_p95_ms=hour.wait_ms(0.95),
        run_p50_ms=hour.run_ms(0.50),
        run_p95_ms=hour.run_ms(0.95),
        oldest_due_seconds=max(waits, default=None),
        drain_seconds=due / pace.ended * 60
        if due and due.is_exact and pace.ended and pace.is_settled
        else None,
        failing_types=_failing(hour),
    )


def _failing(hour: LastHour) -> list[FailingType]:
    types = [
        FailingType(name, activity.failed, activity.retried, activity.failure_share or 0.0)
        for name, activity in hour.types.items()
        if activity.failed or activity.retried
    ]
    return sorted(types, key=lambda type: (-type.failed, -type.retried, type.type))
