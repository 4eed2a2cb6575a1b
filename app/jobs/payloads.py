"""Checks payloads against the schema of their type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema
from marshmallow import ValidationError as SchemaError

from app.errors import ValidationFailed
from app.json_values import by_path


def load(schema: Schema | None, payload: Any) -> dict[str, Any]:
    """The payload as ``schema`` loads it: converted, with defaults filled in.

    Raises ValidationFailed with paths such as ``payload.to.0`` as keys.
    """
    if not isinstance(payload, dict):
        raise ValidationFailed(
            {"payload": ['must be an object, such as {"to": "ada@example.com"}']}
        )
    if schema is None:
        return payload
    try:
        loaded: dict[str, Any] = schema.load(payload)
    except SchemaError as error:
        raise ValidationFailed(_flat_errors(schema, error.messages)) from None
    return loaded


def _flat_errors(schema: Schema, messages: Any) -> dict[str, list[str]]:
    """marshmallow's nested messages as path → messages; for an unknown field, the known ones."""
    flat: dict[str, list[str]] = {}
    known = ", ".join(
        sorted(str(field.data_key or name) for name, field in schema.load_fields.items())
    )
    unknown = schema.error_messages["unknown"]
    for path, texts in by_path(messages, "payload").items():
        is_top = path.count(".") == 1
        flat.setdefault(path, []).extend(
            f"is not a field of this type; the fields are: {known}"
            if is_top and message == unknown
            else message
            for message in texts
        )
    return flat


def one_line(errors: Mapping[str, list[str]]) -> str:
    """The errors of a ValidationFailed in one line."""
    return "; ".join(f"{path} {', '.join(messages)}" for path, messages in errors.items())
