"""Counts of rate limits in memory: by windows, without a thread, and never more than needed."""

from __future__ import annotations

import threading

import pytest
from limits import RateLimitItemPerMinute
from limits.strategies import FixedWindowRateLimiter

from app.security import memory_counts
from app.security.memory_counts import MemoryCounts
from tests.support.racing import race

LIMIT = RateLimitItemPerMinute(3)


@pytest.fixture
def now(monkeypatch):
    """``now(61)``: that many seconds later."""
    clock = [1_000.0]
    monkeypatch.setattr(memory_counts.time, "time", lambda: clock[0])

    def later(seconds: float) -> None:
        clock[0] += seconds

    return later


def test_a_window_takes_its_limit_and_then_starts_again(now):
    limiter = FixedWindowRateLimiter(MemoryCounts())
    assert limiter.get_window_stats(LIMIT, "a") == (1_000.0, 3)
    assert [limiter.hit(LIMIT, "a") for _ in range(4)] == [True, True, True, False]
    assert not limiter.test(LIMIT, "a")
    assert limiter.test(LIMIT, "b")
    assert limiter.get_window_stats(LIMIT, "a") == (1_060.0, 0)
    now(60)
    assert limiter.test(LIMIT, "a")
    assert limiter.hit(LIMIT, "a")
    limiter.clear(LIMIT, "a")
    assert limiter.get_window_stats(LIMIT, "a").remaining == 3


def test_it_starts_no_thread():
    limiter = FixedWindowRateLimiter(MemoryCounts())
    before = threading.active_count()
    for n in range(100):
        limiter.hit(LIMIT, str(n))
    assert threading.active_count() == before


def test_expired_counts_are_dropped(now):
    counts = MemoryCounts()
    for n in range(memory_counts.SWEEP_ABOVE):
        counts.incr(f"old {n}", 60)
    now(61)
    counts.incr("new", 60)
    assert list(counts.windows) == ["new"]
    assert counts.check()
    assert counts.reset() == 1


def test_many_live_counts_are_not_searched_again_for_each_event(now):
    counts = MemoryCounts()
    for n in range(2 * memory_counts.SWEEP_ABOVE):
        counts.incr(str(n), 60)
    assert counts._sweep_above > len(counts.windows)


def test_threads_lose_no_count():
    counts = MemoryCounts()
    race(*[lambda: [counts.incr("a", 60) for _ in range(1_000)]] * 4)
    assert counts.get("a") == 4_000
