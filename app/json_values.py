"""What a JSON value may hold so that PostgreSQL can store it and every reader can walk it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

#: Levels of objects and lists in a payload. Encoders and readers along the way recurse.
MAX_DEPTH = 100
MAX_ERRORS = 100

DEEP = f"is nested deeper than {MAX_DEPTH} levels."
_NUMBER = "must be a finite number of at most 4300 digits."
_NUL = "must not contain NUL characters."
_SURROGATE = "must not contain lone surrogates."
_SURROGATES = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


def is_storable(value: Any) -> bool:
    """Whether text and json of PostgreSQL can hold ``value``: no NUL, no lone surrogate, no NaN."""
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
    """``text`` with U+FFFD for NUL and lone surrogates; a pair of surrogates becomes its character."""
    if text.isascii():
        return text.replace("\0", _REPLACEMENT)
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.replace("\0", _REPLACEMENT)


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
    """Path → what can't be stored there, for the first MAX_ERRORS places."""
    left, found = [("", value)], 0
    while left and found < MAX_ERRORS:
        path, node = left.pop()
        if flaw := _flaw_of(node):
            found += 1
            yield path or "body", [flaw]
        elif type(node) is dict:
            for key, child in node.items():
                if flaw := _flaw_of(key):
                    found += 1
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
