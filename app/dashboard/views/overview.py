"""The first page: figures, counts and the latest of everything; and the counts alone for other pages."""

from __future__ import annotations

from flask import Response, request

from app.dashboard.blueprint import dashboard
from app.dashboard.present import overview_facts
from app.dashboard.render import show
from app.jobs.statistics import summary
from app.security.roles import requires


@dashboard.get("/")
@requires("viewer")
def overview() -> Response:
    chosen = request.args.get("range", "hour")
    facts = overview_facts.facts(chosen if chosen in summary.RANGES else "hour")
    return show("overview/index.html", "overview/_live.html", **facts)


@dashboard.get("/pulse")
@requires("viewer")
def pulse() -> Response:
    """Counts and health alone, for pages whose own region refreshes slowly."""
    return show("layout/_fragment.html", None)
