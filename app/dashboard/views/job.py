"""One job: its page, and what people do to it."""

from __future__ import annotations

from uuid import UUID

from flask import Response, flash, request, url_for

from app.dashboard.blueprint import dashboard
from app.dashboard.present import job_facts
from app.dashboard.redirects import commit, done, job_name, leave
from app.dashboard.render import show
from app.extensions import db
from app.jobs import lifecycle, listing
from app.security import actor
from app.security.roles import requires


@dashboard.get("/jobs/<uuid:job_id>")
@requires("viewer")
def job(job_id: UUID) -> Response:
    whole_log = request.args.get("log") == "all"
    return show(
        "jobs/show.html",
        "jobs/_job.html",
        whole_log=whole_log,
        **job_facts.facts(job_id, whole_log=whole_log),
    )


@dashboard.post("/jobs/<uuid:job_id>/retry")
@requires("operator")
def retry_job(job_id: UUID) -> Response:
    job = listing.get_job(db.session, job_id)
    is_restored = job.is_restorable
    lifecycle.retry(db.session, [job_id], by=actor()).one()
    name = job_name(job)
    return done(f"{name} restored to its schedule." if is_restored else f"Retrying {name}.", job)


@dashboard.post("/jobs/<uuid:job_id>/run")
@requires("operator")
def run_job_now(job_id: UUID) -> Response:
    job = listing.get_job(db.session, job_id)
    lifecycle.run_now(db.session, [job_id], by=actor()).one()
    return done(f"{job_name(job)} is due now.", job)


@dashboard.post("/jobs/<uuid:job_id>/cancel")
@requires("operator")
def cancel_job(job_id: UUID) -> Response:
    job = listing.get_job(db.session, job_id)
    lifecycle.cancel(db.session, [job_id], by=actor()).one()
    db.session.refresh(job)
    return done(
        f"Requested stop of {job_name(job)}."
        if job.cancel_requested
        else f"{job_name(job)} cancelled.",
        job,
    )


@dashboard.post("/jobs/<uuid:job_id>/discard")
@requires("operator")
def discard_job(job_id: UUID) -> Response:
    job = listing.get_job(db.session, job_id)
    lifecycle.discard(db.session, [job_id], by=actor()).one()
    return done(f"Dead letter of {job_name(job)} discarded.", job)


@dashboard.post("/jobs/<uuid:job_id>/delete")
@requires("admin")
def delete_job(job_id: UUID) -> Response:
    """With scripts off, an unconfirmed delete asks first."""
    job = listing.get_job(db.session, job_id)
    if request.form.get("confirmed") != "yes":
        return show("jobs/delete.html", None, job=job)
    name = job_name(job)
    lifecycle.delete(db.session, [job_id], by=actor()).one()
    commit()
    flash(f"{name} deleted.", "done")
    # Its page is gone.
    return leave(url_for("dashboard.jobs"))
