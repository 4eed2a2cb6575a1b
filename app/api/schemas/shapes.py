"""Every JSON shape of the API, one instance each: what is validated, rendered and documented."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validates_schema
from marshmallow.validate import Length, Regexp

from app import clock
from app.api.schemas.fields import (
    Choice,
    Instant,
    JsonText,
    Name,
    Payload,
    RequestShape,
    Seconds,
    Shape,
    Tags,
    Text,
    Whole,
)
from app.api.schemas.masked_fields import SeenJson, SeenObject
from app.jobs.bounds import (
    MAX_ATTEMPTS,
    MAX_DELAY_SECONDS,
    MAX_PRIORITY,
    MAX_TIMEOUT_SECONDS,
    MAX_UNIQUE_KEY,
    MIN_PRIORITY,
)
from app.jobs.listing import OFFSET_BOUND, ORDERED_BY
from app.jobs.models import STATUSES, VIEWS, JobAttempt

MAX_BULK = 10_000
MAX_LIMIT = 500
#: orderBy → the order's name in the queries.
ORDERS: dict[str, Any] = {"createdAt": "created", "finishedAt": "finished", "nextRunAt": "run"}


def about(text: str, example: Any = None) -> dict[str, Any]:
    """Metadata of a field: its sentence in the documentation."""
    return {"description": text} | ({"example": example} if example is not None else {})


# Bodies


class JobRequestShape(RequestShape):
    """A job to be created. Only `type` is required."""

    type = Text(
        longest=100,
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
        allow_none=True, metadata=about("Not before this time. Not together with delay.")
    )
    delay = Seconds(
        MAX_DELAY_SECONDS, allow_none=True, metadata=about("Seconds from now before it may run.")
    )
    max_attempts = Whole(1, MAX_ATTEMPTS, metadata=about("Default: the type's, else 5."))
    timeout_seconds = Seconds(
        MAX_TIMEOUT_SECONDS,
        above_zero=True,
        allow_none=True,
        metadata=about("Limit of one attempt."),
    )
    expires_at = Instant(
        allow_none=True, metadata=about("Not started after this time; it is cancelled instead.")
    )
    unique_key = Text(
        longest=MAX_UNIQUE_KEY,
        allow_none=True,
        metadata=about(
            "While a job with this key is pending or processing, creating answers 200 with that job."
        ),
    )
    tags = Tags(metadata=about("Labels to find it by."))

    @validates_schema
    def check_times(self, data: dict[str, Any], **_: Any) -> None:
        delay, run_at, expires_at = (
            data.get(name) for name in ("delay", "next_run_at", "expires_at")
        )
        if delay is not None and run_at is not None:
            raise ValidationError("must not be given together with nextRunAt.", "delay")
        now = clock.now()
        starts_at = max(run_at or now, now + timedelta(seconds=delay or 0))
        if expires_at is not None and expires_at <= starts_at:
            raise ValidationError(
                "must be later than the time the job may start (now, nextRunAt, or after delay).",
                "expiresAt",
            )


NOT_BULK = {"type": 'must be a JSON object: {"jobs": [{"type": "echo"}, …]}.'}


def _jobs(kind: Any) -> fields.List[Any]:
    return fields.List(
        kind,
        required=True,
        validate=Length(1, MAX_BULK, error="must hold {min} to {max} jobs."),
        error_messages={
            "required": "is required.",
            "null": "must not be null.",
            "invalid": "must be a list of jobs.",
        },
    )


class BulkShape(RequestShape):
    """Up to 10,000 jobs, stored all or none."""

    error_messages = NOT_BULK

    jobs = _jobs(fields.Nested(JobRequestShape))


class BulkEnvelope(RequestShape):
    """BulkShape without a look at its jobs, which new_jobs.py reads one by one."""

    error_messages = NOT_BULK

    jobs = _jobs(fields.Raw(allow_none=True))


class EditShape(RequestShape):
    """What may change of a job that is not processing; at least one field."""

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


class NothingShape(Shape):
    """No body, or an empty object."""

    error_messages = {"type": "must be left out, or be {}."}
    known = "send no body, or {}"


# Query strings


class PageQuery(Shape):
    limit = Whole(
        1, MAX_LIMIT, from_text=True, load_default=100, metadata=about("How many at most.")
    )
    cursor = Text(
        longest=200,
        metadata=about(
            "Where to go on: the X-Next-Cursor header of the page before, with the same filters."
        ),
    )


class JobListQuery(PageQuery):
    status = Choice(
        VIEWS, metadata=about("A status, or `scheduled` or `retrying`, the two views of pending.")
    )
    type = Text(longest=100)
    queue = Text(longest=100)
    tag = Text(longest=64, metadata=about("Jobs that carry this tag."))
    created_from = Instant(metadata=about("Created at or after."))
    created_to = Instant(metadata=about("Created before."))
    finished_from = Instant(metadata=about("Completed, failed or cancelled at or after."))
    finished_to = Instant(metadata=about("Completed, failed or cancelled before."))
    next_run_from = Instant(
        attribute="run_from", metadata=about("With a pending status: runs next at or after.")
    )
    next_run_to = Instant(
        attribute="run_to", metadata=about("With a pending status: runs next, or was due, before.")
    )
    order_by = Choice(
        tuple(ORDERS),
        load_default="createdAt",
        metadata=about(
            "`finishedAt` needs status completed, failed or cancelled; `nextRunAt` needs pending, scheduled or retrying."
        ),
    )
    order = Choice(
        ("asc", "desc"),
        metadata=about(
            "Default: `asc` with orderBy=nextRunAt, else `desc`. A cursor keeps to its order."
        ),
    )
    id_prefix = Text(
        longest=36,
        validate=[
            Regexp(
                re.compile(r"^[0-9A-Fa-f-]*[0-9A-Fa-f][0-9A-Fa-f-]*\Z"),
                error="must be digits of a UUID.",
            )
        ],
        metadata=about(
            "The first characters of the id, or at least its last 8, with or without hyphens."
        ),
    )
    error = Text(longest=200, metadata=about("Jobs whose last error contains this text."))
    payload = JsonText(
        metadata=about(
            'Jobs whose payload contains this JSON object: `{"to":"user@example.com"}`. Needs the role operator.'
        )
    )
    search = Text(
        longest=200,
        metadata=about(
            "Text in type, uniqueKey, tags, last error or payload (for viewers not in payload); 8 hex digits and more also as the start or the end of an id."
        ),
    )
    offset = Whole(
        0,
        OFFSET_BOUND,
        from_text=True,
        load_default=0,
        error="must be a whole number from {min} to {max}; to read further pass cursor (the X-Next-Cursor header).",
        metadata=about("How many to skip; past the bound use cursor."),
    )

    @validates_schema
    def check_start(self, data: dict[str, Any], **_: Any) -> None:
        if "cursor" in data and data.get("offset"):
            raise ValidationError("must not be given together with cursor.", "offset")

    @validates_schema
    def check_order(self, data: dict[str, Any], **_: Any) -> None:
        by, status = ORDERS[data["order_by"]], data.get("status")
        if by in ORDERED_BY and status not in ORDERED_BY[by]:
            raise ValidationError(
                f"{data['order_by']} needs status {', '.join(ORDERED_BY[by])}.", "orderBy"
            )
        if ("run_from" in data or "run_to" in data) and status not in ORDERED_BY["run"]:
            allowed = ", ".join(ORDERED_BY["run"])
            raise ValidationError(
                f"needs status {allowed}.", "nextRunFrom" if "run_from" in data else "nextRunTo"
            )


class DeadLetterListQuery(PageQuery):
    type = Text(longest=100)
    queue = Text(longest=100)
    search = Text(
        longest=200,
        metadata=about(
            "Text in type, reason or payload (for viewers not in payload); 8 hex digits and more also as the start or the end of a job's id."
        ),
    )


class LogQuery(Shape):
    after = Whole(0, 10**18 - 1, from_text=True, metadata=about("Only lines with a larger id."))
    limit = Whole(
        1, MAX_LIMIT, from_text=True, load_default=100, metadata=about("How many at most.")
    )


class NoQuery(Shape):
    """No query parameters."""

    known = "this address takes no query parameters"


# Answers


class JobShape(Shape):
    """One request to run a type."""

    id = fields.UUID(required=True)
    type = fields.String(required=True)
    payload = SeenObject(required=True)
    status = fields.String(required=True, metadata={"enum": list(STATUSES)})
    attempts = fields.Integer(
        required=True, metadata=about("Executions started, less those given back.")
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
        required=True, metadata=about("How often its worker died while running it.")
    )
    timeout_seconds = fields.Float(required=True, allow_none=True)
    expires_at = fields.DateTime(required=True, allow_none=True)
    unique_key = fields.String(required=True, allow_none=True)
    tags = fields.List(fields.String(), required=True)
    progress = fields.Dict(
        required=True, allow_none=True, metadata=about("What the handler reported last.")
    )
    result = SeenJson(
        required=True, allow_none=True, metadata=about("What the handler returned: any JSON.")
    )
    last_error = fields.String(required=True, allow_none=True)
    cancel_requested = fields.Boolean(
        required=True, metadata=about("It is processing and was asked to stop.")
    )
    started_at = fields.DateTime(
        required=True, allow_none=True, metadata=about("Start of the last attempt.")
    )
    finished_at = fields.DateTime(
        required=True, allow_none=True, metadata=about("Set in the final statuses only.")
    )
    created_by = fields.String(
        required=True, allow_none=True, metadata=about("Whose token or session it was.")
    )


class BulkResultShape(Shape):
    """The ids in the order of the request; a job whose uniqueKey is live gives the live job's id."""

    count = fields.Integer(required=True)
    ids = fields.List(fields.UUID(), required=True)


class StatsShape(Shape):
    """How many jobs there are in each status, exactly."""

    pending = fields.Integer(required=True)
    processing = fields.Integer(required=True)
    completed = fields.Integer(required=True)
    failed = fields.Integer(required=True)
    cancelled = fields.Integer(required=True)


class AttemptShape(Shape):
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
            "Attempts given back for one reason (snoozes, releases) are counted in one entry: how many."
        ),
    )
    since = fields.DateTime(
        required=True,
        allow_none=True,
        metadata=about("When the first of several counted attempts ended."),
    )
    retry_at = fields.DateTime(required=True, allow_none=True)


class LogLineShape(Shape):
    """One line that a handler logged."""

    id = fields.Integer(required=True)
    attempt = fields.Integer(required=True)
    at = fields.DateTime(required=True)
    level = fields.String(required=True)
    message = fields.String(required=True)


class DeadLetterShape(Shape):
    """The open dead letter of a failed job."""

    job_id = fields.UUID(required=True)
    type = fields.String(required=True)
    payload = SeenObject(required=True)
    reason = fields.String(required=True, metadata=about("The last error's text."))
    attempts = fields.Integer(required=True)
    failed_at = fields.DateTime(required=True)
    queue = fields.String(required=True)


class QueueShape(Shape):
    """A named lane, with what waits and runs in it."""

    name = fields.String(required=True)
    is_paused = fields.Boolean(required=True)
    pending = fields.Integer(
        required=True, metadata=about("All pending jobs: due, scheduled and retrying.")
    )
    due = fields.Integer(required=True)
    scheduled = fields.Integer(required=True)
    retrying = fields.Integer(required=True)
    is_exact = fields.Boolean(
        required=True,
        metadata=about("false: of due, scheduled and retrying there are at least so many."),
    )
    processing = fields.Integer(required=True)
    oldest_wait_seconds = fields.Float(required=True, allow_none=True)
    completed_per_minute = fields.Float(
        required=True, metadata=about("Over the last five minutes.")
    )


class WorkerShape(Shape):
    """One consumer process."""

    id = fields.UUID(required=True)
    state = fields.String(
        required=True,
        metadata=about("`silent`: gone without a word; its jobs are rescued.")
        | {"enum": ["busy", "idle", "stopping", "stopped", "silent"]},
    )
    is_alive = fields.Boolean(
        required=True, metadata=about("Not stopped, and its heartbeat is recent.")
    )
    host = fields.String(required=True)
    pid = fields.Integer(required=True)
    version = fields.String(required=True)
    queues = fields.List(fields.String(), required=True, metadata=about("Empty: all queues."))
    threads = fields.Integer(required=True)
    live_threads = fields.Integer(required=True)
    memory_bytes = fields.Integer(required=True, allow_none=True)
    running = fields.List(
        fields.Dict(),
        required=True,
        metadata=about(
            "`{jobId, type, attempt, since, isOverdue}` of each job it ran at its last heartbeat."
        ),
    )
    completed = fields.Integer(required=True)
    started_at = fields.DateTime(required=True)
    heartbeat_at = fields.DateTime(required=True)
    stopping_at = fields.DateTime(required=True, allow_none=True)
    stopped_at = fields.DateTime(required=True, allow_none=True)


class JobTypeShape(Shape):
    """A registered job type: its policy, and how its jobs do."""

    name = fields.String(required=True)
    description = fields.String(required=True, allow_none=True)
    is_registered = fields.Boolean(
        required=True,
        metadata=about("false: jobs of code that this server does not have; its policy is null."),
    )
    queue = fields.String(required=True, allow_none=True)
    priority = fields.Integer(required=True, allow_none=True)
    max_attempts = fields.Integer(required=True, allow_none=True)
    timeout_seconds = fields.Float(required=True, allow_none=True)
    max_crashes = fields.Integer(required=True, allow_none=True)
    payload_schema = fields.Dict(
        required=True, allow_none=True, metadata=about("JSON Schema of the payload.")
    )
    is_paused = fields.Boolean(required=True)
    counts = fields.Nested(StatsShape, required=True)
    failure_share = fields.Float(required=True, allow_none=True)
    run_p50_ms = fields.Float(required=True, allow_none=True)
    run_p95_ms = fields.Float(required=True, allow_none=True)
    completed_per_minute = fields.Float(required=True)


class DependencyShape(Shape):
    """One thing the service stands on."""

    status = fields.String(required=True, metadata={"enum": ["ok", "down"]})
    error = fields.String(required=True, allow_none=True)
    latency_ms = fields.Float(required=True, allow_none=True)


class HealthShape(Shape):
    """Whether the service can work."""

    status = fields.String(required=True, metadata={"enum": ["ok", "degraded", "down"]})
    database = fields.Nested(DependencyShape, required=True)
    redis = fields.Nested(DependencyShape, required=True)


class ErrorShape(Shape):
    """What every refusal looks like."""

    message = fields.String(required=True)
    code = fields.String(
        required=True,
        metadata=about("For programs; new codes may be added.", "validation_failed"),
    )
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata=about("Field → what is wrong with it; in bulk `jobs.<index>.<field>`."),
    )


NEW_JOB, BULK, BULK_ENVELOPE, EDIT, NOTHING = (
    JobRequestShape(),
    BulkShape(),
    BulkEnvelope(),
    EditShape(),
    NothingShape(),
)
NO_QUERY, JOB_LIST, DEAD_LETTER_LIST, LOG_QUERY = (
    NoQuery(),
    JobListQuery(),
    DeadLetterListQuery(),
    LogQuery(),
)
JOB, BULK_RESULT, STATS, ATTEMPT, LOG_LINE = (
    JobShape(),
    BulkResultShape(),
    StatsShape(),
    AttemptShape(),
    LogLineShape(),
)
DEAD_LETTER, QUEUE, WORKER, JOB_TYPE = (
    DeadLetterShape(),
    QueueShape(),
    WorkerShape(),
    JobTypeShape(),
)
HEALTH, ERROR = HealthShape(), ErrorShape()
