"""The facts on a job's page, and why the job failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.dashboard.present.format import duration, error_text, short_id
from app.dashboard.present.link import Link
from app.dashboard.present.rows import is_running, took
from app.dashboard.present.timeline import tail
from app.jobs.limits.definition import RESERVED
from app.jobs.models import CANCELLED, COMPLETED, Job, JobAttempt
from app.jobs.schedules.history import Maker

ERROR_LIMIT = 4_000


@dataclass(frozen=True)
class Fact:
    """One line of the facts."""

    label: str
    value: Any
    kind: str = "text"  # text, time, took, running, tags
    how: str = "ago"
    link: Link | None = None


@dataclass(frozen=True)
class Failure:
    """Why a job failed, as its page shows it."""

    title: str
    text: str
    traceback: str


def failure(job: Job, attempts: Sequence[JobAttempt]) -> Failure | None:
    """Why the last attempt failed; None for a job that has completed or was cancelled."""
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
        title, error_text(kind, text)[:ERROR_LIMIT], tail(last.traceback if last else None)
    )


def no_result(job: Job) -> str:
    """The text shown instead of a result."""
    if job.status == COMPLETED:
        return "The handler returned nothing."
    return "No result yet." if not job.is_final else "No result: the job did not complete."


def facts(job: Job, type_timeout: float | None, maker: Maker | None = None) -> list[Fact]:
    """The facts to show; ``type_timeout`` (seconds) is that of the job's type, ``maker`` the schedule that created it."""
    return [*_facts(job, type_timeout), *_maker(maker)]


def _maker(maker: Maker | None) -> Iterator[Fact]:
    if maker:
        name = f"{maker.name} (run now)" if maker.is_manual else maker.name
        link = Link("dashboard.schedule", {"name": maker.name})
        yield Fact("Made by schedule", name, link=link)
        yield Fact("Tick", maker.tick_at, "time")


def _facts(job: Job, type_timeout: float | None) -> Iterator[Fact]:
    yield Fact("Queue", job.queue, link=Link("dashboard.jobs", {"queue": job.queue}))
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
        yield Fact("Duration", took(job), "took")
    if job.worker_id:
        yield Fact(
            "Worker",
            short_id(job.worker_id),
            link=Link("dashboard.workers", {"_anchor": f"worker-{job.worker_id}"}),
        )
    if job.timeout_seconds:
        yield Fact("Timeout", duration(job.timeout_seconds))
    elif type_timeout:
        yield Fact("Timeout", f"{duration(type_timeout)} (default of the job type)")
    if job.expires_at:
        yield Fact("Expires", job.expires_at, "time", "in")
    if group := job.fingerprint:
        yield Fact("Error group", group, link=Link("dashboard.jobs", {"fingerprint": group}))
    if job.unique_key:
        yield Fact("Unique key", job.unique_key)
    is_ours = job.limit_name in RESERVED  # one of the job queue's own, without a page
    if job.limit_name and not is_ours:
        yield Fact("Limit", job.limit_name, link=Link("dashboard.limit", {"name": job.limit_name}))
    if job.limit_key and not is_ours:
        args = {"limit": job.limit_name, "limitKey": job.limit_key}
        yield Fact("Limit key", job.limit_key, link=Link("dashboard.jobs", args))
    if job.tags:
        yield Fact("Tags", job.tags, "tags")
