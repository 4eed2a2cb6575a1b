"""What every page shows around its content: the counts that matter and the system's health in one word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from markupsafe import Markup

from app import cache
from app.dashboard import cached_reads
from app.dashboard.present.format import compact, duration, number, rate
from app.jobs.listing import QueueSummary
from app.jobs.publication import is_redis_up
from app.jobs.statistics import summary
from app.jobs.statistics.series import RATE_MINUTES

WORKER_COMMAND = "huey_consumer app.worker.huey -w 5 -k thread"
#: We are behind when a job has been ready for longer than this although workers are alive, or when
#: one that becomes ready now will be: while the backlog takes that long and is no mere blip.
BEHIND_AFTER_SECONDS, BLIP_SECONDS = 60, 10
#: Fewer are no trend, whatever their share.
MANY_MORE, MANY_FAILED = 100, 10
NO_TREND = summary.Trend()


@dataclass(frozen=True)
class Problem:
    """Something an operator should know, and what to do about it."""

    name: str
    tone: str  # bad, warn, info
    title: str
    advice: str
    command: str | None = None
    page: str | None = None  # endpoint of where to look


@dataclass(frozen=True)
class Health:
    word: str
    tone: str  # good, warn, bad
    problems: tuple[Problem, ...] = ()

    @property
    def summary(self) -> str:
        return (
            " ".join(problem.title for problem in self.problems) or "Workers are alive and keep up."
        )


@dataclass(frozen=True)
class Shell:
    counts: Mapping[str, int]
    health: Health
    badges: Mapping[str, Markup] = field(default_factory=dict)


def shell() -> Shell:
    """As of at most a second ago; shared by all tabs of this process."""
    return cache.cached("dashboard.shell", cached_reads.QUICK_SECONDS, _look)


def _look() -> Shell:
    counts, queues = cached_reads.counts(), cached_reads.queues()
    alive = sum(worker.is_alive for worker in cached_reads.workers())
    health = assess(
        alive_workers=alive, is_redis_up=is_redis_up(), queues=queues, trend=cached_reads.trend(),
        drain_seconds=cached_reads.overview().drain_seconds,
    )  # fmt: skip
    paused = sum(queue.is_paused for queue in queues)
    return Shell(counts, health, _badges(counts, paused, alive))


def assess(
    *,
    alive_workers: int,
    is_redis_up: bool,
    queues: list[QueueSummary],
    trend: summary.Trend = NO_TREND,
    drain_seconds: float | None = None,
) -> Health:
    """The worst problem gives the word; every problem is listed."""
    open_queues = [queue for queue in queues if not queue.is_paused]
    due = summary.total(queue.due for queue in open_queues)
    waits = [
        queue.oldest_wait_seconds for queue in open_queues if queue.oldest_wait_seconds is not None
    ]
    oldest = max(waits, default=0.0)
    problems = []
    word, tone = "Healthy", "good"
    paused = [
        queue for queue in queues if queue.is_paused and (queue.due or not queue.due.is_exact)
    ]
    if paused:
        problems.append(_paused(paused))
    if is_failing(trend):
        word, tone = "Failing", "warn"
        problems.insert(0, Problem(
            "failing", "warn", f"{compact(trend.failed)} jobs failed permanently in the last {RATE_MINUTES} minutes.",
            f"Usually {rate(trend.usual_failed)}.", page="dashboard.failures",
        ))  # fmt: skip
    if alive_workers and is_growing(trend, due):
        word, tone = "Behind", "warn"
        problems.insert(0, Problem(
            "growing", "warn", "The backlog is growing.",
            f"{compact(trend.enqueued)} jobs arrived and {compact(trend.ended)} finished in the last {RATE_MINUTES} minutes. "
            "Start another worker, or give this one more threads.", WORKER_COMMAND,
        ))  # fmt: skip
    if alive_workers and is_behind(oldest, drain_seconds):
        word, tone = "Behind", "warn"
        pace = f"; at this pace they take {duration(drain_seconds)}" if drain_seconds else ""
        problems.insert(0, Problem(
            "behind", "warn", f"The oldest ready job has been waiting for {duration(oldest)}.",
            f"{_jobs(due)} ready{pace}. Start another worker, or give this one more threads.", WORKER_COMMAND,
        ))  # fmt: skip
    if not is_redis_up:
        word, tone = "Degraded", "warn"
        problems.insert(0, Problem(
            "redis", "warn", "Redis is not reachable.",
            "New jobs are stored safely and start when Redis is back.",
        ))  # fmt: skip
    if not alive_workers:
        word, tone = ("Stalled", "bad") if due else ("No workers", "warn")
        advice = (
            f"{_jobs(due)} ready and nothing runs. Start a worker:"
            if due
            else "New jobs will wait. Start a worker:"
        )
        problems.insert(0, Problem("workers", tone, "No worker is alive.", advice, WORKER_COMMAND))
    return Health(word, tone, tuple(problems))


def is_behind(oldest_seconds: float, drain_seconds: float | None) -> bool:
    """Whether the longest wait is too long, or will be for a job that comes now."""
    is_blip = oldest_seconds <= BLIP_SECONDS
    return oldest_seconds > BEHIND_AFTER_SECONDS or (
        not is_blip and (drain_seconds or 0) > BEHIND_AFTER_SECONDS
    )


def is_growing(trend: summary.Trend, due: summary.Count) -> bool:
    """Clearly more came than ended, and they are due: what is scheduled for later is no backlog."""
    more = trend.enqueued - trend.ended
    return more >= max(MANY_MORE, trend.ended / 5) and (due >= more / 2 or not due.is_exact)


def is_failing(trend: summary.Trend) -> bool:
    """Clearly more fail permanently than in the hour before."""
    return trend.failed >= max(MANY_FAILED, 3 * trend.usual_failed)


def _paused(queues: list[QueueSummary]) -> Problem:
    names = ", ".join(queue.name for queue in queues[:3]) + (" …" if len(queues) > 3 else "")
    noun = "Queue" if len(queues) == 1 else "Queues"
    verb = "is" if len(queues) == 1 else "are"
    waiting = summary.total(queue.due for queue in queues)
    return Problem(
        "paused",
        "info",
        f"{noun} {names} {verb} paused.",
        f"{_jobs(waiting)} ready there.",
        page="dashboard.queues",
    )


def _jobs(n: int) -> str:
    return "1 job is" if n == 1 else f"{compact(n)} jobs are"


def _badges(counts: Mapping[str, int], paused_queues: int, alive_workers: int) -> dict[str, Markup]:
    badges = {name: _number(n) for name, n in counts.items()}
    badges["nav-processing"] = _badge(counts["processing"], "processing")
    badges["nav-failed"] = _badge(counts["failed"], "failed")
    badges["nav-dead"] = _badge(counts["dead_letters"], "open dead letters")
    badges["nav-paused"] = _badge(paused_queues, "paused")
    badges["nav-workers"] = _badge(alive_workers, "alive", show_zero=True)
    return badges


def _number(n: int) -> Markup:
    return Markup('<data value="{:d}" title="{}">{}</data>').format(n, number(n), compact(n))


def _badge(n: int, word: str, *, show_zero: bool = False) -> Markup:
    """A count with its unit in words; nothing at all for zero, which CSS then hides."""
    if not n and not show_zero:
        return Markup("")
    return Markup('<data value="{:d}" title="{} {}">{}<span class="sr"> {}</span></data>').format(
        n, number(n), word, compact(n), word
    )
