"""The one place where secrets are masked: in the dashboard for everyone, in the API for viewers.

Masking goes by names, in JSON (secret_names) and in text (secret_texts), and by what looks like a secret
whatever its name. It errs towards masking.
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

#: A text that may hold a secret is looked at up to here, and masked from here on.
TEXT_CHARACTERS = 100_000
#: A text encoded more often than this is not decoded any further.
LAYERS = 3
#: An element of a list that names the next one: ["psql", "password", …], ["--password=", …]
_NAME_ELEMENT = re.compile(
    r"[\w.\[\]-]{1,100}[:=]?|[\w-]{1,50}: ?(?:Basic|Digest|Token)", re.IGNORECASE
)
#: … and one that stands between a name and its value: ["Authorization", "Basic", …]
_SCHEMES = ("basic", "digest")


def masked(value: Any) -> Any:
    """The JSON value with whatever is named, or looks, like a secret replaced: of the same shape, in the same order."""
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
    """Keys that differ in their secrets alone stay apart."""
    free, n = key, 1
    while free in taken:
        n += 1
        free = f"{key} ({n})"
    return free


def _named_beside(value: dict[str, Any]) -> set[str]:
    """Keys whose value another key names as a secret: {"name": "Authorization", "value": …}."""
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
    """Whether the string before this element names it as a secret."""
    name = values[index - 1]
    if index > 1 and name.lower() in _SCHEMES and isinstance(values[index - 2], str):
        name = values[index - 2]
    is_name = len(values) == 2 or _NAME_ELEMENT.fullmatch(name) is not None
    return is_name and is_secret_name(name)


def _masked_argument(before: list[str], argument: str) -> str:
    """An argument of a command, masked if the words before it make it a secret: curl -u bob:…"""
    line = " ".join([*before, argument])
    start = len(line) - len(argument)
    for option in OPTIONS:
        for found in option.finditer(line[: start + TEXT_CHARACTERS]):
            if found.end(1) >= start:
                return line[start : found.end(1)] + MASK
    return argument


def _masked_text(text: str, layers: int = LAYERS) -> str:
    if not has_hints(text):
        return text
    if text.lstrip()[:1] in ("{", "[", '"'):
        try:
            parsed = json.loads(text, object_pairs_hook=_object)
        except (ValueError, RecursionError):
            pass  # text that only begins like JSON
        else:
            result = masked(parsed)
            return text if result == parsed else json.dumps(result, ensure_ascii=False)
    head, tail = text[:TEXT_CHARACTERS], text[TEXT_CHARACTERS:]
    return _masked_layers(without_secrets(head), layers) + (MASK if tail else "")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError if a key stands twice: what the second one hides is masked as text."""
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a key stands twice")
    return result


def _masked_layers(text: str, layers: int) -> str:
    """The text itself, or decoded if a secret shows up only then."""
    plain = decoded(text) if layers else text
    if plain == text:
        return text
    shown = _masked_text(plain, layers - 1)
    return text if shown == plain else shown
