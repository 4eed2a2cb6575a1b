"""Checks definitions of schedules as a whole: their rules, their job type, and the jobs they will create."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from app.config import ConfigError
from app.errors import UnknownJobType, ValidationFailed
from app.jobs import enqueueing
from app.jobs.lifecycle import NewJob
from app.jobs.schedules import rules
from app.jobs.schedules.definition import Definition, declared, payload_at

CheckJob = Callable[[NewJob], None]

#: Fields of NewJob → those of the API.
_JSON_NAMES = {
    "max_attempts": "maxAttempts",
    "timeout_seconds": "timeoutSeconds",
    "unique_key": "uniqueKey",
    "limit_key": "limitKey",
}
#: Any tick, to check the payload that it will have.
_A_TICK = datetime(2026, 1, 1, tzinfo=UTC)


def check(definition: Definition, *, now: datetime | None = None) -> None:
    """Raises UnknownJobType, or ValidationFailed with every field that is wrong, by its name in the API.

    With ``now``, a schedule must not have ended.
    """
    _check(definition, now=now, check_job=enqueueing.check)


def check_alone(definition: Definition, *, now: datetime | None = None) -> None:
    """As check, but for what depends on the limits in the database: for use while the application starts."""
    _check(definition, now=now, check_job=enqueueing.check_alone)


def check_declared() -> None:
    """Raises ConfigError for the first schedule of the code that is not valid.

    To be called when all modules are imported: a schedule may be declared before its type.
    """
    for definition in declared():
        try:
            check_alone(definition)
        except (UnknownJobType, ValidationFailed) as error:
            field, texts = next(iter((error.errors or {}).items()))
            raise ConfigError(
                f"The schedule {definition.name!r}: {rules.in_python(f'{field}: {texts[0]}')}"
            ) from None


def _check(definition: Definition, *, now: datetime | None, check_job: CheckJob) -> None:
    errors: dict[str, list[str]] = {}
    for field, text in rules.complaints(definition, now=now):
        errors.setdefault(field, []).append(text)
    job = _a_job(definition, has_tick_field="tickField" not in errors)
    errors = _errors_of_job(definition, job, check_job) | errors
    if errors:
        raise ValidationFailed(errors)


def _a_job(definition: Definition, *, has_tick_field: bool) -> NewJob:
    is_object = isinstance(definition.payload, dict)
    return NewJob(
        type=definition.type,
        payload=payload_at(definition, _A_TICK)
        if has_tick_field and is_object
        else definition.payload,
        queue=definition.queue,
        priority=definition.priority,
        max_attempts=definition.max_attempts,
        timeout_seconds=definition.timeout_seconds,
        unique_key=definition.unique_key,
        tags=definition.tags,
    )


def _errors_of_job(
    definition: Definition, job: NewJob, check_job: CheckJob
) -> dict[str, list[str]]:
    try:
        check_job(job)
    except ValidationFailed as error:
        tick_path = f"payload.{definition.tick_field}"
        return {
            "tickField" if field == tick_path else _JSON_NAMES.get(field, field): texts
            for field, texts in (error.errors or {}).items()
        }
    return {}
