"""One thread pops and claims for all; nothing gets stuck behind slow handlers."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from redis import Redis

from app.broker.keys import Keys
from app.broker.ready_set import ReadySet
from app.broker.refs import Ref
from app.jobs import pauses
from app.worker import inbox as inboxes
from tests.factories import completed_job, paused_queue, paused_type, pending_job
from tests.support.proxy import Proxy
from tests.support.racing import race
from tests.support.ready_sets import depths
from tests.support.waiting import wait_until

KEYS = Keys()


def busy(inbox: Any, finishes: int = 60) -> None:
    """So many jobs ended just now: the prefetch is large."""
    for _ in range(finishes):
        inbox.finished()


def fill(inbox: Any, finishes: int = 60) -> Any:
    """Let the calling thread pop more than it needs; the others wait in the inbox."""
    busy(inbox, finishes)
    first = inbox.next()
    assert inbox.held()
    return first


def test_one_claim_serves_all_threads(enqueue_many: Any, make_inbox: Any, row: Any) -> None:
    ids = enqueue_many(10)
    inbox = make_inbox()
    busy(inbox)

    got = [inbox.next() for _ in range(10)]

    assert [job.id for job in got] == ids
    assert len({job.token for job in got}) == 1
    assert all(row(i).status == "processing" and row(i).attempts == 1 for i in ids)


def test_ids_are_claimed_in_the_order_popped(enqueue: Any, make_inbox: Any) -> None:
    low, high, mid = (enqueue(priority=p) for p in (-5, 5, 0))
    inbox = make_inbox()
    busy(inbox)

    assert [inbox.next().id for _ in range(3)] == [high, mid, low]


def test_a_quiet_process_takes_only_what_its_idle_threads_can_run(
    enqueue_many: Any, make_inbox: Any
) -> None:
    enqueue_many(10)
    inbox = make_inbox()

    assert inbox.next()

    assert inbox.held() == []


def test_many_threads_never_get_the_same_job(enqueue_many: Any, make_inbox: Any) -> None:
    ids = enqueue_many(100)
    inbox = make_inbox()
    busy(inbox)

    def take() -> list[Any]:
        mine = []
        while job := inbox.next():
            mine.append(job.id)
        return mine

    taken = [i for mine in race(*[take] * 5) for i in mine]

    assert sorted(taken) == ids


def test_an_early_id_goes_back_to_the_delayed_set(make_inbox: Any, redis: Redis, row: Any) -> None:
    early = pending_job(due_in=60)
    ReadySet(redis).publish([Ref(early.id, "default", 0, 0, True)])

    assert make_inbox().next() is None

    assert redis.zscore(KEYS.ready("default"), early.id.hex) is None
    assert redis.zscore(KEYS.delayed, early.id.hex) == pytest.approx(
        early.run_at.timestamp() * 1000, abs=1
    )
    assert row(early.id).attempts == 0


def test_ids_that_can_not_be_run_are_dropped(
    make_inbox: Any, redis: Redis, row: Any, enqueue: Any
) -> None:
    done = completed_job()
    for job_id in (done.id.hex, "0" * 32):
        redis.zadd(KEYS.ready("default"), {job_id: 0})
    wanted = enqueue()

    inbox = make_inbox()
    busy(inbox)
    assert inbox.next().id == wanted

    assert row(done.id).status == "completed"
    assert redis.zcard(KEYS.delayed) == redis.zcard(KEYS.ready("default")) == 0


@pytest.mark.parametrize("pause", [lambda: paused_queue("default"), lambda: paused_type("act")])
def test_paused_jobs_are_not_claimed(make_inbox: Any, enqueue: Any, row: Any, pause: Any) -> None:
    job_id = enqueue()
    pause()

    assert make_inbox().next() is None
    assert row(job_id).status == "pending"


def test_a_resumed_type_runs_again(make_inbox: Any, enqueue: Any, session: Any) -> None:
    pauses.pause_type(session, "act", by="test")
    session.commit()
    job_id = enqueue()
    inbox = make_inbox()
    assert inbox.next() is None

    pauses.resume_type(session, "act", by="test")
    session.commit()

    assert inbox.next().id == job_id


def test_expired_jobs_are_not_claimed(make_inbox: Any, enqueue: Any, rows: Any, row: Any) -> None:
    job_id = enqueue()
    rows("UPDATE jobs SET expires_at = now() - interval '1 s' WHERE id = :id", id=job_id)

    assert make_inbox().next() is None
    assert row(job_id).status == "pending"


class TestGiveBack:
    def test_an_inbox_behind_slow_handlers_is_released_completely(
        self, kernel: Any, enqueue_many: Any, row: Any, redis: Redis
    ) -> None:
        ids = enqueue_many(5)
        scores = redis.zrange(KEYS.ready("default"), 0, -1, withscores=True)
        running = fill(kernel.inbox)
        wait_until(lambda: kernel.inbox._filled_at < time.monotonic() - inboxes.STUCK_SECONDS)

        kernel.inbox.release_if_idle_elsewhere()

        assert kernel.outbox.drain(5)
        assert running.id == ids[0]
        for job_id in ids[1:]:
            given_back = row(job_id)
            assert (given_back.status, given_back.attempts) == ("pending", 0)
            assert given_back.lease_token is None
        # The same place in the queue as before.
        assert redis.zrange(KEYS.ready("default"), 0, -1, withscores=True) == scores[1:]

    def test_a_release_writes_no_history(self, kernel: Any, enqueue_many: Any, rows: Any) -> None:
        enqueue_many(5)
        fill(kernel.inbox)
        wait_until(lambda: kernel.inbox._filled_at < time.monotonic() - inboxes.STUCK_SECONDS)

        kernel.inbox.release_if_idle_elsewhere()

        assert kernel.outbox.drain(5)
        assert rows("SELECT * FROM job_attempts") == []

    def test_a_fresh_inbox_is_not_released(self, make_inbox: Any, enqueue_many: Any) -> None:
        enqueue_many(5)
        inbox = make_inbox()
        fill(inbox)
        inbox._filled_at = time.monotonic() + 60

        inbox.release_if_idle_elsewhere()

        assert len(inbox.held()) == 4
        assert inbox.released == []

    def test_timeouts_are_thrown_while_a_release_waits_for_the_database(
        self, make_kernel: Any, enqueue: Any, app: Any, cut_engine: Any, database_proxy: Proxy
    ) -> None:
        kernel = make_kernel()
        spinning = enqueue("act", {"do": "spin", "seconds": 15}, timeout_seconds=0.5)
        enqueue()
        kernel.outbox._engine = cut_engine
        busy(kernel.inbox)
        job = kernel.inbox.next()
        assert job.id == spinning
        assert len(kernel.inbox.held()) == 1
        database_proxy.cut()
        threading.Thread(target=kernel._tick, daemon=True).start()
        wait_until(lambda: kernel.outbox.held(), what="the give-back waits")
        try:
            started = time.monotonic()
            outcome = race(lambda: kernel.runner.run(job))[0]
            assert outcome.outcome == "timed_out"
            assert time.monotonic() - started < 14, "it spun to its end"
        finally:
            database_proxy.mend()
        assert kernel.outbox.drain(10)


class TestStop:
    def test_waiting_jobs_are_released(self, make_inbox: Any, enqueue_many: Any) -> None:
        ids = enqueue_many(4)
        inbox = make_inbox()
        fill(inbox)

        inbox.stop()

        assert [job.id for job in inbox.released] == ids[1:]
        assert inbox.next() is None
        assert inbox.is_stopping

    def test_nothing_is_popped_after_a_stop(
        self, make_inbox: Any, enqueue: Any, ready: ReadySet
    ) -> None:
        inbox = make_inbox()
        inbox.stop()
        enqueue()

        assert inbox.next() is None
        assert depths(ready)["default"] == 1

    def test_jobs_claimed_during_a_stop_are_released(
        self, make_inbox: Any, enqueue: Any, ready: ReadySet, redis: Redis
    ) -> None:
        inbox = make_inbox()
        popper = threading.Thread(target=inbox.next, daemon=True)
        popper.start()
        wait_until(lambda: _blocked_poppers(redis))
        inbox.stop()
        job_id = enqueue()

        popper.join(10)

        assert not popper.is_alive()
        # Either it was claimed and released, or never popped; not held by a stopped process.
        is_ready = redis.zscore(KEYS.ready("default"), job_id.hex) is not None
        assert [job.id for job in inbox.released] == ([] if is_ready else [job_id])

    def test_waiting_threads_wake_at_once(self, make_inbox: Any, redis: Redis) -> None:
        inbox = make_inbox()
        threads = [threading.Thread(target=inbox.next, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: inbox._waiting == 3)

        inbox.stop()

        wait_until(lambda: sum(t.is_alive() for t in threads) <= 1)

    def test_a_stop_does_not_wait_for_an_unavailable_database(
        self, kernel: Any, enqueue_many: Any, cut_engine: Any, database_proxy: Proxy, row: Any
    ) -> None:
        ids = enqueue_many(4)
        fill(kernel.inbox)
        kernel.outbox._engine = cut_engine
        database_proxy.cut()

        race(kernel.begin_stop, timeout=5)

        database_proxy.mend()
        wait_until(lambda: [row(i).status for i in ids[1:]] == ["pending"] * 3)


class TestOutages:
    def test_nothing_is_popped_while_the_database_is_unavailable(
        self, make_inbox: Any, enqueue: Any, ready: ReadySet, cut_engine: Any, database_proxy: Proxy
    ) -> None:
        inbox = make_inbox(engine=cut_engine)
        database_proxy.cut()
        enqueue()
        assert inbox.next() is None  # the first failure costs its ids a detour through the audit
        ids = {enqueue().hex for _ in range(3)}

        for _ in range(2):
            assert inbox.next() is None

        assert set(ready.pop(["default"], 10)[0]) == ids

    def test_claiming_resumes_when_the_database_is_back(
        self, make_inbox: Any, enqueue: Any, cut_engine: Any, database_proxy: Proxy
    ) -> None:
        inbox = make_inbox(engine=cut_engine)
        inbox._failures = 1
        database_proxy.cut()
        job_id = enqueue()
        assert inbox.next() is None
        database_proxy.mend()

        assert wait_until(inbox.next).id == job_id

    def test_an_unavailable_redis_is_waited_for_and_logged_once(
        self, make_inbox: Any, enqueue: Any, redis_proxy: Proxy, settings: Any, caplog: Any
    ) -> None:
        client = Redis.from_url(redis_proxy.url, socket_timeout=5)
        inbox = make_inbox(ready=ReadySet(client))
        redis_proxy.cut()
        assert inbox.next() is None
        assert inbox.next() is None
        assert sum("Can't fetch jobs" in r.message for r in caplog.records) == 1
        redis_proxy.mend()
        job_id = enqueue()

        assert wait_until(inbox.next).id == job_id

    def test_a_stop_ends_the_pause(
        self, make_inbox: Any, cut_engine: Any, database_proxy: Proxy, enqueue: Any
    ) -> None:
        enqueue()
        database_proxy.cut()
        inbox = make_inbox(engine=cut_engine)
        inbox._failures = 7  # the next pause is seconds long
        thread = threading.Thread(target=inbox.next, daemon=True)
        thread.start()
        wait_until(lambda: inbox._failures == 8)

        inbox.stop()

        thread.join(1.5)
        assert not thread.is_alive()


def _blocked_poppers(redis: Redis) -> int:
    # Not INFO's count, which includes consumers of tests in other workers.
    own = str(redis.get_connection_kwargs()["db"])
    clients: Any = redis.client_list()
    return sum(one["db"] == own and "b" in one["flags"] for one in clients)


def test_an_id_published_again_between_two_pops_is_handed_out_once(
    enqueue: Any, make_inbox: Any, redis: Redis
) -> None:
    """The blocking pop gave it; a sweeper of another process published it before the second pop."""

    class Republished(ReadySet):
        def pop_blocking(self, queues: Any, timeout: float) -> str | None:
            job_id = enqueue()
            found = super().pop_blocking(queues, timeout)
            assert found == job_id.hex
            redis.zadd("{jobs}:ready:default", {found: 0})
            return found

    inbox = make_inbox(ready=Republished(redis))
    busy(inbox)

    first = inbox.next()

    assert first is not None
    assert inbox.held() == []


def test_a_backlog_is_claimed_while_half_of_the_last_batch_is_left(
    enqueue_many: Any, make_inbox: Any
) -> None:
    ids = enqueue_many(200)
    inbox = make_inbox()
    busy(inbox, 60)
    first = [inbox.next()]
    batch = 1 + len(inbox.held())

    while len(first) < batch // 2 + 1:
        busy(inbox, 60)
        first.append(inbox.next())

    held = inbox.held()
    assert len(held) > batch
    assert [job.id for job in [*first, *held]] == ids[: len(first) + len(held)]
