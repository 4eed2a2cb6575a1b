"""Failures by group: look, retry one, ten as a canary, all of them; discard."""

from __future__ import annotations

import re

from flask import Response, abort, request, url_for

from app.dashboard import blueprint as dashboard
from app.dashboard import looks
from app.dashboard.actions import done, leave
from app.dashboard.fragments import show
from app.errors import ValidationFailed
from app.extensions import db
from app.jobs import bulk
from app.jobs.models import FAILED
from app.jobs.queries import FAILURE_GROUPS, JobFilter
from app.security import actor

VERBS = {"retry": "go back to pending", "discard": "are discarded"}


@dashboard.get("/failures")
def failures() -> Response:
    return show(
        "failures/index.html", "failures/_table.html", groups=looks.failures(), most=FAILURE_GROUPS
    )


@dashboard.post("/failures/<failure>/<verb>")
def act_on_failure(failure: str, verb: str) -> Response:
    """At once with ``most``, which is small; else as a bulk action."""
    if verb not in VERBS or not re.fullmatch("[0-9a-f]{12}", failure):
        abort(404)
    narrowed = JobFilter(failure=failure, status=FAILED)
    if "most" not in request.args:
        number = bulk.create(
            db.session, verb, narrowed, told=f"failed jobs, failure {failure}", by=actor()
        )
        db.session.commit()
        return leave(url_for("dashboard.bulk_action", number=number))
    ids = bulk.newest(db.session, verb, narrowed, _most(request.args["most"]))
    changes = bulk.act(db.session, verb, ids, by=actor())
    n = len(changes.done)
    told = f"{n} {'job' if n == 1 else 'jobs'} of the group {VERBS[verb]}."
    return done(told if n else "Nothing is left of that group.", home="dashboard.failures")


def _most(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:4]) <= bulk.AT_ONCE:
        raise ValidationFailed({"most": [f"must be a whole number from 1 to {bulk.AT_ONCE}."]})
    return int(text)
