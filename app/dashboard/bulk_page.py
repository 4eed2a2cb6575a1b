"""Everything that matches a list's filter: preview, do, watch."""

from __future__ import annotations

from flask import Response, flash, make_response, redirect, request, url_for

from app.dashboard import blueprint as dashboard
from app.dashboard.fragments import show
from app.dashboard.lists import JobQuery
from app.errors import Forbidden, ValidationFailed
from app.extensions import db
from app.jobs import bulk
from app.security import actor, current, may

SENTENCES = {
    "retry": "Retry", "cancel": "Cancel", "discard": "Discard the dead letters of", "delete": "Delete",
}  # fmt: skip


@dashboard.get("/jobs/all")
def bulk_preview() -> Response:
    query = JobQuery.parse(request.args)
    return show(
        "bulk/preview.html", None, query=query, found=bulk.preview(db.session, query.filter()),
        verbs=SENTENCES, told=_words(query),
    )  # fmt: skip


@dashboard.post("/jobs/all")
def bulk_start() -> Response:
    query = JobQuery.parse(request.args)
    verb = request.form.get("verb", "")
    if verb not in SENTENCES:
        raise ValidationFailed({"verb": [f"must be one of {', '.join(SENTENCES)}."]})
    if verb == "delete" and not may("admin"):
        raise Forbidden(name=current().name, role=current().role, needed="admin")
    number = bulk.create(db.session, verb, query.filter(), told=_words(query), by=actor())
    db.session.commit()
    return make_response(redirect(url_for("dashboard.bulk_action", number=number), 303))


@dashboard.get("/bulk")
def bulk_actions() -> Response:
    return show(
        "bulk/index.html", "bulk/_table.html", actions=bulk.latest(db.session), verbs=SENTENCES
    )


@dashboard.get("/bulk/<int:number>")
def bulk_action(number: int) -> Response:
    return show(
        "bulk/show.html", "bulk/_action.html", action=bulk.find(db.session, number), verbs=SENTENCES
    )


@dashboard.post("/bulk/<int:number>/<any(pause, resume, cancel):what>")
def steer_bulk(number: int, what: str) -> Response:
    {"pause": bulk.pause, "resume": bulk.resume, "cancel": bulk.cancel}[what](
        db.session, number, by=actor()
    )
    db.session.commit()
    words = {
        "pause": "is paused",
        "resume": "goes on",
        "cancel": "is cancelled; what was done stays done",
    }
    flash(f"Bulk action {number} {words[what]}.", "done")
    return make_response(redirect(url_for("dashboard.bulk_action", number=number), 303))


def _words(query: JobQuery) -> str:
    return ", ".join([query.label.lower(), *(chip.label for chip in query.chips())])
