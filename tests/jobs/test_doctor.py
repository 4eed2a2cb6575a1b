"""flask doctor: what it finds, what it repairs, and its exit status."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import text

from app import doctor
from app.broker.publisher import Publisher
from app.jobs import lifecycle, pauses
from app.jobs.lifecycle import NewJob
from tests import factories
from tests.support.redis_servers import starter


@pytest.fixture
def see(app: Any, session: Any, redis: Redis) -> Any:
    """``see("--fix")`` → (exit status, output). A worker is alive, however long the test takes."""
    factories.worker(silent_for=-600)

    def see(*args: str) -> tuple[int, str]:
        session.rollback()
        result = app.test_cli_runner().invoke(args=["doctor", *args])
        return result.exit_code, result.output

    return see


def lines(output: str) -> dict[str, str]:
    """Name of the check → its level."""
    return {
        line[9:].partition(":")[0]: line[:8].strip()
        for line in output.splitlines()
        if line[:8].strip() in ("ok", "warning", "critical")
    }


def test_a_sound_system_is_all_ok(see: Any, session: Any) -> None:
    lifecycle.enqueue(session, [NewJob("echo"), NewJob("echo", delay_seconds=60)])
    session.commit()
    code, output = see()
    assert set(lines(output).values()) == {"ok"}, output
    assert list(lines(output)) == [
        "database", "Redis", "migrations", "connections", "clock", "workers", "leases", "counters",
        "schedules", "scheduled runs", "limits", "Redis keys", "pending jobs", "dead letters",
    ]  # fmt: skip
    assert code == 0, output


def test_jobs_that_redis_lost_are_found_and_published(see: Any, session: Any, redis: Redis) -> None:
    factories.pending_job(due_in=-10)
    factories.scheduled_job()
    code, output = see()
    assert (code, lines(output)["pending jobs"]) == (1, "warning")
    assert "2 are not in Redis" in output
    assert "`flask doctor --fix` repairs it" in output
    code, output = see("--fix")
    assert code == 0, output
    assert "published 2 jobs again" in output
    code, output = see()
    assert code == 0, output


def test_paused_jobs_may_be_missing_from_redis(see: Any, session: Any) -> None:
    """A worker drops the ids of paused jobs that it pops; resuming publishes them again."""
    for field in ("queue", "type"):
        factories.pending_job(due_in=-10, **{field: f"paused-{field}"})
    pauses.pause_queue(session, "paused-queue", by="ada")
    pauses.pause_type(session, "paused-type", by="ada")
    session.commit()

    code, output = see()

    assert lines(output)["pending jobs"] == "ok", output
    assert code == 0, output


def test_a_list_of_dead_letters_that_differs_is_rewritten(see: Any, redis: Redis) -> None:
    factories.failed_job()
    redis.rpush("job-dlq", "garbage")
    code, output = see()
    assert (code, lines(output)["dead letters"]) == (1, "warning")
    for args in (["--fix"], []):
        code, output = see(*args)
        assert code == 0, output


def test_counters_that_drifted_are_fixed(see: Any, session: Any) -> None:
    session.execute(text("INSERT INTO job_counter_deltas VALUES ('mail', 'echo', 'failed', 2)"))
    session.commit()
    code, output = see()
    assert (code, lines(output)["counters"]) == (1, "warning")
    assert "fixed 1 counters" in see("--fix")[1]
    code, output = see()
    assert code == 0, output


def test_expired_leases_are_rescued(see: Any, session: Any) -> None:
    job_id = factories.processing_job(lease_expired_by=60).id
    code, output = see()
    assert (code, lines(output)["leases"]) == (1, "warning")
    code, output = see("--fix")
    assert "rescued 1 jobs" in output
    assert session.execute(text("SELECT status FROM jobs")).scalar_one() == "pending"
    code, output = see()
    assert code == 0, (job_id, output)


@pytest.mark.parametrize(
    ("worker", "message"),
    [(None, "nothing runs jobs"), ({"silent_for": 120}, "0 alive")],
)
def test_no_worker_is_a_warning(
    app: Any, session: Any, redis: Redis, worker: dict[str, Any] | None, message: str
) -> None:
    if worker:
        factories.worker(**worker)
    result = app.test_cli_runner().invoke(args=["doctor"])
    assert (result.exit_code, lines(result.output)["workers"]) == (1, "warning")
    assert message in result.output


def test_a_silent_worker_is_named(see: Any) -> None:
    factories.worker(silent_for=120, host="host-9", pid=77)
    code, output = see()
    assert code == 1
    assert "1 silent (crashed or frozen): host-9 77" in output


def test_an_evicting_redis_is_a_warning(
    see: Any, app: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    # A server of its own: the policy holds for all databases of one.
    with starter(tmp_path) as start:
        server = start()
        server.client.config_set("maxmemory-policy", "allkeys-lru")
        settings = replace(app.extensions["settings"], redis_url=server.url)
        monkeypatch.setitem(
            app.extensions, "publisher", Publisher(settings.redis_url, settings.redis_prefix)
        )
        code, output = see()
    assert code == 1, output
    assert "set it to noeviction" in output


def test_an_unavailable_redis_is_critical_and_the_rest_is_checked(
    see: Any, app: Any, monkeypatch: Any
) -> None:
    def away() -> Any:
        raise ConnectionError("refused")

    monkeypatch.setattr(app.extensions["publisher"], "facts", away)
    code, output = see()
    assert (code, lines(output)["Redis"]) == (2, "critical")
    assert "counters" in lines(output)
    assert "pending jobs" not in lines(output)


def test_a_database_behind_the_code_is_critical(see: Any, session: Any) -> None:
    head = session.scalar(text("SELECT version_num FROM jobqueue_alembic_version"))
    session.execute(text("UPDATE jobqueue_alembic_version SET version_num = '0001'"))
    session.commit()
    try:
        code, output = see()
    finally:
        session.execute(
            text("UPDATE jobqueue_alembic_version SET version_num = :head"), {"head": head}
        )
        session.commit()
    assert code == 2
    assert "flask --app wsgi db upgrade" in output
    assert list(lines(output))[-1] == "migrations"


def test_an_unavailable_database_is_critical_without_a_traceback(
    see: Any, monkeypatch: Any
) -> None:
    from sqlalchemy.exc import OperationalError

    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("SELECT 1", {}, Exception("connection refused\nmore"))

    monkeypatch.setattr(doctor.db.session, "execute", away)
    code, output = see()
    assert code == 2
    assert "does not respond: connection refused\n" in output
    assert "Traceback" not in output


def test_foreign_members_and_types_in_our_keys_are_seen_and_dropped(
    see: Any, session: Any, redis: Redis
) -> None:
    lifecycle.enqueue(session, [NewJob("echo")])
    session.commit()
    redis.sadd("{jobs}:queues", b"\xff")
    redis.zadd("{jobs}:delayed", {"zzz": "+inf"})
    redis.zadd("{jobs}:ready:default", {b"\xff" * 40: 0})
    redis.set("{jobs}:wake", "text")
    redis.set("{jobs}:deployments", "text")

    code, output = see()
    assert (code, lines(output)["Redis keys"]) == (1, "warning")
    assert "2 keys of a foreign type and 3 foreign members" in output

    code, output = see("--fix")
    assert (code, "dropped 5 of them" in output) == (0, True), output
    assert lines(see()[1])["Redis keys"] == "ok"
    assert redis.zcard("{jobs}:ready:default") == 1


@pytest.mark.parametrize(
    "key", ["{jobs}:queues", "{jobs}:delayed", "{jobs}:ready:default", "job-dlq"]
)
def test_any_key_of_another_type_is_seen_and_repaired(
    see: Any, session: Any, redis: Redis, key: str
) -> None:
    lifecycle.enqueue(session, [NewJob("echo")])
    session.commit()
    factories.failed_job()
    see("--fix")
    redis.delete(key)
    redis.hset(key, "a", "b")

    code, output = see()
    assert code == 1, output
    see("--fix")
    code, output = see("--fix")
    assert code == 0, output
    _, output = see()
    assert set(lines(output).values()) == {"ok"}, output
    assert redis.type(key) != b"hash"


def test_ids_that_the_database_does_not_know_are_reported(see: Any, redis: Redis) -> None:
    redis.zadd("{jobs}:ready:default", {"0" * 32: 0})
    redis.sadd("{jobs}:queues", "default")
    code, output = see()
    assert (code, lines(output)["Redis keys"]) == (1, "warning")
    assert "1 of the first 1 ids are not in this database" in output
    assert "REDIS_PREFIX" in output


def test_another_deployment_on_the_same_keys_is_named(see: Any, redis: Redis) -> None:
    redis.zadd("{jobs}:deployments", {"staging (0123abcd)": time.time() * 1000})
    code, output = see()
    assert (code, lines(output)["Redis keys"]) == (1, "warning")
    assert "database staging (0123abcd)" in output
    assert "set REDIS_PREFIX" in output


def test_late_schedules_are_named_with_types_that_nobody_knows(see: Any) -> None:
    for n in range(7):
        factories.schedule(f"s{n}", next_in=-60 - n, type="of-tomorrow")
    factories.schedule("on-time", next_in=-1)
    code, output = see()
    assert code == 1
    assert "7 late: s6, s5, s4, s3, s2, …; no live worker knows type of-tomorrow" in output


def test_late_schedules_of_a_known_type(see: Any) -> None:
    factories.worker(types=["echo"])
    factories.schedule(next_in=-60)
    assert "1 late: nightly; is a worker running?" in see()[1]


def test_missed_and_failed_runs_are_named(see: Any) -> None:
    factories.tick(factories.schedule("hourly"), outcome="missed", n=12)
    factories.tick(factories.schedule("nightly"), outcome="failed", ago=30)
    factories.tick(factories.schedule("weekly"), outcome="missed", ago=90_000)
    factories.tick(factories.schedule("fine"))
    code, output = see()
    assert code == 1
    assert "13 missed or failed in 24 hours: nightly, hourly; the pages of these" in output


def test_limits_that_stop_jobs_are_named(see: Any, session: Any) -> None:
    factories.limit("smtp", types=("send-email",))
    assert lines(see()[1])["limits"] == "ok"
    factories.limit("stripe", paused_at=factories._now(-60), paused_by="ada", types=("charge",))
    factories.waiting_job(limit="stripe")
    factories.limit("twitter", blocked_until=factories._now(60), types=("tweet",))
    factories.waiting_job(limit="twitter")
    factories.limit("unused")
    output = see()[1]
    assert lines(output)["limits"] == "warning"
    assert "stripe is paused by ada and 1 jobs wait: resume it when they may run" in output
    assert "twitter was closed by a handler until " in output
    assert "no job type or queue is under unused: attach or delete it" in output
