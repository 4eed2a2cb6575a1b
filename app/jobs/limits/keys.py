"""The key of a job at its limit: ``limit_key``, or the value of the payload's field that the limit names.

``KEY`` is the same rule for PostgreSQL; a number's text there may differ from Python's (1e3 is 1000), so Python only
checks and PostgreSQL decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.jobs.limits.definition import MAX_KEY
from app.json_values import flaws

KEY_RULE = f"must be a string of 1 to {MAX_KEY} characters without NUL."
_FROM = "limit {limit} takes its key from it."


def value_at(payload: Mapping[str, Any], path: str) -> Any:
    """The value of the field ``path`` (customer.id); None if there is none."""
    value: Any = payload
    for step in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value


def complaints(
    *,
    payload: Mapping[str, Any],
    limit_key: str | None,
    limit: str | None,
    by: str | None,
    is_per_key: bool,
    type: str,
    queue: str,
) -> Iterator[tuple[str, str]]:
    """(field, what is wrong): why a job of ``type`` in ``queue`` can't have this key at ``limit`` (None: under no limit)."""
    if limit is None:
        if limit_key is not None:
            yield (
                "limit_key",
                f"has no use: neither type {type} nor queue {queue} is under a limit.",
            )
        return
    if limit_key is not None:
        return
    if by is not None:
        wrong = _wrong(value_at(payload, by))
        if wrong:
            yield f"payload.{by}", f"{wrong}: {_FROM.format(limit=limit)}"
    elif is_per_key:
        yield (
            "limit_key",
            f"is required: limit {limit} works by key and type {type} names no field for it.",
        )


def is_key(value: object) -> bool:
    """Whether ``value`` can be given as limit_key."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_KEY:
        return False
    return next(flaws(value), None) is None


def _wrong(value: Any) -> str | None:
    if value is None:
        return "is required"
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return "must be text or a number"
    if not 1 <= len(str(value)) <= MAX_KEY:
        return f"must be 1 to {MAX_KEY} characters long"
    return None
