"""What a handler returned, as JSON that PostgreSQL can store. The work is done by then, so nothing here raises."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, time
from math import isfinite, isnan
from typing import Any

from app.json_values import storable

#: Structures nested deeper than this are stored as text.
MAX_DEPTH = 100
#: A result that JSON can't hold is converted value by value, up to this many values.
MAX_VALUES = 100_000
#: The longest text for one value that JSON can't hold.
MAX_VALUE_CHARACTERS = 10_000
#: How many converted values the warning names.
MAX_NAMED = 5


def encode(result: Any, max_bytes: int) -> tuple[str, str | None]:
    """JSON text of at most ``max_bytes``, and a warning where it is not exactly what was returned.

    What JSON can't hold becomes text (a set becomes a list), what is too large is cut. Never raises.
    """
    try:
        text, warning = _exact_or_converted(result)
        if len(text) <= max_bytes:
            return text, warning
        whole = result if isinstance(result, str) and warning is None else text
        return _cut(whole, max_bytes), (
            f"The result is {len(text):,} bytes of JSON and MAX_RESULT_BYTES allows {max_bytes:,}: "
            "only its beginning was stored, as text."
        )
    except BaseException as error:  # code of handlers runs in here: __str__, __iter__, keys
        name = f"{type(result).__name__}: can't be stored"
        return _cut(storable(name), max_bytes), (
            f"The result could not be stored ({type(error).__name__} while converting it to JSON)."
        )


def _exact_or_converted(result: Any) -> tuple[str, str | None]:
    try:
        text = _dumps(result)
        # Escaped NULs and surrogates, or text that looks like them: the converter tells them apart.
        if "\\u0000" not in text and "\\ud" not in text:
            return text, None
    except BaseException:  # includes RecursionError and what handlers' own mappings raise
        pass
    converter = _Converter()
    value = converter.convert(result, "result", 0, frozenset())
    return _dumps(value), converter.warning()


# json.dumps with options creates an encoder for each call.
_dumps = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def _cut(text: str, max_bytes: int) -> str:
    length = max_bytes
    while True:
        encoded = _dumps(storable(text[:length]) + "…")
        if len(encoded) <= max_bytes or not length:
            return encoded
        length = min(length - 1, int(length * max_bytes / len(encoded)))


class _Converter:
    """Converts any value to plain JSON values; counts and names what it changed."""

    def __init__(self) -> None:
        self._left = MAX_VALUES
        self._changed = 0
        self._named: list[str] = []

    def warning(self) -> str | None:
        if not self._changed:
            return None
        more = self._changed - len(self._named)
        named = ", ".join(self._named) + (f" and {more:,} more" if more else "")
        return storable(
            f"The result holds values that JSON or PostgreSQL can't store; they were stored as text: {named}."
        )

    def convert(self, value: Any, path: str, depth: int, parents: frozenset[int]) -> Any:
        self._left -= 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._string(value, path)
        if isinstance(value, int | float):
            return self._number(value, path)
        is_container = isinstance(value, Mapping | list | tuple | set | frozenset)
        if not is_container or depth > MAX_DEPTH or id(value) in parents or self._left < 0:
            return self._as_text(value, path)
        parents |= {id(value)}
        if isinstance(value, Mapping):
            return {
                self._key(key, path): self.convert(item, f"{path}.{_name(key)}", depth + 1, parents)
                for key, item in value.items()
            }
        if isinstance(value, set | frozenset):
            self._note(value, path)
        return [
            self.convert(item, f"{path}[{n}]", depth + 1, parents) for n, item in enumerate(value)
        ]

    def _string(self, value: str, path: str) -> str:
        stored = storable(value)
        if stored != value:
            self._note(value, path, "text with NUL or surrogate characters")
        return stored

    def _number(self, value: float, path: str) -> Any:
        if isinstance(value, float) and not isfinite(value):
            self._note(value, path, "a number that is not finite")
            return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
        try:
            _dumps(value)
        except ValueError:  # more digits than Python converts
            return self._as_text(value, path)
        return value

    def _key(self, key: Any, path: str) -> Any:
        if isinstance(key, str):
            return self._string(key, path)
        if key is None or isinstance(key, bool | int) or (isinstance(key, float) and isfinite(key)):
            return key
        return self._as_text(key, f"a key of {path}")

    def _as_text(self, value: Any, path: str) -> str:
        self._note(value, path)
        if isinstance(value, datetime | date | time):
            return value.isoformat()
        try:
            text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        except BaseException:
            text = f"<{type(value).__name__}>"
        return storable(
            text if len(text) <= MAX_VALUE_CHARACTERS else text[: MAX_VALUE_CHARACTERS - 1] + "…"
        )

    def _note(self, value: Any, path: str, what: str = "") -> None:
        self._changed += 1
        if len(self._named) < MAX_NAMED:
            self._named.append(f"{path[:200]} ({what or type(value).__name__})")


def _name(key: Any) -> str:
    return key if isinstance(key, str) else type(key).__name__
