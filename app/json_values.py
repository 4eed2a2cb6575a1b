"""What a JSON value may hold so that PostgreSQL can store it and every reader can walk it."""

from __future__ import annotations

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
