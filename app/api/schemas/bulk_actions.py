"""Bulk actions: the preview, the confirmation, and how far an action is."""

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
    Text,
    Whole,
)
from app.api.schemas.queries import JobListQuery, PageQuery
from app.jobs.bounds import MAX_ATTEMPTS, MAX_PRIORITY, MIN_PRIORITY
from app.jobs.bulk import GRACE_SECONDS, MAX_PER_SECOND
from app.jobs.bulk.tickets import VALID_HOURS
from app.jobs.listing import ORDERED_BY
from app.jobs.verbs import VERBS

MAX_PREVIEW = 10_000
MAX_DELAY_SECONDS = 3600
STATES = ("starting", "running", "paused", "finished", "stopped", "undone")

_LISTED = JobListQuery._declared_fields


class BulkFilterSchema(RequestSchema):
    """Which jobs: the filters of `GET /api/jobs`. `{}` means all jobs."""

    status = _LISTED["status"]
    type = _LISTED["type"]
    queue = _LISTED["queue"]
    limit_name = _LISTED["limit_name"]
    limit_key = _LISTED["limit_key"]
    tag = _LISTED["tag"]
    fingerprint = _LISTED["fingerprint"]
    created_from = _LISTED["created_from"]
    created_to = _LISTED["created_to"]
    finished_from = _LISTED["finished_from"]
    finished_to = _LISTED["finished_to"]
    next_run_from = _LISTED["next_run_from"]
    next_run_to = _LISTED["next_run_to"]
    id_prefix = _LISTED["id_prefix"]
    error = _LISTED["error"]
    payload = Payload(metadata=about("Jobs whose payload contains this object."))
    search = _LISTED["search"]
    bulk_action = Whole(
        1, 2**53, attribute="bulk", metadata=about("Jobs that this bulk action changed.")
    )

    @validates_schema
    def check_limit_key(self, data: dict[str, Any], **_: Any) -> None:
        if "limit_key" in data and "limit_name" not in data:
            raise ValidationError("needs limitName.", "limitKey")

    @validates_schema
    def check_next_run(self, data: dict[str, Any], **_: Any) -> None:
        if ("run_from" in data or "run_to" in data) and data.get("status") not in ORDERED_BY["run"]:
            allowed = ", ".join(ORDERED_BY["run"])
            name = "nextRunFrom" if "run_from" in data else "nextRunTo"
            raise ValidationError(f"needs status {allowed}.", name)


_VERB = Choice(
    tuple(VERBS),
    required=True,
    metadata=about("What to do. `delete` needs the role admin.", "cancel"),
)
_FILTER = fields.Nested(
    BulkFilterSchema,
    required=True,
    error_messages={"required": "is required.", "null": "must not be null."},
    metadata=about("Which jobs."),
)


_EXAMPLE = {"verb": "cancel", "filter": {"status": "scheduled", "type": "echo"}}


class BulkPreviewRequestSchema(RequestSchema):
    """A verb and the jobs it is meant for."""

    more: ClassVar[dict[str, Any]] = {"examples": [_EXAMPLE]}

    verb = _VERB
    filter = _FILTER


class BulkChangesSchema(RequestSchema):
    """The new values of edit; at least one field."""

    more: ClassVar[dict[str, Any]] = {"minProperties": 1}

    priority = Whole(
        MIN_PRIORITY, MAX_PRIORITY, metadata=about("Order within the queue, higher first.")
    )
    queue = Name()
    next_run_at = Instant(
        attribute="run_at", allow_none=True, metadata=about("null: as soon as possible.")
    )
    max_attempts = Whole(1, MAX_ATTEMPTS)
    tags = Tags(metadata=about("Replaces the tags."))

    @validates_schema
    def check_not_empty(self, data: dict[str, Any], **_: Any) -> None:
        if not data:
            names = ", ".join(str(field.data_key) for field in self.fields.values())
            raise ValidationError(f"must change at least one of {names}.")


class BulkActionRequestSchema(RequestSchema):
    """The confirmation of a preview: the same verb and filter, and the preview itself."""

    more: ClassVar[dict[str, Any]] = {
        "examples": [{**_EXAMPLE, "preview": "WyJjYW5jZWwiLCAiMjAyNi0wNS0wNFQ", "perSecond": 100}]
    }

    verb = _VERB
    filter = _FILTER
    preview = Text(
        longest=MAX_PREVIEW,
        required=True,
        metadata=about("`preview` of the response to POST /api/bulk-actions/preview."),
    )
    changes = fields.Nested(
        BulkChangesSchema, metadata=about("Required for the verb edit, and only for it.")
    )
    per_second = Whole(
        1, MAX_PER_SECOND, metadata=about("At most this many jobs a second. Default: no limit.")
    )
    delay_seconds = Whole(
        0,
        MAX_DELAY_SECONDS,
        load_default=GRACE_SECONDS,
        metadata=about("When it starts. Until then, an undo means that no job is changed."),
    )


class BulkShareSchema(BaseSchema):
    """How many of the jobs have one value."""

    value = fields.String(required=True)
    count = fields.Integer(required=True)


class BulkPreviewSchema(BaseSchema):
    """What the verb would do to the jobs that match now."""

    verb = fields.String(required=True)
    count = fields.Integer(required=True, metadata=about("How many jobs are affected."))
    is_exact = fields.Boolean(
        required=True,
        metadata=about(
            "false: counting took too long, and `count` and its parts are lower bounds."
        ),
    )
    by_type = fields.List(fields.Nested(BulkShareSchema), required=True)
    by_queue = fields.List(fields.Nested(BulkShareSchema), required=True)
    by_status = fields.List(
        fields.Nested(BulkShareSchema),
        required=True,
        metadata=about("With `scheduled` and `retrying`, the two views of pending."),
    )
    first_at = fields.DateTime(
        required=True,
        allow_none=True,
        metadata=about(
            "When the first of the jobs was created; if all are scheduled, when it runs next."
        ),
    )
    last_at = fields.DateTime(
        required=True, allow_none=True, metadata=about("The same of the last.")
    )
    preview = fields.String(
        required=True,
        metadata=about(
            f"Confirms exactly these jobs in POST /api/bulk-actions, for {VALID_HOURS} hours."
        ),
    )


class BulkOutcomeSchema(BaseSchema):
    """What the jobs that the action changed are doing now; the sum of all but `undoable` is `total`."""

    total = fields.Integer(required=True)
    pending = fields.Integer(required=True)
    processing = fields.Integer(required=True)
    completed = fields.Integer(required=True)
    failed = fields.Integer(required=True)
    cancelled = fields.Integer(required=True)
    deleted = fields.Integer(required=True, metadata=about("Deleted since."))
    undoable = fields.Integer(
        required=True, metadata=about("Unchanged since, so that an undo restores them.")
    )


class BulkActionSchema(BaseSchema):
    """One verb for many jobs, carried out in the background."""

    id = fields.Integer(required=True)
    verb = fields.String(required=True, metadata={"enum": [*VERBS, "undo"]})
    state = fields.String(
        required=True,
        metadata={
            "enum": list(STATES),
            **about("`undone`: undone before it started. `stopped`: cancelled before its end."),
        },
    )
    description = fields.String(required=True, metadata=about("The filter, in words."))
    total = fields.Integer(required=True, metadata=about("The jobs that belong to the action."))
    done = fields.Integer(required=True)
    skipped = fields.Integer(
        required=True, metadata=about("Jobs that changed since the confirmation, or were refused.")
    )
    not_included = fields.Integer(
        required=True,
        metadata=about(
            "Jobs that matched at the confirmation, but arrived or changed after the preview. Of an undo: jobs that can't be restored."
        ),
    )
    per_second = fields.Integer(required=True, allow_none=True)
    created_by = fields.String(required=True)
    created_at = fields.DateTime(required=True)
    starts_at = fields.DateTime(
        required=True, allow_none=True, metadata=about("While the state is `starting`.")
    )
    started_at = fields.DateTime(required=True, allow_none=True)
    finished_at = fields.DateTime(required=True, allow_none=True)
    undo_of = fields.Integer(
        required=True, allow_none=True, metadata=about("The action that this one undoes.")
    )


class BulkActionDetailsSchema(BulkActionSchema):
    """A bulk action, and what became of its jobs."""

    undone_by = fields.Integer(
        required=True, allow_none=True, metadata=about("The action that undoes this one.")
    )
    outcome = fields.Nested(BulkOutcomeSchema, required=True)


class BulkActionListQuery(PageQuery):
    """Where a list of bulk actions goes on."""


BULK_PREVIEW_REQUEST = BulkPreviewRequestSchema()
BULK_ACTION_REQUEST = BulkActionRequestSchema()
BULK_PREVIEW = BulkPreviewSchema()
BULK_ACTION = BulkActionSchema()
BULK_ACTION_DETAILS = BulkActionDetailsSchema()
BULK_ACTION_LIST = BulkActionListQuery()
