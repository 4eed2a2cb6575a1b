"""Whatever others write into our keys, jobs run, and it is gone soon after."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from redis import Redis

from app.broker.client import MAX_ERROR, brief
from app.broker.keys import Keys
from app.worker.sweeper import Sweeper
from app.worker.sweeper.reconcile import reconcile
from app.worker.sweeper.timetable import Duty

KEYS = Keys()
READY = KEYS.ready("default")
HUGE = b"\xff" * 1_000_000


def other_type(redis: Redis, key: str) -> None:
    """``key`` holds a type that none of ours has."""
    redis.delete(key)
    redis.hset(key, "field", "value")


@pytest.fixture
def duties(engine: Any, ready: Any, clock: Any, settings: Any, session: Any) -> Sweeper:
    return Sweeper(engine, ready, clock, settings)


def run_all(sweep: Sweeper) -> None:
    for name in list(sweep._duties):
        sweep.hurry(name)
    sweep.run_due()


@pytest.mark.parametrize(
    "name", [b"\xff", b"", b"no name!", HUGE], ids=["byte", "empty", "rule", "huge"]
)
def test_members_that_are_not_queue_names_are_dropped(
    name: bytes, enqueue: Any, make_inbox: Any, redis: Redis
) -> None:
    redis.sadd(KEYS.queues, name)
    job_id = enqueue(queue="mail")

    inbox = make_inbox()

    assert (inbox.next() or inbox.next()).id == job_id
    assert redis.smembers(KEYS.queues) == {b"mail"}


@pytest.mark.parametrize("key", [KEYS.queues, KEYS.delayed, KEYS.wake, KEYS.unknown, READY])
def test_a_key_of_another_type_stops_no_worker(
    key: str, enqueue: Any, make_inbox: Any, engine: Any, ready: Any, redis: Redis
) -> None:
    reconcile(engine, ready)
    before = enqueue()
    other_type(redis, key)

    after = enqueue()  # published by the web: it repairs as well
    if key in (KEYS.queues, KEYS.delayed, READY):
        assert redis.type(key) != b"hash"
        assert not ready.is_epoch_current()
    reconcile(engine, ready)
    assert redis.type(key) != b"hash"

    inbox = make_inbox()
    assert {inbox.next().id, inbox.next().id} == {before, after}


@pytest.mark.parametrize(
    "key", [*KEYS.types(), KEYS.epoch, READY, KEYS.dead_letters, KEYS.mirrored]
)
def test_every_key_of_another_type_is_repaired_in_one_round(
    key: str, enqueue: Any, duties: Sweeper, make_inbox: Any, redis: Redis, caplog: Any
) -> None:
    run_all(duties)
    job_id = enqueue()
    other_type(redis, key)

    inbox = make_inbox()
    inbox._sources.in_order()
    found = inbox.next()
    with caplog.at_level(logging.WARNING, "app"):
        run_all(duties)
        run_all(duties)

    assert redis.type(key) != b"hash"
    assert (found or inbox.next()).id == job_id
    assert not [r for r in caplog.records if "The sweeper's" in r.message]


@pytest.mark.parametrize("score", ["-inf", "0", "+inf"])
@pytest.mark.parametrize(
    "member", [b"zzz", b"\xff" * 32, HUGE, b"A" * 32], ids=["text", "bytes", "huge", "hex"]
)
def test_foreign_members_of_the_delayed_set_delay_no_job(
    member: bytes, score: str, enqueue: Any, engine: Any, ready: Any, clock: Any, redis: Redis,
    make_inbox: Any, caplog: Any,
) -> None:  # fmt: skip
    redis.zadd(KEYS.delayed, {member: score})
    later = enqueue(delay_seconds=0.05)
    inbox = make_inbox()

    with caplog.at_level(logging.WARNING, "app"):
        found = next(job for _ in range(5) if (job := inbox.next()))

    assert found.id == later
    assert (redis.zscore(KEYS.delayed, member) is None) == (score != "+inf")
    assert max((len(r.getMessage()) for r in caplog.records), default=0) <= 300


@pytest.mark.parametrize("score", ["-inf", "+inf"])
def test_an_infinite_score_of_a_real_id_does_no_harm(
    score: str, enqueue: Any, make_inbox: Any, engine: Any, ready: Any, redis: Redis, rows: Any
) -> None:
    reconcile(engine, ready)
    job_id = enqueue(delay_seconds=60)
    redis.zadd(KEYS.delayed, {job_id.hex: score})
    rows("UPDATE jobs SET run_at = now() - interval '3 s' WHERE id = :id", id=job_id)

    reconcile(engine, ready)

    assert make_inbox().next().id == job_id


@pytest.mark.parametrize("member", [b"zzz", HUGE, b"\xff" * 32])
def test_foreign_members_of_a_ready_set_are_dropped(
    member: bytes, enqueue: Any, make_inbox: Any, redis: Redis
) -> None:
    job_id = enqueue()
    redis.zadd(READY, {member: "-inf"})

    inbox = make_inbox()

    assert (inbox.next() or inbox.next()).id == job_id
    assert redis.zcard(READY) == 0


def test_a_blocking_pop_survives_a_foreign_member(ready: Any, redis: Redis) -> None:
    redis.zadd(READY, {HUGE: 0})

    assert ready.pop_blocking(["default"], 1) is None


def test_a_lost_queue_name_comes_back(
    enqueue: Any, engine: Any, ready: Any, redis: Redis, make_inbox: Any, rows: Any
) -> None:
    reconcile(engine, ready)
    job_id = enqueue(queue="mail")
    rows("UPDATE jobs SET run_at = now() - interval '3 s' WHERE id = :id", id=job_id)
    redis.delete(KEYS.queues)

    reconcile(engine, ready)

    inbox = make_inbox()
    assert (inbox.next() or inbox.next()).id == job_id


def test_a_duty_that_fails_in_any_way_is_reported_once_and_briefly(
    duties: Sweeper, caplog: Any, monkeypatch: Any
) -> None:
    def fail() -> int:
        raise UnicodeDecodeError("utf-8", HUGE, 0, 1, "x" * 5000)

    monkeypatch.setattr(duties, "_duties", {"promote": Duty("promote", 0.0, fail)})
    with caplog.at_level(logging.WARNING, "app"):
        for _ in range(3):
            duties.run_due()

    [record] = caplog.records
    assert len(record.getMessage()) < MAX_ERROR + 60


def test_an_unexpected_client_error_pauses_popping(
    make_inbox: Any, caplog: Any, monkeypatch: Any
) -> None:
    inbox = make_inbox()
    monkeypatch.setattr("app.worker.inbox.MAX_PAUSE_SECONDS", 0.01)

    def fail(*_: Any) -> Any:
        raise TypeError("y" * 5000)

    monkeypatch.setattr(inbox, "_pop_and_claim", fail)
    with caplog.at_level(logging.WARNING, "app"):
        assert inbox.next() is None
        assert inbox.next() is None

    [record] = caplog.records
    assert len(record.getMessage()) < MAX_ERROR + 60


@pytest.mark.parametrize("text", ["", "\n", "a\nb", "z" * 10_000_000, "\u2028".join("ab")])
def test_a_brief_error_is_one_short_line(text: str) -> None:
    line = brief(ValueError(text))

    assert line
    assert len(line) <= MAX_ERROR
    assert len(line.splitlines()) == 1
