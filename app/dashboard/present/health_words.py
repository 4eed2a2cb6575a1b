"""The health of the system in one word, and each problem with advice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.dashboard.present.format import compact, duration, rate
from app.dashboard.present.link import Link
from app.jobs.listing import QueueSummary
from app.jobs.statistics.backlog import total
from app.jobs.statistics.health import SystemHealth
from app.jobs.statistics.series import RATE_MINUTES

WORKER_COMMAND = "huey_consumer app.worker.huey -w 5 -k thread"
MORE_THREADS = "Start another worker or add threads."
#: Names of paused queues in one sentence.
NAMES_SHOWN = 3


@dataclass(frozen=True)
class Problem:
    """Something an operator should know, and what to do about it."""

    name: str
    tone: str  # bad, warn, info
    title: str
    advice: str
    word: str | None = None  # for the whole system, if nothing worse is wrong
    command: str | None = None
    link: Link | None = None  # to the page that shows more
    link_text: str = ""


@dataclass(frozen=True)
class LateSchedules:
    """How many schedules are overdue, and why."""

    n: int
    reason: str


@dataclass(frozen=True)
class Health:
    """The state of the system, as every page shows it."""

    word: str
    tone: str  # good, warn, bad
    problems: tuple[Problem, ...] = ()

    @property
    def summary(self) -> str:
        """All problems in one text."""
        titles = " ".join(problem.title for problem in self.problems)
        return titles or "Workers are running and keeping up."


def health_words(health: SystemHealth, late: LateSchedules | None = None) -> Health:
    """The word is that of the worst problem; problems are listed from worst to least."""
    problems = tuple(_problems(health, late))
    worst = next((problem for problem in problems if problem.word), None)
    if worst is None or worst.word is None:
        return Health("Healthy", "good", problems)
    return Health(worst.word, worst.tone, problems)


def _problems(health: SystemHealth, late: LateSchedules | None) -> Iterator[Problem]:
    if not health.has_workers:
        yield _no_workers(health)
    if not health.is_redis_up:
        yield Problem(
            "redis", "warn", "Redis is not reachable.",
            "New jobs are stored and will start when Redis is back.", "Degraded",
        )  # fmt: skip
    if health.is_behind:
        yield _behind(health)
    if health.is_growing:
        trend = health.trend
        yield Problem(
            "growing", "warn", "The backlog is growing.",
            f"{compact(trend.enqueued)} jobs arrived and {compact(trend.ended)} finished in the last"
            f" {RATE_MINUTES} minutes. {MORE_THREADS}", "Behind", WORKER_COMMAND,
        )  # fmt: skip
    if health.is_failing:
        yield Problem(
            "failing", "warn",
            f"{compact(health.trend.failed)} jobs failed permanently in the last {RATE_MINUTES} minutes.",
            f"The usual number is {rate(health.trend.usual_failed)}.", "Failing",
            link=Link("dashboard.failures"), link_text="View failures",
        )  # fmt: skip
    if late and late.n and health.has_workers:
        yield _late(late)
    if health.paused:
        yield _paused(health.paused)


def _no_workers(health: SystemHealth) -> Problem:
    title = "No workers are running."
    if health.is_stalled:
        advice = f"{_jobs_are(health.due)} ready to run. Start a worker:"
        return Problem("workers", "bad", title, advice, "Stalled", WORKER_COMMAND)
    advice = "New jobs will wait until you start a worker:"
    return Problem("workers", "warn", title, advice, "No workers", WORKER_COMMAND)


def _behind(health: SystemHealth) -> Problem:
    drain = health.drain_seconds
    pace = f" and will take {duration(drain)} at the current pace" if drain else ""
    return Problem(
        "behind", "warn",
        f"The oldest ready job has been waiting for {duration(health.longest_wait_seconds)}.",
        f"{_jobs_are(health.due)} ready{pace}. {MORE_THREADS}", "Behind", WORKER_COMMAND,
    )  # fmt: skip


def _late(late: LateSchedules) -> Problem:
    title = "1 schedule is late." if late.n == 1 else f"{compact(late.n)} schedules are late."
    return Problem(
        "late", "warn", title, late.reason, "Behind",
        link=Link("dashboard.schedules", {"state": "late"}), link_text="View schedules",
    )  # fmt: skip


def _paused(queues: Sequence[QueueSummary]) -> Problem:
    names = ", ".join(queue.name for queue in queues[:NAMES_SHOWN])
    more = ", …" if len(queues) > NAMES_SHOWN else ""
    subject, there = (
        (f"Queue {names} is", "it") if len(queues) == 1 else (f"Queues {names}{more} are", "them")
    )
    waiting = _jobs_are(total(queue.due for queue in queues))
    return Problem(
        "paused", "info", f"{subject} paused.", f"{waiting} waiting in {there}.",
        link=Link("dashboard.queues"), link_text="View queues",
    )  # fmt: skip


def _jobs_are(n: int) -> str:
    return "1 job is" if n == 1 else f"{compact(n)} jobs are"
