"""The query string of a list, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import (
    EXCLUDE,
    Schema,
    ValidationError,
    fields,
    pre_load,
    validate,
    validates_schema,
)

from app.dashboard.present.failure_words import VIEWS as FAILURE_VIEWS
from app.dashboard.present.search import nested_quotes
from app.errors import ValidationFailed
from app.jobs.listing import OFFSET_BOUND
from app.jobs.models import VIEWS


class ListArgs(Schema):
    """Parameters of both lists. Blank form fields count as absent; unknown parameters such as utm_source are ignored."""

    class Meta:
        unknown = EXCLUDE

    type = fields.String(validate=validate.Length(max=200))
    q = fields.String(validate=validate.Length(max=200))
    cursor = fields.String(validate=validate.Length(max=500))
    top = fields.String(validate=validate.Length(max=500))

    @validates_schema
    def refuse_nul(self, data: Mapping[str, Any], **_: Any) -> None:
        # PostgreSQL can't store NUL, so it can't search for it.
        for name, value in data.items():
            if isinstance(value, str) and "\0" in value:
                raise ValidationError("must not contain NUL characters.", name)

    @pre_load
    def drop_blanks(self, data: Mapping[str, str], **_: Any) -> dict[str, str]:
        return {name: value.strip() for name, value in data.items() if value.strip()}


class FailureArgs(ListArgs):
    state = fields.String(validate=validate.OneOf(tuple(FAILURE_VIEWS)))
    skip = fields.Integer(strict=False, validate=validate.Range(0, OFFSET_BOUND))

    class Meta:
        unknown = EXCLUDE
        exclude = ("cursor", "top")


class JobArgs(ListArgs):
    status = fields.String(validate=validate.OneOf((*VIEWS, "waiting")), attribute="view")
    queue = fields.String(validate=validate.Length(max=200))
    tag = fields.String(validate=validate.Length(max=200))
    fingerprint = fields.String(
        validate=validate.Regexp(
            "^[0-9a-f]{12}$", error="must be 12 hex digits, as on the failures page."
        )
    )
    bulk = fields.Integer(strict=False, validate=validate.Range(1, 2**31))
    limit = fields.String(validate=validate.Length(max=200))
    limitKey = fields.String(validate=validate.Length(max=200), attribute="limit_key")
    within = fields.String(validate=validate.OneOf(("15m", "1h", "24h", "7d")))

    @validates_schema
    def refuse_nested_quotes(self, data: Mapping[str, Any], **_: Any) -> None:
        if value := nested_quotes(data.get("q", "")):
            raise ValidationError(
                f"The value {value} contains quotes inside quotes. "
                r'Write \" for a quote inside a quoted value, as in error:"say \"hi\"".',
                "q",
            )


def load(schema: Schema, args: Mapping[str, str]) -> dict[str, Any]:
    """The arguments that are given. Raises ValidationFailed."""
    errors = schema.validate(args)
    if errors:
        raise ValidationFailed(errors)
    return dict(schema.load(args))
