"""The Redis list job-dlq follows the table of dead letters, whatever happened to either."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app import database
from app.broker.keys import Keys
from app.broker.ready_set import ReadySet
from app.jobs import dead_letter_mirror, lifecycle
from app.jobs.dead_letters import dead_letter_entry
from tests import factories
from tests.support.proxy import Proxy

KEYS = Keys()
OURS = "ours (12345678)"


@pytest.fixture
def listed(redis: Redis) -> Any:
    """The job ids of the list, newest first."""
    return lambda: [
        UUID(json.loads(entry)["jobId"]) for entry in redis.lrange(KEYS.dead_letters, 0, -1)
    ]


@pytest.fixture
def expected(rows: Any) -> Any:
    """The job ids the list must have."""
    order = "SELECT job_id FROM dead_letters WHERE closed_at IS NULL ORDER BY failed_at DESC, job_id DESC"
    return lambda: [row.job_id for row in rows(order)]


@pytest.fixture
def follow(ready: ReadySet, session: Any) -> Any:
    return lambda: dead_letter_mirror.run_once(ready, OURS)


def test_entries_are_newest_first_with_the_documented_fields(
    follow: Any, listed: Any, redis: Redis
) -> None:
    old = factories.failed_job(finished_ago=20, payload={"ž": 1}).id
    new = factories.failed_job(finished_ago=10, error="SMTPError: no").id
    assert follow() == 2
    assert listed() == [new, old]
    entry = json.loads(redis.lindex(KEYS.dead_letters, 0))
    assert list(entry) == sorted(["jobId", "type", "payload", "reason", "attempts", "failedAt"])
    assert (entry["reason"], entry["attempts"], entry["type"]) == ("SMTPError: no", 5, "echo")
    assert entry["failedAt"].endswith("Z")
    assert follow() == 0


def test_a_late_dead_letter_is_inserted_in_order(follow: Any, listed: Any, expected: Any) -> None:
    factories.failed_job(finished_ago=10)
    follow()
    factories.failed_job(finished_ago=30)
    factories.failed_job(finished_ago=5)
    factories.failed_job(finished_ago=20)
    follow()
    assert listed() == expected()
    assert len(listed()) == 4


@pytest.mark.parametrize("verb", ["retry", "discard", "delete"])
def test_resolved_dead_letters_leave_the_list(
    follow: Any, listed: Any, session: Any, verb: str
) -> None:
    first, second = (factories.failed_job(finished_ago=ago).id for ago in (20, 10))
    follow()
    getattr(lifecycle, verb)(session, [first], by="ada").one()
    session.commit()
    follow()
    assert listed() == [second]


def test_a_dead_letter_opened_and_closed_between_two_runs_is_not_listed(
    follow: Any, listed: Any, session: Any
) -> None:
    job_id = factories.failed_job().id
    lifecycle.discard(session, [job_id], by="ada").one()
    session.commit()
    follow()
    assert listed() == []


def test_changes_stay_in_the_log_while_redis_is_unavailable(
    session: Any, redis: Redis, redis_proxy: Any, listed: Any, follow: Any
) -> None:
    job_id = factories.failed_job().id
    away = Redis.from_url(redis_proxy.url, socket_timeout=0.3, socket_connect_timeout=0.3)
    redis_proxy.cut()
    with pytest.raises(RedisError):
        dead_letter_mirror.run_once(ReadySet(away), OURS)
    away.close()
    assert listed() == []
    assert follow() == 1
    assert listed() == [job_id]


def test_a_repeated_push_adds_no_duplicate(
    follow: Any, listed: Any, redis: Redis, session: Any
) -> None:
    """The connection broke after the push and before the note was deleted."""
    job = factories.failed_job()
    redis.lpush(KEYS.dead_letters, dead_letter_entry(_letter(session, job.id)))
    follow()
    assert listed() == [job.id]


def test_a_list_edited_by_someone_else_is_rewritten(
    follow: Any, listed: Any, expected: Any, redis: Redis, session: Any
) -> None:
    ids = [factories.failed_job(finished_ago=ago).id for ago in (30, 20, 10)]
    follow()
    redis.rpop(KEYS.dead_letters)
    redis.lpush(KEYS.dead_letters, "garbage")
    lifecycle.discard(session, [ids[0]], by="ada").one()  # whose entry is gone already
    session.commit()
    follow()
    assert listed() == expected() == [ids[2], ids[1]]


def test_a_flushed_redis_gets_the_list_back(
    follow: Any, listed: Any, expected: Any, redis: Redis
) -> None:
    for ago in (20, 10):
        factories.failed_job(finished_ago=ago)
    follow()
    redis.flushdb()
    assert follow() == 2
    assert listed() == expected()
    assert follow() == 0


def test_an_empty_list_is_not_rebuilt_every_time(follow: Any, monkeypatch: Any) -> None:
    follow()
    monkeypatch.setattr(dead_letter_mirror, "_rewrite", lambda *_: pytest.fail("rebuilt"))
    factories.failed_job()
    assert follow() == 1


def test_many_changes_are_written_at_once_and_in_order(
    follow: Any, listed: Any, expected: Any, rows: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(dead_letter_mirror, "MAX_CHANGES", 5)
    monkeypatch.setattr(dead_letter_mirror, "CHUNK", 3)
    for ago in range(20):
        factories.failed_job(finished_ago=ago)
    assert follow() == 20
    assert listed() == expected()
    assert rows("SELECT 1 FROM dead_letter_changes") == []


def test_concurrent_writers_leave_one_correct_list(
    app: Any, redis: Redis, listed: Any, expected: Any, session: Any
) -> None:
    for ago in range(10):
        factories.failed_job(finished_ago=ago)
    barrier = threading.Barrier(3)
    errors: list[BaseException] = []

    def write() -> None:
        try:
            with app.app_context():
                barrier.wait(10)
                dead_letter_mirror.run_once(ReadySet(redis), OURS)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert errors == []
    dead_letter_mirror.run_once(ReadySet(redis), OURS)
    assert listed() == expected()


@pytest.mark.parametrize("duty", ["follow", "rebuild"])
def test_a_writer_that_lost_its_connection_is_replaced_soon(
    app: Any, session: Any, redis_proxy: Proxy, follow: Any, listed: Any, wait_until: Any,
    monkeypatch: Any, duty: str,
) -> None:  # fmt: skip
    """PostgreSQL ends the transaction of a writer that waits for Redis, and with it the lock."""
    monkeypatch.setattr(database, "IDLE_SECONDS", 1)
    job_id = factories.failed_job().id
    cut_off = ReadySet(Redis.from_url(redis_proxy.url, socket_timeout=None))
    cut_off.client.ping()
    redis_proxy.stall()

    def write() -> None:
        with app.app_context(), suppress(SQLAlchemyError, RedisError):
            if duty == "follow":
                dead_letter_mirror.run_once(cut_off, OURS)
            else:
                dead_letter_mirror.rebuild(cut_off)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        wait_until(lambda: _holders(session) == 1, what="the writer holds the lock")
        assert follow() == 0
        wait_until(lambda: follow() == 1, timeout=5, what="another writer takes over")
        assert listed() == [job_id]
    finally:
        redis_proxy.mend()
        thread.join(10)
    assert listed() == [job_id]


def test_a_writer_whose_transaction_ended_leaves_a_newer_list_alone(
    session: Any, redis_url: str, follow: Any, listed: Any, wait_until: Any
) -> None:
    """While its push was on the way, PostgreSQL ended its transaction and another process wrote the list."""
    old = factories.failed_job(finished_ago=10).id
    new: list[UUID] = []

    class SlowRedis(Redis):
        def rpush(self, *args: Any) -> Any:
            session.execute(text(f"SELECT pg_terminate_backend(pid) {_HOLDERS}"))
            wait_until(lambda: _holders(session) == 0, what="the transaction has ended")
            new.append(factories.failed_job().id)
            assert follow() == 2
            return super().rpush(*args)

    with pytest.raises(SQLAlchemyError):
        dead_letter_mirror.run_once(ReadySet(SlowRedis.from_url(redis_url)), OURS)

    assert listed() == [*new, old]


_HOLDERS = """FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


def _holders(session: Any) -> int:
    holders: int = session.execute(text(f"SELECT count(*) {_HOLDERS}")).scalar_one()
    session.rollback()
    return holders


def _letter(session: Any, job_id: UUID) -> Any:
    from app.jobs.models import DeadLetter

    return session.query(DeadLetter).filter_by(job_id=job_id).one()
