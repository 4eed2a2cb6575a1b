"""JSON: strict parsing, the values that PostgreSQL can store, and the format of times."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from app.errors import JobQueueError, ValidationFailed

#: The limit of nested objects and lists in a payload; encoders and parsers are recursive.
MAX_DEPTH = 100
MAX_ERRORS = 100

DEEP = f"is nested deeper than {MAX_DEPTH} levels."
_NUMBER = "must be a finite number of at most 4300 digits."
_NUL = "must not contain NUL characters."
_SURROGATE = "must not contain lone surrogates."
_SURROGATES = re.compile("[\ud800-\udfff]")
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]')
_REPLACEMENT = "\ufffd"


def is_storable(value: Any) -> bool:
    """Whether PostgreSQL can store ``value`` as text or json: no NUL, no lone surrogate, no NaN."""
    match value:
        case str():
            return "\0" not in value and not _SURROGATES.search(value)
        case float():
            return math.isfinite(value)
        case dict():
            return all(is_storable(key) and is_storable(child) for key, child in value.items())
        case list() | tuple():
            return all(map(is_storable, value))
    return True


def storable(text: str) -> str:
    """``text`` with U+FFFD in place of NUL and lone surrogates, and with surrogate pairs as characters."""
    if text.isascii():
        return text.replace("\0", _REPLACEMENT)
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.replace("\0", _REPLACEMENT)


class MalformedJson(JobQueueError):
    """The body is not JSON: {reason}."""

    http_status, code = 400, "malformed_json"

    @property
    def errors(self) -> dict[Any, Any] | None:
        return {"body": [f"is not JSON: {self.facts['reason']}."]}


def by_path(messages: Any, path: str | None = None) -> dict[str, list[str]]:
    """marshmallow's nested messages by path: ``{"tags.3": ["must be a string."]}``.

    ``path`` is the path of the checked value; None for the body itself.
    """
    if not isinstance(messages, dict):
        texts = messages if isinstance(messages, list) else [messages]
        return {"body" if path is None else path: [str(text) for text in texts]}
    errors: dict[str, list[str]] = {}
    for key, inner in messages.items():
        # "_schema" is about the object as a whole; "key" and "value" are those of a mapping's entry.
        is_same = key in ("_schema", "key", "value")
        here = path if is_same else str(key) if path is None else f"{path}.{key}"
        for place, texts in by_path(inner, here).items():
            errors.setdefault(place, []).extend(texts)
    return errors


def iso(instant: datetime | None) -> str | None:
    """2026-05-04T10:00:00.000Z: UTC, truncated to milliseconds."""
    if instant is None:
        return None
    return instant.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def is_deep(value: Any) -> bool:
    """Whether ``value`` has more than MAX_DEPTH levels of objects and lists."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


def flaws(value: Any) -> Iterator[tuple[str, list[str]]]:
    """(path, errors) for values that can't be stored, at most MAX_ERRORS of them."""
    left, count = [("", value)], 0
    while left and count < MAX_ERRORS:
        path, node = left.pop()
        if flaw := _flaw_of(node):
            count += 1
            yield path or "body", [flaw]
        elif type(node) is dict:
            for key, child in node.items():
                if flaw := _flaw_of(key):
                    count += 1
                    yield path or "body", [f"has a key that {flaw}"]
                left.append((f"{path}.{key}" if path else key, child))
        elif type(node) is list:
            left.extend((f"{path}.{n}" if path else str(n), child) for n, child in enumerate(node))


def _flaw_of(node: Any) -> str | None:
    if type(node) is str:
        if "\0" in node:
            return _NUL
        if _SURROGATES.search(node):
            return _SURROGATE
    elif type(node) is float and node - node != 0:
        return _NUMBER
    return None


class _DuplicateKeys(Exception):
    """An object has duplicate keys."""


class _NotPlain(Exception):
    """A number that needs the lenient decoder."""


def parse(raw: bytes, *, are_keys_unique: bool = False) -> Any:
    """The parsed value of ``raw``, which must be UTF-8 with finite numbers, no NUL and no lone surrogates.

    ``are_keys_unique`` refuses objects with duplicate keys; otherwise the last value counts.
    Raises MalformedJson, or ValidationFailed with the path of each value that can't be stored.
    """
    try:
        text = raw.decode()
        if are_keys_unique:
            _UNIQUE.decode(text)
        value, is_plain = _read(text)
    except UnicodeDecodeError as error:
        raise MalformedJson(reason=f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise MalformedJson(
            reason=f"{error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except _DuplicateKeys:
        raise MalformedJson(reason="an object has duplicate keys") from None
    except RecursionError:
        raise ValidationFailed({_path_of_the_deep(text): [DEEP]}) from None
    # Only these escapes can put NUL and surrogates into a decoded string.
    if is_plain and not any(escape in raw for escape in (b"\\u0000", b"\\ud", b"\\uD")):
        return value
    if errors := dict(flaws(value)):
        raise ValidationFailed(errors)
    return value


def _read(text: str) -> tuple[Any, bool]:
    """The value, and whether all its numbers are finite."""
    try:
        return _PLAIN.decode(text), True
    except json.JSONDecodeError:
        raise
    except (_NotPlain, ValueError):  # ValueError: an integer of more digits than Python reads
        return _LENIENT.decode(text), False


def _path_of_the_deep(text: str) -> str:
    """The field (or ``jobs.3.payload``) in which ``text`` is nested too deeply; found without recursion."""
    path: list[Any] = []
    key = ""
    for match in _TOKENS.finditer(text):
        token = match.group()
        if token in "{[":
            path.append("" if token == "{" else 0)
            if len(path) > MAX_DEPTH:
                break
        elif token in "}]" and path:
            path.pop()
        elif token == ":" and path:
            path[-1] = json.loads(key)
        elif token == "," and path and type(path[-1]) is int:
            path[-1] += 1
        else:
            key = token
    if not path or type(path[0]) is int:
        return "body"
    return ".".join(map(str, path[: 3 if type(path[1]) is int else 1]))


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise _NotPlain
    return number


def _refuse(text: str) -> float:
    raise _NotPlain


def _whole(text: str) -> float:
    return int(text) if len(text) <= 4300 else float("inf")


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _DuplicateKeys


_PLAIN = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse)
_LENIENT = json.JSONDecoder(parse_int=_whole)
_UNIQUE = json.JSONDecoder(parse_int=_whole, object_pairs_hook=_unique)
