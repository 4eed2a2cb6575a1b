"""The list of jobs, and the redirect from an ID to its job."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from flask import Response, make_response, redirect, request, url_for

from app import clock
from app.dashboard import cached_reads, render
from app.dashboard.blueprint import dashboard
from app.dashboard.list_query import PAGE_SIZE, JobQuery
from app.dashboard.present import curl
from app.extensions import db
from app.jobs import listing
from app.jobs.listing import JobFilter, Page
from app.jobs.models import PROCESSING
from app.security.roles import requires


@dashboard.get("/jobs")
@requires("viewer")
def jobs() -> Response:
    query = JobQuery.parse(request.args)
    filter, order = query.filter(), query.order
    page, newer = query.read(
        lambda cursor: listing.list_jobs(
            db.session, filter, limit=PAGE_SIZE, cursor=cursor, order=order, is_light=True
        ),
        lambda top: listing.count_newer_jobs(db.session, filter, top, limit=PAGE_SIZE, order=order),
    )
    matches = request.args.get("matches", type=int) if render.is_search_step() else None
    if matches is not None:
        # Later steps belong to the list they started from.
        query, page = query.first, replace(page, previous_cursor=None)
    return render.page(
        "jobs/index.html", "jobs/_more.html" if matches else "jobs/_table.html", query=query, page=page, newer=newer,
        page_size=PAGE_SIZE, matches=matches,
        waiting_ahead=claimed_ahead() if query.view == PROCESSING else 0, searched_percent=searched_percent(page, filter), type_names=cached_reads.type_options(query.type),
        queue_names=cached_reads.queue_options(query.queue), example=curl.first_job(render.server()),
    )  # fmt: skip


@dashboard.get("/jobs/find")
@requires("viewer")
def find_job() -> Response:
    """Redirect to the job with this ID or part of an ID, or to a search if not exactly one job matches."""
    words = request.args.get("id", "").strip()
    query = JobQuery.parse({"q": words})
    page = listing.list_jobs(db.session, query.filter(), limit=2, is_light=True)
    is_sure = len(page.items) == 1 and not page.is_cut_short
    url = url_for("dashboard.job", job_id=page.items[0].id) if is_sure else query.url()
    return make_response(redirect(url, 303))


def claimed_ahead() -> int:
    """How many jobs workers have claimed beyond what their threads can run at once."""
    threads = sum(worker.threads for worker in cached_reads.workers() if worker.is_alive)
    return max(cached_reads.counts()["processing"] - threads, 0)


def searched_percent(page: Page[Any], filter: JobFilter) -> int:
    """How much of its time range an unfinished search has covered, in percent."""
    if not page.searched_until:
        return 100
    now, oldest = clock.now(), cached_reads.oldest_created() or page.searched_until
    first = max(oldest, filter.created_from or oldest)
    share = (now - page.searched_until) / max(now - first, timedelta(seconds=1))
    return min(max(int(share * 100), 0), 99)
