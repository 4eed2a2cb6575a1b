"""One job: its page and its actions."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from flask import Response, current_app, flash, request, url_for

from app import clock
from app.dashboard import cached_reads, render
from app.dashboard.blueprint import dashboard
from app.dashboard.present import curl, job_facts, why_words
from app.dashboard.present.json_tree import Document, document
from app.dashboard.present.timeline import timeline
from app.dashboard.redirects import commit, done, job_name, leave
from app.extensions import db
from app.jobs import audit, lifecycle, listing, registry
from app.jobs.listing import WorkerSummary
from app.jobs.models import PENDING, DeadLetter, Job
from app.jobs.publication import Ref, current_publisher
from app.jobs.schedules import history
from app.security import actor
from app.security.roles import requires

#: Log lines shown on the page, and the maximum shown on request, regardless of MAX_LOG_LINES.
LOG_LINES, ALL_LOG_LINES = 200, 10_000


@dashboard.get("/jobs/<uuid:job_id>")
@requires("viewer")
def job(job_id: UUID) -> Response:
    whole_log = request.args.get("log") == "all"
    job = listing.get_job(db.session, job_id)
    attempts = listing.attempts_of(db.session, job_id)
    dead_letters = listing.dead_letters_of(db.session, job_id)
    lines = listing.log_of(db.session, job_id, limit=ALL_LOG_LINES)
    job_type = registry.find(job.type)
    return render.page(
        "jobs/show.html",
        "jobs/_job.html",
        job=job,
        dead_letter=_open_dead_letter(dead_letters),
        error=job_facts.failure(job, attempts),
        facts=job_facts.facts(
            job, job_type.timeout if job_type else None, history.made_by(db.session, job_id)
        ),
        documents=_documents(job),
        why=why_waiting(job),
        curl=curl.same_job(render.server(), job, clock.now()),
        no_result=job_facts.no_result(job),
        events=timeline(job, attempts, dead_letters, audit.events_of(db.session, str(job_id))),
        log=lines if whole_log else lines[-LOG_LINES:],
        log_has_more=not whole_log and len(lines) > LOG_LINES,
        whole_log=whole_log,
    )


def _open_dead_letter(dead_letters: Sequence[DeadLetter]) -> DeadLetter | None:
    """The latest one, unless it is closed."""
    latest = dead_letters[-1] if dead_letters else None
    return latest if latest and not latest.closed_at else None


def _documents(job: Job) -> list[Document]:
    raw = f"/api/jobs/{job.id}"
    documents = [document("payload", "Payload", job.payload, raw)]
    if job.result is not None:
        documents.append(document("result", "Result", job.result, raw))
    return documents


def why_waiting(job: Job) -> list[str]:
    """Why a pending job is not running; [] for any other job."""
    if job.status != PENDING:
        return []
    workers = cached_reads.workers()
    hours = current_app.extensions["settings"].unknown_type_hours
    holds = why_words.holds(job, listing.waiting(db.session, job), workers, hours)
    return holds or [_position(job, why_words.workers_of(job, workers))]


def _position(job: Job, serving: list[WorkerSummary]) -> str:
    ref = Ref(job.id, job.queue, job.priority, int(job.run_at.timestamp() * 1000), True, job.type)
    try:
        is_absent = bool(current_publisher().ready.absent([ref]))
    except Exception:  # whatever the Redis client raises
        return why_words.REDIS_DOWN
    if is_absent:
        return why_words.NOT_IN_REDIS
    threads = sum(worker.threads for worker in serving)
    return why_words.position(job, listing.count_ahead(db.session, job), threads)


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
        f"Stop requested for {job_name(job)}."
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
    """Without scripts, an unconfirmed delete asks first."""
    job = listing.get_job(db.session, job_id)
    if request.form.get("confirmed") != "yes":
        return render.page("jobs/delete.html", None, job=job)
    name = job_name(job)
    lifecycle.delete(db.session, [job_id], by=actor()).one()
    commit()
    flash(f"{name} deleted.", "done")
    # Its page is gone.
    return leave(url_for("dashboard.jobs"))
