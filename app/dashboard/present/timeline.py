"""The timeline of a job, from its row, attempts, dead letters and audit events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.dashboard.present.format import duration, error_text, last_line, seconds_between, short_id
from app.jobs.models import (
    CANCELLED,
    COMPLETED,
    FAILED,
    PENDING,
    AuditEvent,
    DeadLetter,
    Job,
    JobAttempt,
)

TRACEBACK_LIMIT = 20_000


@dataclass(frozen=True)
class Event:
    key: str  # stable over refreshes: part of an element id
    view: str  # the status whose color and shape it has
    title: str
    at: datetime
    kind: str = "ago"
    note: str = ""
    error: str = ""
    traceback: str = ""


#: outcome → color and shape, words after "Attempt 3"
OUTCOMES = {
    "failed": ("failed", "failed"),
    "crashed": ("failed", "crashed its worker"),
    "timed_out": ("failed", "timed out"),
    "released": ("pending", "returned by a stopping worker"),
    "snoozed": ("scheduled", "snoozed"),
    "cancelled": ("cancelled", "cancelled while running"),
}


#: user action → color and shape, title
ACTS = {
    "job.edit": ("scheduled", "Changed"),
    "job.retry": ("retrying", "Retried"),
    "job.run": ("pending", "Run now requested"),
    "job.cancel": ("cancelled", "Cancelled"),
}


def timeline(
    job: Job,
    attempts: Sequence[JobAttempt],
    dead_letters: Sequence[DeadLetter] = (),
    acts: Sequence[AuditEvent] = (),
) -> list[Event]:
    """Newest first; the next attempt, if there is one, comes before everything else."""
    past = [
        _created(job),
        *map(_attempt, attempts, [None, *attempts]),
        *_running(job, acts),
        *_ending(job, attempts, acts),
        *_closed(dead_letters),
        *_acts(job, dead_letters, acts),
    ]
    # Listed in causal order. The sort is stable, so of two events at one instant the later one in the list is newer.
    return [*_coming(job), *sorted(past, key=lambda event: event.at)[::-1]]


def _created(job: Job) -> Event:
    return Event(
        "created",
        "pending",
        "Created",
        job.created_at,
        note=f"by {job.created_by}" if job.created_by else "",
    )


def _attempt(attempt: JobAttempt, before: JobAttempt | None) -> Event:
    view, words = OUTCOMES.get(attempt.outcome, ("failed", attempt.outcome))
    if attempt.outcome == "released" and attempt.error_class:
        words = "returned by a worker that can't run it"
    ran = duration(seconds_between(attempt.started_at, attempt.ended_at))
    error = error_text(attempt.error_class, attempt.error)
    wait = seconds_between(attempt.ended_at, attempt.retry_at)
    waited = seconds_between(before.retry_at, attempt.started_at) if before else None
    notes = [
        _waited(waited),
        f"ran {ran}",
        f"{attempt.times:,} times" if attempt.times and attempt.times > 1 else "",
        _on(attempt.worker_id),
        f"next attempt {duration(wait)} later" if wait and wait > 0 else "",
    ]
    return Event(
        str(attempt.lease_token), view, f"Attempt {attempt.attempt} {words}", attempt.ended_at,
        note=" · ".join(filter(None, notes)), error=last_line(error, 1000), traceback=tail(attempt.traceback),
    )  # fmt: skip


def _running(job: Job, acts: Sequence[AuditEvent]) -> Iterator[Event]:
    if job.lease_token and job.started_at:
        yield Event(
            "running",
            "processing",
            f"Attempt {job.attempts} running",
            job.started_at,
            "for",
            " · ".join(filter(None, [_wait(job), _on(job.worker_id)])),
        )
    if job.cancel_requested_at:
        yield Event(
            "cancel",
            "cancelled",
            "Stop requested",
            job.cancel_requested_at,
            note=_by(acts, "job.cancel", job.cancel_requested_at),
        )


def _ending(
    job: Job, attempts: Sequence[JobAttempt], acts: Sequence[AuditEvent]
) -> Iterator[Event]:
    if not job.finished_at:
        return
    if job.status == COMPLETED:
        ran = duration(seconds_between(job.started_at, job.finished_at))
        note = " · ".join(filter(None, [_wait(job), f"ran {ran}", _on(job.worker_id)]))
        yield Event(
            "end", "completed", f"Completed (attempt {job.attempts})", job.finished_at, note=note
        )
    elif job.status == FAILED:
        yield Event(
            "end", "failed", "Failed permanently", job.finished_at, note="kept as a dead letter"
        )
    elif job.status == CANCELLED and not any(
        attempt.ended_at == job.finished_at for attempt in attempts
    ):
        yield Event(
            "end",
            "cancelled",
            "Cancelled",
            job.finished_at,
            note=_by(acts, "job.cancel", job.finished_at),
        )


def _closed(dead_letters: Sequence[DeadLetter]) -> Iterator[Event]:
    for dead_letter in dead_letters:
        if not dead_letter.closed_at:
            continue
        by = f"by {dead_letter.closed_by}" if dead_letter.closed_by else ""
        key = f"dead-letter-{dead_letter.id}"
        if dead_letter.closed_how == "discarded":
            yield Event(key, "cancelled", "Dead letter discarded", dead_letter.closed_at, note=by)
        else:
            yield Event(
                f"failed-{dead_letter.id}",
                "failed",
                "Failed permanently",
                dead_letter.failed_at,
                note="kept as a dead letter",
            )
            yield Event(key, "retrying", "Retried", dead_letter.closed_at, note=by)


def _acts(
    job: Job, dead_letters: Sequence[DeadLetter], acts: Sequence[AuditEvent]
) -> Iterator[Event]:
    """User actions that neither the row nor its dead letters show."""
    shown = {dead_letter.closed_at for dead_letter in dead_letters} | {
        job.cancel_requested_at,
        job.finished_at,
    }
    for act in acts:
        view, title = ACTS.get(act.action, ("", ""))
        # A transaction has a single time, so an event already shown has the same instant.
        if title and (act.at not in shown or act.action == "job.edit"):
            fields = ", ".join(map(str, act.details.get("fields", [])))
            note = ", ".join(filter(None, [fields, f"by {act.actor}"]))
            yield Event(f"act-{act.id}", view, title, act.at, note=note)


def _by(acts: Sequence[AuditEvent], action: str, at: datetime) -> str:
    return next((f"by {act.actor}" for act in acts if (act.action, act.at) == (action, at)), "")


def _wait(job: Job) -> str:
    return _waited(seconds_between(job.run_at, job.started_at))


def _waited(seconds: float | None) -> str:
    return f"waited {duration(seconds)}" if seconds and seconds >= 0.001 else ""


def _coming(job: Job) -> Iterator[Event]:
    if job.status == PENDING:
        title = f"Attempt {job.attempts + 1}" if job.attempts else "First attempt"
        yield Event("next", job.view, title, job.run_at, "in")


def _on(worker_id: UUID | None) -> str:
    return f"worker {short_id(worker_id)}" if worker_id else ""


def tail(traceback: str | None) -> str:
    """The last TRACEBACK_LIMIT characters of a traceback: its end matters most."""
    text = (traceback or "").strip()
    if len(text) <= TRACEBACK_LIMIT:
        return text
    return f"… {len(text) - TRACEBACK_LIMIT:,} characters omitted …\n{text[-TRACEBACK_LIMIT:]}"
