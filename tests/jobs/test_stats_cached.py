"""One query for many tabs."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app import cache


@pytest.fixture(autouse=True)
def _nothing_kept():
    cache.forget()
    yield
    cache.forget()


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until moved: ``clock[0] += 5``."""
    now = [1000.0]
    monkeypatch.setattr(cache.time, "monotonic", lambda: now[0])
    return now


def test_a_value_is_cached_for_its_time(clock):
    answers = iter(range(10))
    ask = lambda: cache.cached("n", 2.0, lambda: next(answers))  # noqa: E731
    assert [ask(), ask()] == [0, 0]
    clock[0] += 1.9
    assert ask() == 0
    clock[0] += 0.2
    assert [ask(), ask()] == [1, 1]
    cache.forget()
    assert ask() == 2


def test_names_are_cached_separately():
    assert cache.cached("a", 60, lambda: 1) == 1
    assert cache.cached("b", 60, lambda: 2) == 2
    assert cache.cached("a", 60, lambda: 3) == 1


def test_none_is_cached_as_well():
    calls = []
    for _ in range(2):
        assert cache.cached("none", 60, lambda: calls.append(1)) is None
    assert len(calls) == 1


def test_fifty_threads_compute_once():
    barrier, calls, begun, may_end = threading.Barrier(50), [], threading.Event(), threading.Event()

    def fn():
        calls.append(1)
        begun.set()
        assert may_end.wait(10)
        return "answer"

    def ask(_: int) -> str:
        barrier.wait()
        return cache.cached("shared", 60, fn)

    with ThreadPoolExecutor(50) as pool:
        answers = [pool.submit(ask, n) for n in range(50)]
        assert begun.wait(10)
        may_end.set()
        assert {answer.result() for answer in answers} == {"answer"}
    assert len(calls) == 1


def test_an_error_is_not_cached():
    def fail():
        raise ValueError("database is away")

    with pytest.raises(ValueError, match="away"):
        cache.cached("x", 60, fail)
    assert cache.cached("x", 60, lambda: 1) == 1


def test_unused_names_are_dropped(clock):
    for n in range(cache.MAX_NAMES):
        cache.cached(f"old-{n}", 1, lambda: 0)
    clock[0] += 2
    cache.cached("new", 1, lambda: 0)
    assert len(cache._entries) == 1
