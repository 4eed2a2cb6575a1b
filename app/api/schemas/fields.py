"""Strict marshmallow fields: "5" is not a number, true is not an integer, every time has a zone.

Bounds are ordinary marshmallow validators, so that the OpenAPI document repeats what is checked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from marshmallow import Schema, fields
from marshmallow.validate import Length, OneOf, Range, Regexp

from app import json_values, names
from app.errors import ValidationFailed
from app.jobs.bounds import MAX_TAG, MAX_TAGS
from app.json_values import DEEP, MalformedJson, is_deep

#: Names of queues follow the rule of job types.
NAME = re.compile(rf"^{names.NAME.pattern}\Z")
#: Scores in Redis and backoffs stay exact between these.
FIRST_INSTANT = datetime(2000, 1, 1, tzinfo=UTC)
LAST_INSTANT = datetime(2100, 1, 1, tzinfo=UTC)

_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_INTEGER = re.compile(r"-?[0-9]{1,18}")

_REQUIRED = {"required": "is required.", "null": "must not be null."}


class Text(fields.String):
    """A string without NUL, of a length from 1 (or ``shortest``) to ``longest`` characters."""

    default_error_messages = {
        **_REQUIRED,
        "invalid": "must be a string.",
        "nul": "must not contain NUL characters.",
    }

    def __init__(self, *, longest: int, shortest: int = 1, **more: Any) -> None:
        length = Length(shortest, longest, error="must be {min} to {max} characters long.")
        super().__init__(validate=[length, *more.pop("validate", ())], **more)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        if type(value) is not str:
            raise self.make_error("invalid")
        if "\0" in value:
            raise self.make_error("nul")
        return value


class Name(fields.String):
    """A queue's name."""

    default_error_messages = {**_REQUIRED, "invalid": "must be a string."}

    def __init__(self, **more: Any) -> None:
        super().__init__(validate=Regexp(NAME, error=names.NAME_RULE), **more)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        if type(value) is not str:
            raise self.make_error("invalid")
        return value


class Whole(fields.Integer):
    """An integer from ``low`` to ``high``; as ``from_text`` (query strings) written in digits."""

    default_error_messages = {**_REQUIRED, "invalid": "must be a whole number."}

    def __init__(
        self, low: int, high: int, *, from_text: bool = False, error: str | None = None, **more: Any
    ) -> None:
        self.from_text = from_text
        bounds = Range(low, high, error=error or "must be a whole number from {min} to {max}.")
        super().__init__(validate=bounds, **more)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        if self.from_text and _INTEGER.fullmatch(value):
            return int(value)
        # 5.0 is an integer to JSON Schema, and what some languages send for 5.
        if type(value) is float and value.is_integer():
            return int(value)
        if type(value) is not int:
            raise self.make_error("invalid")
        return value


class Seconds(fields.Float):
    """A number of seconds, fractions allowed, from 0 (or above) to ``high``."""

    default_error_messages = {**_REQUIRED, "invalid": "must be a number of seconds."}

    def __init__(self, high: int, *, above_zero: bool = False, **more: Any) -> None:
        error = (
            "must be more than 0 and at most {max} seconds."
            if above_zero
            else "must be 0 to {max} seconds."
        )
        super().__init__(validate=Range(0, high, min_inclusive=not above_zero, error=error), **more)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> float:
        if type(value) is int:
            # float() of a huge integer overflows; the range refuses infinity as well.
            return float(value) if abs(value) < 1 << 62 else math.inf if value > 0 else -math.inf
        if type(value) is not float or not math.isfinite(value):
            raise self.make_error("invalid")
        return value


class Instant(fields.DateTime):
    """An RFC 3339 time with its zone, 2000…2100; written in UTC with milliseconds."""

    default_error_messages = {
        **_REQUIRED,
        "invalid": "must be a time such as 2026-05-04T10:00:00.000Z.",
        "naive": "must include a time zone: end it with Z or an offset such as +02:00.",
        "range": f"must be from {FIRST_INSTANT:%Y-%m-%d} to {LAST_INSTANT:%Y-%m-%d}.",
    }

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> datetime:
        match = _RFC_3339.fullmatch(value) if type(value) is str else None
        if match is None:
            raise self.make_error("invalid")
        try:
            instant = datetime.fromisoformat(match.string.upper())
        except ValueError:  # the 30th of February, 25:00
            raise self.make_error("invalid") from None
        if match["zone"] is None:
            raise self.make_error("naive")
        if not FIRST_INSTANT <= instant <= LAST_INSTANT:
            raise self.make_error("range")
        return instant.astimezone(UTC)


class Flag(fields.Boolean):
    """true or false."""

    default_error_messages = {**_REQUIRED, "invalid": "must be true or false."}

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> bool:
        if type(value) is not bool:
            raise self.make_error("invalid")
        return value


class Payload(fields.Dict):
    """A JSON object, at most ``MAX_DEPTH`` levels deep."""

    default_error_messages = {
        **_REQUIRED,
        "invalid": "must be a JSON object.",
        "deep": DEEP,
    }

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise self.make_error("invalid")
        if is_deep(value):
            raise self.make_error("deep")
        return value


class JsonText(Payload):
    """A JSON object written into a query string."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return super()._deserialize(json_values.parse(value.encode()), *args, **kwargs)
        except (MalformedJson, ValidationFailed):
            raise self.make_error("invalid") from None


class Choice(fields.String):
    """One of a few strings."""

    default_error_messages = {**_REQUIRED, "invalid": "must be a string."}

    def __init__(self, choices: tuple[str, ...], **more: Any) -> None:
        super().__init__(validate=OneOf(choices, error="must be one of {choices}."), **more)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        if type(value) is not str:
            raise self.make_error("invalid")
        return value


class Tags(fields.List[str]):
    """Up to MAX_TAGS different labels."""

    default_error_messages = {
        **_REQUIRED,
        "invalid": "must be a list of strings.",
        "duplicates": "must not contain duplicates.",
    }

    def __init__(self, *, metadata: Mapping[str, Any] | None = None, **more: Any) -> None:
        at_most = Length(max=MAX_TAGS, error="must be at most {max} tags.")
        metadata = {"uniqueItems": True, **(metadata or {})}
        super().__init__(Text(longest=MAX_TAG), validate=at_most, metadata=metadata, **more)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if type(value) is not list:
            raise self.make_error("invalid")
        tags = super()._deserialize(value, attr, data, **kwargs)
        if len(set(tags)) < len(tags):
            raise self.make_error("duplicates")
        return tags


class BaseSchema(Schema):
    """Base of all schemas: camelCase in JSON, snake_case in Python; unknown fields are rejected."""

    error_messages = {"type": "must be a JSON object."}
    #: The hint for unknown fields, if it isn't the list of known fields.
    known: ClassVar[str] = ""
    #: Added to the schema in the OpenAPI document.
    more: ClassVar[dict[str, Any]] = {}

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        if field_obj.data_key is None:
            head, *rest = field_name.split("_")
            field_obj.data_key = head + "".join(map(str.title, rest))

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        names = ", ".join(str(field.data_key) for field in self.load_fields.values())
        self.error_messages["unknown"] = f"is unknown; {self.known or f'known fields: {names}'}."


class RequestSchema(BaseSchema):
    """Base of request bodies. Unlike responses, they allow no further fields in the OpenAPI document."""
