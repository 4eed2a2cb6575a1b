"""A job, its edit, its attempts and log lines, and the counts by status."""

from __future__ import annotations

from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validates_schema

from app.api.schemas.common import about
from app.api.schemas.fields import (
    BaseSchema,
    Choice,
    Instant,
    Name,
    Payload,
    RequestSchema,
    Tags,
    Whole,
)
from app.api.schemas.masked_fields import MaskedJson, MaskedObject
from app.jobs.bounds import MAX_ATTEMPTS, MAX_PRIORITY, MIN_PRIORITY
from app.jobs.limits.waiting import REASONS
from app.jobs.models import STATUSES, JobAttempt
from app.jobs.statistics.count import COUNT_BOUND


class EditSchema(RequestSchema):
    """The changes of a job that is not processing; at least one field."""

    more: ClassVar[dict[str, Any]] = {"minProperties": 1}

    payload = Payload(metadata=about("Replaces the payload."))
    priority = Whole(
        MIN_PRIORITY, MAX_PRIORITY, metadata=about("Order within the queue, higher first.", 10)
    )
    queue = Name()
    next_run_at = Instant(allow_none=True, metadata=about("null: as soon as possible."))
    max_attempts = Whole(1, MAX_ATTEMPTS)
    tags = Tags(metadata=about("Replaces the tags."))
    status = Choice(
        STATUSES,
        metadata=about(
            "`cancelled` cancels, `pending` retries, after the other changes; anything else is a 409."
        ),
    )

    @validates_schema
    def check_not_empty(self, data: dict[str, Any], **_: Any) -> None:
        if not data:
            raise ValidationError(
                f"must change at least one of {', '.join(str(f.data_key) for f in self.fields.values())}."
            )


class LimitOfJobSchema(BaseSchema):
    """The limit that a job is under."""

    name = fields.String(required=True)
    key = fields.String(required=True, metadata=about("Empty for a job without a key."))


class WaitingForSchema(BaseSchema):
    """What a job waits for at its limit. In lists, and of a job that was just created, only the limit and the key are known."""

    reason = fields.String(
        required=True,
        metadata={
            "enum": list(REASONS),
            **about(
                "`limit`: a slot or its turn, `rate`: a token, `paused`: the limit or the key is paused,"
                " `closed`: a handler closed it for a while."
            ),
        },
    )
    limit = fields.String(required=True)
    key = fields.String(required=True)
    in_use = fields.Integer(
        required=True, allow_none=True, metadata=about("Slots in use, of the key if it is full.")
    )
    of = fields.Integer(
        required=True, allow_none=True, metadata=about("Slots there are; null: without a bound.")
    )
    ahead = fields.Integer(
        required=True,
        allow_none=True,
        metadata=about(f"Jobs of its key that go first; counts to {COUNT_BOUND:,}."),
    )
    until = fields.DateTime(
        required=True,
        allow_none=True,
        metadata=about("When a `rate` has its next token, and when a `closed` one opens."),
    )


class JobSchema(BaseSchema):
    """One request to run a type."""

    id = fields.UUID(required=True)
    type = fields.String(required=True)
    payload = MaskedObject(required=True)
    status = fields.String(required=True, metadata={"enum": list(STATUSES)})
    attempts = fields.Integer(
        required=True, metadata=about("Attempts started, minus those released.")
    )
    next_run_at = fields.DateTime(
        required=True, allow_none=True, metadata=about("null unless pending and in the future.")
    )
    created_at = fields.DateTime(required=True)
    updated_at = fields.DateTime(required=True)
    queue = fields.String(required=True)
    priority = fields.Integer(required=True)
    max_attempts = fields.Integer(required=True)
    crashes = fields.Integer(
        required=True, metadata=about("How many times a worker died while running the job.")
    )
    timeout_seconds = fields.Float(required=True, allow_none=True)
    expires_at = fields.DateTime(required=True, allow_none=True)
    unique_key = fields.String(required=True, allow_none=True)
    tags = fields.List(fields.String(), required=True)
    progress = fields.Dict(
        required=True,
        allow_none=True,
        metadata=about("The last progress that the handler reported."),
    )
    result = MaskedJson(
        required=True, allow_none=True, metadata=about("What the handler returned: any JSON.")
    )
    last_error = fields.String(required=True, allow_none=True)
    cancel_requested = fields.Boolean(
        required=True, metadata=about("The job is processing and was asked to stop.")
    )
    started_at = fields.DateTime(
        required=True, allow_none=True, metadata=about("Start of the last attempt.")
    )
    finished_at = fields.DateTime(
        required=True, allow_none=True, metadata=about("Set in the final statuses only.")
    )
    created_by = fields.String(
        required=True, allow_none=True, metadata=about("The token or person that created it.")
    )
    limit = fields.Nested(
        LimitOfJobSchema, required=True, allow_none=True, metadata=about("null: under no limit.")
    )
    waiting_for = fields.Nested(
        WaitingForSchema,
        required=True,
        allow_none=True,
        metadata=about("Why a pending job that is due waits at its limit."),
    )


class StatsSchema(BaseSchema):
    """How many jobs there are in each status, exactly."""

    pending = fields.Integer(required=True)
    processing = fields.Integer(required=True)
    completed = fields.Integer(required=True)
    failed = fields.Integer(required=True)
    cancelled = fields.Integer(required=True)


class AttemptSchema(BaseSchema):
    """One attempt that did not complete."""

    attempt = fields.Integer(required=True)
    outcome = fields.String(required=True, metadata={"enum": list(JobAttempt.OUTCOMES)})
    error = fields.String(required=True, allow_none=True)
    error_class = fields.String(required=True, allow_none=True)
    traceback = fields.String(required=True, allow_none=True)
    worker_id = fields.UUID(required=True, allow_none=True)
    started_at = fields.DateTime(required=True)
    ended_at = fields.DateTime(required=True)
    times = fields.Integer(
        required=True,
        metadata=about(
            "The number of attempts in this entry: snoozes and releases with the same reason share one."
        ),
    )
    since = fields.DateTime(
        required=True,
        allow_none=True,
        metadata=about("When the first attempt of this entry ended."),
    )
    retry_at = fields.DateTime(required=True, allow_none=True)


class LogLineSchema(BaseSchema):
    """One line that a handler logged."""

    id = fields.Integer(required=True)
    attempt = fields.Integer(required=True)
    at = fields.DateTime(required=True)
    level = fields.String(required=True)
    message = fields.String(required=True)


EDIT = EditSchema()
JOB = JobSchema()
STATS = StatsSchema()
ATTEMPT = AttemptSchema()
LOG_LINE = LogLineSchema()
