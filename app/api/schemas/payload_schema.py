"""The JSON Schema of a job type's payload, from the marshmallow schema that checks it."""

from __future__ import annotations

from typing import Any

from marshmallow import RAISE, Schema

from app.api.http.openapi import json_schema


def payload_schema(schema: Schema | None) -> dict[str, Any] | None:
    """None where any object is taken."""
    if schema is None:
        return None
    return json_schema(schema) | {"additionalProperties": schema.unknown != RAISE}
