"""A request's job or jobs → NewJob. The plain ones take a short way round marshmallow.

Loading JobRequestSchema costs some 60 µs a job; a bulk of 10,000 would spend most of its time there. So
``_plain`` accepts the ordinary values of each field and leaves every other case, each refusal
included, to the schema. tests/api/test_new_jobs.py shows by random bodies that the two agree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from marshmallow import ValidationError as SchemaError

from app.api.http import request
from app.api.schemas.fields import NAME
from app.api.schemas.new_jobs import BULK_ENVELOPE, NEW_JOB
from app.errors import UnknownJobType, ValidationFailed
from app.jobs import registry
from app.jobs.bounds import (
    MAX_ATTEMPTS,
    MAX_DELAY_SECONDS,
    MAX_PRIORITY,
    MAX_TAG,
    MAX_TAGS,
    MAX_UNIQUE_KEY,
    MIN_PRIORITY,
)
from app.jobs.lifecycle import NewJob
from app.jobs.limits import known
from app.jobs.limits.keys import is_key
from app.jobs.schedules.rules import is_reserved
from app.json_values import MAX_ERRORS, is_deep
from app.security import actor


def read_one(data: Any) -> NewJob:
    """The job that ``data`` describes. Raises ValidationFailed or UnknownJobType."""
    return _plain(data) or _by_schema(data)


def read_many(data: Any) -> list[NewJob]:
    """The jobs of a bulk body. Raises ValidationFailed with errors by index: ``jobs.17.priority``."""
    jobs: list[NewJob] = []
    errors: dict[str, list[str]] = {}
    for index, item in enumerate(request.load(BULK_ENVELOPE, data)["jobs"]):
        try:
            jobs.append(_plain(item) or _by_schema(item, at=f"jobs.{index}"))
        except ValidationFailed as error:
            errors |= error.errors or {}
        if len(errors) >= MAX_ERRORS:
            break
    if errors:
        raise ValidationFailed(errors)
    return jobs


def _by_schema(data: Any, *, at: str | None = None) -> NewJob:
    found = request.load(NEW_JOB, data, at=at)
    try:
        registry.validate_payload(registry.get(found["type"]), found["payload"])
        found["delay_seconds"] = found.pop("delay", None)
        found["run_at"] = found.pop("next_run_at", None)
        return _at_its_limit(NewJob(**found, by=actor()))
    except (ValidationFailed, UnknownJobType) as error:
        if at is None:
            raise
        raise ValidationFailed(
            {f"{at}.{path}": texts for path, texts in (error.errors or {}).items()}
        ) from None


def _at_its_limit(new: NewJob) -> NewJob:
    """The job itself. Raises ValidationFailed if its limit can't take it, or it has a key without a limit."""
    if refusals := {_IN_JSON.get(path, path): [text] for path, text in known.complaints(new)}:
        raise ValidationFailed(refusals)
    return new


#: A field of NewJob → the JSON field.
_IN_JSON = {"limit_key": "limitKey"}


def _plain(data: Any) -> NewJob | None:
    """The job, if ``data`` holds nothing out of the ordinary."""
    if type(data) is not dict:
        return None
    found: dict[str, Any] = {}
    for key, value in data.items():
        field = _PLAIN.get(key)
        if field is None or not field[1](value):
            return None
        found[field[0]] = value
    job_type = registry.find(found.get("type", ""))
    if job_type is None:
        return None
    try:
        if "run_at" in found:
            if "delay_seconds" in found:
                return None
            found["run_at"] = NEW_JOB.fields["next_run_at"].deserialize(found["run_at"])
        if job_type.schema is not None:
            registry.validate_payload(job_type, found.get("payload", {}))
    except (SchemaError, ValidationFailed):
        return None
    new = NewJob(**found, by=actor())
    return None if next(known.complaints(new), None) else new


def _is_whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _is_unique_key(value: Any) -> bool:
    return (
        type(value) is str
        and 0 < len(value) <= MAX_UNIQUE_KEY
        and "\0" not in value
        and not is_reserved(value)
    )


def _is_payload(value: Any) -> bool:
    return type(value) is dict and not is_deep(value)


def _are_tags(value: Any) -> bool:
    return (
        type(value) is list
        and len(value) <= MAX_TAGS
        and all(type(tag) is str and 0 < len(tag) <= MAX_TAG and "\0" not in tag for tag in value)
        and len(set(value)) == len(value)
    )


#: JSON field → (field of NewJob, whether a value is plainly right).
_PLAIN: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "type": ("type", lambda value: type(value) is str),
    "payload": ("payload", _is_payload),
    "queue": ("queue", lambda value: type(value) is str and NAME.match(value) is not None),
    "priority": ("priority", _is_whole(MIN_PRIORITY, MAX_PRIORITY)),
    "maxAttempts": ("max_attempts", _is_whole(1, MAX_ATTEMPTS)),
    "delay": ("delay_seconds", _is_whole(0, MAX_DELAY_SECONDS)),
    "nextRunAt": ("run_at", lambda value: type(value) is str),
    "uniqueKey": ("unique_key", _is_unique_key),
    "limitKey": ("limit_key", is_key),
    "tags": ("tags", _are_tags),
}
