"""What a person does to a job or a queue: a POST form, then back to where they were with a message.

With htmx the browser follows the same 303 and receives the live region of that page.
"""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import UUID

from flask import Response, current_app, flash, make_response, redirect, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RoutingException

from app import cache
from app.dashboard import blueprint as dashboard
from app.dashboard.present.format import short_id
from app.dashboard.render import is_part, show
from app.extensions import db
from app.jobs import lifecycle, listing, workers
from app.jobs.models import Job
from app.security import actor


@dashboard.post("/jobs/<uuid:job_id>/retry")
def retry_job(job_id: UUID) -> Response:
    job = listing.get_job(db.session, job_id)
    is_restored = job.is_restorable
    lifecycle.retry(db.session, [job_id], by=actor()).one()
    name = _name(job)
    return done(f"{name} restored to its schedule." if is_restored else f"Retrying {name}.", job)


@dashboard.post("/jobs/<uuid:job_id>/run")
def run_job_now(job_id: UUID) -> Response:
    job = listing.get_job(db.session, job_id)
    lifecycle.run_now(db.session, [job_id], by=actor()).one()
    return done(f"{_name(job)} is due now.", job)


@dashboard.post("/jobs/<uuid:job_id>/cancel")
def cancel_job(job_id: UUID) -> Response:
    job = listing.get_job(db.session, job_id)
    lifecycle.cancel(db.session, [job_id], by=actor()).one()
    db.session.refresh(job)
    return done(
        f"Requested stop of {_name(job)}." if job.cancel_requested else f"{_name(job)} cancelled.",
        job,
    )


@dashboard.post("/jobs/<uuid:job_id>/discard")
def discard_job(job_id: UUID) -> Response:
    job = listing.get_job(db.session, job_id)
    lifecycle.discard(db.session, [job_id], by=actor()).one()
    return done(f"Dead letter of {_name(job)} discarded.", job)


@dashboard.post("/jobs/<uuid:job_id>/delete")
def delete_job(job_id: UUID) -> Response:
    """With scripts off, an unconfirmed delete asks first."""
    job = listing.get_job(db.session, job_id)
    if request.form.get("confirmed") != "yes":
        return show("jobs/delete.html", None, job=job)
    name = _name(job)
    lifecycle.delete(db.session, [job_id], by=actor()).one()
    _commit()
    flash(f"{name} deleted.", "done")
    # Its page is gone: leave it altogether.
    return leave(url_for("dashboard.jobs"))


@dashboard.post("/queues/<path:name>/pause")
def pause_queue(name: str) -> Response:
    lifecycle.pause_queue(db.session, name, by=actor())
    return done(f"Queue {name} paused. Running jobs will finish.")


@dashboard.post("/queues/<path:name>/resume")
def resume_queue(name: str) -> Response:
    lifecycle.resume_queue(db.session, name, by=actor())
    return done(f"Queue {name} resumed.")


@dashboard.post("/job-types/<path:name>/pause")
def pause_type(name: str) -> Response:
    lifecycle.pause_type(db.session, name, by=actor())
    return done(f"Type {name} paused. Running jobs will finish.", home="dashboard.job_types")


@dashboard.post("/job-types/<path:name>/resume")
def resume_type(name: str) -> Response:
    lifecycle.resume_type(db.session, name, by=actor())
    return done(f"Type {name} resumed.", home="dashboard.job_types")


@dashboard.post("/workers/<uuid:worker_id>/stop")
def stop_worker(worker_id: UUID) -> Response:
    workers.request_stop(db.session, worker_id, by=actor())
    return done(
        "Stop requested. The worker finishes its running jobs and takes no new ones.",
        home="dashboard.workers",
    )


def _name(job: Job) -> str:
    return f"{job.type} {short_id(job.id)}"


def done(
    message: str, job: Job | None = None, *, home: str = "dashboard.queues", tone: str = "done"
) -> Response:
    back = came_from() or (url_for("dashboard.job", job_id=job.id) if job else url_for(home))
    _commit()
    flash(message, tone)
    return make_response(redirect(back, 303))


def _commit() -> None:
    db.session.commit()
    # The person who did it wants to see it now, not in a second.
    cache.forget()


def leave(url: str) -> Response:
    if is_part():
        response = make_response("", 200)
        response.headers["HX-Redirect"] = url
        return response
    return make_response(redirect(url, 303))


def came_from() -> str | None:
    """The page of ours that the form stood on, by its path alone: never another host's."""
    try:
        address = urlsplit(request.headers.get("HX-Current-URL") or request.referrer or "")
        path = address.path.removeprefix(request.script_root)
        endpoint, _ = current_app.url_map.bind("").match(path, method="GET")
    except (ValueError, HTTPException, RoutingException):
        return None
    if not str(endpoint).startswith("dashboard."):
        return None
    return address.path + (f"?{address.query}" if address.query else "")
