"""Errors as users see them: a page, or with htmx a message above the current page."""

from __future__ import annotations

import logging

from flask import Response, make_response, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from app import database_errors
from app.api_paths import is_api_path
from app.dashboard.blueprint import dashboard
from app.dashboard.redirects import came_from
from app.dashboard.render import flash_only, is_part, plain_page
from app.errors import (
    RETRY_AFTER_SECONDS,
    DatabaseUnavailable,
    JobQueueError,
    SchemaProblem,
    Unauthenticated,
    by_field,
)
from app.extensions import db
from app.security import current, events

log = logging.getLogger(__name__)


TITLES = {
    400: "Invalid request",
    403: "You don't have permission",
    404: "Page not found",
    405: "Method not allowed",
    409: "No longer possible",
    413: "Too large",
    422: "Invalid input",
    429: "Too many requests",
    500: "Something went wrong",
    503: "The service is not available",
}
#: Titles that say more than the status.
TITLES_BY_CODE = {
    "database_unavailable": "The database is not reachable",
    "database_read_only": "The database is read-only",
    "query_too_slow": "The database took too long",
    "try_again": "Conflict with another change",
}
MESSAGES = {
    404: "It may have been deleted.",
    405: "This page doesn't support this kind of request.",
    500: "The error is in the server's log. Your change may not have been saved.",
}


@dashboard.errorhandler(JobQueueError)
def refused(error: JobQueueError) -> Response:
    db.session.rollback()
    # Only after an outage the page reloads by itself: a slow query must not be repeated.
    return respond(
        error.http_status,
        by_field(error.errors) if error.errors else str(error),
        title=_title(error),
        is_outage=isinstance(error, DatabaseUnavailable | SchemaProblem),
    )


@dashboard.errorhandler(Unauthenticated)
def redirect_to_sign_in(error: Unauthenticated) -> Response:
    """Redirects to the sign-in page, which leads back here."""
    here = (
        came_from()
        if is_part() or request.method not in ("GET", "HEAD")
        else request.full_path.rstrip("?")
    )
    address = url_for("dashboard.sign_in", next=here or None)
    if is_part():
        response = make_response("", 200)
        response.headers["HX-Redirect"] = address
        return response
    return make_response(redirect(address, 303))


@dashboard.errorhandler(DBAPIError)
@dashboard.errorhandler(PoolTimeout)
def database_failed(error: Exception) -> Response:
    """What the database's error means; a page with status 500 for a bug of ours."""
    db.session.rollback()
    explanation = database_errors.explain(error, log)
    if explanation is None:
        return crashed(error)
    if isinstance(error, DataError) and request.method == "GET":
        # Only PostgreSQL notices some values, such as an escaped NUL inside a searched payload.
        return respond(422, "The database can't search for that.")
    return refused(explanation)


def _title(error: JobQueueError) -> str | None:
    if isinstance(error, SchemaProblem):
        return "The database is not ready"
    return TITLES_BY_CODE.get(error.code)


@dashboard.errorhandler(Exception)
def crashed(error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return respond(500, MESSAGES[500])


@dashboard.errorhandler(HTTPException)
def http_error(error: HTTPException) -> Response:
    """Errors that routing or the form check finds: unknown addresses, wrong methods, forged forms."""
    if isinstance(error, CSRFError):
        events.refused("form.refused", actor=current().name, reason=error.description)
        return respond(400, "This form is older than your session. Reload the page and try again.")
    code = error.code or 500
    return respond(code, MESSAGES.get(code) or error.description or MESSAGES[500])


@dashboard.app_errorhandler(HTTPException)
def http_error_elsewhere(error: HTTPException) -> ResponseReturnValue:
    """Unknown addresses get our error page, except those of the API."""
    return error if is_api_path(request.path) else http_error(error)


def respond(
    status: int, message: str, *, title: str | None = None, is_outage: bool = False
) -> Response:
    """For htmx a message above the current page, else a page."""
    if is_part():
        response = flash_only(message, status)
    else:
        title = title or TITLES.get(status, "Something went wrong")
        facts = {"title": title, "code": status, "message": message, "back_url": came_from()}
        if request.method == "GET":
            facts["retry_url"] = request.full_path.rstrip("?")
        response = plain_page("errors/error.html", status, is_outage=is_outage, **facts)
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response
