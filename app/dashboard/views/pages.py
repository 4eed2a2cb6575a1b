"""Every page: parse, call, render."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from flask import Response, make_response, redirect, request, url_for

from app import clock
from app.dashboard import blueprint as dashboard
from app.dashboard import cached_reads
from app.dashboard.layout import WORKER_COMMAND
from app.dashboard.list_query import PAGE_SIZE, JobQuery, LetterQuery
from app.dashboard.present import job_facts, overview_facts
from app.dashboard.present.curl import example
from app.dashboard.render import is_search_step, show
from app.extensions import db
from app.jobs import listing
from app.jobs.listing import JobFilter, Page
from app.jobs.models import PROCESSING
from app.jobs.statistics import summary
from app.security import may_search_payloads


@dashboard.get("/")
def overview() -> Response:
    chosen = request.args.get("range", "hour")
    facts = overview_facts.facts(chosen if chosen in summary.RANGES else "hour")
    return show("overview/index.html", "overview/_live.html", **facts)


@dashboard.get("/jobs")
def jobs() -> Response:
    query = JobQuery.parse(request.args)
    filter, newer = query.filter(), 0
    order = query.order
    start = query.cursor or (query.top if query.is_pinned else None)
    page = listing.list_jobs(
        db.session, filter, limit=PAGE_SIZE, cursor=start, order=order, is_light=True
    )
    if query.top and not page.items:
        page = listing.list_jobs(db.session, filter, limit=PAGE_SIZE, order=order, is_light=True)
    elif query.top and query.is_pinned:
        newer = listing.count_newer_jobs(
            db.session, filter, query.top, limit=PAGE_SIZE, order=order
        )
    found = request.args.get("found", type=int) if is_search_step() else None
    if found is not None:
        # The further steps belong to the list they began with.
        query, page = query.first, replace(page, previous_cursor=None)
    return show(
        "jobs/index.html", "jobs/_more.html" if found else "jobs/_table.html", query=query, page=page, newer=newer,
        most=PAGE_SIZE, found=found,
        waiting_ahead=claimed_ahead() if query.view == PROCESSING else 0, searched_percent=searched_percent(page, filter), type_names=type_names(query.type),
        queue_names=queue_names(query.queue), example=example(),
    )  # fmt: skip


def claimed_ahead() -> int:
    """How many jobs workers have claimed beyond what their threads can run at once."""
    threads = sum(worker.threads for worker in cached_reads.workers() if worker.is_alive)
    return max(cached_reads.counts()["processing"] - threads, 0)


def searched_percent(page: Page[Any], filter: JobFilter) -> int:
    """How far back a search that was cut short has come, of the time to search."""
    if not page.searched_until:
        return 100
    now, oldest = clock.now(), cached_reads.oldest_created() or page.searched_until
    first = max(oldest, filter.created_from or oldest)
    share = (now - page.searched_until) / max(now - first, timedelta(seconds=1))
    return min(max(int(share * 100), 0), 99)


@dashboard.get("/jobs/find")
def find_job() -> Response:
    """To the job whose id, or part of an id, is given; to the search if not exactly one has it."""
    words = request.args.get("id", "").strip()
    query = JobQuery.parse({"q": words})
    page = listing.list_jobs(db.session, query.filter(), limit=2, is_light=True)
    is_sure = len(page.items) == 1 and not page.is_cut_short
    url = url_for("dashboard.job", job_id=page.items[0].id) if is_sure else query.url()
    return make_response(redirect(url, 303))


@dashboard.get("/jobs/<uuid:job_id>")
def job(job_id: UUID) -> Response:
    whole_log = request.args.get("log") == "all"
    return show(
        "jobs/show.html",
        "jobs/_job.html",
        whole_log=whole_log,
        **job_facts.facts(job_id, whole_log=whole_log),
    )


@dashboard.get("/dead-letters")
def dead_letters() -> Response:
    query = LetterQuery.parse(request.args)
    narrowed: dict[str, Any] = {
        "type": query.type,
        "search": query.q or None,
        "is_payload_searched": may_search_payloads(),
    }
    start = query.cursor or (query.top if query.is_pinned else None)
    page, newer = (
        listing.list_dead_letters(db.session, limit=PAGE_SIZE, cursor=start, **narrowed),
        0,
    )
    if query.top and not page.items:
        page = listing.list_dead_letters(db.session, limit=PAGE_SIZE, **narrowed)
    elif query.top and query.is_pinned:
        newer = listing.count_newer_letters(db.session, query.top, limit=PAGE_SIZE, **narrowed)
    return show(
        "dead_letters/index.html", "dead_letters/_table.html", query=query, page=page, newer=newer, most=PAGE_SIZE,
        type_names=type_names(query.type),
    )  # fmt: skip


@dashboard.get("/queues")
def queues() -> Response:
    return show(
        "queues/index.html", "queues/_table.html", queues=cached_reads.queues(), example=example()
    )


@dashboard.get("/workers")
def workers() -> Response:
    return show(
        "workers/index.html",
        "workers/_list.html",
        workers=cached_reads.workers(),
        running=cached_reads.running(),
        worker_command=WORKER_COMMAND,
    )


@dashboard.get("/job-types")
def job_types() -> Response:
    return show("job_types/index.html", "job_types/_table.html", types=cached_reads.types())


@dashboard.get("/audit")
def audit() -> Response:
    before = request.args.get("before", type=int)
    events = listing.audit_events(db.session, limit=PAGE_SIZE + 1, before=before)
    older = events[PAGE_SIZE - 1].id if len(events) > PAGE_SIZE else None
    return show(
        "audit/index.html",
        "audit/_table.html",
        events=events[:PAGE_SIZE],
        older=older,
        before=before,
    )


@dashboard.get("/pulse")
def pulse() -> Response:
    """Counts and health alone, for pages whose own region refreshes slowly."""
    return show("layout/_fragment.html", None)


def type_names(chosen: str | None) -> list[str]:
    """What the list can be narrowed to, and what it is narrowed to."""
    return sorted({*cached_reads.type_names(), *([chosen] if chosen else [])})


def queue_names(chosen: str | None) -> list[str]:
    return sorted({*(queue.name for queue in cached_reads.queues()), *([chosen] if chosen else [])})
