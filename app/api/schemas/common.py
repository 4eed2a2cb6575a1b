"""The documentation of a field, and the shapes that every resource shares: no query, no body, errors."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from app.api.schemas.fields import Shape


def about(text: str, example: Any = None) -> dict[str, Any]:
    """Metadata of a field: its description in the OpenAPI document."""
    return {"description": text} | ({"example": example} if example is not None else {})


class NoQuery(Shape):
    """No query parameters."""

    known = "this operation has no query parameters"


class NothingShape(Shape):
    """No body, or an empty object."""

    error_messages = {"type": "must be left out, or be {}."}
    known = "send no body, or {}"


class ErrorShape(Shape):
    """The shape of every error."""

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
NOTHING = NothingShape()
ERROR = ErrorShape()
