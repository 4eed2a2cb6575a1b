"""The pacer calls its sources when they are due or have a hint, and asks nothing of PostgreSQL in between."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import text

from app.broker.client import connect
from app.broker.keys import Keys
from app.broker.pace import MAX_HINTS, Pace
from app.broker.ready_set import ReadySet
from app.jobs.publication import hint_after_commit
from app.worker.pacer import Pacer, Source
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

KEY = Keys().pace


class Recorded:
    """A source that records what it was called with, and wants to be called again after ``seconds``."""

    def __init__(
        self, name: str, seconds: float = math.inf, error: Exception | None = None
    ) -> None:
        self.calls: list[set[str]] = []
        self.error = error
        self.source = Source(name, self.work)
        self._seconds = seconds

    def work(self, subjects: frozenset[str]) -> float:
        self.calls.append(set(subjects))
        if self.error:
            raise self.error
        return self._seconds


@pytest.fixture
def pace(ready: ReadySet) -> Pace:
    return Pace(ready)


@pytest.fixture
def start(app: Any, pace: Pace) -> Iterator[Callable[..., Pacer]]:
    """Starts a pacer with these sources; each has been called once."""
    pacers: list[Pacer] = []

    def start(*sources: Recorded, pace: Pace = pace) -> Pacer:
        pacers.append(Pacer(app, pace, [recorded.source for recorded in sources]))
        pacers[-1].start()
        wait_until(lambda: all(recorded.calls for recorded in sources))
        return pacers[-1]

    yield start
    for pacer in pacers:
        pacer.stop()


def test_a_hint_calls_its_source_only(start: Any, pace: Pace) -> None:
    ticks, limits = Recorded("schedules"), Recorded("limit")
    start(ticks, limits)

    pace.add(["limit:stripe", "limit:mail"])

    wait_until(lambda: set().union(*limits.calls) == {"stripe", "mail"})
    assert ticks.calls == [set()]


def test_a_source_is_called_when_it_wanted_to_be(start: Any) -> None:
    recorded = Recorded("schedules", seconds=0.01)
    start(recorded)

    wait_until(lambda: len(recorded.calls) > 3)
    assert recorded.calls[1:4] == [set()] * 3


def test_a_source_with_nothing_to_do_is_left_alone(start: Any) -> None:
    busy, quiet = Recorded("schedules", seconds=0.01), Recorded("limit")
    start(quiet, busy)

    wait_until(lambda: len(busy.calls) > 5)
    assert quiet.calls == [set()]


def test_a_failing_source_is_logged_once_and_stops_no_other(start: Any, caplog: Any) -> None:
    failing, other = Recorded("schedules", error=RuntimeError("no")), Recorded("limit")
    with caplog.at_level(logging.WARNING, "app"):
        pacer = start(failing, other)
        pacer.hint({"schedules", "limit"})
        wait_until(lambda: len(failing.calls) > 1 and len(other.calls) > 1)

    assert [r.message for r in caplog.records] == ["The pacer's schedules failed, trying again: no"]


def test_a_hint_of_this_process_needs_no_redis(app: Any, redis_proxy: Proxy) -> None:
    redis_proxy.cut()
    recorded = Recorded("schedules")
    pacer = Pacer(app, pace_through(redis_proxy), [recorded.source])
    pacer.start()

    # While Redis is away, each source is called every half second as well.
    wait_until(lambda: len(recorded.calls) > 2)
    pacer.hint({"schedules:a"})
    wait_until(lambda: {"a"} in recorded.calls)
    pacer.stop()


def pace_through(proxy: Proxy) -> Pace:
    return Pace(ReadySet(connect(proxy.url, timeout_seconds=5)))


def test_one_waiting_process_gets_a_hint(ready: ReadySet, pace: Pace) -> None:
    taken: list[set[str]] = []
    threads = [
        threading.Thread(target=lambda: taken.append(pace.wait(0.3)), daemon=True) for _ in range(3)
    ]
    for thread in threads:
        thread.start()

    pace.add(["schedules"])

    for thread in threads:
        thread.join(10)
    assert sorted(taken, key=len) == [set(), set(), {"schedules"}]


def test_one_call_takes_the_hints_that_are_there(pace: Pace, redis: Redis) -> None:
    pace.add(f"limit:{n}" for n in range(MAX_HINTS + 50))

    assert len(pace.wait(1)) == MAX_HINTS + 1
    assert len(pace.wait(1)) == 49


def test_adding_a_hint_again_changes_nothing(pace: Pace, redis: Redis) -> None:
    pace.add(["schedules"])
    pace.add(["schedules"])
    pace.add([])

    assert redis.zrange(KEY, 0, -1) == [b"schedules"]


@pytest.mark.parametrize("member", [b"\xff", b"", b"two words", b"x" * 1_000_000, b"limit:"])
def test_what_others_write_there_is_dropped(member: bytes, pace: Pace, redis: Redis) -> None:
    redis.zadd(KEY, {member: -1, "schedules": 0})

    assert pace.wait(1) == {"schedules"}
    assert not redis.exists(KEY)


def test_a_key_of_another_type_is_replaced(pace: Pace, redis: Redis) -> None:
    redis.set(KEY, "foreign")
    pace.add(["schedules"])
    assert pace.wait(1) == {"schedules"}

    redis.set(KEY, "foreign")
    assert pace.wait(0.01) == set()


def test_a_hint_is_sent_after_the_commit(session: Any, redis: Redis) -> None:
    hint_after_commit(session, "schedules")
    with session.begin_nested():
        hint_after_commit(session, "limit:mail")
    assert not redis.exists(KEY)
    session.commit()
    assert redis.zrange(KEY, 0, -1) == [b"limit:mail", b"schedules"]


def test_a_rollback_sends_no_hint(session: Any, redis: Redis) -> None:
    session.execute(text("SELECT 1"))
    hint_after_commit(session, "schedules")
    session.rollback()
    session.commit()
    assert not redis.exists(KEY)
