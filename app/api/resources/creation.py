"""Creating jobs: one in one round trip, many in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from app import statement_timeouts
from app.api.resources import idempotency
from app.database import autocommit
from app.errors import ValidationFailed
from app.extensions import db
from app.jobs import audit, lifecycle, listing
from app.jobs.lifecycle import NewJob
from app.security import actor


def create_one(new_job: NewJob, *, idempotency_key: str | None) -> tuple[UUID, Any, bool]:
    """Its id, the stored job (new columns, or the Job that was there before), and whether it is new."""
    if idempotency_key is not None:
        key = idempotency.checked(idempotency_key)
        job_id, is_new = idempotency.enqueue_once(db.session, new_job, scope=actor(), key=key)
        db.session.commit()
        return job_id, listing.get_job(db.session, job_id), is_new
    # Autocommit: one round trip instead of three (BEGIN, INSERT, COMMIT).
    with autocommit(db.engine) as connection:
        (made,) = lifecycle.enqueue(connection, [new_job], with_columns=True)
    if made.columns is None:
        return made.id, listing.get_job(db.session, made.id), False
    return made.id, _as_job(made.columns), True


def create_many(new_jobs: Sequence[NewJob], *, idempotency_key: str | None) -> list[UUID]:
    """The ids in the order given; all are stored, or none."""
    if idempotency_key is not None:
        raise ValidationFailed(
            {idempotency.HEADER: ["is for single jobs; in a bulk give each job a uniqueKey."]}
        )
    statement_timeouts.allow_bulk(db.session)
    made = lifecycle.enqueue(db.session, new_jobs)
    # A single job says itself who made it; that many are worth an event.
    if new := [str(one.id) for one in made if one.is_new]:
        told = {"count": len(new), "ids": new[:100]}
        audit.record(db.session, actor(), "job.create", f"{len(new)} jobs", told)
    db.session.commit()
    return [one.id for one in made]


def _as_job(columns: dict[str, Any]) -> dict[str, Any]:
    """The columns of a new job with what the model computes."""
    return {
        **columns,
        "next_run_at": None if columns["is_due"] else columns["run_at"],
        "cancel_requested": False,
    }
