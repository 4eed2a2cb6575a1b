"""How many ids the inbox pops, and when: the rules of app/worker/pace.py."""

from __future__ import annotations

import pytest

from app.worker.pace import GATHER_SECONDS, Pace


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    return Pace(5, clock)


def finish(pace: Pace, count: int) -> None:
    for _ in range(count):
        pace.finished()


def arrive(pace: Pace, clock: Clock, *, per_second: float, seconds: float = 0.1) -> None:
    """Jobs come at a steady rate and are popped one by one, by threads that could take more."""
    for _ in range(int(per_second * seconds)):
        clock.now += 1 / per_second
        pace.popped(1, 6)


@pytest.mark.parametrize(("finishes", "prefetch"), [(0, 0), (5, 0), (6, 1), (106, 101), (999, 200)])
def test_the_prefetch_is_what_was_finished_beyond_the_threads(
    pace: Pace, finishes: int, prefetch: int
) -> None:
    finish(pace, finishes)

    assert pace.prefetch() == prefetch


def test_old_finishes_bring_no_prefetch(pace: Pace, clock: Clock) -> None:
    finish(pace, 100)
    clock.now += 0.021

    assert pace.prefetch() == 0


@pytest.mark.parametrize("per_second", [1, 50, 300])
def test_rare_jobs_wait_for_no_others(pace: Pace, clock: Clock, per_second: float) -> None:
    arrive(pace, clock, per_second=per_second, seconds=3)

    assert pace.gather_seconds() == 0


@pytest.mark.parametrize("per_second", [500, 2_000])
def test_frequent_jobs_are_gathered(pace: Pace, clock: Clock, per_second: float) -> None:
    arrive(pace, clock, per_second=per_second)

    assert pace.gather_seconds() == pytest.approx(GATHER_SECONDS)
    clock.now += 0.003
    assert pace.gather_seconds() == pytest.approx(GATHER_SECONDS - 0.003)
    clock.now += 0.003
    assert pace.gather_seconds() == 0


def test_gathering_ends_with_the_arrivals(pace: Pace, clock: Clock) -> None:
    arrive(pace, clock, per_second=2_000)
    clock.now += 0.051
    pace.popped(1, 6)

    assert pace.gather_seconds() == 0


def test_nothing_waits_beside_a_backlog(pace: Pace, clock: Clock) -> None:
    arrive(pace, clock, per_second=2_000)
    pace.popped(6, 6)

    assert pace.gather_seconds() == 0


@pytest.mark.parametrize(
    ("count", "wanted", "finishes", "left", "expected"),
    [
        pytest.param(100, 100, 100, 50, True, id="half of a full batch"),
        pytest.param(100, 100, 100, 51, False, id="more than half"),
        pytest.param(99, 100, 100, 10, False, id="nothing was left in Redis"),
        pytest.param(100, 100, 0, 10, False, id="slow handlers"),
    ],
)
def test_a_backlog_is_popped_at_half_of_the_last_batch(
    pace: Pace, count: int, wanted: int, finishes: int, left: int, expected: bool
) -> None:
    finish(pace, finishes)
    pace.popped(count, wanted)

    assert pace.should_refill(left) is expected
