"""Query strings of lists: filters, order, and paging."""

from __future__ import annotations

import re
from typing import Any

from marshmallow import ValidationError, validates_schema
from marshmallow.validate import Regexp

from app.api.schemas.common import about
from app.api.schemas.fields import BaseSchema, Choice, Instant, JsonText, Text, Whole
from app.jobs.bounds import MAX_NAME, MAX_SEARCH, MAX_TAG
from app.jobs.limits.definition import MAX_KEY
from app.jobs.listing import OFFSET_BOUND, ORDERED_BY
from app.jobs.models import VIEWS

MAX_LIMIT = 500
#: orderBy → the order's name in the queries.
ORDERS: dict[str, Any] = {"createdAt": "created", "finishedAt": "finished", "nextRunAt": "run"}


class PageQuery(BaseSchema):
    limit = Whole(
        1,
        MAX_LIMIT,
        from_text=True,
        load_default=100,
        metadata=about("The maximum number of items."),
    )
    cursor = Text(
        longest=200,
        metadata=about("The X-Next-Cursor header of the previous page; send the same filters."),
    )


class JobListQuery(PageQuery):
    status = Choice(
        VIEWS, metadata=about("A status, or `scheduled` or `retrying`, the two views of pending.")
    )
    type = Text(longest=MAX_NAME)
    queue = Text(longest=MAX_NAME)
    limit_name = Text(longest=MAX_NAME, metadata=about("Jobs under the limit of this name."))
    limit_key = Text(
        longest=MAX_KEY, metadata=about("Jobs with this key at their limit; needs limitName.")
    )
    waiting = Choice(("true",), metadata=about("Pending jobs that are due and wait at a limit."))
    tag = Text(longest=MAX_TAG, metadata=about("Jobs that carry this tag."))
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
            "Default: `asc` with orderBy=nextRunAt, else `desc`. A cursor keeps its order."
        ),
    )
    fingerprint = Text(
        longest=12,
        validate=[Regexp(re.compile(r"^[0-9a-f]{12}\Z"), error="must be 12 hex digits.")],
        metadata=about("Jobs of this error group."),
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
    error = Text(longest=MAX_SEARCH, metadata=about("Jobs whose last error contains this text."))
    payload = JsonText(
        metadata=about(
            'Jobs whose payload contains this JSON object: `{"to":"user@example.com"}`. Needs the role operator.'
        )
    )
    search = Text(
        longest=MAX_SEARCH,
        metadata=about(
            "Text in type, uniqueKey, tags, last error or payload (for viewers not in payload); from 8 hex digits on, also the start or end of an id."
        ),
    )
    bulk_action = Whole(
        1, 2**53, from_text=True, attribute="bulk", metadata=about("Jobs that this bulk action changed.")
    )  # fmt: skip
    offset = Whole(
        0,
        OFFSET_BOUND,
        from_text=True,
        load_default=0,
        error="must be a whole number from {min} to {max}; to read further, pass cursor (the X-Next-Cursor header).",
        metadata=about("The number of items to skip; to go further, use cursor."),
    )

    @validates_schema
    def check_start(self, data: dict[str, Any], **_: Any) -> None:
        if "cursor" in data and data.get("offset"):
            raise ValidationError("can't be combined with cursor.", "offset")

    @validates_schema
    def check_limit(self, data: dict[str, Any], **_: Any) -> None:
        if "limit_key" in data and "limit_name" not in data:
            raise ValidationError("needs limitName.", "limitKey")
        if "waiting" in data and data.get("status") not in (None, *ORDERED_BY["run"]):
            raise ValidationError("needs a pending status, or none.", "waiting")

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
    type = Text(longest=MAX_NAME)
    queue = Text(longest=MAX_NAME)
    search = Text(
        longest=MAX_SEARCH,
        metadata=about(
            "Text in type, reason or payload (for viewers not in payload); from 8 hex digits on, also the start or end of a job's id."
        ),
    )


class LogQuery(BaseSchema):
    after = Whole(0, 10**18 - 1, from_text=True, metadata=about("Only lines with a larger id."))
    limit = Whole(
        1,
        MAX_LIMIT,
        from_text=True,
        load_default=100,
        metadata=about("The maximum number of items."),
    )


JOB_LIST = JobListQuery()
DEAD_LETTER_LIST = DeadLetterListQuery()
LOG_QUERY = LogQuery()
