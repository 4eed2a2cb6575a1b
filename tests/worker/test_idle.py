"""An idle worker sends few commands, and starts new jobs at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from app.broker.client import connect
from app.broker.keys import Keys
from app.broker.ready_set import ReadySet
from app.broker.refs import Ref
from app.jobs.ids import new_id
from app.worker.sweeper import Sweeper, promote
from tests import factories
from tests.support.waiting import wait_until

KEYS = Keys()
FAR_MS = 2**42
OF_A_NEW_CONNECTION = {"CLIENT", "HELLO", "SELECT"}


@pytest.fixture
def commands(redis: Redis) -> Callable[[Callable[[], Any]], Counter[str]]:
    """The commands that a function sends to this test's database, those of scripts included."""

    def commands(function: Callable[[], Any]) -> Counter[str]:
        end, number = uuid4().hex, redis.connection_pool.connection_kwargs["db"]
        seen: Counter[str] = Counter()
        with redis.monitor() as monitor:
            function()
            redis.echo(end)
            while end not in (event := monitor.next_command())["command"]:
                name = event["command"].split()[0].upper()
                if event["db"] == number and name not in OF_A_NEW_CONNECTION:
                    seen[name] += 1
        return seen

    return commands


@pytest.fixture
def short(monkeypatch: Any) -> None:
    """No blocking pop lasts long."""
    monkeypatch.setattr("app.worker.inbox.BLOCK_SECONDS", 0.05)


@pytest.fixture
def patient(monkeypatch: Any, redis_url: str, redis: Redis) -> ReadySet:
    """Blocking pops of this one last for an hour, unless they are woken."""
    monkeypatch.setattr("app.worker.inbox.BLOCK_SECONDS", 3600.0)
    return ReadySet(connect(redis_url, timeout_seconds=7200.0))


@pytest.fixture
def in_background(redis: Redis) -> Callable[[Any], list[Any]]:
    """Calls inbox.next() in a thread until it returns a job, which is then in the list; nothing has woken it yet."""

    def in_background(inbox: Any) -> list[Any]:
        jobs: list[Any] = []
        redis.delete(KEYS.wake)

        def run() -> None:
            while not jobs and not inbox.is_stopping:
                if job := inbox.next():
                    jobs.append(job)

        threading.Thread(target=run, daemon=True).start()
        wait_until(lambda: inbox.none_due_until != promote.NEVER)
        return jobs

    return in_background


@pytest.mark.usefixtures("short")
def test_a_waiting_thread_sends_two_commands_a_round(make_inbox: Any, commands: Any) -> None:
    inbox = make_inbox()
    assert inbox.next() is None

    assert commands(inbox.next) == {"ZRANGE": 1, "BZPOPMIN": 1}
    assert commands(inbox.next) == {"ZRANGE": 1, "BZPOPMIN": 1}


@pytest.mark.parametrize("count", [1, 3])
def test_a_job_due_before_the_first_delayed_one_starts_on_time(
    make_inbox: Any, enqueue: Any, enqueue_many: Any, in_background: Any, patient: Any, count: int
) -> None:
    enqueue(delay_seconds=3600)
    jobs = in_background(make_inbox(ready=patient))

    ids = enqueue_many(count, delay_seconds=0.2)

    wait_until(lambda: jobs, timeout=5)
    assert jobs[0].id in ids


def test_a_job_that_is_moved_to_an_earlier_time_starts_then(
    make_inbox: Any, in_background: Any, ready: ReadySet, patient: ReadySet
) -> None:
    ready.publish([Ref(new_id(), "default", 0, FAR_MS, False)])
    job = factories.pending_job(due_in=0.2)
    run_at_ms = int(job.run_at.timestamp() * 1000)
    ready.publish([Ref(job.id, "default", 0, FAR_MS + 1, False)])
    jobs = in_background(make_inbox(ready=patient))

    ready.publish([Ref(job.id, "default", 0, run_at_ms, False)])

    wait_until(lambda: jobs, timeout=5)
    assert jobs[0].id == job.id


@pytest.mark.parametrize("count", [1, 2])
def test_only_an_earlier_delayed_job_wakes_a_worker(
    ready: ReadySet, redis: Redis, count: int
) -> None:
    def publish(run_at_ms: int) -> None:
        ready.publish([Ref(new_id(), "default", 0, run_at_ms, False) for _ in range(count)])

    publish(FAR_MS)
    redis.delete(KEYS.wake)

    publish(FAR_MS + 1)
    assert not redis.exists(KEYS.wake)
    publish(FAR_MS - 1)
    assert redis.exists(KEYS.wake)


@pytest.mark.parametrize(
    ("none_due_until", "looked_at", "leads", "next_at"),
    [
        (promote.NEVER, 100.0, True, 100.1),
        (promote.NEVER, 100.0, False, 100.1),
        (107.0, 100.0, True, 107.0),
        (100.01, 100.0, True, 100.02),
        (107.0, 100.0, False, 107.05),
        (100.01, 100.0, False, 100.1),
    ],
)
def test_when_a_process_looks_for_due_jobs(
    none_due_until: float, looked_at: float, leads: bool, next_at: float
) -> None:
    at = promote.next_look(none_due_until, looked_at=looked_at, leads=leads)
    assert at == pytest.approx(next_at)


class TestPromotion:
    """While a thread waits for the first delayed job, the sweeper does not look for it."""

    @pytest.fixture
    def promoted(self, monkeypatch: Any) -> list[int]:
        calls: list[int] = []
        monkeypatch.setattr(promote, "promote_due_jobs", lambda *_: calls.append(1) or 0)
        return calls

    @pytest.mark.usefixtures("patient")
    def test_the_sweeper_promotes_when_the_first_one_is_due(
        self, kernel: Any, enqueue: Any, in_background: Any
    ) -> None:
        job_id = enqueue(delay_seconds=0.2)
        jobs = in_background(kernel.inbox)

        wait_until(lambda: kernel.sweeper.run_due() or jobs, timeout=10)

        assert jobs[0].id == job_id

    @pytest.mark.usefixtures("patient")
    def test_a_worker_with_a_waiting_thread_leaves_it_to_that(
        self, kernel: Any, in_background: Any, promoted: list[int]
    ) -> None:
        in_background(kernel.inbox)
        kernel.sweeper.run_due()
        assert not promoted

    def test_a_busy_worker_does_not(self, kernel: Any, promoted: list[int]) -> None:
        kernel.sweeper.run_due()
        assert promoted


class TestDuties:
    @pytest.fixture
    def make_sweeper(self, engine: Any, ready: Any, clock: Any, settings: Any) -> Any:
        factories.watched_database()
        return lambda: Sweeper(engine, ready, clock, settings)

    def test_duties_of_the_leader_run_in_one_process(self, make_sweeper: Any, row: Any) -> None:
        leader, other = make_sweeper(), make_sweeper()
        leader.run_due()
        job_id = factories.processing_job(lease_expired_by=1).id

        other.run_due()
        assert row(job_id).status == "processing"

        leader.stop()
        wait_until(lambda: other.run_due() or row(job_id).status == "pending")

    def test_a_hurried_duty_runs_in_any_process(self, make_sweeper: Any, redis: Redis) -> None:
        make_sweeper().run_due()
        other = make_sweeper()
        factories.failed_job()

        other.hurry("mirror")
        other.run_due()

        assert redis.llen(KEYS.dead_letters) == 1

    def test_work_that_comes_is_seen(
        self, make_sweeper: Any, row: Any, rows: Any, redis: Redis
    ) -> None:
        sweeper = make_sweeper()
        sweeper.run_due()
        expired = factories.scheduled_job(expires_at=factories._now(-1)).id
        factories.failed_job()

        wait_until(
            lambda: (
                sweeper.run_due()
                or (
                    row(expired).status == "cancelled"
                    and redis.llen(KEYS.dead_letters)
                    and not rows("SELECT FROM job_counter_deltas")
                )
            )
        )

    def test_a_redis_that_lost_everything_gets_it_back(
        self, make_sweeper: Any, redis: Redis, enqueue: Any
    ) -> None:
        sweeper = make_sweeper()
        job_id = enqueue(delay_seconds=3600)
        sweeper.run_due()
        redis.flushdb()

        wait_until(lambda: sweeper.run_due() or redis.zscore(KEYS.delayed, job_id.hex) is not None)
