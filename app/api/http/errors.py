"""One format for all errors: ``{"message", "code", "errors"}``, never with a traceback."""

from __future__ import annotations

import logging
from typing import Any

from flask import Response, request
from werkzeug.exceptions import HTTPException

from app import database_errors, request_ids
from app.api.http.response import render
from app.api_paths import is_api_path
from app.errors import (
    RETRY_AFTER_SECONDS,
    InvalidTransition,
    JobQueueError,
    ValidationFailed,
)

log = logging.getLogger(__name__)


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
    """Something went wrong on our side; find the cause in the server's log by the X-Request-Id."""


#: Codes and messages of errors that routing raises before any view runs.
HTTP_CODES = {
    400: ("bad_request", "The request is not valid HTTP or JSON."),
    404: (
        "not_found",
        "{path} does not exist; ids are UUIDs, and /api/docs lists all operations.",
    ),
    405: ("method_not_allowed", "{path} does not support {method}; it supports {allowed}."),
    413: ("body_too_large", "The body is too large."),
}
OTHER_CODE = "http_error"


def all_codes() -> list[str]:
    """Every ``code`` an answer can have, sorted."""
    codes = {code for code, _ in HTTP_CODES.values()} | {OTHER_CODE}
    kinds: list[type[JobQueueError]] = [JobQueueError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        # Errors of handler packages may never reach a response.
        if kind.__module__.startswith("app."):
            codes.add(kind.code)
    return sorted(codes)


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
    """The first error, for readers of the message alone."""
    field, texts = next(iter(errors.items()))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{field}: {texts[0]}{more}"


def no_such_route() -> Response | None:
    """Before every request: unknown paths and wrong methods of the API, which reach no blueprint."""
    error = request.routing_exception
    if error is None or error.code not in (404, 405) or not is_api_path(request.path):
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
    """500 without the cause, which is only in the log."""
    facts = (request.method, request.path, request_ids.current())
    log.error("%s %s failed (request %s)", *facts, exc_info=error)
    return tell(Crashed())
