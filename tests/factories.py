"""Rows for tests, one function per status: a test says only what matters to it.

Each inserts directly (not through lifecycle, which is under test itself), satisfies every CHECK,
commits (requests and other threads must see the row), and returns the ORM object, whose columns load
at the first look. Seconds are relative to the database clock; ``ago`` reads "that long ago".
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, text

from app.extensions import db
from app.jobs import ids
from app.jobs.ending import AttemptError, Ending
from app.jobs.error_groups import place_in_traceback, without_numbers
from app.jobs.models import (
    CANCELLED,
    COMPLETED,
    FAILED,
    PENDING,
    PROCESSING,
    DeadLetter,
    Job,
    JobAttempt,
    JobLogLine,
    LimitAttachment,
    LimitRow,
    Pause,
    ScheduleRow,
    ScheduleTick,
    WorkerRow,
)

LEASE_SECONDS = 30.0


def pending_job(*, due_in: float | None = None, **columns: Any) -> Job:
    """A due job; ``due_in`` (seconds, may be negative) sets run_at."""
    if due_in is not None:
        columns["run_at"] = _now(due_in)
    return _job(status=PENDING, **columns)


def scheduled_job(*, due_in: float = 3600, **columns: Any) -> Job:
    """Pending, never tried, due in the future."""
    return pending_job(due_in=due_in, **columns)


def retrying_job(
    *, due_in: float = 60, attempts: int = 1, error: str = "ValueError: boom", **columns: Any
) -> Job:
    """Pending again after ``attempts`` failed attempts."""
    return pending_job(due_in=due_in, attempts=attempts, last_error=error, **columns)


def processing_job(
    *,
    lease_expired_by: float | None = None,
    worker_id: UUID | None = None,
    started_ago: float = 1,
    cancel_requested: bool = False,
    **columns: Any,
) -> Job:
    """Claimed; ``lease_expired_by`` seconds ago its lease ran out (default: it is valid)."""
    left = LEASE_SECONDS if lease_expired_by is None else -lease_expired_by
    columns = {
        "attempts": 1,
        "run_at": _now(-started_ago),
        "lease_token": uuid4(),
        "worker_id": worker_id or uuid4(),
        "leased_until": _now(left),
        "started_at": _now(-started_ago),
        "cancel_requested_at": _now() if cancel_requested else None,
        **columns,
    }
    return _job(status=PROCESSING, **columns)


def completed_job(*, result: Any = None, finished_ago: float = 0, **columns: Any) -> Job:
    """Done at the first attempt, after one second."""
    columns = {"attempts": 1, **_finished(finished_ago), **columns}
    return _job(status=COMPLETED, result=result, **columns)


def failed_job(
    *,
    error: str = "ValueError: boom",
    attempts: int = 5,
    finished_ago: float = 0,
    is_discarded: bool = False,
    **columns: Any,
) -> Job:
    """All attempts used, with its dead letter (open unless ``is_discarded``)."""
    columns = {"max_attempts": max(attempts, 1), **_finished(finished_ago), **columns}
    job = _job(status=FAILED, attempts=attempts, last_error=error, **columns)
    dead_letter(
        job,
        reason=error,
        failed_at=job.finished_at,
        closed_at=_now() if is_discarded else None,
        closed_how="discarded" if is_discarded else None,
        closed_by="test" if is_discarded else None,
    )
    return job


def cancelled_job(*, finished_ago: float = 0, **columns: Any) -> Job:
    """Cancelled before it ever ran."""
    return _job(status=CANCELLED, **{"finished_at": _now(-finished_ago), **columns})


#: Status or view → its factory, for tests that walk all of them.
BY_VIEW = {
    "pending": pending_job,
    "scheduled": scheduled_job,
    "retrying": retrying_job,
    "processing": processing_job,
    "completed": completed_job,
    "failed": failed_job,
    "cancelled": cancelled_job,
}


def dead_letter(job: Job, **columns: Any) -> DeadLetter:
    """A dead letter of ``job`` (failed_job makes its own)."""
    columns = {
        "queue": job.queue,
        "type": job.type,
        "payload": job.payload,
        "reason": job.last_error or "ValueError: boom",
        "attempts": job.attempts,
        **columns,
    }
    return _save(DeadLetter(job_id=job.id, **columns))


def attempt(job: Job, *, attempt: int = 1, outcome: str = "failed", **columns: Any) -> JobAttempt:
    """One attempt of ``job`` that did not complete."""
    columns = {
        "lease_token": uuid4(),
        "error": "ValueError: boom",
        "error_class": "ValueError",
        "traceback": "Traceback (most recent call last):\n  …\nValueError: boom",
        "worker_id": uuid4(),
        "started_at": _now(-1),
        **columns,
    }
    return _save(JobAttempt(job_id=job.id, attempt=attempt, outcome=outcome, **columns))


def log_line(job: Job, message: str = "working", **columns: Any) -> JobLogLine:
    """One line that the handler of ``job`` logged."""
    columns = {"attempt": 1, "level": "info", **columns}
    return _save(JobLogLine(job_id=job.id, message=message, **columns))


def worker(*, silent_for: float = 0, stopped_ago: float | None = None, **columns: Any) -> WorkerRow:
    """A consumer process, alive unless its last heartbeat is ``silent_for`` seconds old."""
    columns = {
        "id": uuid4(),
        "host": "host-1",
        "pid": 4242,
        "version": "0.1.0",
        "queues": [],
        "threads": 5,
        "live_threads": 5,
        "memory_bytes": 60 * 1024 * 1024,
        "limits": [],
        "started_at": _now(-silent_for - 60),
        "heartbeat_at": _now(-silent_for),
        "stopped_at": None if stopped_ago is None else _now(-stopped_ago),
        **columns,
    }
    return _save(WorkerRow(**columns))


def paused_queue(name: str = "default", *, by: str = "test") -> Pause:
    return _save(Pause(kind="queue", name=name, paused_at=_now(), paused_by=by))


def paused_type(name: str = "echo", *, by: str = "test") -> Pause:
    return _save(Pause(kind="type", name=name, paused_at=_now(), paused_by=by))


def schedule(name: str = "nightly", *, next_in: float | None = 3600, **columns: Any) -> ScheduleRow:
    """An active schedule of echo jobs; ``next_in`` (seconds) is its next run, negative if it is late."""
    if "every_seconds" not in columns:
        columns.setdefault("cron", "30 2 * * *")
    if {"paused_at", "retired_at"} & set(columns):
        next_in = None
    columns = {
        "source": "api",
        "type": "echo",
        "payload": {},
        "zone": "Europe/Berlin",
        "next_run_at": None if next_in is None else _now(next_in),
        **columns,
    }
    return _save(ScheduleRow(name=name, **columns))


def paused_schedule(name: str = "paused", *, by: str = "test", **columns: Any) -> ScheduleRow:
    return schedule(name, paused_at=_now(-60), paused_by=by, **columns)


def retired_schedule(name: str = "retired", **columns: Any) -> ScheduleRow:
    """Of code that no live worker has any more."""
    return schedule(name, source="code", retired_at=_now(-60), **columns)


def tick(
    schedule: ScheduleRow,
    *,
    ago: float = 60,
    outcome: str = "enqueued",
    lag: float = 0.04,
    lasts: float | None = None,
    **columns: Any,
) -> ScheduleTick:
    """A tick ``ago`` seconds ago, recorded ``lag`` seconds later; ``lasts`` (seconds) is up to the last one of several."""
    columns = {
        "tick_at": _now(-ago),
        "made_at": _now(lag - ago),
        "last_at": None if lasts is None else _now(lasts - ago),
        **columns,
    }
    return _save(ScheduleTick(schedule_id=schedule.id, outcome=outcome, **columns))


def limit(name: str = "stripe", *, types: tuple[str, ...] = (), **columns: Any) -> LimitRow:
    """A limit, by default of one job at a time, with these job types under it."""
    row = _save(LimitRow(name=name, **{"source": "api", "concurrency": 1, **columns}))
    for type_name in types:
        _save(LimitAttachment(kind="type", name=type_name, limit_name=name))
    return row


def waiting_job(*, limit: str = "stripe", key: str = "", **columns: Any) -> Job:
    """Due and waiting at a limit."""
    return pending_job(limit_name=limit, limit_key=key, hold=1, **columns)


def job_at(instant: datetime) -> UUID:
    """A fresh UUIDv7 as if made at ``instant``: for tests of time ranges."""
    stamp = ids.first_id_at(instant).int
    # Keep the time, take version, variant and randomness of a new id.
    return UUID(int=stamp >> 80 << 80 | ids.new_id().int & (1 << 80) - 1)


def _job(*, status: str, created_ago: float | None = None, **columns: Any) -> Job:
    job_id = columns.pop("id", None)
    if created_ago is not None:
        columns["created_at"] = _now(-created_ago)
        job_id = job_id or job_at(datetime.now(UTC) - timedelta(seconds=created_ago))
    columns = {"type": "echo", "queue": "default", "payload": {}, **columns}
    return _save(Job(id=job_id or ids.new_id(), status=status, **columns))


def _finished(ago: float) -> dict[str, Any]:
    return {
        "worker_id": uuid4(),
        "run_at": _now(-ago - 1),
        "started_at": _now(-ago - 1),
        "finished_at": _now(-ago),
    }


def _now(offset_seconds: float = 0) -> Any:
    return func.now() + timedelta(seconds=offset_seconds)


def _save(row: Any) -> Any:
    session = db.session
    session.add(row)
    try:
        session.commit()
    except BaseException:
        session.rollback()
        raise
    # Left expired: the first look loads the row as it then is, and no transaction stays open.
    return row


def watched_database() -> None:
    """As if a rescuer had looked in on the database for hours: expired leases may be judged."""
    db.session.execute(
        text(
            "INSERT INTO job_pulses VALUES ('rescue', clock_timestamp(), now() - interval '1 hour')"
            " ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at, since = excluded.since"
        )
    )
    db.session.commit()


def ending(job_id: UUID, token: UUID, verb: str = "complete", **fields: Any) -> Ending:
    """How an attempt ended; ``error``, ``error_class`` and ``traceback`` as they are stored."""
    error, class_name = fields.pop("error", None), fields.pop("error_class", None)
    traceback = fields.pop("traceback", None)
    outcome = fields.get("outcome")
    described = None
    if error is not None or class_name is not None:
        place = None
        if outcome in ("failed", "crashed", "timed_out") or verb == "refuse":
            place = place_in_traceback(traceback or "") or without_numbers(error or "")
        described = AttemptError(error, class_name, traceback, place)
    job = SimpleNamespace(id=job_id, token=token, type="echo", attempt=1, max_attempts=5)
    return Ending(job, verb, error=described, **fields)
