"""Job types: figures and policy; pause and resume."""

from __future__ import annotations

from flask import Response

from app.dashboard import cached_reads, render
from app.dashboard.blueprint import dashboard
from app.dashboard.redirects import done
from app.extensions import db
from app.jobs import pauses
from app.security import actor
from app.security.roles import requires


@dashboard.get("/job-types")
@requires("viewer")
def job_types() -> Response:
    return render.page("job_types/index.html", "job_types/_table.html", types=cached_reads.types())


@dashboard.post("/job-types/<path:name>/pause")
@requires("operator")
def pause_type(name: str) -> Response:
    pauses.pause_type(db.session, name, by=actor())
    return done(f"Type {name} paused. Running jobs will finish.", home="dashboard.job_types")


@dashboard.post("/job-types/<path:name>/resume")
@requires("operator")
def resume_type(name: str) -> Response:
    pauses.resume_type(db.session, name, by=actor())
    return done(f"Type {name} resumed.", home="dashboard.job_types")
