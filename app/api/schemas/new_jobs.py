"""The bodies that create jobs, and the answer to a bulk."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from marshmallow import ValidationError, fields, validates_schema
from marshmallow.validate import Length, Regexp

from app import clock
from app.api.schemas.common import about
from app.api.schemas.fields import (
    BaseSchema,
    Instant,
    Name,
    Payload,
    RequestSchema,
    Seconds,
    Tags,
    Text,
    Whole,
)
from app.jobs.bounds import (
    MAX_ATTEMPTS,
    MAX_DELAY_SECONDS,
    MAX_NAME,
    MAX_PRIORITY,
    MAX_TIMEOUT_SECONDS,
    MAX_UNIQUE_KEY,
    MIN_PRIORITY,
)
from app.jobs.limits.definition import MAX_KEY
from app.jobs.schedules.rules import UNIQUE_KEY_PREFIX, UNIQUE_KEY_RESERVED

MAX_BULK = 10_000

NOT_BULK = {"type": 'must be a JSON object: {"jobs": [{"type": "echo"}, …]}.'}

#: Checks a unique key.
NOT_OF_A_SCHEDULE = Regexp(rf"^(?!{UNIQUE_KEY_PREFIX})", error=UNIQUE_KEY_RESERVED)


class JobRequestSchema(RequestSchema):
    """A job to be created. Only `type` is required."""

    type = Text(
        longest=MAX_NAME,
        required=True,
        metadata=about("A registered job type; see /api/job-types.", "send-email"),
    )
    payload = Payload(
        load_default=dict,
        metadata=about("The handler's input.", {"to": "user@example.com", "subject": "Welcome"}),
    )
    queue = Name(metadata=about("Default: the type's queue."))
    priority = Whole(
        MIN_PRIORITY,
        MAX_PRIORITY,
        metadata=about("Order within the queue, higher first. Default: the type's."),
    )
    next_run_at = Instant(
        allow_none=True, metadata=about("Not before this time. Can't be combined with delay.")
    )
    delay = Seconds(
        MAX_DELAY_SECONDS, allow_none=True, metadata=about("Seconds from now before it may run.")
    )
    max_attempts = Whole(1, MAX_ATTEMPTS, metadata=about("Default: the type's, or 5."))
    timeout_seconds = Seconds(
        MAX_TIMEOUT_SECONDS,
        above_zero=True,
        allow_none=True,
        metadata=about("Time limit of one attempt, in seconds."),
    )
    expires_at = Instant(
        allow_none=True, metadata=about("If the job has not started by this time, it is cancelled.")
    )
    unique_key = Text(
        longest=MAX_UNIQUE_KEY,
        allow_none=True,
        validate=[NOT_OF_A_SCHEDULE],
        metadata=about(
            "While a job with this key is pending or processing, a create request returns 200 with that job."
        ),
    )
    limit_key = Text(
        longest=MAX_KEY,
        allow_none=True,
        metadata=about(
            "The key at the limit of its type or queue, such as a customer; default: what the limit reads from the payload."
        ),
    )
    tags = Tags(metadata=about("Labels to filter by."))

    @validates_schema
    def check_times(self, data: dict[str, Any], **_: Any) -> None:
        delay, run_at, expires_at = (
            data.get(name) for name in ("delay", "next_run_at", "expires_at")
        )
        if delay is not None and run_at is not None:
            raise ValidationError("can't be combined with nextRunAt.", "delay")
        now = clock.now()
        starts_at = max(run_at or now, now + timedelta(seconds=delay or 0))
        if expires_at is not None and expires_at <= starts_at:
            raise ValidationError(
                "must be later than the time the job may start (now, nextRunAt, or after delay).",
                "expiresAt",
            )


def _jobs(kind: Any) -> fields.List[Any]:
    return fields.List(
        kind,
        required=True,
        validate=Length(1, MAX_BULK, error="must contain {min} to {max} jobs."),
        error_messages={
            "required": "is required.",
            "null": "must not be null.",
            "invalid": "must be a list of jobs.",
        },
    )


class BulkSchema(RequestSchema):
    """Up to 10,000 jobs; all are stored, or none."""

    error_messages = NOT_BULK

    jobs = _jobs(fields.Nested(JobRequestSchema))


class BulkEnvelope(RequestSchema):
    """BulkSchema without validation of the jobs, which are parsed one by one."""

    error_messages = NOT_BULK

    jobs = _jobs(fields.Raw(allow_none=True))


class BulkResultSchema(BaseSchema):
    """The ids in the order of the request; for a uniqueKey that is live, the id of the live job."""

    count = fields.Integer(required=True)
    ids = fields.List(fields.UUID(), required=True)


NEW_JOB = JobRequestSchema()
BULK = BulkSchema()
BULK_ENVELOPE = BulkEnvelope()
BULK_RESULT = BulkResultSchema()
