"""A new job made of an old one: duplicated, or with its payload edited. The old one stays as it is."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import UUID

from flask import Response, flash, make_response, redirect, request, url_for

from app.dashboard import blueprint as dashboard
from app.dashboard.present.format import short_id
from app.dashboard.render import show
from app.errors import Forbidden, UnknownJobType, ValidationFailed, by_field
from app.extensions import db
from app.jobs import lifecycle, listing, registry
from app.jobs.lifecycle import NewJob
from app.jobs.listing.filters import is_storable
from app.jobs.models import Job
from app.security import actor, current, may


@dashboard.get("/jobs/<uuid:job_id>/again")
def edit_again(job_id: UUID) -> Response:
    if not may("operator"):
        # The form shows the payload whole, secrets included.
        raise Forbidden(name=current().name, role=current().role, needed="operator")
    job = listing.get_job(db.session, job_id)
    text = json.dumps(job.payload, ensure_ascii=False, indent=2)
    return _form(job, text, str(job.priority))


@dashboard.post("/jobs/<uuid:job_id>/again")
def run_again(job_id: UUID) -> Response:
    job = listing.get_job(db.session, job_id)
    text, priority = request.form.get("payload", ""), request.form.get("priority", "")
    try:
        new = _new_job(job, text, priority)
    except (ValidationFailed, UnknownJobType) as error:
        return _form(job, text, priority, by_field(error.errors or {}) or str(error), 422)
    [made] = lifecycle.enqueue(db.session, [new])
    lifecycle.record(db.session, actor(), "job.again", str(made.id), {"of": str(job_id)})
    db.session.commit()
    flash(f"Made of {short_id(job_id)}, which stays as it is.", "done")
    return make_response(redirect(url_for("dashboard.job", job_id=made.id), 303))


def _form(job: Job, text: str, priority: str, problem: str = "", status: int = 200) -> Response:
    return show(
        "jobs/again.html",
        None,
        status=status,
        job=job,
        text=text,
        priority=priority,
        problem=problem,
    )


def _new_job(job: Job, text: str, priority: str) -> NewJob:
    payload = _payload(text)
    registry.validate_payload(registry.get(job.type), payload)
    return NewJob(
        job.type, payload, queue=job.queue, priority=priority_of(priority or "0"), max_attempts=job.max_attempts,
        timeout_seconds=job.timeout_seconds, tags=job.tags, by=actor(),
    )  # fmt: skip


def priority_of(text: str) -> int:
    """Raises ValidationFailed."""
    if not re.fullmatch(r"[+-]?\d{1,3}", text.strip()) or abs(int(text)) > 100:
        raise ValidationFailed({"priority": ["must be a whole number from -100 to 100."]})
    return int(text)


def _payload(text: str) -> dict[str, Any]:
    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is not JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("a key is there twice")
        return found

    try:
        payload = json.loads(text or "{}", parse_constant=refuse, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ValidationFailed({"payload": [f"is not JSON as we take it: {error}."]}) from None
    if not isinstance(payload, dict):
        raise ValidationFailed({"payload": ["must be a JSON object: { … }."]})
    if not is_storable(payload):
        raise ValidationFailed(
            {"payload": ["holds a NUL, a lone surrogate or a number too large."]}
        )
    return payload
