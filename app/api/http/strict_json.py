"""JSON as we take it: UTF-8, finite numbers, no NUL, no lone surrogates (PostgreSQL stores neither)."""

from __future__ import annotations

import json
import re
from typing import Any

from app.api.http.errors import MalformedJson
from app.errors import ValidationFailed
from app.json_values import DEEP, MAX_DEPTH, flaws

_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]')


class _NotPlain(Exception):
    """A number that needs the slow reading."""


def parse(raw: bytes) -> Any:
    """The value of ``raw``. Raises MalformedJson, or ValidationFailed naming each bad field."""
    try:
        text = raw.decode()
        value, is_plain = _read(text)
    except UnicodeDecodeError as error:
        raise MalformedJson(reason=f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise MalformedJson(
            reason=f"{error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except RecursionError:
        raise ValidationFailed({_path_of_the_deep(text): [DEEP]}) from None
    # NUL and surrogates reach a decoded string only through these escapes.
    if is_plain and not any(escape in raw for escape in (b"\\u0000", b"\\ud", b"\\uD")):
        return value
    if errors := dict(flaws(value)):
        raise ValidationFailed(errors)
    return value


def _read(text: str) -> tuple[Any, bool]:
    """The value, and whether all of its numbers can be stored."""
    try:
        return _PLAIN.decode(text), True
    except json.JSONDecodeError:
        raise
    except (_NotPlain, ValueError):  # ValueError: an integer of more digits than Python reads
        return _LENIENT.decode(text), False


def _path_of_the_deep(text: str) -> str:
    """The field (or ``jobs.3.payload``) in which ``text`` nests too deep; read without recursion."""
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


_PLAIN = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse)
_LENIENT = json.JSONDecoder(parse_int=_whole)
