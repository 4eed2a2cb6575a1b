"""The documentation of a field, and the schemas that all resources share: no query, no body, errors."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from app.api.schemas.fields import BaseSchema


def about(text: str, example: Any = None) -> dict[str, Any]:
    """Metadata of a field: its description in the OpenAPI document."""
    return {"description": text} | ({"example": example} if example is not None else {})


class NoQuery(BaseSchema):
    """No query parameters."""

    known = "this operation has no query parameters"


class NothingSchema(BaseSchema):
    """No body, or an empty object."""

    error_messages = {"type": "must be left out, or be {}."}
    known = "send no body, or {}"


class ErrorSchema(BaseSchema):
    """The format of all errors."""

    message = fields.String(required=True)
    code = fields.String(
        required=True,
        metadata=about("For programs; new codes may be added.", "validation_failed"),
    )
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata=about("Field → its errors; in a bulk request `jobs.<index>.<field>`."),
    )


NO_QUERY = NoQuery()
NOTHING = NothingSchema()
ERROR = ErrorSchema()
