"""Which ticks of a schedule are due, what becomes of each, and when the next one is. Pure."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Protocol

from app.jobs.schedules import times

#: Missed ticks that ``all`` makes up for, and ticks that one pass creates jobs for.
MAX_CREATED = 100
#: Missed and paused ticks are counted up to this number; "at least" from there.
MAX_COUNTED = 10_000
#: Those that may be made up for, and the last one that is not.
KEPT = MAX_CREATED + 1

_MINUTE = timedelta(minutes=1)
_INSTANT = timedelta(microseconds=1)


class Planned(times.Rule, Protocol):
    """A row of the table that has a next tick."""

    @property
    def name(self) -> str: ...
    @property
    def missed(self) -> str: ...
    @property
    def missed_within_seconds(self) -> int: ...
    @property
    def jitter_seconds(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Due:
    """The ticks from one instant to another."""

    count: int  # at most MAX_COUNTED
    latest: tuple[datetime, ...]  # the last KEPT of them, the oldest first

    @property
    def is_exact(self) -> bool:
        """Whether the count is the number, and not "at least"."""
        return self.count < MAX_COUNTED


@dataclass(frozen=True, slots=True)
class Missed:
    """Ticks that get no job and share a row of the history."""

    first: datetime
    last: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about the ticks that are due."""

    created: tuple[datetime, ...]  # ticks that get a job, the oldest first
    missed: Missed | None
    next_run_at: datetime | None  # None: it has ended


def plan(schedule: Planned, first: datetime, *, now: datetime, grace_seconds: float) -> Plan:
    """The plan for a schedule whose next tick ``first`` is due at ``now``.

    A tick within the grace is merely late and gets its job. Of the older ones, ``missed`` decides: ``one`` gives the
    latest a job unless a later tick has one, ``all`` each of the last MAX_CREATED, ``none`` none; ``one`` and ``all`` only
    within ``missed_within_seconds``.
    """
    late_since = now - timedelta(seconds=grace_seconds)
    old = due(schedule, first, late_since, is_end_included=False)
    following = times.next_tick(schedule, old.latest[-1]) if old.count else first
    recent, next_run_at = _recent(schedule, following, now)
    caught_up = _caught_up(schedule, old, now, has_later=bool(recent))
    missed = None
    if (count := old.count - len(caught_up)) > 0:
        missed = Missed(first, old.latest[-len(caught_up) - 1], count)
    return Plan((*caught_up, *recent), missed, next_run_at)


def due(
    schedule: times.Rule, first: datetime, until: datetime, *, is_end_included: bool = True
) -> Due:
    """The ticks from the tick ``first`` until ``until``."""
    if not is_end_included:
        until -= _INSTANT
    if schedule.ends_at is not None:
        until = min(until, schedule.ends_at)
    if first > until:
        return Due(0, ())
    if schedule.cron is None:
        assert schedule.every_seconds is not None
        return _due_of_interval(first, timedelta(seconds=schedule.every_seconds), until)
    # Ticks of a line are at whole minutes.
    until = until.replace(second=0, microsecond=0)
    return _due_of_line(schedule.cron, schedule.zone, first, until)


def run_at(schedule: Planned, tick: datetime) -> datetime:
    """The tick, and a delay of less than ``jitter_seconds`` that depends on the name and the tick only."""
    if not schedule.jitter_seconds:
        return tick
    longest = timedelta(seconds=schedule.jitter_seconds)
    following = times.next_tick(schedule, tick)
    if following is not None:
        longest = min(longest, following - tick)
    text = f"{schedule.name} {int(tick.timestamp())}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    fraction = int.from_bytes(digest, "big") / 2**64
    return tick + timedelta(milliseconds=int(fraction * (longest // timedelta(milliseconds=1))))


def _caught_up(schedule: Planned, old: Due, now: datetime, *, has_later: bool) -> list[datetime]:
    """The missed ticks that get a job after all."""
    since = now - timedelta(seconds=schedule.missed_within_seconds)
    within = [tick for tick in old.latest if tick >= since]
    if schedule.missed == "all":
        return within[-MAX_CREATED:]
    if schedule.missed == "one" and not has_later:
        return within[-1:]
    return []


def _recent(
    schedule: Planned, tick: datetime | None, now: datetime
) -> tuple[list[datetime], datetime | None]:
    """The ticks from ``tick`` on that are due, at most MAX_CREATED, and the tick after them."""
    ticks: list[datetime] = []
    while tick is not None and tick <= now and len(ticks) < MAX_CREATED:
        ticks.append(tick)
        tick = times.next_tick(schedule, tick)
    return ticks, tick


def _due_of_interval(first: datetime, every: timedelta, until: datetime) -> Due:
    count = (until - first) // every + 1
    oldest = max(0, count - KEPT)
    latest = tuple(first + n * every for n in range(oldest, count))
    return Due(min(count, MAX_COUNTED), latest)


# Many schedules share a line, and all of them were missed for the same time.
@lru_cache(maxsize=1024)
def _due_of_line(line: str, zone: str, first: datetime, until: datetime) -> Due:
    latest: deque[datetime] = deque(maxlen=KEPT)
    count, tick = 0, times.after(line, zone, first - _INSTANT)
    while tick is not None and tick <= until:
        latest.append(tick)
        count += 1
        if count == MAX_COUNTED:
            return Due(count, _latest_of_line(line, zone, first, until))
        tick = times.after(line, zone, tick)
    return Due(count, tuple(latest))


def _latest_of_line(line: str, zone: str, first: datetime, until: datetime) -> tuple[datetime, ...]:
    """The last KEPT ticks, looking back ever further for them."""
    span = KEPT * _MINUTE
    while True:
        since = max(first, until - span)
        latest: deque[datetime] = deque(maxlen=KEPT)
        tick = times.after(line, zone, since - _INSTANT)
        while tick is not None and tick <= until:
            latest.append(tick)
            tick = times.after(line, zone, tick)
        if len(latest) == KEPT or since == first:
            return tuple(latest)
        span *= 2
