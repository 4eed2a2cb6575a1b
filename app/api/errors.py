"""One shape for everything that goes wrong: ``{"message", "code", "errors"}``; never a trace."""

from __future__ import annotations

import logging
from typing import Any

from flask import Response, request
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from werkzeug.exceptions import HTTPException

from app import request_ids
from app.api import cors
from app.api.rendering import render
from app.errors import DatabaseUnavailable, InvalidTransition, JobQueueError, ValidationFailed

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
QUERY_CANCELED = "57014"
LOST_RACES = ("40001", "40P01", "55P03")  # serialization failure, deadlock, lock not available


class MalformedJson(JobQueueError):
    """The body is not JSON: {reason}."""

    http_status, code = 400, "malformed_json"

    @property
    def errors(self) -> dict[Any, Any] | None:
        return {"body": [f"is not JSON: {self.facts['reason']}."]}


class NotJson(JobQueueError):
    """Send the body as Content-Type: application/json and without Content-Encoding, not as {found}."""

    http_status, code = 415, "unsupported_media_type"


class BodyTooLarge(JobQueueError):
    """The body is larger than {limit} bytes."""

    http_status, code = 413, "body_too_large"


class NotRetryable(InvalidTransition):
    """Job {job_id} is {status}; {verb} needs {allowed}."""

    # /retry documents 400 where every other illegal transition is 409.
    http_status = 400


class JobTypeNotFound(JobQueueError):
    """No job type is named {name!r}; see /api/job-types."""

    http_status, code = 404, "job_type_not_found"


class QueryTooSlow(JobQueueError):
    """The database took too long for this; narrow it by status, type, queue or time."""

    http_status, code = 503, "query_too_slow"


class TryAgain(JobQueueError):
    """Another request changed the same jobs at that moment; nothing was stored. Send it again."""

    http_status, code = 503, "try_again"


class Refused(JobQueueError):
    """The database refused a value; nothing was stored."""

    http_status, code = 422, "validation_failed"


class Crashed(JobQueueError):
    """Something went wrong on our side; the server's log tells what, by the X-Request-Id."""


#: Codes of errors that routing finds, before any view is reached.
HTTP_CODES = {
    400: ("bad_request", "The request is not valid HTTP or JSON."),
    404: (
        "not_found",
        "There is nothing at {path}; ids are UUIDs, and /api/docs lists what there is.",
    ),
    405: ("method_not_allowed", "{path} does not take {method}; it takes {allowed}."),
    413: ("body_too_large", "The body is too large."),
}


def tell(error: JobQueueError, headers: dict[str, str] | None = None) -> Response:
    """The response of an error of ours."""
    body: dict[str, Any] = {"message": str(error), "code": error.code}
    if error.errors:
        body["errors"] = error.errors
        if isinstance(error, ValidationFailed):
            body["message"] = _in_words(error.errors)
    headers = dict(headers or {})
    if error.http_status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    elif error.http_status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="jobs"'
    elif error.http_status == 429:
        headers["Retry-After"] = str(error.facts["seconds"])
    return render(body, error.http_status, headers)


def _in_words(errors: dict[Any, Any]) -> str:
    """The first complaint, for someone who reads only the message."""
    field, told = next(iter(errors.items()))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{field}: {told[0]}{more}"


def no_such_route() -> Response | None:
    """Before every request: unknown paths and wrong methods under ours, which reach no blueprint."""
    error = request.routing_exception
    if error is None or error.code not in (404, 405) or not cors.is_api():
        return None
    return answer(error)


def answer(error: HTTPException) -> Response:
    """For errors that Werkzeug raises."""
    status = error.code or 500
    code, message = HTTP_CODES.get(
        status, ("http_error", error.description or "The request failed.")
    )
    allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
    facts = {"path": request.path, "method": request.method, "allowed": allowed}
    headers = {"Allow": allowed} if allowed else {}
    return render({"message": message.format(**facts), "code": code}, status, headers)


def database_failed(error: Exception) -> Response:
    """503 while PostgreSQL is away; 422 for a value that only PostgreSQL noticed."""
    if isinstance(error, DataError | IntegrityError):
        # The last wall held; the door should have. Our bug, not the client's to see.
        log.error("the database refused what the API let in: %s", error.orig)
        return tell(Refused())
    code = getattr(getattr(error, "orig", None), "pgcode", None)
    if code in LOST_RACES:
        return tell(TryAgain())
    if code == QUERY_CANCELED:
        return tell(QueryTooSlow())
    is_away = isinstance(error, OperationalError | InterfaceError)
    if isinstance(error, DBAPIError) and not is_away and not error.connection_invalidated:
        return crashed(error)
    log.warning("api: database unavailable: %s", getattr(error, "orig", error))
    return tell(DatabaseUnavailable())


def crashed(error: Exception) -> Response:
    """500 without a word of the cause, which goes to the log."""
    told = (request.method, request.path, request_ids.current())
    log.error("%s %s failed (request %s)", *told, exc_info=error)
    return tell(Crashed())
