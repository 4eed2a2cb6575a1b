"""What a process does about one schedule that is due: its ticks, and the job of each. No SQL."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError

from app.errors import JobQueueError
from app.jobs import lifecycle, registry
from app.jobs.lifecycle import SCHEDULE_LIMIT, NewJob, Prepared
from app.jobs.schedules.definition import SKIP, payload_at
from app.jobs.schedules.overlap import is_limited
from app.jobs.schedules.plan import Plan, plan, run_at
from app.jobs.schedules.rules import UNIQUE_KEY_PREFIX

log = logging.getLogger(__name__)

#: A batch ends early if planning takes longer: after days without a worker there are many ticks to count.
PLANNING_SECONDS = 1.0
#: … or if it has this many ticks: after a minute without a worker each schedule of every second has sixty.
MAX_TICKS = 1000
#: How long a schedule rests whose line or zone this process can't read.
UNREADABLE_WAIT = timedelta(hours=1)
MAX_NOTE = 500


@dataclass(slots=True)
class Tick:
    """A row of the history, and the job that it gets."""

    schedule: Row[Any]
    at: datetime
    outcome: str = "enqueued"
    job: Prepared | None = None
    live_id: UUID | None = None  # skipped: the live job
    count: int = 1
    last_at: datetime | None = None
    note: str | None = None

    def skip(self, live_id: UUID) -> None:
        """The job ``live_id`` has not ended, so this tick gets none."""
        self.outcome, self.job, self.live_id = "skipped", None, live_id

    def fail(self, error: BaseException) -> None:
        """The tick gets no job; the history says why."""
        if not isinstance(error, JobQueueError | DBAPIError | ValueError):
            log.error("Schedule %s could not create its job", self.schedule.name, exc_info=error)
        sentence = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
        self.outcome, self.note = "failed", sentence.splitlines()[0][:MAX_NOTE]
        self.job = self.live_id = None

    def values(self) -> dict[str, Any]:
        """The row, as JSON has it."""
        job_id = self.job.id if self.job else self.live_id
        return {
            "schedule_id": self.schedule.id,
            "tick_at": self.at.isoformat(),
            "outcome": self.outcome,
            "job_id": str(job_id) if job_id else None,
            "n": self.count,
            "last_at": self.last_at.isoformat() if self.last_at else None,
            "note": self.note,
        }


@dataclass(slots=True)
class Turn:
    """A schedule that is due, with its ticks."""

    schedule: Row[Any]
    ticks: list[Tick]
    next_run_at: datetime | None
    is_postponed: bool = field(default=False)  # its ticks stay due

    def advanced(self) -> dict[str, Any]:
        """How far the schedule got, as JSON has it."""
        last = self.ticks[-1] if self.ticks else None
        return {
            "id": self.schedule.id,
            "next_run_at": self.next_run_at.isoformat() if self.next_run_at else None,
            "last_tick_at": (last.last_at or last.at).isoformat() if last else None,
        }


def turns(rows: Sequence[Row[Any]], *, grace_seconds: float) -> Iterator[Turn]:
    """The turns of schedules that are due, with the jobs of their ticks; of at least one."""
    give_up_at, count = time.monotonic() + PLANNING_SECONDS, 0
    for row in rows:
        try:
            result = plan(row, row.next_run_at, now=row.now, grace_seconds=grace_seconds)
        except ValueError as error:
            # Stored by a release that reads more lines, or knows more zones.
            unread = Tick(row, row.next_run_at)
            unread.fail(error)
            yield Turn(row, [unread], row.now + UNREADABLE_WAIT)
        else:
            turn = Turn(row, list(_ticks(row, result)), result.next_run_at)
            count += len(turn.ticks)
            yield turn
        if count >= MAX_TICKS or time.monotonic() > give_up_at:
            return


def job_of(schedule: Any, at: datetime, *, run_at: datetime | None = None) -> NewJob:
    """The job of a tick of a schedule (a row). Raises UnknownJobType, and ValidationFailed for a payload that no longer
    matches the type's schema.
    """
    payload = payload_at(schedule, at)
    registry.validate_payload(registry.get(schedule.type), payload)
    return NewJob(
        type=schedule.type,
        payload=payload,
        queue=schedule.queue,
        priority=schedule.priority,
        run_at=run_at,
        max_attempts=schedule.max_attempts,
        timeout_seconds=schedule.timeout_seconds,
        unique_key=unique_key_of(schedule),
        limit_name=SCHEDULE_LIMIT if is_limited(schedule) else None,
        limit_key=schedule.name if is_limited(schedule) else None,
        tags=schedule.tags,
        by=f"schedule:{schedule.name}",
    )


def unique_key_of(schedule: Any) -> str | None:
    """The unique key of the jobs of a schedule (a row)."""
    if schedule.overlap == SKIP:
        return f"{UNIQUE_KEY_PREFIX}{schedule.name}"
    key: str | None = schedule.unique_key
    return key


def _ticks(row: Row[Any], result: Plan) -> Iterator[Tick]:
    if missed := result.missed:
        yield Tick(row, missed.first, "missed", count=missed.count, last_at=missed.last)
    for at in result.created:
        yield _with_job(Tick(row, at))


def _with_job(tick: Tick) -> Tick:
    delayed_to = run_at(tick.schedule, tick.at)
    try:
        is_ahead = delayed_to > tick.schedule.now
        new = job_of(tick.schedule, tick.at, run_at=delayed_to if is_ahead else None)
        tick.job = lifecycle.prepare(new)
    except Exception as error:  # a schema may raise anything: the other schedules must go on
        tick.fail(error)
    return tick
