"""What people type into the search box → facts to filter by. Pure.

``error:timeout``, ``error:"connection refused"``, ``tag:vip``, ``id:0197ab``, ``payload.user_id:42``,
with ``=`` as well; all else is free text, in which the list itself knows an id when it sees one.
``42`` is the number or the text, ``"42"`` only the text. ``user_id:42`` alone is free text or a field
of the payload.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from app.security import MASK

_QUOTED = r'"(?:[^"\\]|\\.)*"(?=\s|$)|"[^"]*"'
_TERM = re.compile(
    r"(?:^|(?<=\s))(?P<key>id|error|tag|payload(?:\.[^\s.:=\"]+)+)[:=]"
    rf"(?P<value>{_QUOTED}|\S+)"
)
_FIELD = re.compile(rf"(?P<path>[^\W\d][\w-]*(?:\.[\w-]+)*)[:=](?P<value>{_QUOTED}|[^\s/]\S*)")
#: Each doubles the number of payloads to compare with.
MAX_UNSURE = 4

Payload = dict[str, Any]


@dataclass
class Search:
    """What was asked for; of each list of payloads one must be contained in the job's."""

    id_part: str | None = None
    error: str | None = None
    tag: str | None = None
    payloads: list[Payload] = field(default_factory=list)
    text: str | None = None
    #: What the free text means if it names a field: a match of either is a match.
    text_payloads: list[Payload] = field(default_factory=list)


def parse(q: str) -> Search:
    found, terms = Search(), []
    for term in _TERM.finditer(q):
        key, value = term["key"], _unquoted(term["value"])
        if key == "id":
            found.id_part = value
        elif key == "error":
            found.error = value
        elif key == "tag":
            found.tag = value
        else:
            terms.append((key.split(".")[1:], _meanings(term["value"])))
    # What is left is searched as it was typed: quotes, backslashes and blanks are text, too.
    rest = _TERM.sub("", q).strip()
    found.text = _unquoted(rest) or None
    found.payloads = _payloads(terms)
    if named := _FIELD.fullmatch(rest):
        found.text_payloads = _payloads([(named["path"].split("."), _meanings(named["value"]))])
    return found


def masked_search(q: str) -> str:
    """A search as who may not read payloads may see it: its tags and ids; all else may be what a payload holds."""
    kept = [term[0] for term in _TERM.finditer(q) if term["key"] in ("id", "tag")]
    left = _TERM.sub(lambda term: "" if term["key"] in ("id", "tag") else term[0], q).strip()
    return " ".join([*kept, *([MASK] if left else [])])


def _unquoted(text: str) -> str:
    """Without the quotes that hold a phrase together."""
    if len(text) < 2 or not (text.startswith('"') and text.endswith('"')):
        return text
    inner = text[1:-1].replace('\\"', "\0")
    return text if '"' in inner else inner.replace("\0", '"')


def _payloads(terms: list[tuple[list[str], list[Any]]]) -> list[Payload]:
    """Every reading of the terms, each as one payload."""
    unsure = sum(len(meanings) > 1 for _, meanings in terms)
    choices = [meanings if unsure <= MAX_UNSURE else meanings[:1] for _, meanings in terms]
    found: list[Payload] = []
    for values in product(*choices) if terms else ():
        payload: Payload = {}
        for (path, _), value in zip(terms, values, strict=True):
            _nest(payload, path, value)
        if payload not in found:
            found.append(payload)
    return found


def _meanings(text: str) -> list[Any]:
    """42 → the number or the text, as with true and null; "42" and anything else → the text."""
    plain = _unquoted(text)
    try:
        value = json.loads(text)
    except ValueError:
        return [plain]
    is_odd = isinstance(value, float) and not (value == value and abs(value) != float("inf"))
    if is_odd or isinstance(value, str):
        return [plain]
    return [value, plain]


def _nest(payload: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        inner = payload.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        payload = inner
    payload[path[-1]] = value
