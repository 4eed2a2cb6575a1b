"""The facts on a schedule's page: when it runs, what its jobs are like, how late its ticks were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.dashboard.present.format import duration
from app.dashboard.present.job_facts import Fact
from app.dashboard.present.link import Link
from app.dashboard.present.schedule_words import MISSED, OVERLAPS
from app.jobs.listing import WorkerSummary
from app.jobs.models import ScheduleRow
from app.jobs.schedules.history import Tick

#: Outcomes whose lag says how fast the schedule works; that of missed ones says how long nobody looked.
_TIMELY = ("enqueued", "skipped", "failed")


@dataclass(frozen=True)
class Lag:
    """How long after their time the shown ticks were made, in seconds."""

    p50: float
    p99: float
    n: int


def facts(row: ScheduleRow) -> list[Fact]:
    """When it runs and under which rules."""
    return list(_facts(row))


def _facts(row: ScheduleRow) -> Iterator[Fact]:
    if row.cron is not None:
        yield Fact("Line", row.cron)
        yield Fact("Time zone", row.zone)
    else:
        yield Fact("Starts from", row.starts_at, "time")
    if row.next_run_at:
        yield Fact("Next run", row.next_run_at, "time", "in")
    if row.last_tick_at:
        yield Fact("Last tick", row.last_tick_at, "time")
    yield Fact("Overlap", OVERLAPS[row.overlap])
    yield Fact("Missed runs", _missed(row))
    if row.jitter_seconds:
        yield Fact("Jitter", f"up to {duration(row.jitter_seconds)}")
    if row.ends_at:
        yield Fact("Ends", row.ends_at, "time", "in")
    if row.paused_at:
        yield Fact(f"Paused{_by(row.paused_by)}", row.paused_at, "time")
    if row.retired_at:
        yield Fact("Retired", row.retired_at, "time")
    yield Fact("Defined in", "code" if row.source == "code" else "API or dashboard")
    yield Fact(f"Created{_by(row.created_by)}", row.created_at, "time")


def options(row: ScheduleRow) -> list[Fact]:
    """What its jobs have besides the payload; only what differs from the defaults of their type."""
    return list(_options(row))


def _options(row: ScheduleRow) -> Iterator[Fact]:
    yield Fact("Type", row.type, link=Link("dashboard.jobs", {"type": row.type}))
    if row.queue:
        yield Fact("Queue", row.queue, link=Link("dashboard.jobs", {"queue": row.queue}))
    if row.priority is not None:
        yield Fact("Priority", f"{row.priority:+d}" if row.priority else "0")
    if row.max_attempts:
        yield Fact("Attempts", f"at most {row.max_attempts}")
    if row.timeout_seconds:
        yield Fact("Timeout", duration(row.timeout_seconds))
    if row.unique_key:
        yield Fact("Unique key", row.unique_key)
    if row.tick_field:
        yield Fact("Time of the tick", f"in payload field {row.tick_field}")
    if row.tags:
        yield Fact("Tags", row.tags, "tags")


def _missed(row: ScheduleRow) -> str:
    words = MISSED[row.missed]
    if row.missed == "none":
        return words
    return f"{words.rstrip('.')}, within {duration(row.missed_within_seconds)}."


def _by(person: str | None) -> str:
    return f" by {person}" if person else ""


def lag(ticks: Sequence[Tick]) -> Lag | None:
    """Percentiles over the ticks that were made by time; None if there are none."""
    seconds = sorted(tick.lag_seconds for tick in ticks if tick.outcome in _TIMELY)
    if not seconds:
        return None

    def at(share: float) -> float:
        return max(seconds[min(int(share * len(seconds)), len(seconds) - 1)], 0.0)

    return Lag(at(0.5), at(0.99), len(seconds))


def live_job(row: ScheduleRow, ticks: Sequence[Tick]) -> Tick | None:
    """The tick whose job is live, of a schedule that has one job at a time."""
    if row.overlap == "allow":
        return None
    live = ("pending", "scheduled", "retrying", "processing")
    return next((tick for tick in ticks if tick.job_view in live), None)


def why_late(types: Sequence[str], workers: Sequence[WorkerSummary]) -> str:
    """Why schedules of these types have not run."""
    alive = [worker for worker in workers if worker.is_alive]
    if not alive:
        return "No workers are running."
    unknown = [
        name for name in types
        if not any(worker.types is None or name in worker.types for worker in alive)
    ]  # fmt: skip
    if unknown:
        more = ", …" if len(unknown) > 1 else ""
        return f"No running worker knows the job type {unknown[0]}{more}."
    return "The workers are behind, or run a version without schedules."
