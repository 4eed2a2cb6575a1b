"""Everything that matches a list's filter: preview, do, watch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response, flash, make_response, redirect, request, url_for

from app.dashboard import blueprint as dashboard
from app.dashboard.actions import done
from app.dashboard.format import number
from app.dashboard.fragments import show
from app.dashboard.lists import JobQuery
from app.dashboard.new_job import priority_of
from app.errors import ValidationFailed
from app.extensions import db
from app.jobs import bulk, registry
from app.security import actor
from app.security.door import require

SENTENCES = {
    "retry": "Retry", "run": "Run now", "cancel": "Cancel", "discard": "Discard the dead letters of", "edit": "Change",
    "delete": "Delete",
}  # fmt: skip
#: What became of selected jobs.
BECAME = {
    "retry": "Retrying {jobs}.",
    "run": "{jobs} due now.",
    "cancel": "{jobs} cancelled or stopping.",
    "discard": "{jobs} discarded.",
    "delete": "{jobs} deleted.",
    "edit": "{jobs} changed.",
}


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
    _check(verb)
    args = _changes(request.form) if verb == "edit" else {}
    told = ": ".join([_words(query), *filter(None, [_told(args)])])
    number = bulk.create(db.session, verb, query.filter(), told=told, by=actor(), args=args)
    db.session.commit()
    return make_response(redirect(url_for("dashboard.bulk_action", number=number), 303))


@dashboard.post("/jobs/selected")
def act_on_selected() -> Response:
    """The rows a person has ticked, at once. With scripts off, an unconfirmed delete asks first."""
    verb, ids = request.form.get("verb", ""), _ids(request.form.getlist("ids"))
    _check(verb)
    if verb == "delete" and request.form.get("confirmed") != "yes":
        return show("bulk/delete.html", None, ids=ids)
    args = _changes(request.form) if verb == "edit" else {}
    changes = bulk.act(db.session, verb, ids, by=actor(), args=args)
    n, refused = len(changes.done), list(changes.refused.values())
    told = BECAME[verb].format(jobs=jobs(n)) if n else ""
    if refused:
        told += f" {len(refused)} skipped: {refused[0]}" + (" …" if len(refused) > 1 else "")
    return done(told.strip(), home="dashboard.jobs", tone="done" if n else "problem")


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
    _check(bulk.find(db.session, number).verb)
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


def jobs(n: int) -> str:
    """ "1 job", "6,000 jobs"."""
    return f"{number(n)} {'job' if n == 1 else 'jobs'}"


def _check(verb: str) -> None:
    if verb not in SENTENCES:
        raise ValidationFailed({"verb": [f"must be one of {', '.join(SENTENCES)}."]})
    if verb == "delete":
        require("admin")


def _ids(texts: list[str]) -> list[UUID]:
    try:
        ids = [UUID(text) for text in dict.fromkeys(texts)]
    except ValueError:
        raise ValidationFailed({"ids": ["must be the ids of jobs."]}) from None
    if not 1 <= len(ids) <= bulk.AT_ONCE:
        raise ValidationFailed({"ids": [f"must be 1 to {bulk.AT_ONCE}; select a row."]})
    return ids


def _changes(form: Mapping[str, str]) -> dict[str, Any]:
    """What edit is to change; blank fields stay as they are."""
    changes: dict[str, Any] = {}
    if form.get("priority", "").strip():
        changes["priority"] = priority_of(form["priority"])
    if queue := form.get("queue", "").strip():
        if not registry.NAME.fullmatch(queue):
            raise ValidationFailed({"queue": [registry.NAME_RULE]})
        changes["queue"] = queue
    if not changes:
        raise ValidationFailed({"priority": ["or queue must be filled in to change jobs."]})
    return changes


def _told(args: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in args.items())


def _words(query: JobQuery) -> str:
    return ", ".join([query.label.lower(), *(chip.label for chip in query.chips())])
