"""Enqueueing from Python: what ``app.jobs.enqueue``, ``enqueue_and_commit`` and ``enqueue_many`` take, and what they refuse.

The JSON API checks the same bounds (bounds.py) in its own words; its fields have JSON's names.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, TypedDict, Unpack
from uuid import UUID

from app.errors import UnknownJobType, ValidationFailed
from app.extensions import db
from app.jobs import lifecycle, registry
from app.jobs.bounds import (
    MAX_ATTEMPTS,
    MAX_DELAY_SECONDS,
    MAX_PRIORITY,
    MAX_TAG,
    MAX_TAGS,
    MAX_TIMEOUT_SECONDS,
    MAX_UNIQUE_KEY,
    MIN_PRIORITY,
)
from app.jobs.combiner import enqueue_committed
from app.jobs.lifecycle import NewJob
from app.jobs.limits import keys, known
from app.jobs.schedules.rules import UNIQUE_KEY_RESERVED, is_reserved
from app.json_values import DEEP, MAX_ERRORS, flaws, is_deep
from app.names import NAME_RULE

#: Jobs in one INSERT; larger statements are no faster per row.
ROWS_PER_STATEMENT = 5_000

_SURROGATE_OR_NUL = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


class EnqueueOptions(TypedDict, total=False):
    """The keyword arguments of ``enqueue``. What is absent follows the type's policy."""

    queue: str
    priority: int  # higher first
    run_at: datetime  # with a time zone; not together with delay_seconds
    delay_seconds: float
    max_attempts: int
    timeout_seconds: float  # limit of one attempt
    expires_at: datetime  # with a time zone; not started after it
    unique_key: str  # unique among pending and processing jobs
    tags: Sequence[str]
    limit_key: str  # the key at the limit of its type or queue


def enqueue(
    type: str,
    payload: Mapping[str, Any] | None = None,
    **options: Unpack[EnqueueOptions],
) -> UUID:
    """Add a job in the transaction of ``db.session``: published after its commit, undone by a rollback.

    Returns the job's id, or the id of the live job that has the ``unique_key``. Raises UnknownJobType, and
    ValidationFailed if an option is out of bounds or the payload does not match the type's schema; nothing
    is written then, and the caller's transaction goes on.
    """
    return lifecycle.enqueue(db.session, [_checked(type, payload, options)])[0].id


def enqueue_and_commit(
    type: str,
    payload: Mapping[str, Any] | None = None,
    **options: Unpack[EnqueueOptions],
) -> UUID:
    """Add a job in a transaction of its own: committed and published when this returns.

    Like ``enqueue`` otherwise. For callers without a transaction: one round trip, where ``enqueue`` and a commit
    take three, and jobs of several threads share a commit. ``db.session`` is not touched.
    """
    return enqueue_committed(_checked(type, payload, options)).id


def enqueue_many(jobs: Iterable[NewJob]) -> list[UUID]:
    """Add many jobs in the transaction of ``db.session``, all or none; returns their ids in the order given.

    Far cheaper than calling ``enqueue`` for each: one statement per 5,000. Raises ValidationFailed with paths such as
    ``jobs.17.priority``; nothing is written then.
    """
    new_jobs = list(jobs)
    errors: dict[str, list[str]] = {}
    for index, new in enumerate(new_jobs):
        try:
            check(new)
        except (ValidationFailed, UnknownJobType) as error:
            errors |= {
                f"jobs.{index}.{path}": messages for path, messages in (error.errors or {}).items()
            }
        if len(errors) >= MAX_ERRORS:
            break
    if errors:
        raise ValidationFailed(errors)
    rest = iter(new_jobs)
    ids: list[UUID] = []
    while chunk := list(islice(rest, ROWS_PER_STATEMENT)):
        ids.extend(job.id for job in lifecycle.enqueue(db.session, chunk))
    return ids


def _checked(type: str, payload: Mapping[str, Any] | None, options: EnqueueOptions) -> NewJob:
    if unknown := options.keys() - EnqueueOptions.__annotations__.keys():
        raise TypeError(_unknown_option(min(unknown)))
    new = NewJob(type=type, payload={} if payload is None else payload, **options)
    check(new)
    return new


def _unknown_option(name: str) -> str:
    known = sorted(EnqueueOptions.__annotations__)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(known)}."
    return f"enqueue() has no option {name!r}; {hint}"


def check(new: NewJob) -> None:
    """Raises UnknownJobType, or ValidationFailed with every field that is wrong."""
    check_alone(new)
    if errors := {field: [message] for field, message in known.complaints(new)}:
        raise ValidationFailed(errors)


def check_alone(new: NewJob) -> None:
    """As check, but for what depends on the limits in the database: for use while the application starts."""
    job_type = registry.get(new.type)
    errors = {field: [message] for field, message in _complaints(new)}
    try:
        registry.validate_payload(job_type, new.payload)
        errors |= _payload_errors(new.payload)
    except ValidationFailed as error:
        errors |= error.errors or {}
    if errors:
        raise ValidationFailed(errors)


def _payload_errors(payload: Mapping[str, Any]) -> dict[str, list[str]]:
    try:
        text = json.dumps(payload, allow_nan=False)
    except RecursionError:
        return {"payload": [DEEP]}
    except (TypeError, ValueError) as error:
        return {"payload": [f"must hold only what JSON can hold: {error}."]}
    if is_deep(payload):
        return {"payload": [DEEP]}
    if _SURROGATE_OR_NUL.search(text):
        return {
            "payload" if path == "body" else f"payload.{path}": messages
            for path, messages in flaws(json.loads(text))
        }
    return {}


def _complaints(new: NewJob) -> Iterator[tuple[str, str]]:
    """(field, what is wrong with it); the fields have their Python names."""
    if new.queue is not None and not registry.is_name(new.queue):
        yield "queue", NAME_RULE
    yield from _number("priority", new.priority, MIN_PRIORITY, MAX_PRIORITY, whole=True)
    yield from _number("max_attempts", new.max_attempts, 1, MAX_ATTEMPTS, whole=True)
    yield from _number("delay_seconds", new.delay_seconds, 0, MAX_DELAY_SECONDS)
    yield from _number("timeout_seconds", new.timeout_seconds, 0, MAX_TIMEOUT_SECONDS)
    if new.timeout_seconds == 0:
        yield "timeout_seconds", "must be more than 0."
    for field in ("run_at", "expires_at"):
        yield from _instant(field, getattr(new, field))
    if new.run_at is not None and new.delay_seconds is not None:
        yield "delay_seconds", "must not be given together with run_at."
    if new.unique_key is not None and not _is_text(new.unique_key, MAX_UNIQUE_KEY):
        yield "unique_key", f"must be a string of 1 to {MAX_UNIQUE_KEY} characters without NUL."
    elif is_reserved(new.unique_key):
        yield "unique_key", UNIQUE_KEY_RESERVED
    if new.limit_key is not None and not keys.is_key(new.limit_key):
        yield "limit_key", keys.KEY_RULE
    if not _are_tags(new.tags):
        yield (
            "tags",
            f"must be at most {MAX_TAGS} different strings of 1 to {MAX_TAG} characters without NUL.",
        )


def _number(
    field: str, value: object, low: int, high: int, *, whole: bool = False
) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    kinds = (int,) if whole else (int, float)
    is_number = isinstance(value, kinds) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type,operator]
        kind = "a whole number" if whole else "a number of seconds"
        yield field, f"must be {kind} from {low} to {high}."


def _instant(field: str, value: object) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if not isinstance(value, datetime) or value.utcoffset() is None:
        yield field, "must be a datetime with a time zone, such as datetime.now(timezone.utc)."
    elif not 2000 <= value.year < 2100:
        yield field, "must be between 2000 and 2100."


def _is_text(value: object, longest: int) -> bool:
    if not isinstance(value, str) or not 1 <= len(value) <= longest:
        return False
    return not next(flaws(value), None)


def _are_tags(tags: object) -> bool:
    if isinstance(tags, str) or not isinstance(tags, Sequence) or len(tags) > MAX_TAGS:
        return False
    return all(_is_text(tag, MAX_TAG) for tag in tags) and len(set(tags)) == len(tags)
