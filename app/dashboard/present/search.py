"""Parses the text of the search box into filters.

Terms are ``error:timeout``, ``error:"connection refused"``, ``tag:vip``, ``id:0197ab`` and
``payload.user_id:42``; ``=`` works instead of ``:``. The rest is free text, in which the list recognizes an ID.
``42`` matches the number and the text, ``"42"`` only the text. ``user_id:42`` alone is searched as free text and
as a field of the payload. A quoted value ends at a quote before whitespace or the end of the text; without such a
quote it takes the rest. Quotes inside words are text (``payload.size:"5"x3"``); any quote can be written as ``\\"``.
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
    r'|"(?=[^"])[\s\S]+'  # open, while the user is typing
)
_TERM = re.compile(
    r"(?:^|(?<=\s))(?P<key>id|error|tag|payload(?:\.[^\s.:=\"]+)+)[:=]"
    rf"(?P<value>{_QUOTED}|\S+)"
)
_FIELD = re.compile(rf"(?P<path>[^\W\d][\w-]*(?:\.[\w-]+)*)[:=](?P<value>{_QUOTED}|[^\s/]\S*)")
#: error:"say "hi"": the second quote could end the value or open a phrase inside it.
_NESTED = re.compile(r'\s"\S')
#: A value whose quotes can be read in only one way.
_PLAIN = re.compile(r'"[^"]*"|[^"]+')
#: The maximum number of ambiguous values: each doubles the number of payloads to compare with.
MAX_UNSURE = 4

Payload = dict[str, Any]


@dataclass
class Search:
    """What to search for. The job's payload must contain at least one payload of each list."""

    id_part: str | None = None
    error: str | None = None
    tag: str | None = None
    payloads: list[Payload] = field(default_factory=list)
    text: str | None = None
    #: The free text read as a field of the payload; a job matches if either reading matches.
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
    # The rest is searched as typed: quotes, backslashes and spaces are text.
    rest = _TERM.sub("", q).strip()
    search.text = _unquoted(rest) or None
    search.payloads = _payloads(terms)
    if named := _FIELD.fullmatch(rest):
        search.text_payloads = _payloads([(named["path"].split("."), _meanings(named["value"]))])
    return search


def nested_quotes(q: str) -> str | None:
    """The first value with quotes inside quotes, which is ambiguous."""
    values = (term["value"] for term in _TERM.finditer(q))
    return next((value for value in values if _is_closed(value) and _NESTED.search(value)), None)


def masked_search(q: str) -> str:
    """The search for readers who may not see payloads: tags and IDs stay, the rest is masked."""
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
    """Free text without the quotes around it."""
    if not _is_closed(text):
        return text
    inner = text[1:-1].replace('\\"', "\0")
    return text if '"' in inner else inner.replace("\0", '"')


def _payloads(terms: list[tuple[list[str], list[Any]]]) -> list[Payload]:
    """Each possible reading of the terms, as a payload."""
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
