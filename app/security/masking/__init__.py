"""Masks secrets: in the dashboard for all users, in the API for viewers.

A value is masked if its name is the name of a secret, in JSON (``names``) and in text (``texts``), or if it looks like
a secret. In case of doubt it is masked.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from app.security.masking.names import NAME_CHARACTERS, is_secret_name
from app.security.masking.texts import (
    MASK,
    NAMED,
    NAMING,
    OPTIONS,
    decoded,
    has_hints,
    without_secrets,
)

__all__ = ["MASK", "is_secret_name", "masked"]

#: A text that may contain a secret is searched up to here; the rest of it is masked.
TEXT_CHARACTERS = 100_000
#: The layers of encoding that are decoded to look for secrets.
LAYERS = 3
#: A list element that names the next one: ["psql", "password", …], ["--password=", …]
_NAME_ELEMENT = re.compile(
    r"[\w.\[\]-]{1,100}[:=]?|[\w-]{1,50}: ?(?:Basic|Digest|Token)", re.IGNORECASE
)
#: A list element between a name and its value: ["Authorization", "Basic", …]
_SCHEMES = ("basic", "digest")


def masked(value: Any) -> Any:
    """The JSON value with all secrets replaced by MASK; its structure and order stay the same."""
    try:
        return _masked(value)
    except RecursionError:
        return MASK


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return _masked_object(value)
    if isinstance(value, list):
        return [_masked_element(values=value, index=index) for index in range(len(value))]
    return _masked_text(value) if isinstance(value, str) else value


def _masked_object(value: dict[str, Any]) -> dict[str, Any]:
    named = _named_beside(value)
    result: dict[str, Any] = {}
    for key, inner in value.items():
        shown = MASK if is_secret_name(key) or key in named else _masked(inner)
        result[_free_key(_masked_key(key), result)] = shown
    return result


def _masked_key(key: str) -> str:
    return _short_masked_key(key) if len(key) <= NAME_CHARACTERS else _masked_text(key)


@lru_cache(maxsize=4096)
def _short_masked_key(key: str) -> str:
    return _masked_text(key)


def _free_key(key: str, taken: dict[str, Any]) -> str:
    """``key``, or ``key (2)`` … if it is taken: keys that differ only in their secrets stay separate."""
    free, n = key, 1
    while free in taken:
        n += 1
        free = f"{key} ({n})"
    return free


def _named_beside(value: dict[str, Any]) -> set[str]:
    """The keys whose values another key identifies as secrets: {"name": "Authorization", "value": …}."""
    is_named = any(
        isinstance(inner, str) and key.lower() in NAMING and is_secret_name(inner)
        for key, inner in value.items()
    )
    if not is_named:
        return set()
    others = {key for key in value if key.lower() not in NAMING}
    return others if len(others) == 1 else {key for key in others if key.lower() in NAMED}


def _masked_element(values: list[Any], index: int) -> Any:
    element = values[index]
    before = values[index - 1] if index else None
    if not isinstance(before, str):
        return _masked(element)
    if _is_named(values, index):
        return MASK
    if isinstance(element, str) and (before.startswith("-") or element.startswith("-")):
        first = values[: min(3, index - 1)]
        command = [word for word in first if isinstance(word, str) and len(word) <= 50]
        element = _masked_argument([*command, before[:NAME_CHARACTERS]], element)
    return _masked(element)


def _is_named(values: list[Any], index: int) -> bool:
    """Whether the string before this element identifies it as a secret."""
    name = values[index - 1]
    if index > 1 and name.lower() in _SCHEMES and isinstance(values[index - 2], str):
        name = values[index - 2]
    is_name = len(values) == 2 or _NAME_ELEMENT.fullmatch(name) is not None
    return is_name and is_secret_name(name)


def _masked_argument(before: list[str], argument: str) -> str:
    """A command's argument, masked if the words before it identify it as a secret: curl -u bob:…"""
    line = " ".join([*before, argument])
    start = len(line) - len(argument)
    for option in OPTIONS:
        for match in option.finditer(line[: start + TEXT_CHARACTERS]):
            if match.end(1) >= start:
                return line[start : match.end(1)] + MASK
    return argument


def _masked_text(text: str, layers: int = LAYERS) -> str:
    if not has_hints(text):
        return text
    if text.lstrip()[:1] in ("{", "[", '"'):
        try:
            parsed = json.loads(text, object_pairs_hook=_object)
        except (ValueError, RecursionError):
            pass  # the text is not JSON, although it begins like it
        else:
            result = masked(parsed)
            return text if result == parsed else json.dumps(result, ensure_ascii=False)
    head, tail = text[:TEXT_CHARACTERS], text[TEXT_CHARACTERS:]
    return _masked_layers(without_secrets(head), layers) + (MASK if tail else "")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError for a duplicate key: the first value would be lost, so all of it is masked as text instead."""
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("duplicate key")
    return result


def _masked_layers(text: str, layers: int) -> str:
    """The text itself, or its decoded form if only that contains secrets."""
    plain = decoded(text) if layers else text
    if plain == text:
        return text
    shown = _masked_text(plain, layers - 1)
    return text if shown == plain else shown
