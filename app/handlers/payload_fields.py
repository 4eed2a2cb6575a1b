"""Strict fields, and error messages with a remedy, for the payload schemas of the built-in types."""

from __future__ import annotations

import unicodedata
from typing import Any

from marshmallow import ValidationError, fields


def messages(remedy: str) -> dict[str, Any]:
    """Error messages of a field that all end in ``remedy``."""
    return {
        "required": f"is required; {remedy}",
        "null": f"can't be null; {remedy}",
        "invalid": f"is not valid; {remedy}",
        "too_large": f"is not valid; {remedy}",
        "special": f"is not valid; {remedy}",
    }


class Number(fields.Float):
    """A JSON number: neither a string that looks like one nor NaN."""

    def _validated(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Flag(fields.Boolean):
    """true or false: neither a string nor a number that looks like one."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


def refuse_control_characters(value: str) -> None:
    """Raises ValidationError for characters that could end a header line and start another one.

    These are the control characters of ASCII and Latin-1, and Unicode's line and paragraph separators, at
    which the standard library splits lines as well.
    """
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in value):
        raise ValidationError("must be one line of text; remove line breaks and control characters")
