"""Where a browser goes after an action: back to the page it came from, with a message."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Response, current_app, flash, make_response, redirect, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RoutingException

from app import cache
from app.dashboard.present.format import short_id
from app.dashboard.render import is_part
from app.extensions import db
from app.jobs.models import Job


def done(
    message: str,
    job: Job | None = None,
    *,
    home: str = "dashboard.queues",
    tone: str = "done",
    link: tuple[str, str] | None = None,
) -> Response:
    """Commit, and go back to the page the form was on: to ``job`` or ``home`` if that is unknown.

    ``tone`` is the kind of the message: done or problem. ``link`` is shown after it: (words, address).
    """
    back = came_from() or (url_for("dashboard.job", job_id=job.id) if job else url_for(home))
    commit()
    flash((message, *link) if link else message, tone)  # type: ignore[arg-type]
    return make_response(redirect(back, 303))


def commit() -> None:
    """Commit, and drop cached reads so that the next page shows the change."""
    db.session.commit()
    cache.forget()


def leave(url: str) -> Response:
    """Load ``url`` as a whole page, also when htmx asked for a part of this one."""
    if is_part():
        response = make_response("", 200)
        response.headers["HX-Redirect"] = url
        return response
    return make_response(redirect(url, 303))


def came_from() -> str | None:
    """The path of the dashboard page that the form was on; None for any other page or host."""
    try:
        address = urlsplit(request.headers.get("HX-Current-URL") or request.referrer or "")
        path = address.path.removeprefix(request.script_root)
        endpoint, _ = current_app.url_map.bind("").match(path, method="GET")
    except (ValueError, HTTPException, RoutingException):
        return None
    if not str(endpoint).startswith("dashboard."):
        return None
    return address.path + (f"?{address.query}" if address.query else "")


def job_name(job: Job) -> str:
    """ "echo 0197ab12", as messages name a job."""
    return f"{job.type} {short_id(job.id)}"
