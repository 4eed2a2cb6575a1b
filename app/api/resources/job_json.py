"""What the API says of a job at its limit."""

from __future__ import annotations

from typing import Any

from app.database import Db
from app.jobs.holds import AT_LIMIT
from app.jobs.limits import waiting
from app.jobs.models import Job


def add_wait(db: Db, job: Job) -> Job:
    """The job, with what it waits for at its limit, looked up."""
    wait = waiting.limit_wait(db, job)
    _set(job, waiting.as_json(wait) if wait else None)
    return job


def add_place(job: Job) -> Job:
    """The job, with where it waits, without a look at the limit."""
    if job.hold == AT_LIMIT:
        _set(job, waiting.place(job.limit_name or "", job.limit_key or ""))
    return job


def of_new(columns: dict[str, Any]) -> dict[str, Any]:
    """The fields of a job that was just inserted with these columns."""
    name, key = columns.get("limit_name"), columns.get("limit_key")
    if name is None or key is None:
        return {"limit": None, "waiting_for": None}
    waits = waiting.place(name, key) if columns["is_due"] else None
    return {"limit": {"name": name, "key": key}, "waiting_for": waits}


def _set(job: Job, waiting_for: dict[str, Any] | None) -> None:
    job.waiting_for = waiting_for  # type: ignore[misc]  # of this instance
