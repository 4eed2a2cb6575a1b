"""/api/job-types: list, pause, and resume job types."""

from __future__ import annotations

from typing import Any

from flask import current_app

from app.api.http.errors import JobTypeNotFound
from app.api.http.operation import operation
from app.api.schemas.job_types import JOB_TYPE
from app.api.schemas.limits import LIMIT_OF
from app.api.schemas.payload_schema import payload_schema
from app.extensions import db
from app.jobs import listing, pauses
from app.jobs.limits import attach, known
from app.jobs.listing import TypeSummary
from app.security import actor

TAG = "Job types"


@operation("GET", "/api/job-types", responses={200: JOB_TYPE}, is_list=True, role="viewer", tag=TAG)
def list_job_types() -> list[dict[str, Any]]:
    """List job types.

    By name: every type that is registered, has jobs, or is paused. Attempts of the last hour make the shares and times.
    """
    return [_described(summary) for summary in listing.job_type_overview(db.session)]


@operation(
    "GET", "/api/job-types/<name>", responses={200: JOB_TYPE}, errors=(404,), role="viewer", tag=TAG
)
def get_job_type(name: str) -> dict[str, Any]:
    """Get a job type.

    404 unless it is registered, has jobs, or is paused.
    """
    for summary in listing.job_type_overview(db.session):
        if summary.name == name:
            return _described(summary)
    raise JobTypeNotFound(name=name)


@operation(
    "POST",
    "/api/job-types/<name>/pause",
    responses={200: JOB_TYPE},
    errors=(404,),
    role="operator",
    tag=TAG,
)
def pause_job_type(name: str) -> dict[str, Any]:
    """Pause a job type.

    Its jobs are no longer started. Running jobs finish; new jobs are accepted and wait.
    """
    get_job_type(name)
    pauses.pause_type(db.session, name, by=actor())
    db.session.commit()
    return get_job_type(name)


@operation(
    "POST",
    "/api/job-types/<name>/resume",
    responses={200: JOB_TYPE},
    errors=(404,),
    role="operator",
    tag=TAG,
)
def resume_job_type(name: str) -> dict[str, Any]:
    """Resume a job type.

    Its jobs start again.
    """
    get_job_type(name)
    pauses.resume_type(db.session, name, by=actor())
    db.session.commit()
    return get_job_type(name)


@operation(
    "PUT",
    "/api/job-types/<name>/limit",
    body=LIMIT_OF,
    responses={200: JOB_TYPE},
    errors=(404, 409),
    role="operator",
    tag=TAG,
)
def put_job_type_limit(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Put a job type under a limit.

    null takes it out. Waiting jobs follow in chunks (`moves` of the limit); none of them starts beyond the limit meanwhile. 409 `defined_in_code`
    for a type that its code puts under a limit.
    """
    get_job_type(name)
    attach.set_limit(db.session, "type", name, body["limit"], by=actor())
    db.session.commit()
    known.forget()
    return get_job_type(name)


def _described(summary: TypeSummary) -> dict[str, Any]:
    """The summary with its policy, where None means the setting; all null for a type unknown here."""
    settings, job_type = current_app.extensions["settings"], summary.job_type
    policy: dict[str, Any] = dict.fromkeys(
        (
            "description",
            "queue",
            "priority",
            "max_attempts",
            "timeout_seconds",
            "max_crashes",
            "payload_schema",
        )
    )
    if job_type is not None:
        policy = {
            "description": job_type.description,
            "queue": job_type.queue,
            "priority": job_type.priority,
            "max_attempts": job_type.max_attempts or settings.max_attempts,
            "timeout_seconds": job_type.timeout or settings.default_timeout_seconds,
            "max_crashes": settings.max_crashes
            if job_type.max_crashes is None
            else job_type.max_crashes,
            "payload_schema": payload_schema(job_type.schema),
        }
    return {**vars(summary), **policy, "is_registered": job_type is not None}
