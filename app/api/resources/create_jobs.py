"""Creates jobs: single ones together with those of other threads, many in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from app import statement_timeouts
from app.api.resources import job_json
from app.errors import ValidationFailed
from app.extensions import db
from app.jobs import audit, idempotency, lifecycle, listing
from app.jobs.combiner import enqueue_committed
from app.jobs.lifecycle import NewJob
from app.security import actor

IDEMPOTENCY_HEADER = "Idempotency-Key"


def create_one(new_job: NewJob, *, idempotency_key: str | None) -> tuple[UUID, Any, bool]:
    """Stores one job: its id, the job (new columns, or the existing Job), and whether it is new.

    Raises ValidationFailed, IdempotencyMismatch.
    """
    if idempotency_key is not None:
        check_idempotency_key(idempotency_key)
        job_id, is_new = idempotency.enqueue_once(
            db.session, new_job, scope=actor(), key=idempotency_key
        )
        db.session.commit()
        job = job_json.add_wait(db.session, listing.get_job(db.session, job_id))
        return job_id, job, is_new
    new = enqueue_committed(new_job)
    if new.columns is None:
        live = listing.get_job(db.session, new.id)
        return new.id, job_json.add_wait(db.session, live), False
    return new.id, _as_job(new.columns), True


def create_many(new_jobs: Sequence[NewJob], *, idempotency_key: str | None) -> list[UUID]:
    """Stores all jobs or none; the ids in the order given. Raises ValidationFailed."""
    if idempotency_key is not None:
        raise ValidationFailed(
            {
                IDEMPOTENCY_HEADER: [
                    "is only for single jobs; in a bulk request give each job a uniqueKey."
                ]
            }
        )
    statement_timeouts.allow_bulk(db.session)
    jobs = lifecycle.enqueue(db.session, new_jobs)
    # A job records its own creator; a bulk is also recorded as one event.
    if new := [str(job.id) for job in jobs if job.is_new]:
        details = {"count": len(new), "ids": new[:100]}
        audit.record(db.session, actor(), "job.create", f"{len(new)} jobs", details)
    db.session.commit()
    return [job.id for job in jobs]


def check_idempotency_key(key: str) -> None:
    """Raises ValidationFailed for a value that can't be an Idempotency-Key."""
    if not idempotency.KEY.fullmatch(key):
        raise ValidationFailed(
            {IDEMPOTENCY_HEADER: ["must be 1 to 255 visible ASCII characters, without spaces."]}
        )


def _as_job(columns: dict[str, Any]) -> dict[str, Any]:
    """The columns of a new job with what the model computes."""
    return {
        **columns,
        "next_run_at": None if columns["is_due"] else columns["run_at"],
        "cancel_requested": False,
        **job_json.of_new(columns),
    }
