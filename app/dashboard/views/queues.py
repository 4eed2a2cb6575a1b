"""Queues: backlog; pause and resume."""

from __future__ import annotations

from flask import Response

from app.dashboard import cached_reads, render
from app.dashboard.blueprint import dashboard
from app.dashboard.present import curl
from app.dashboard.redirects import done
from app.extensions import db
from app.jobs import pauses
from app.security import actor
from app.security.roles import requires


@dashboard.get("/queues")
@requires("viewer")
def queues() -> Response:
    return render.page(
        "queues/index.html",
        "queues/_table.html",
        queues=cached_reads.queues(),
        held=cached_reads.held_by_queue(),
        example=curl.first_job(render.server()),
    )


@dashboard.post("/queues/<path:name>/pause")
@requires("operator")
def pause_queue(name: str) -> Response:
    pauses.pause_queue(db.session, name, by=actor())
    return done(f"Queue {name} paused. Running jobs will finish.")


@dashboard.post("/queues/<path:name>/resume")
@requires("operator")
def resume_queue(name: str) -> Response:
    pauses.resume_queue(db.session, name, by=actor())
    return done(f"Queue {name} resumed.")
