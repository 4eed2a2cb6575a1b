"""What a table row shows about a job or a worker."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.dashboard.present.format import duration, last_line, seconds_between
from app.jobs.holds import AT_LIMIT
from app.jobs.listing import TypeSummary, WorkerSummary
from app.jobs.models import Job
from app.jobs.verbs import VERBS


@dataclass(frozen=True)
class When:
    """The instant that matters in a view: its heading, its column and how it is shown."""

    label: str
    column: str
    kind: str = "ago"
    #: Before the time ranges of its filter: "Failed in the last hour", "Starts within 1 hour".
    range: str = "Created"
    order: str = "newest first"


WHEN: dict[str | None, When] = {
    None: When("Created", "created_at"),
    "pending": When("Due", "run_at", "ago", "Due", "next to start first"),
    "waiting": When("Due", "run_at", "ago", "Due", "next to start first"),
    "scheduled": When("Starts", "run_at", "in", "Starts", "next to start first"),
    "retrying": When("Next try", "run_at", "in", "Next try", "next to start first"),
    "processing": When("Started", "started_at"),
    "completed": When("Finished", "finished_at", "ago", "Finished", "last finished first"),
    "failed": When("Failed", "finished_at", "ago", "Failed", "last failed first"),
    "cancelled": When("Cancelled", "finished_at", "ago", "Cancelled", "last cancelled first"),
}


@dataclass(frozen=True)
class Detail:
    kind: str  # progress, limit, error, tags, none
    text: str = ""


WORKER_VIEWS = {
    "busy": "processing", "idle": "completed", "stopping": "retrying", "stopped": "cancelled", "silent": "failed",
}  # fmt: skip


@dataclass(frozen=True)
class WorkerState:
    view: str  # the status whose color and shape it has
    word: str


def when(job: Job, which: When) -> datetime | None:
    return getattr(job, which.column)


def view(job: Job) -> str:
    """The view whose color, icon and word the job has: waiting, if it waits at a limit."""
    return "waiting" if job.hold == AT_LIMIT else job.view


def is_running(job: Job) -> bool:
    return job.lease_token is not None


def took(job: Job) -> float | None:
    """Seconds of the last attempt of a final job."""
    return seconds_between(job.started_at, job.finished_at)


def detail(job: Job) -> Detail:
    """Progress while the job runs, the limit it waits at, why it failed, or its tags."""
    if job.hold == AT_LIMIT:
        key = f", key {job.limit_key}" if job.limit_key else ""
        return Detail("limit", f"limit {job.limit_name}{key}")
    if is_running(job) and job.progress:
        return Detail("progress")
    if job.last_error and job.view in ("retrying", "failed"):
        return Detail("error", last_line(job.last_error))
    return Detail("tags") if job.tags else Detail("none")


def verbs(job: Job) -> list[str]:
    """The verbs a user may apply to the job in its current status."""
    return [verb for verb in VERBS if job.can(verb)]


def has_result(job: Job) -> bool:
    return job.result is not None


def worker_state(worker: WorkerSummary) -> WorkerState:
    return WorkerState(WORKER_VIEWS[worker.state], worker.state.capitalize())


def policy(summary: TypeSummary) -> str:
    """The options this process registered the type with, as short text; "" if it does not know the type."""
    job_type = summary.job_type
    if job_type is None:
        return ""
    attempts, timeout = job_type.max_attempts, job_type.timeout
    parts = [
        job_type.queue or "",
        f"{attempts} attempts" if attempts else "",
        f"{duration(timeout)} timeout" if timeout else "",
        "isolated" if job_type.isolate else "",
    ]
    return ", ".join(part for part in parts if part)


def element_id(name: str) -> str:
    """Any name as part of an HTML id: letters, digits, and code points for the rest."""
    return re.sub(r"[^A-Za-z0-9]", lambda match: f"_{ord(match[0]):x}_", name)


def instant_of(text: Any) -> datetime | None:
    """An ISO instant from JSON; None if it isn't one."""
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


FILTERS: dict[str, Callable[..., Any]] = {
    "when": when,
    "view": view,
    "is_running": is_running,
    "took": took,
    "detail": detail,
    "has_result": has_result,
    "verbs": verbs,
    "worker_state": worker_state,
    "policy": policy,
    "element_id": element_id,
    "instant_of": instant_of,
}
