"""What the page of one job says: facts, why it failed, payload and result, story, log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import url_for

from app.dashboard.present import why_words
from app.dashboard.present.curl import curl
from app.dashboard.present.format import duration, named_error, short_id
from app.dashboard.present.json_tree import document
from app.dashboard.present.rows import is_running, took
from app.dashboard.present.timeline import tail, timeline
from app.extensions import db
from app.jobs import listing, registry
from app.jobs.models import CANCELLED, COMPLETED, Job, JobAttempt

LOG_LINES = 200
ALL_LOG_LINES = 10_000  # MAX_LOG_LINES may be set higher; a page must not
ERROR_LIMIT = 4_000


@dataclass(frozen=True)
class Fact:
    label: str
    value: Any
    kind: str = "text"  # text, time, took, running, tags
    how: str = "ago"
    url: str | None = None


@dataclass(frozen=True)
class Failure:
    title: str
    text: str
    traceback: str


def facts(job_id: UUID, *, whole_log: bool = False) -> dict[str, Any]:
    """Everything the page shows. Raises JobNotFound."""
    job = listing.get_job(db.session, job_id)
    attempts = listing.attempts_of(db.session, job_id)
    letters = listing.letters_of(db.session, job_id)
    acts = listing.audit_of(db.session, str(job_id))
    lines, has_more = _log(job_id, whole=whole_log)
    raw = f"/api/jobs/{job_id}"
    documents = [document("payload", "Payload", job.payload, raw)]
    if job.result is not None:
        documents.append(document("result", "Result", job.result, raw))
    return {
        "job": job,
        "letter": letters[-1] if letters and not letters[-1].closed_at else None,
        "error": failure(job, attempts),
        "facts": list(_facts(job)),
        "documents": documents,
        "why": why_words.reasons(job),
        "curl": curl(job),
        "no_result": no_result(job),
        "events": timeline(job, attempts, letters, acts),
        "log": lines,
        "log_has_more": has_more,
    }


def failure(job: Job, attempts: Sequence[JobAttempt]) -> Failure | None:
    """Why the last attempt failed, while that still matters: not once the job has completed."""
    if not job.last_error or job.status in (COMPLETED, CANCELLED):
        return None
    last = max(
        (attempt for attempt in attempts if attempt.error),
        key=lambda attempt: attempt.ended_at,
        default=None,
    )
    text = last.error if last and last.error else job.last_error
    kind = last.error_class if last and last.error_class else None
    title = f"Attempt {last.attempt} of {job.max_attempts} failed" if last else "Failed"
    return Failure(
        title, named_error(kind, text)[:ERROR_LIMIT], tail(last.traceback if last else None)
    )


def no_result(job: Job) -> str:
    if job.status == COMPLETED:
        return "The handler returned nothing."
    return "No result yet." if not job.is_final else "None: the job did not complete."


def _facts(job: Job) -> Iterator[Fact]:
    yield Fact("Queue", job.queue, url=url_for("dashboard.jobs", queue=job.queue))
    yield Fact("Priority", f"{job.priority:+d}" if job.priority else "0")
    yield Fact("Attempts", f"{job.attempts} of {job.max_attempts}")
    if job.crashes:
        yield Fact("Crashes", f"{job.crashes}")
    yield Fact("Created", job.created_at, "time")
    if job.next_run_at:
        yield Fact("Next run", job.next_run_at, "time", "in")
    if job.started_at:
        yield Fact("Started", job.started_at, "time")
    if is_running(job):
        yield Fact("Running for", job.started_at, "running")
    if job.finished_at:
        yield Fact("Finished", job.finished_at, "time")
    if took(job) is not None:
        yield Fact("Took", took(job), "took")
    if job.worker_id:
        yield Fact(
            "Worker",
            short_id(job.worker_id),
            url=url_for("dashboard.workers", _anchor=f"worker-{job.worker_id}"),
        )
    if job.timeout_seconds:
        yield Fact("Timeout", duration(job.timeout_seconds))
    elif (job_type := registry.find(job.type)) and job_type.timeout:
        yield Fact("Timeout", f"{duration(job_type.timeout)} (of the type)")
    if job.expires_at:
        yield Fact("Expires", job.expires_at, "time", "in")
    if group := job.fingerprint:
        yield Fact("Error group", group, url=url_for("dashboard.jobs", fingerprint=group))
    if job.unique_key:
        yield Fact("Unique key", job.unique_key)
    if job.tags:
        yield Fact("Tags", job.tags, "tags")


def _log(job_id: UUID, *, whole: bool) -> tuple[list[Any], bool]:
    """The newest lines, and whether older ones were left out."""
    lines = listing.log_of(db.session, job_id, limit=ALL_LOG_LINES)
    return (lines, False) if whole or len(lines) <= LOG_LINES else (lines[-LOG_LINES:], True)
