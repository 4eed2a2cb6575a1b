"""One shape for everything that goes wrong: ``{"message", "code", "errors"}``; never a trace."""

from __future__ import annotations

import logging
from typing import Any

from flask import Response, request
from werkzeug.exceptions import HTTPException

from app import database_errors, request_ids
from app.api.http import cors
from app.api.http.response import render
from app.errors import (
    RETRY_AFTER_SECONDS,
    InvalidTransition,
    JobQueueError,
    ValidationFailed,
)

log = logging.getLogger(__name__)


class MalformedJson(JobQueueError):
    """The body is not JSON: {reason}."""

    http_status, code = 400, "malformed_json"

    @property
    def errors(self) -> dict[Any, Any] | None:
        return {"body": [f"is not JSON: {self.facts['reason']}."]}


class NotJson(JobQueueError):
    """Send the body as Content-Type: application/json and without Content-Encoding, not as {found}."""

    http_status, code = 415, "unsupported_media_type"


class NotRetryable(InvalidTransition):
    """Job {job_id} is {status}; {verb} needs {allowed}."""

    # /retry documents 400 where every other illegal transition is 409.
    http_status = 400


class JobTypeNotFound(JobQueueError):
    """No job type is named {name!r}; see /api/job-types."""

    http_status, code = 404, "job_type_not_found"


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
OTHER_CODE = "http_error"


def all_codes() -> list[str]:
    """Every ``code`` an answer can have, sorted."""
    found = {code for code, _ in HTTP_CODES.values()} | {OTHER_CODE}
    kinds: list[type[JobQueueError]] = [JobQueueError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        # Packages with handlers of their own may have errors that never reach an answer.
        if kind.__module__.startswith("app."):
            found.add(kind.code)
    return sorted(found)


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
    code, message = HTTP_CODES.get(status, (OTHER_CODE, error.description or "The request failed."))
    allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
    facts = {"path": request.path, "method": request.method, "allowed": allowed}
    headers = {"Allow": allowed} if allowed else {}
    return render({"message": message.format(**facts), "code": code}, status, headers)


def database_failed(error: Exception) -> Response:
    """What the database's error means; 500 for a defect of ours."""
    explanation = database_errors.explain(error, log)
    return crashed(error) if explanation is None else tell(explanation)


def crashed(error: Exception) -> Response:
    """500 without a word of the cause, which goes to the log."""
    told = (request.method, request.path, request_ids.current())
    log.error("%s %s failed (request %s)", *told, exc_info=error)
    return tell(Crashed())
