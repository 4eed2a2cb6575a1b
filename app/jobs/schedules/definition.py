"""What a schedule is made of, and how code declares one.

    @job("report", schedule=Schedule(cron="30 2 * * *", zone="Europe/Berlin", tick_field="for"))
    def report(payload, ctx): ...

    schedule("report-eu", "report", {"of": "eu"}, every=3600, overlap="allow")

A definition is the same whether it comes from code, from the API or from the table; ``rules`` says what is wrong with one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from app.config import ConfigError
from app.jobs.bounds import DAY
from app.jobs.schedules import rules, times
from app.json_values import iso

SKIP, ALLOW, WAIT, REPLACE = "skip", "allow", "wait", "replace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """When jobs of a type are created, and what they contain. None: the default of the type.

    The fields are named like the columns of the table.
    """

    name: str
    type: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    queue: str | None = None
    priority: int | None = None
    max_attempts: int | None = None
    timeout_seconds: float | None = None
    tags: Sequence[str] = ()
    unique_key: str | None = None  # with overlap "allow" only
    cron: str | None = None  # one of cron and every_seconds
    every_seconds: int | None = None
    zone: str = "UTC"
    starts_at: datetime | None = None  # None: when it is stored
    ends_at: datetime | None = None
    overlap: str = SKIP
    missed: str = "one"
    missed_within_seconds: int = DAY
    jitter_seconds: int = 0
    tick_field: str | None = None  # the payload's field that gets the tick's time

    def payload_at(self, tick: datetime) -> dict[str, Any]:
        """The payload of the job of this tick."""
        return payload_at(self, tick)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The schedule of a job type, for ``@job(…, schedule=…)``; its name is the type's."""

    cron: str | None = None
    every: int | None = None  # seconds
    zone: str = "UTC"
    payload: Mapping[str, Any] = field(default_factory=dict)
    queue: str | None = None
    priority: int | None = None
    max_attempts: int | None = None
    timeout_seconds: float | None = None
    tags: Sequence[str] = ()
    unique_key: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    overlap: str = SKIP
    missed: str = "one"
    missed_within_seconds: int = DAY
    jitter_seconds: int = 0
    tick_field: str | None = None

    def definition(self, name: str, type: str) -> Definition:
        """The schedule of that name, which creates jobs of ``type``."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return Definition(name=name, type=type, every_seconds=given.pop("every"), **given)


_declared: dict[str, Definition] = {}


def schedule(
    name: str, type: str, payload: Mapping[str, Any] | None = None, **options: Any
) -> None:
    """Declare a schedule in code: workers store it when they start.

    ``options`` are the fields of ``Schedule``. Raises ConfigError for options that are not valid, and for a name that has
    another definition in this process. The type and the payload are checked when all modules are imported.
    """
    declare(Schedule(payload={} if payload is None else payload, **options).definition(name, type))


def declare(definition: Definition) -> None:
    """Add a definition to those of the code. Raises ConfigError."""
    for field_name, text in rules.complaints(definition):
        raise ConfigError(
            f"The schedule {definition.name!r}: {rules.in_python(f'{field_name}: {text}')}"
        )
    known = _declared.setdefault(definition.name, definition)
    if known != definition:
        raise ConfigError(
            f"The schedule {definition.name!r} is defined twice, differently: {_shown(known)}"
            f" and {_shown(definition)}; rename one of them."
        )


def declared() -> list[Definition]:
    """The schedules that the code of this process defines, by name."""
    return [_declared[name] for name in sorted(_declared)]


def definition_of(schedule: Any) -> Definition:
    """What a row of the table was defined as."""
    return Definition(**{each.name: getattr(schedule, each.name) for each in fields(Definition)})


def payload_at(schedule: Any, tick: datetime) -> dict[str, Any]:
    """The payload of the job of a tick; ``schedule`` is a Definition or a row of the table."""
    payload = dict(schedule.payload)
    if schedule.tick_field is not None:
        payload[schedule.tick_field] = iso(tick)
    return payload


def description(schedule: Any) -> str:
    """When it runs, in a sentence: ``At 02:30 every day, Europe/Berlin``; of a Definition or a row."""
    if schedule.cron is None:
        return f"Every {_duration(schedule.every_seconds)}"
    try:
        words = times.parse(schedule.cron).in_words()
    except times.InvalidLine:  # stored by a release that reads more lines
        words = schedule.cron
    return f"{words}, {schedule.zone}"


def _duration(seconds: int) -> str:
    units = ((DAY, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
    count, unit = next((seconds // size, unit) for size, unit in units if seconds % size == 0)
    return unit if count == 1 else f"{count} {unit}s"


def _shown(definition: Definition) -> str:
    when = definition.cron or f"every {definition.every_seconds} s"
    return f"{definition.type} ({when}, {definition.zone}, {dict(definition.payload)})"
