"""The overview: figures, counts and the latest rows; and the counts alone for other pages."""

from __future__ import annotations

from flask import Response, request

from app.dashboard import cached_reads, render
from app.dashboard.blueprint import dashboard
from app.dashboard.present import charts, curl
from app.dashboard.present.figures import Tile, figures
from app.extensions import db
from app.jobs import listing
from app.jobs.listing import JobFilter
from app.jobs.models import PROCESSING, VIEWS
from app.jobs.statistics import summary
from app.security.roles import requires

#: Rows of each short list.
ROWS = 6


@dashboard.get("/")
@requires("viewer")
def overview() -> Response:
    """Figures are shared by all tabs; the short lists are read by index."""
    chosen = request.args.get("range", "hour")
    range_name = chosen if chosen in summary.RANGES else "hour"
    counts, numbers = cached_reads.counts(), cached_reads.overview()
    running = JobFilter(status=PROCESSING)
    return render.page(
        "overview/index.html",
        "overview/_live.html",
        overview=numbers,
        tiles=[Tile(view, counts[view]) for view in VIEWS],
        figures=figures(numbers),
        chart=charts.ended(cached_reads.history(range_name), range_name),
        ranges=charts.LABELS,
        is_fresh=not counts["all"],
        running=listing.list_jobs(db.session, running, limit=ROWS, is_light=True).items,
        groups=cached_reads.error_groups()[0][:ROWS],
        queues=sorted(cached_reads.queues(), key=lambda queue: (-queue.due, queue.name))[:ROWS],
        held=cached_reads.held_by_queue(),
        workers=[worker for worker in cached_reads.workers() if worker.is_alive][:ROWS],
        example=curl.first_job(render.server()),
    )


@dashboard.get("/pulse")
@requires("viewer")
def pulse() -> Response:
    """Counts and health alone, for pages whose own region refreshes slowly."""
    return render.page("layout/_fragment.html", None)
