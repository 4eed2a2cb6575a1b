"""What a schedule's fields may be; each rule and its sentence once, for the API, the dashboard and Python.

The fields of complaints have the names of the API.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from app.errors import ValidationFailed
from app.jobs.bounds import DAY
from app.jobs.schedules import times, zones
from app.names import NAME, NAME_RULE

if TYPE_CHECKING:
    from app.jobs.schedules.definition import Definition

OVERLAPS = ("skip", "allow", "wait", "replace")
MISSED = ("one", "all", "none")
MAX_EVERY_SECONDS = 365 * DAY
MAX_MISSED_WITHIN_SECONDS = 365 * DAY
MAX_JITTER_SECONDS = DAY
MAX_TICK_FIELD = 100
#: Unique keys with this prefix are those of schedules with overlap "skip".
UNIQUE_KEY_PREFIX = "schedule:"
UNIQUE_KEY_RESERVED = f"must not start with {UNIQUE_KEY_PREFIX}, which is reserved for schedules."

EVERY_RULE = f"must be a whole number from 1 to {MAX_EVERY_SECONDS}."
JITTER_RULE = f"must be a whole number from 0 to {MAX_JITTER_SECONDS}."
MISSED_WITHIN_RULE = f"must be a whole number from 1 to {MAX_MISSED_WITHIN_SECONDS}."
LINE_RULE = f"must be a string of at most {times.MAX_LINE} characters."
TICK_FIELD_RULE = f"must be the name of a field, of 1 to {MAX_TICK_FIELD} characters without NUL."
MISSED_ALL_RULE = (
    "all makes several jobs at once, which overlap '{overlap}' refuses;"
    " use overlap 'allow' or missed 'one'."
)
LIMITED_RULE = (
    "'{overlap}' needs the job's limit, and type {type} is under limit {limit}; use 'skip'."
)
UNIQUE_KEY_RULE = "is what overlap uses; set overlap to 'allow' or leave it out."
TICK_FIELD_TAKEN = "names a field that payload has; the tick's time would replace it."
INSTANT_RULE = "must be a datetime with a time zone, between 2000 and 2100."

#: The smallest time between two runs is that of a line's next runs, up to this many.
_RUNS_COMPARED = 100
_COMPARED_FROM = datetime(2026, 12, 31, 23, 59)  # noqa: DTZ001

_API_FIELD = re.compile(r"\b[a-z]+(?:[A-Z][a-z]+)+\b")
#: Fields of the API → those of Schedule, where more differs than the spelling.
_IN_PYTHON = {"everySeconds": "every", "timeZone": "zone"}


def complaints(schedule: Definition, *, now: datetime | None = None) -> Iterator[tuple[str, str]]:
    """(field, what is wrong with it) of everything that needs no job type.

    With ``now``, the end must be later.
    """
    if not isinstance(schedule.name, str) or NAME.fullmatch(schedule.name) is None:
        yield "name", NAME_RULE
    when = list(_about_time(schedule))
    yield from when
    yield from _about_policies(schedule)
    if not when:
        yield from _about_jitter(schedule)
    yield from _about_instants(schedule, now)
    yield from _about_payload(schedule)


def check_times(schedule: Definition) -> None:
    """Raises ValidationFailed, with the names of the API, unless its runs can be computed."""
    errors: dict[str, list[str]] = {}
    for field, text in (*_about_time(schedule), *_about_instants(schedule, None)):
        errors.setdefault(field, []).append(text)
    if errors:
        raise ValidationFailed(errors)


def is_reserved(unique_key: str | None) -> bool:
    """Whether the key is one of a schedule, which other jobs can't have."""
    return unique_key is not None and unique_key.startswith(UNIQUE_KEY_PREFIX)


def in_python(text: str) -> str:
    """A text in which fields of the API are named, with the names of the arguments of Schedule."""
    return _API_FIELD.sub(_snake, text)


def _snake(name: re.Match[str]) -> str:
    words = re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name[0])
    return _IN_PYTHON.get(name[0], words)


def _about_time(schedule: Definition) -> Iterator[tuple[str, str]]:
    if (schedule.cron is None) == (schedule.every_seconds is None):
        yield "cron", "give exactly one of cron and everySeconds."
    elif schedule.cron is not None:
        if not isinstance(schedule.cron, str) or len(schedule.cron) > times.MAX_LINE:
            yield "cron", LINE_RULE
        else:
            try:
                times.parse(schedule.cron)
            except times.InvalidLine as refusal:
                yield "cron", str(refusal)
    elif not _is_whole(schedule.every_seconds, 1, MAX_EVERY_SECONDS):
        yield "everySeconds", EVERY_RULE
    try:
        zones.get(str(schedule.zone))
    except zones.InvalidZone as refusal:
        yield "timeZone", str(refusal)


def _about_policies(schedule: Definition) -> Iterator[tuple[str, str]]:
    if schedule.overlap not in OVERLAPS:
        yield "overlap", f"must be one of {', '.join(OVERLAPS)}."
    if schedule.missed not in MISSED:
        yield "missed", f"must be one of {', '.join(MISSED)}."
    elif schedule.missed == "all" and schedule.overlap != "allow":
        yield "missed", MISSED_ALL_RULE.format(overlap=schedule.overlap)
    if not _is_whole(schedule.missed_within_seconds, 1, MAX_MISSED_WITHIN_SECONDS):
        yield "missedWithinSeconds", MISSED_WITHIN_RULE
    if schedule.unique_key is not None:
        if schedule.overlap != "allow":
            yield "uniqueKey", UNIQUE_KEY_RULE
        elif is_reserved(str(schedule.unique_key)):
            yield "uniqueKey", UNIQUE_KEY_RESERVED


def _about_jitter(schedule: Definition) -> Iterator[tuple[str, str]]:
    if not _is_whole(schedule.jitter_seconds, 0, MAX_JITTER_SECONDS):
        yield "jitterSeconds", JITTER_RULE
    elif schedule.jitter_seconds and schedule.jitter_seconds >= (apart := seconds_apart(schedule)):
        yield "jitterSeconds", f"must be less than the {apart} seconds between two runs."


def seconds_apart(schedule: Definition) -> int:
    """The smallest time between two runs, as far as the next hundred show it."""
    if schedule.cron is None:
        return schedule.every_seconds or 1
    shown = islice(times.parse(schedule.cron).matches(_COMPARED_FROM), _RUNS_COMPARED)
    return min((int((b - a).total_seconds()) for a, b in pairwise(shown)), default=DAY)


def _about_instants(schedule: Definition, now: datetime | None) -> Iterator[tuple[str, str]]:
    wrong = False
    for field, value in (("startsAt", schedule.starts_at), ("endsAt", schedule.ends_at)):
        if value is not None and not _is_instant(value):
            wrong = True
            yield field, INSTANT_RULE
    if schedule.ends_at is None or wrong:
        return
    if now is not None and schedule.ends_at <= now:
        yield "endsAt", "must be in the future."
    elif schedule.starts_at is not None and schedule.ends_at <= schedule.starts_at:
        yield "endsAt", "must be later than startsAt."


def _about_payload(schedule: Definition) -> Iterator[tuple[str, str]]:
    name = schedule.tick_field
    if name is None:
        return
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_TICK_FIELD or "\0" in name:
        yield "tickField", TICK_FIELD_RULE
    elif isinstance(schedule.payload, Mapping) and name in schedule.payload:
        yield "tickField", TICK_FIELD_TAKEN


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_instant(value: object) -> bool:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        return False
    return 2000 <= value.year < 2100
