"""A new job made from an existing one, with its payload and priority to edit. The existing job stays unchanged."""

from __future__ import annotations

import json
from uuid import UUID

from flask import Response, flash, make_response, redirect, request, url_for

from app.dashboard import render
from app.dashboard.blueprint import dashboard
from app.dashboard.forms import payload_of, priority_of
from app.dashboard.present.format import short_id
from app.errors import Forbidden, UnknownJobType, ValidationFailed, by_field
from app.extensions import db
from app.jobs import audit, lifecycle, listing, registry
from app.jobs.lifecycle import NewJob
from app.jobs.limits import known
from app.jobs.models import Job
from app.security import actor, current, may
from app.security.roles import requires


@dashboard.get("/jobs/<uuid:job_id>/copy")
@requires("viewer")
def copy_form(job_id: UUID) -> Response:
    if not may("operator"):
        # The form shows the whole payload, including secrets.
        raise Forbidden(name=current().name, role=current().role, needed="operator")
    job = listing.get_job(db.session, job_id)
    text = json.dumps(job.payload, ensure_ascii=False, indent=2)
    return _form(job, text, str(job.priority))


@dashboard.post("/jobs/<uuid:job_id>/copy")
@requires("operator")
def create_copy(job_id: UUID) -> Response:
    job = listing.get_job(db.session, job_id)
    text, priority = request.form.get("payload", ""), request.form.get("priority", "")
    try:
        new = _new_job(job, text, priority)
    except (ValidationFailed, UnknownJobType) as error:
        return _form(job, text, priority, by_field(error.errors or {}) or str(error), 422)
    [copy] = lifecycle.enqueue(db.session, [new])
    audit.record(db.session, actor(), "job.copy", str(copy.id), {"of": str(job_id)})
    db.session.commit()
    flash(f"Created as a copy of {short_id(job_id)}.", "done")
    return make_response(redirect(url_for("dashboard.job", job_id=copy.id), 303))


def _form(job: Job, text: str, priority: str, problem: str = "", status: int = 200) -> Response:
    return render.page(
        "jobs/copy.html",
        None,
        status=status,
        job=job,
        text=text,
        priority=priority,
        problem=problem,
    )


def _new_job(job: Job, text: str, priority: str) -> NewJob:
    payload = payload_of(text)
    registry.validate_payload(registry.get(job.type), payload)
    new = NewJob(
        job.type, payload, queue=job.queue, priority=priority_of(priority or "0"), max_attempts=job.max_attempts,
        timeout_seconds=job.timeout_seconds, tags=job.tags, by=actor(),
        limit_key=known.kept_key(job.limit_key, type=job.type, queue=job.queue, payload=payload),
    )  # fmt: skip
    if refusals := {path: [text] for path, text in known.complaints(new)}:
        raise ValidationFailed(refusals)
    return new
