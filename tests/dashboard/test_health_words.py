"""The system's health in one word, and what is wrong in a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from app.dashboard.present.health_words import Health, LateSchedules, health_words
from app.jobs.listing import QueueSummary
from app.jobs.statistics.count import Count
from app.jobs.statistics.health import assess
from app.jobs.statistics.summary import Trend


def queue(
    name: str = "default", *, due: int = 0, wait: float | None = None, is_paused: bool = False
) -> QueueSummary:
    return QueueSummary(
        name=name, is_paused=is_paused, limit=None, pending=due, due=Count(due), scheduled=Count(0), retrying=Count(0),
        processing=0, oldest_wait_seconds=wait, completed_per_minute=0.0,
    )  # fmt: skip


def words(**facts: Any) -> Health:
    return health_words(assess(**facts))


@pytest.mark.parametrize(
    ("facts", "word", "tone", "names"),
    [
        ({}, "Healthy", "good", []),
        ({"queues": [queue(due=500, wait=5)]}, "Healthy", "good", []),
        ({"queues": [queue(due=500, wait=90)]}, "Behind", "warn", ["behind"]),
        # It waits long, or will: the backlog takes twenty minutes.
        (
            {"queues": [queue(due=95_000, wait=40)], "drain_seconds": 1200.0},
            "Behind",
            "warn",
            ["behind"],
        ),
        ({"queues": [queue(due=95_000, wait=9)], "drain_seconds": 1200.0}, "Healthy", "good", []),
        ({"queues": [queue(due=500, wait=40)], "drain_seconds": 20.0}, "Healthy", "good", []),
        ({"is_redis_up": False}, "Degraded", "warn", ["redis"]),
        ({"alive_workers": 0}, "No workers", "warn", ["workers"]),
        ({"alive_workers": 0, "queues": [queue(due=1, wait=1)]}, "Stalled", "bad", ["workers"]),
        ({"queues": [queue(due=9, wait=900, is_paused=True)]}, "Healthy", "good", ["paused"]),
        ({"queues": [queue(is_paused=True)]}, "Healthy", "good", []),
        (
            {"trend": Trend(500, 300), "queues": [queue(due=200, wait=5)]},
            "Behind",
            "warn",
            ["growing"],
        ),
        # Scheduled for later; too few; as many went.
        ({"trend": Trend(500, 300), "queues": [queue(due=9, wait=5)]}, "Healthy", "good", []),
        ({"trend": Trend(99, 0), "queues": [queue(due=99, wait=5)]}, "Healthy", "good", []),
        ({"trend": Trend(9100, 9000), "queues": [queue(due=900, wait=5)]}, "Healthy", "good", []),
        ({"trend": Trend(0, 10, 10)}, "Failing", "warn", ["failing"]),
        ({"trend": Trend(0, 10, 10, 110)}, "Healthy", "good", []),  # as ever
        ({"trend": Trend(0, 9, 9)}, "Healthy", "good", []),
        (
            {
                "alive_workers": 0,
                "is_redis_up": False,
                "queues": [queue(due=2, wait=99), queue("b", due=1, wait=9, is_paused=True)],
            },
            "Stalled",
            "bad",
            ["workers", "redis", "paused"],
        ),
    ],
)
def test_the_worst_problem_gives_the_word(
    facts: dict[str, Any], word: str, tone: str, names: list[str]
) -> None:
    health = words(**({"alive_workers": 1, "is_redis_up": True, "queues": [queue()]} | facts))
    assert (health.word, health.tone) == (word, tone)
    assert [problem.name for problem in health.problems] == names


def test_a_paused_queue_is_not_a_backlog() -> None:
    health = words(alive_workers=0, is_redis_up=True, queues=[queue(due=5, wait=5, is_paused=True)])
    assert health.word == "No workers"


def test_sentences_use_singular_and_plural() -> None:
    one = words(alive_workers=0, is_redis_up=True, queues=[queue(due=1, wait=1)])
    assert one.problems[0].advice == "1 job is ready to run. Start a worker:"
    many = words(alive_workers=0, is_redis_up=True, queues=[queue(due=2300, wait=1)])
    assert many.problems[0].advice.startswith("2,300 jobs are ready to run")


def test_only_a_few_paused_queues_are_named() -> None:
    queues = [queue(name, due=1, wait=1, is_paused=True) for name in "abcde"]
    [problem] = words(alive_workers=1, is_redis_up=True, queues=queues).problems
    assert problem.title == "Queues a, b, c, … are paused."


def test_late_schedules_are_a_problem_with_its_reason() -> None:
    healthy = assess(alive_workers=1, is_redis_up=True, queues=[])
    reason = "No running worker knows the job type report."
    late = health_words(healthy, LateSchedules(3, reason))
    [problem] = late.problems
    assert (late.word, late.tone, problem.name) == ("Behind", "warn", "late")
    assert late.summary == "3 schedules are late."
    assert problem.advice == reason
    assert health_words(healthy, LateSchedules(1, reason)).summary == "1 schedule is late."
    assert health_words(healthy, LateSchedules(0, "")).word == "Healthy"


def test_without_workers_late_schedules_are_no_problem_of_their_own() -> None:
    health = health_words(
        assess(alive_workers=0, is_redis_up=True, queues=[]), LateSchedules(3, "")
    )
    assert [problem.name for problem in health.problems] == ["workers"]
