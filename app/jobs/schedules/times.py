"""When a schedule runs: cron lines on the clock of a time zone, and intervals.

1. A line that names its hours (the hour field has no ``*`` and no ``/``, and not all 24) follows the
   wall clock: each matching wall time happens once a day. A time that the clock skips runs at the first
   moment after the skip, several skipped times once; a time that happens twice runs the first time only.
2. A line that does not name its hours runs whenever the clock shows a match: skipped times don't run,
   repeated times run again, so that hourly remains hourly.
3. An interval is not affected by clock changes: start + n × seconds.
4. Day of month and day of week must both match if one of them starts with ``*``; otherwise either.
   They are judged by the wall clock's date.

cronsim is used on times without a zone only: its own treatment of zones steps by whole hours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from app.jobs.schedules import zones

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MAX_LINE = 300
#: More than any zone has ever moved its clock, once across the date line: a day, and an hour.
LONGEST_CHANGE = timedelta(hours=25)

_SECOND = timedelta(seconds=1)
#: Name and values of each field, in the order of a line.
_FIELDS = (
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31, L (the last day), LW (the last weekday)"),
    ("month", "1 to 12, JAN to DEC"),
    (
        "weekday",
        "0 to 7 (0 and 7 are Sunday), SUN to SAT, MON#2 (the second), 5L (the last Friday)",
    ),
)
_ORDER = "minute hour day month weekday"
#: Any time: whether a line can be read, and whether it ever comes up, does not depend on it.
_START = datetime(2026, 12, 31, 23, 59)  # noqa: DTZ001


class InvalidLine(ValueError):
    """The text is not a cron line, or one that never comes up; the text continues "The line …"."""


@dataclass(frozen=True, slots=True)
class Line:
    """A cron line that was checked."""

    text: str  # its five fields, a nickname resolved
    names_hours: bool  # rule 1 of the module, otherwise rule 2

    def matches(self, after: datetime) -> Iterator[datetime]:
        """The matching wall times later than ``after``, all without a zone; ends after 50 years without one."""
        return CronSim(self.text, after)

    def in_words(self) -> str:
        """``At 02:30 every day``."""
        return _in_words(self.text)


@lru_cache(maxsize=4096)
def _in_words(line: str) -> str:
    return CronSim(line, _START).explain()


@lru_cache(maxsize=4096)
def parse(line: str) -> Line:
    """The line, or a nickname such as ``@hourly``, checked. Raises InvalidLine."""
    text = " ".join(_resolved(line).upper().split())
    fields = text.split()
    _check_count(fields)
    _check_fields(fields)
    try:
        ever = next(CronSim(text, _START), None)
    except CronSimError:
        day = next(CronSim(f"0 0 {fields[2]} 1 *", _START)).day
        raise InvalidLine(f"never comes up: no month it names has a day {day}.") from None
    if ever is None:
        raise InvalidLine("does not come up in the next 50 years.")
    return Line(text, _names_hours(fields[1]))


def after(line: str, zone: str, instant: datetime) -> datetime | None:
    """The first run of the line later than ``instant``, in UTC; None if there is none in 50 years.

    Raises InvalidLine and InvalidZone.
    """
    return _after(line, zone, instant.astimezone(UTC))


def next_after(starts_at: datetime, every_seconds: int, instant: datetime) -> datetime:
    """The first of starts_at, starts_at + every_seconds, … later than ``instant``, in UTC."""
    every = timedelta(seconds=every_seconds)
    steps = max((instant - starts_at) // every + 1, 0)
    return (starts_at + steps * every).astimezone(UTC)


class Rule(Protocol):
    """What decides when a schedule runs: a Definition, or a row of the table."""

    @property
    def cron(self) -> str | None: ...
    @property
    def every_seconds(self) -> int | None: ...
    @property
    def zone(self) -> str: ...
    @property
    def starts_at(self) -> datetime | None: ...
    @property
    def ends_at(self) -> datetime | None: ...


def next_tick(rule: Rule, instant: datetime) -> datetime | None:
    """The first tick later than ``instant``, in UTC: not before starts_at and not after ends_at.

    None if there is none. An interval needs starts_at. Raises InvalidLine and InvalidZone.
    """
    tick: datetime | None
    if rule.cron is None:
        assert rule.every_seconds is not None
        tick = next_after(rule.starts_at or instant, rule.every_seconds, instant)
    else:
        if rule.starts_at is not None:
            instant = max(instant, rule.starts_at - _SECOND / 1_000_000)
        tick = after(rule.cron, rule.zone, instant)
    return None if tick is None or (rule.ends_at and tick > rule.ends_at) else tick


def local(zone: str, instant: datetime) -> datetime:
    """What the clocks in the zone show. Raises InvalidZone."""
    return instant.astimezone(zones.get(zone))


# Many schedules share a line, a zone and their last run.
@lru_cache(maxsize=8192)
def _after(line: str, zone_name: str, instant: datetime) -> datetime | None:
    parsed, zone = parse(line), zones.get(zone_name)
    return (_after_by_wall if parsed.names_hours else _after_by_clock)(parsed, zone, instant)


def _after_by_wall(line: Line, zone: ZoneInfo, instant: datetime) -> datetime | None:
    """Rule 1."""
    start = wall(zone, instant)
    if offset(zone, instant - LONGEST_CHANGE) != offset(zone, instant):
        # After a change of the clock, times that it skipped or showed before may still be later.
        start -= LONGEST_CHANGE
    for shown in line.matches(start):
        run = first_instant(zone, shown)
        if run > instant:
            return run
    return None


def _after_by_clock(line: Line, zone: ZoneInfo, instant: datetime) -> datetime | None:
    """Rule 2."""
    start = wall(zone, instant)
    while True:
        shown = next(line.matches(start), None)
        if shown is None:
            return None
        run = (shown - offset(zone, instant)).replace(tzinfo=UTC)
        # The near change first: the clock may go back to before ``instant``, and repeat a match there.
        for until in (min(run, instant + LONGEST_CHANGE), run):
            if offset(zone, until) != offset(zone, instant):
                instant = change_between(zone, instant, until)
                start = wall(zone, instant) - _SECOND  # what the clock is set to counts
                break
        else:
            return run


def wall(zone: ZoneInfo, instant: datetime) -> datetime:
    """What the clock shows at an instant, without a zone."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    """How far the zone is ahead of UTC at an instant."""
    return instant.astimezone(zone).utcoffset() or timedelta(0)


def first_instant(zone: ZoneInfo, shown: datetime) -> datetime:
    """When the clock first shows a time, in UTC; for a time that it skips, the moment of the change."""
    early = shown.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if wall(zone, early) == shown:
        return early
    # In a gap, fold 0 uses the offset from before the change and so is too late, fold 1 too early.
    return change_between(zone, shown.replace(tzinfo=zone, fold=1).astimezone(UTC), early)


def change_between(zone: ZoneInfo, before: datetime, until: datetime) -> datetime:
    """A moment in (before, until] from which another offset holds; the two offsets must differ."""
    was = offset(zone, before)
    low, high = before, until
    while high - low > _SECOND:
        middle = low + (high - low) / 2
        middle = middle.replace(microsecond=0)
        if middle <= low:
            middle = low + _SECOND
        low, high = (middle, high) if offset(zone, middle) == was else (low, middle)
    return high.replace(microsecond=0)


# Checks


def _resolved(line: str) -> str:
    text = line.strip()
    if not text.startswith("@"):
        return text
    known = list(NICKNAMES)
    if text.lower() not in NICKNAMES:
        raise InvalidLine(
            f"{text.split()[0]} is not known; {', '.join(known[:-1])} and {known[-1]} are."
        )
    return NICKNAMES[text.lower()]


def _check_count(fields: list[str]) -> None:
    if len(fields) != 5:
        plural = "" if len(fields) == 1 else "s"
        within = " For runs within a minute use everySeconds." if len(fields) == 6 else ""
        raise InvalidLine(f"has {len(fields)} field{plural}; give five: {_ORDER}.{within}")


def _check_fields(fields: list[str]) -> None:
    for index, (text, (name, values)) in enumerate(zip(fields, _FIELDS, strict=True)):
        alone = ["*"] * 5
        alone[index] = text
        try:
            CronSim(" ".join(alone), _START)
        except CronSimError:
            raise InvalidLine(
                f"the {name} {text!r} is not understood; it is {values}, *, */5, 1-5 or a list of those."
            ) from None


def _names_hours(hours: str) -> bool:
    if "*" in hours or "/" in hours:
        return False
    a_day = CronSim(f"0 {hours} * * *", _START)
    return len({shown.hour for shown in islice(a_day, 24)}) < 24
