"""PATCH: applies changes by the verbs of the domain."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.errors import InvalidTransition, ValidationFailed
from app.jobs import lifecycle, listing, registry
from app.jobs.lifecycle import NewJob
from app.jobs.limits import known
from app.jobs.models import CANCELLED, PENDING, Job

#: Status to set → the verb that goes there. Workers set the others.
VERBS = {CANCELLED: lifecycle.cancel, PENDING: lifecycle.retry}


class StatusNotSettable(InvalidTransition):
    """Job {job_id} is {status}. A request can set the status only to {allowed}; {verb} is set by workers."""


def apply_changes(db: Any, job_id: UUID, changes: dict[str, Any], *, by: str) -> None:
    """Edits first, then moves the status; the caller commits. Raises what the verbs raise."""
    job = listing.get_job(db, job_id)
    status = changes.pop("status", None)
    if status is not None and status not in VERBS:
        raise StatusNotSettable(
            job_id=job_id, status=job.status, verb=status, allowed=" or ".join(VERBS)
        )
    if "payload" in changes and (job_type := registry.find(job.type)):
        registry.validate_payload(job_type, changes["payload"])
    _check_key(job, changes)
    if changes:
        if "next_run_at" in changes:
            changes["run_at"] = changes.pop("next_run_at")
        lifecycle.edit(db, [job_id], changes, by=by).one()
    if status is not None:
        VERBS[status](db, [job_id], by=by).one()


def _check_key(job: Job, changes: dict[str, Any]) -> None:
    """Raises ValidationFailed if the job would have no key at the limit where its new queue or payload puts it."""
    if not changes.keys() & {"payload", "queue"}:
        return
    payload, queue = changes.get("payload", job.payload), changes.get("queue", job.queue)
    kept = known.kept_key(job.limit_key, type=job.type, queue=queue, payload=payload)
    edited = NewJob(job.type, payload, queue=queue, limit_key=kept)
    if refusals := {path: [text] for path, text in known.complaints(edited)}:
        raise ValidationFailed(refusals)
