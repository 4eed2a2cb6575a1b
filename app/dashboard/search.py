"""What people type into the search box → facts to filter by. Pure.

``error:timeout``, ``error:"connection refused"``, ``tag:vip``, ``id:0197ab``, ``payload.user_id:42``,
``payload.to:"42"`` (a string); all else is free text, in which the
list itself knows an id when it sees one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

_TERM = re.compile(r'(?:(?P<key>id|error|tag|payload(?:\.[^\s.:"]+)+):)?(?P<value>"[^"]*"|\S+)')


@dataclass
class Search:
    id_prefix: str | None = None
    error: str | None = None
    tag: str | None = None
    payload: dict[str, Any] = field(default_factory=dict)
    text: str | None = None


def parse(q: str) -> Search:
    found, words = Search(), []
    for term in _TERM.finditer(q):
        key, value = term["key"], term["value"].strip('"')
        if key == "id":
            found.id_prefix = value
        elif key == "error":
            found.error = value
        elif key == "tag":
            found.tag = value
        elif key:
            _nest(found.payload, key.split(".")[1:], _literal(term["value"]))
        else:
            words.append(value)
    found.text = " ".join(words) or None
    return found


def _literal(text: str) -> Any:
    """42 → a number, true, null; "42" and anything else → a string."""
    try:
        value = json.loads(text)
    except ValueError:
        return text.strip('"')
    return (
        value
        if not isinstance(value, float) or (value == value and abs(value) != float("inf"))
        else text
    )


def _nest(payload: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        inner = payload.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        payload = inner
    payload[path[-1]] = value
