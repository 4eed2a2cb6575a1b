"""What the pages say about schedules and their ticks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from markupsafe import Markup, escape

from app.dashboard.present.format import duration, number
from app.jobs.models import ScheduleRow
from app.jobs.schedules import zones
from app.jobs.schedules.definition import description
from app.jobs.schedules.history import Tick, Trouble

#: How long a policy's choice takes to explain, on the form and on the page of a schedule.
OVERLAPS = {
    "skip": "Skip: no new job while a job of this schedule is pending or processing.",
    "allow": "Allow: every run gets its job, even while earlier ones are still live.",
    "wait": "Wait: one job runs, and at most one waits for it.",
    "replace": "Replace: the live job is cancelled, and the new one starts when it has ended.",
}
MISSED = {
    "one": "One: of all missed runs, only the latest gets a job.",
    "all": "All: each of the last 100 missed runs gets a job, oldest first.",
    "none": "None: missed runs are recorded and get no job.",
}
#: State → the status whose color it has, its icon and its word.
STATES = {
    "active": ("completed", "scheduled", "Active"),
    "late": ("failed", "warn", "Late"),
    "paused": ("retrying", "pause", "Paused"),
    "retired": ("cancelled", "cancelled", "Retired"),
    "ended": ("pending", "completed", "Ended"),
}
#: Outcome → color, icon, word in the history.
OUTCOMES = {
    "enqueued": ("completed", "completed", "Enqueued"),
    "manual": ("completed", "play", "Run now"),
    "skipped": ("cancelled", "cancelled", "Skipped"),
    "missed": ("retrying", "warn", "Missed"),
    "paused": ("retrying", "pause", "Paused"),
    "failed": ("failed", "failed", "Failed"),
}
#: Outcome → how a sentence about a mark starts.
_IN_WORDS = {
    "enqueued": "enqueued",
    "manual": "run now",
    "skipped": "skipped",
    "missed": "missed",
    "paused": "paused",
    "failed": "failed: no job was created",
}
#: How many marks a row of the list has.
MARKS = 20
#: Outcomes whose tick made the job that it names.
_MADE = ("enqueued", "manual")
#: The view of a tick's job → the class of the mark; None: the job was deleted.
_MARKS = {
    "completed": "done", "failed": "broken", "cancelled": "stopped", "processing": "running",
    None: "made",
}  # fmt: skip


@dataclass(frozen=True)
class State:
    view: str  # the status whose color it has
    icon: str
    word: str


def state(name: str) -> State:
    return State(*STATES[name])


def outcome(tick: Tick) -> State:
    return State(*OUTCOMES[tick.outcome])


def sentence(row: ScheduleRow) -> str:
    """When it runs: "At 02:30 every day, Europe/Berlin"."""
    try:
        return description(row)
    except ValueError:  # stored by another version of the rules
        return line_of(row)


def words(row: ScheduleRow) -> str:
    """The sentence without the zone, for lists that show the zone beneath it."""
    return sentence(row).removesuffix(f", {row.zone}")


def line_of(row: ScheduleRow) -> str:
    """The rule as it was given: "30 2 * * *", or "every 3600 s"."""
    return row.cron if row.cron is not None else f"every {number(row.every_seconds or 0)} s"


def zoned(at: datetime, zone: str) -> str:
    """ "2026-11-26 02:30:00 CET": an instant as the clocks of a zone show it."""
    return clock_of(zone)(at)


def clock_of(zone: str) -> Callable[[datetime], str]:
    """What the clocks of a zone show at an instant; those of UTC for a zone that is no longer known."""
    try:
        known: tzinfo = zones.get(zone)
    except zones.InvalidZone:
        known = UTC

    def show(at: datetime) -> str:
        local = at.astimezone(known)
        return f"{str(local)[:19]} {local.tzname()}"

    return show


def local_time(at: datetime) -> str:
    """ "Thu 26 Nov 2026, 02:30 CET", of an instant in a zone; with seconds unless they are 0."""
    return at.strftime("%a %d %b %Y, %H:%M:%S %Z" if at.second else "%a %d %b %Y, %H:%M %Z")


def anchor(tick: Tick) -> str:
    """The id of the tick's row in the history."""
    return f"tick-{int(tick.at.timestamp() * 1000)}"


def is_made(tick: Tick) -> bool:
    """Whether the tick made the job that it names."""
    return tick.outcome in _MADE and tick.job_id is not None


def marks(ticks: Sequence[Tick], zone: str, page: str, jobs: str) -> Markup:
    """One small link per tick, oldest first: color and shape say what became of it.

    ``page`` and ``jobs`` are the addresses of the schedule's page and of the list of jobs.
    """
    shown = ticks[-MARKS:]
    at, home = clock_of(zone), escape(page)
    links = "".join(_mark(tick, at(tick.at), home, jobs) for tick in shown)
    return Markup(f'<span class="ticks" role="group" aria-label="{summary(shown)}">{links}</span>')


def _mark(tick: Tick, at: str, page: str, jobs: str) -> str:
    # Not Markup.format: a page has a thousand marks, of constants, numbers, ids and times only.
    # By keyboard the same ticks are in the history of the schedule's page: 20 stops a row are too many.
    url = f"{jobs}/{tick.job_id}" if is_made(tick) and tick.job_view else f"{page}#{anchor(tick)}"
    return (
        f'<a class="tick is-{mark_of(tick)}" tabindex="-1" href="{url}"'
        f' title="{at} · {in_words(tick)}"></a>'
    )


def mark_of(tick: Tick) -> str:
    """The class of a tick's mark: its outcome, or the state of its job."""
    if tick.outcome not in _MADE:
        return "not-made" if tick.outcome == "failed" else tick.outcome
    return _MARKS.get(tick.job_view, "waiting")


def in_words(tick: Tick) -> str:
    """ "enqueued, job completed in 3.2 s"; "missed 12 ticks"."""
    words = _IN_WORDS[tick.outcome]
    if tick.n > 1:
        words = f"{words} {number(tick.n)} ticks"
    if tick.outcome in _MADE and tick.job_view:
        words += f", job {tick.job_view}"
        if tick.job_seconds is not None and tick.job_view in ("completed", "failed"):
            words += f" in {duration(tick.job_seconds)}"
    return words


def summary(ticks: Sequence[Tick]) -> str:
    """ "Last 20 ticks: 17 enqueued, 2 skipped, 1 missed", for screen readers."""
    counts: dict[str, int] = {}
    for tick in ticks:
        counts[tick.outcome] = counts.get(tick.outcome, 0) + 1
    parts = [
        f"{n} {'run now' if name == 'manual' else name}"
        for name in OUTCOMES
        if (n := counts.get(name))
    ]
    noun = "tick" if len(ticks) == 1 else f"{len(ticks)} ticks"
    return f"Last {noun}: {', '.join(parts)}"


def span_words(tick: Tick, zone: str) -> str:
    """ "Missed 3,599 ticks from 02:00:00 to 03:00:00: no worker was alive.", for rows of several ticks."""
    verb = OUTCOMES[tick.outcome][2]
    note = f": {tick.note.rstrip('.')}." if tick.note else "."
    if tick.n == 1:
        return f"{verb}{note}"
    last = tick.last_at or tick.at
    start, end = zoned(tick.at, zone), zoned(last, zone)
    if start[:10] == end[:10]:
        start, end = start[11:19], end[11:19]
    span = f"{number(tick.n)} ticks from {start} to {end}"
    return (
        f"{span} came up while paused{note}" if tick.outcome == "paused" else f"{verb} {span}{note}"
    )


def trouble_words(trouble: Trouble) -> list[tuple[str, str]]:
    """(state to filter by, words): "2 late", "1 missed in the last 24 h"."""
    parts: list[tuple[str, str]] = []
    if trouble.late:
        parts.append(("late", f"{number(trouble.late)} late"))
    past = [f"{number(n)} {word}" for n, word in
            ((trouble.missed, "missed"), (trouble.failed, "failed")) if n]  # fmt: skip
    if past:
        parts.append(("missed", f"{' and '.join(past)} in the last 24 h"))
    return parts


def last_job(ticks: Sequence[Tick]) -> Tick | None:
    """The latest tick that made a job which still exists."""
    return next((tick for tick in reversed(ticks) if is_made(tick) and tick.job_view), None)


FILTERS: dict[str, Callable[..., Any]] = {
    "schedule_state": state,
    "schedule_line": line_of,
    "schedule_sentence": sentence,
    "schedule_words": words,
    "zoned": zoned,
    "local_time": local_time,
    "tick_marks": marks,
    "tick_anchor": anchor,
    "tick_outcome": outcome,
    "tick_words": span_words,
    "tick_made": is_made,
    "last_job": last_job,
}
