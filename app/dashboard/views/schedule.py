"""One schedule: its page; delete."""

from __future__ import annotations

from datetime import datetime

from flask import Response, flash, request, url_for

from app import clock
from app.dashboard import cached_reads, render
from app.dashboard.blueprint import dashboard
from app.dashboard.present import curl, schedule_facts
from app.dashboard.present.json_tree import document
from app.dashboard.present.rows import instant_of
from app.dashboard.redirects import commit, leave
from app.extensions import db
from app.jobs.models import ScheduleRow
from app.jobs.schedules import history, listing, preview, store
from app.jobs.schedules.preview import Run
from app.jobs.schedules.times import InvalidLine
from app.jobs.schedules.zones import InvalidZone
from app.security import actor
from app.security.roles import requires

#: Rows of the history on a page, and future runs shown.
TICKS, NEXT_RUNS = 50, 10


@dashboard.get("/schedules/<name>")
@requires("viewer")
def schedule(name: str) -> Response:
    row, now = listing.get_schedule(db.session, name), clock.now()
    before = _instant(request.args.get("before"))
    ticks = history.ticks_of(db.session, row.id, limit=TICKS + 1, before=before)
    shown = ticks[:TICKS]
    state = listing.state_of(row, now)
    return render.page(
        "schedules/show.html",
        "schedules/_schedule.html",
        row=row,
        state=state,
        why_late=schedule_facts.why_late([row.type], cached_reads.workers()) if state == listing.LATE else "",
        facts=schedule_facts.facts(row),
        live=schedule_facts.live_job(row, ticks),
        options=schedule_facts.options(row),
        runs=_next_runs(row, now),
        payload=document("payload", "Payload", row.payload, f"/api/schedules/{row.name}"),
        ticks=shown,
        lag=schedule_facts.lag(shown),
        before=before,
        older=shown[-1].at if len(ticks) > TICKS else None,
        curl=curl.same_schedule(render.server(), row),
    )  # fmt: skip


def _instant(text: str | None) -> datetime | None:
    return instant_of(text) if text else None


def _next_runs(row: ScheduleRow, now: datetime) -> list[Run]:
    """The next runs; of a paused schedule, those if it were resumed now. None if only a newer release can read its line."""
    if row.retired_at or (row.next_run_at is None and not row.paused_at):
        return []
    try:
        return preview.next_runs(row, after=now, count=NEXT_RUNS)
    except (InvalidLine, InvalidZone):
        return []


@dashboard.post("/schedules/<name>/delete")
@requires("admin")
def delete_schedule(name: str) -> Response:
    """Without scripts, an unconfirmed delete asks first."""
    row = listing.get_schedule(db.session, name)
    if request.form.get("confirmed") != "yes":
        return render.page("schedules/delete.html", None, row=row)
    store.delete(db.session, name, by=actor())
    commit()
    flash(f"Schedule {name} deleted. Its jobs stay.", "done")
    # Its page is gone.
    return leave(url_for("dashboard.schedules"))
