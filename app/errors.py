"""All errors of the job queue. A class's docstring is its message; its attributes are the HTTP status and the code."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.config import ConfigError

__all__ = ["ConfigError", "JobQueueError"]  # and every class below

#: The Retry-After of every 503 response.
RETRY_AFTER_SECONDS = 5


def by_field(errors: dict[Any, Any]) -> str:
    """Errors by field in one line: ``priority: must be … tags.0: must be …``."""
    return " ".join(f"{field}: {' '.join(map(str, texts))}" for field, texts in errors.items())


class JobQueueError(Exception):
    """Something went wrong in the job queue."""

    http_status = 500
    code = "internal_error"

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        template = (self.__doc__ or "").strip()
        super().__init__(template.format(**facts) if facts else template)

    @property
    def message(self) -> str:
        return str(self)

    @property
    def errors(self) -> dict[Any, Any] | None:
        """Field → list of messages; None if the error is not about fields."""
        errors = self.facts.get("errors")
        return errors if isinstance(errors, dict) else None


class JobNotFound(JobQueueError):
    """No job has the id {job_id}."""

    http_status, code = 404, "job_not_found"


class DeadLetterNotFound(JobQueueError):
    """Job {job_id} has no open dead letter."""

    http_status, code = 404, "dead_letter_not_found"


class QueueNotFound(JobQueueError):
    """No queue is named {name!r}."""

    http_status, code = 404, "queue_not_found"


class ScheduleNotFound(JobQueueError):
    """No schedule is named {name!r}."""

    http_status, code = 404, "schedule_not_found"


class InvalidName(JobQueueError):
    """No {noun} can have this name; it {rule}"""

    http_status, code = 404, "invalid_name"


class WorkerNotFound(JobQueueError):
    """No worker has the id {worker_id}."""

    http_status, code = 404, "worker_not_found"


class InvalidTransition(JobQueueError):
    """Job {job_id} is {status}; {verb} needs {allowed}."""

    http_status, code = 409, "invalid_transition"

    def __init__(self, *, job_id: UUID, status: str, verb: str, allowed: str) -> None:
        super().__init__(job_id=job_id, status=status, verb=verb, allowed=allowed)


class UniqueConflict(JobQueueError):
    """Job {job_id} can't go back to pending: job {live_id} with the unique key {unique_key!r} is live; cancel that one first."""

    http_status, code = 409, "unique_conflict"


class IdempotencyMismatch(JobQueueError):
    """This Idempotency-Key was used within the last {hours} hours with a different body; use a new key for a new job."""

    http_status, code = 422, "idempotency_mismatch"


class ValidationFailed(JobQueueError):
    """Some fields are not valid."""

    http_status, code = 422, "validation_failed"

    def __init__(self, errors: dict[Any, Any]) -> None:
        super().__init__(errors=errors)

    def __str__(self) -> str:
        """All fields with their messages: ``priority: must be … tags.0: must be …``."""
        return by_field(self.errors or {}) or super().__str__()


class UnknownJobType(JobQueueError):
    """No job type is named {type!r}; known: {known}."""

    http_status, code = 422, "unknown_job_type"

    @property
    def errors(self) -> dict[Any, Any] | None:
        return {"type": [str(self)]}


class OffsetTooLarge(JobQueueError):
    """offset must be at most {bound}; to read further, pass cursor (the X-Next-Cursor header)."""

    http_status, code = 422, "offset_too_large"

    @property
    def errors(self) -> dict[Any, Any] | None:
        return {"offset": [str(self)]}


class InvalidCursor(JobQueueError):
    """cursor is not valid for this list; start again without it."""

    http_status, code = 422, "invalid_cursor"

    @property
    def errors(self) -> dict[Any, Any] | None:
        return {"cursor": [str(self)]}


class DatabaseUnavailable(JobQueueError):
    """The database does not respond; nothing was stored. Try again in a few seconds."""

    http_status, code = 503, "database_unavailable"


class DatabaseReadOnly(JobQueueError):
    """The database is read-only (a failover or maintenance); nothing was stored. Try again in a few seconds."""

    http_status, code = 503, "database_read_only"


class SchemaProblem(JobQueueError):
    """This version of the code can't use the database in its current state."""

    http_status, code = 503, "database_not_migrated"


class DatabaseNotMigrated(SchemaProblem):
    """The database has no tables for the job queue yet: run `flask --app wsgi db upgrade`."""


class DatabaseBehind(SchemaProblem):
    """The database is at migration {current}, but this code needs {wanted}: run `flask --app wsgi db upgrade`."""


class DatabaseAhead(SchemaProblem):
    """The database is at migration {current}, which this code (at {wanted}) does not know: deploy the code that added it, or in development switch back to its branch or run `make clean`; `flask --app wsgi db upgrade` can't downgrade."""

    code = "database_ahead"


class WrongEncoding(SchemaProblem):
    """The database's encoding is {encoding}, but the job queue needs UTF8: create the database with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."""

    code = "database_encoding"


class TablesTaken(SchemaProblem):
    """The database already has tables with the same names that don't belong to the job queue: {names}. Use another database, or a separate schema: add ?schema=jobqueue to DATABASE_URL."""

    code = "tables_taken"


class QueryTooSlow(JobQueueError):
    """The database did not finish in time; nothing was stored. Narrow a search by status, type, queue or time, or try again."""

    http_status, code = 503, "query_too_slow"


class TryAgain(JobQueueError):
    """Another request changed the same jobs at the same time; nothing was stored. Send the request again."""

    http_status, code = 503, "try_again"


class ValueRefused(JobQueueError):
    """The database refused a value; nothing was stored."""

    http_status, code = 422, "validation_failed"


class Unauthenticated(JobQueueError):
    """Send a valid token as `Authorization: Bearer …`."""

    http_status, code = 401, "unauthenticated"


class Forbidden(JobQueueError):
    """You don't have permission: {name} has the role {role}; this needs {needed}."""

    http_status, code = 403, "forbidden"


class PayloadsNotSearched(Forbidden):
    """You don't have permission: {name} has the role {role}; searching payloads needs operator, because secrets are masked for viewers."""


class LocalOnly(JobQueueError):
    """This server is in development mode, without authentication, so it accepts only requests from this machine."""

    http_status, code = 403, "only_this_machine"


class CrossSite(JobQueueError):
    """Authentication is off, so changes requested by pages of other sites are refused. Add the page's origin to CORS_ORIGIN to allow it to call the API; a proxy in front of this server must forward the Host header."""

    http_status, code = 403, "cross_site"


class TooManyRequests(JobQueueError):
    """Too many requests; try again in {seconds} seconds."""

    http_status, code = 429, "too_many_requests"


class BodyTooLarge(JobQueueError):
    """The body is larger than {limit} bytes."""

    http_status, code = 413, "body_too_large"


class BodyTooSlow(JobQueueError):
    """The body did not arrive within {seconds:g} seconds; nothing was stored. Send it again."""

    http_status, code = 408, "body_too_slow"


class BodyIncomplete(JobQueueError):
    """The body ended before all of it had arrived, or is not valid chunked encoding without trailers; nothing was stored."""

    http_status, code = 400, "body_incomplete"


class InvalidHost(JobQueueError):
    """The Host header is not a valid host name or address."""

    http_status, code = 400, "invalid_host"


class ServerBusy(JobQueueError):
    """The server is currently handling too much data; nothing was stored. Try again in a few seconds."""

    http_status, code = 503, "server_busy"


class ServerStopping(JobQueueError):
    """The server is restarting; nothing was stored. Send the request again."""

    http_status, code = 503, "server_stopping"


class TooManyReads(JobQueueError):
    """You have reached the limit of expensive requests in progress ({limit}); try again in {seconds} seconds."""

    http_status, code = 429, "too_many_reads"


class TooManyLargeResponses(TooManyReads):
    """Your large responses exceeded {mib} MiB in a minute; request fewer rows at a time, or try again in {seconds} seconds."""


class TooManyMatches(JobQueueError):
    """More than {limit} jobs match; narrow the filter and act on them in parts."""

    http_status, code = 422, "too_many"


class PreviewOutdated(JobQueueError):
    """{matches} jobs match instead of the {expected} that were previewed. Nothing was changed; review them again."""

    http_status, code = 409, "preview_outdated"


class BulkActionNotFound(JobQueueError):
    """No bulk action has the number {number}."""

    http_status, code = 404, "bulk_not_found"
