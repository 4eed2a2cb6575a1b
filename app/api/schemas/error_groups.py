"""An error group, and the query of their list."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from app.api.schemas.common import about
from app.api.schemas.fields import BaseSchema, Choice, Text
from app.api.schemas.queries import PageQuery
from app.jobs.bounds import MAX_NAME
from app.jobs.error_group_states import NEW_HOURS
from app.jobs.listing import ALL, OPEN
from app.jobs.models import ErrorGroupRow


def _one_of(values: tuple[str, ...], text: str, example: Any = None) -> dict[str, Any]:
    return about(text, example) | {"enum": list(values)}


class ReopenedSchema(BaseSchema):
    """Why a group is reopened."""

    former_state = fields.String(
        required=True, metadata=_one_of(("muted", "resolved"), "What it was before.", "resolved")
    )
    former_by = fields.String(
        required=True, allow_none=True, metadata=about("Who had muted or resolved it.", "ada")
    )
    former_at = fields.DateTime(required=True, allow_none=True, metadata=about("When."))
    version = fields.String(
        required=True,
        allow_none=True,
        metadata=about(
            "The version of the worker that failed; null: a person reopened it.", "1.4.3"
        ),
    )


class ErrorGroupSchema(BaseSchema):
    """Attempts that failed for the same reason: the same job type, exception and location."""

    fingerprint = fields.String(
        required=True,
        metadata=about("12 hex digits.", "5cac88029a5d") | {"pattern": "^[0-9a-f]{12}$"},
    )
    type = fields.String(required=True, metadata=about("The job type.", "charge-card"))
    error_class = fields.String(
        required=True, allow_none=True, metadata=about("The exception's class.", "KeyError")
    )
    location = fields.String(
        required=True,
        allow_none=True,
        metadata=about("Where it was raised; null: unknown.", "shop/cards.py in charge"),
    )
    error = fields.String(
        required=True, metadata=about("Of the latest attempt.", "KeyError: 'merchant_id'")
    )
    state = fields.String(
        required=True,
        metadata=_one_of(
            ErrorGroupRow.STATES,
            f"new: first seen within {NEW_HOURS} hours. known. muted: until it fails twice as often. resolved: until it fails again."
            f" reopened: muted or resolved before, within {NEW_HOURS} hours.",
            "new",
        ),
    )
    changed_at = fields.DateTime(required=True, metadata=about("Since when it is in this state."))
    changed_by = fields.String(
        required=True, allow_none=True, metadata=about("Who set the state; null: no person.")
    )
    reopens_at = fields.Integer(
        required=True,
        allow_none=True,
        metadata=about("muted: it reopens at this many failed attempts within an hour.", 200),
    )
    reopened = fields.Nested(
        ReopenedSchema, required=True, allow_none=True, metadata=about("null: not reopened.")
    )
    failed_jobs = fields.Integer(
        required=True, metadata=about("Jobs with an open dead letter.", 695)
    )
    retrying_jobs = fields.Integer(
        required=True, metadata=about("Jobs that failed and are pending or processing.", 12)
    )
    first_seen_at = fields.DateTime(required=True)
    first_seen_version = fields.String(
        required=True,
        allow_none=True,
        metadata=about("The version of the worker that failed first; null: unknown.", "1.4.2"),
    )
    last_seen_at = fields.DateTime(required=True)
    failures_per_hour = fields.List(
        fields.Integer(),
        required=True,
        metadata=about("Failed attempts in the last 24 clock hours (UTC), the current one last."),
    )
    share = fields.Float(
        required=True,
        allow_none=True,
        metadata=about(
            "Failed attempts of the group among all attempts of its type, 0 to 1, in this clock hour and the one before; null: no attempts.",
            0.38,
        ),
    )


class ErrorGroupListQuery(PageQuery):
    state = Choice(
        (OPEN, *ErrorGroupRow.STATES, ALL),
        load_default=OPEN,
        metadata=about("`open`: neither muted nor resolved, and with failed or retrying jobs."),
    )
    type = Text(longest=MAX_NAME)


ERROR_GROUP = ErrorGroupSchema()
ERROR_GROUP_LIST = ErrorGroupListQuery()
