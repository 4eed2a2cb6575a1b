"""The next runs of a schedule, with what the clock shows and a note where the clock changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from app.jobs.schedules import times, zones
from app.jobs.schedules.times import Line, Rule

MAX_RUNS = 100
#: A line that runs every 28 years would otherwise take its time.
_LAST_YEAR = 2100
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Run:
    """One future run."""

    at: datetime  # UTC
    local: datetime  # with the zone's offset
    note: str | None = None


def next_runs(rule: Rule, *, after: datetime, count: int) -> list[Run]:
    """The next ``count`` runs later than ``after``; fewer if they end, or the year 2100 begins."""
    zone = zones.get(rule.zone)
    line = None if rule.cron is None else times.parse(rule.cron)
    runs: list[Run] = []
    while len(runs) < count:
        tick = times.next_tick(rule, after)
        if tick is None or tick.year >= _LAST_YEAR:
            break
        remark = None if line is None else note(line, zone, tick)
        runs.append(Run(tick, tick.astimezone(zone), remark))
        after = tick
    return runs


def note(line: Line, zone: ZoneInfo, run: datetime) -> str | None:
    """Why the run is at another time than the line says, or which of two equal times it is."""
    shown = times.wall(zone, run)
    if line.names_hours:
        skipped = list(_skipped(line, zone, run))
        if skipped:
            return f"{_listed(skipped)} that day: the clock goes from {_change(zone, run)}"
    if _comes_twice(zone, shown):
        rule = "the first one counts" if line.names_hours else "both count"
        return f"{shown:%H:%M} comes twice; {rule}"
    return None


def _skipped(line: Line, zone: ZoneInfo, run: datetime) -> Iterator[datetime]:
    """The matching times that the clock skipped at this instant."""
    step = times.offset(zone, run) - times.offset(zone, run - _SECOND)
    if step > timedelta(0):
        shown = times.wall(zone, run)
        yield from takewhile(lambda time: time < shown, line.matches(shown - step - _SECOND))


def _listed(skipped: list[datetime]) -> str:
    first, last = f"{skipped[0]:%H:%M}", f"{skipped[-1]:%H:%M}"
    if len(skipped) == 1:
        return f"{first} does not exist"
    return f"{first} {'and' if len(skipped) == 2 else 'to'} {last} do not exist"


def _change(zone: ZoneInfo, run: datetime) -> str:
    before = times.wall(zone, run - _SECOND) + _SECOND
    return f"{before:%H:%M} to {times.wall(zone, run):%H:%M}"


def _comes_twice(zone: ZoneInfo, shown: datetime) -> bool:
    first, second = (shown.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    return first is not None and second is not None and first > second
