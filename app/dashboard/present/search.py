"""The text of the search box → what to filter by.

``error:timeout``, ``error:"connection refused"``, ``tag:vip``, ``id:0197ab``, ``payload.user_id:42``,
with ``=`` as well; all else is free text, in which the list itself knows an id when it sees one.
``42`` is the number or the text, ``"42"`` only the text. ``user_id:42`` alone is free text or a field
of the payload. A quoted value ends at a quote before a blank or the end; without one it takes the rest.
Quotes within words are text (``payload.size:"5"x3"``); any quote can be written as ``\\"``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from app.security.masking import MASK

_QUOTED = (
    r'"(?:[^"\\]|\\.|"(?!\s|$))*"(?=\s|$)|"[^"]*"(?=\s|$)'  # closed
    r'|"(?=[^"])[\s\S]+'  # open, as while it is typed
)
_TERM = re.compile(
    r"(?:^|(?<=\s))(?P<key>id|error|tag|payload(?:\.[^\s.:=\"]+)+)[:=]"
    rf"(?P<value>{_QUOTED}|\S+)"
)
_FIELD = re.compile(rf"(?P<path>[^\W\d][\w-]*(?:\.[\w-]+)*)[:=](?P<value>{_QUOTED}|[^\s/]\S*)")
#: error:"say "hi"": whether the second quote ends the value, or opens a phrase in it, can't be known.
_NESTED = re.compile(r'\s"\S')
#: Quotes that end where they seem to end.
_PLAIN = re.compile(r'"[^"]*"|[^"]+')
#: Each doubles the number of payloads to compare with.
MAX_UNSURE = 4

Payload = dict[str, Any]


@dataclass
class Search:
    """What to search for; of each list of payloads one must be contained in the job's payload."""

    id_part: str | None = None
    error: str | None = None
    tag: str | None = None
    payloads: list[Payload] = field(default_factory=list)
    text: str | None = None
    #: What the free text means if it names a field: a match of either is a match.
    text_payloads: list[Payload] = field(default_factory=list)


def parse(q: str) -> Search:
    search, terms = Search(), []
    for term in _TERM.finditer(q):
        key, value = term["key"], _value(term["value"])
        if key == "id":
            search.id_part = value
        elif key == "error":
            search.error = value
        elif key == "tag":
            search.tag = value
        else:
            terms.append((key.split(".")[1:], _meanings(term["value"])))
    # What is left is searched as it was typed: quotes, backslashes and blanks are text.
    rest = _TERM.sub("", q).strip()
    search.text = _unquoted(rest) or None
    search.payloads = _payloads(terms)
    if named := _FIELD.fullmatch(rest):
        search.text_payloads = _payloads([(named["path"].split("."), _meanings(named["value"]))])
    return search


def nested_quotes(q: str) -> str | None:
    """The first value in which quotes stand within quotes, so that it could be read in several ways."""
    values = (term["value"] for term in _TERM.finditer(q))
    return next((value for value in values if _is_closed(value) and _NESTED.search(value)), None)


def masked_search(q: str) -> str:
    """A search as shown to readers who may not see payloads: tags and ids stay, the rest is masked."""
    kept = [term[0] for term in _TERM.finditer(q) if _is_public(term)]
    left = _TERM.sub(lambda term: "" if _is_public(term) else term[0], q).strip()
    return " ".join([*kept, *([MASK] if left else [])])


def _is_public(term: re.Match[str]) -> bool:
    return term["key"] in ("id", "tag") and _PLAIN.fullmatch(term["value"]) is not None


def _is_closed(text: str) -> bool:
    return len(text) > 1 and text.startswith('"') and text.endswith('"')


def _value(text: str) -> str:
    """The value of a term without the quotes around it."""
    if len(text) < 2 or not text.startswith('"'):
        return text
    return (text[1:-1] if _is_closed(text) else text[1:]).replace('\\"', '"')


def _unquoted(text: str) -> str:
    """Free text without the quotes that hold it together."""
    if not _is_closed(text):
        return text
    inner = text[1:-1].replace('\\"', "\0")
    return text if '"' in inner else inner.replace("\0", '"')


def _payloads(terms: list[tuple[list[str], list[Any]]]) -> list[Payload]:
    """Every reading of the terms, each as one payload."""
    unsure = sum(len(meanings) > 1 for _, meanings in terms)
    choices = [meanings if unsure <= MAX_UNSURE else meanings[:1] for _, meanings in terms]
    payloads: list[Payload] = []
    for values in product(*choices) if terms else ():
        payload: Payload = {}
        for (path, _), value in zip(terms, values, strict=True):
            _nest(payload, path, value)
        if payload not in payloads:
            payloads.append(payload)
    return payloads


def _meanings(text: str) -> list[Any]:
    """42 → the number or the text, as with true and null; "42" and anything else → the text."""
    plain = _value(text)
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
