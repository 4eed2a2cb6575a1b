"""The audit log: who did what, and when."""

from __future__ import annotations

from flask import Response, request

from app.dashboard import render
from app.dashboard.blueprint import dashboard
from app.dashboard.list_query import PAGE_SIZE
from app.extensions import db
from app.jobs import audit as audit_log
from app.security.roles import requires


@dashboard.get("/audit")
@requires("admin")
def audit() -> Response:
    before = request.args.get("before", type=int)
    events = audit_log.latest_events(db.session, limit=PAGE_SIZE + 1, before=before)
    older = events[PAGE_SIZE - 1].id if len(events) > PAGE_SIZE else None
    return render.page(
        "audit/index.html",
        "audit/_table.html",
        events=events[:PAGE_SIZE],
        older=older,
        before=before,
    )
