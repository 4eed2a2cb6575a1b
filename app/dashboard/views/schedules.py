"""Schedules: the list; pause, resume and run now."""

from __future__ import annotations

from flask import Response, request

from app.dashboard import cached_reads, render
from app.dashboard.blueprint import dashboard
from app.dashboard.list_query import PAGE_SIZE
from app.dashboard.present import schedule_words
from app.dashboard.present.format import short_id
from app.dashboard.redirects import done
from app.dashboard.schedule_query import ScheduleQuery
from app.extensions import db
from app.jobs.schedules import history, listing, store
from app.security import actor
from app.security.roles import requires

HOME = "dashboard.schedules"


@dashboard.get("/schedules")
@requires("viewer")
def schedules() -> Response:
    query = ScheduleQuery.parse(request.args)
    page = listing.list_schedules(
        db.session, search=query.q or None, state=query.state, type=query.type,
        limit=PAGE_SIZE, cursor=query.cursor,
    )  # fmt: skip
    return render.page(
        "schedules/index.html",
        "schedules/_table.html",
        query=query,
        page=page,
        ticks=history.latest_ticks(
            db.session, [row.id for row in page.items], per=schedule_words.MARKS
        ),
        state_of=listing.state_of,
        trouble=schedule_words.trouble_words(cached_reads.schedule_trouble()),
        type_names=cached_reads.type_options(query.type),
    )


@dashboard.post("/schedules/<name>/pause")
@requires("operator")
def pause_schedule(name: str) -> Response:
    store.pause(db.session, name, by=actor())
    return done(f"Schedule {name} paused. Its jobs are not affected.", home=HOME)


@dashboard.post("/schedules/<name>/resume")
@requires("operator")
def resume_schedule(name: str) -> Response:
    store.resume(db.session, name, by=actor())
    return done(f"Schedule {name} resumed.", home=HOME)


@dashboard.post("/schedules/<name>/run")
@requires("operator")
def run_schedule(name: str) -> Response:
    # Confirmed: next to a job that has not ended.
    force = request.form.get("confirmed") == "yes"
    job_id = store.run_now(db.session, name, by=actor(), force=force)
    return done(f"Job {short_id(job_id)} of schedule {name} created.", home=HOME)
