"""What Redis lost is published again, and at a bounded cost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from redis import Redis
from sqlalchemy import event

from app.broker.client import connect
from app.broker.keys import Keys
from app.broker.publisher import Publisher
from app.broker.ready_set import ReadySet
from app.database import elected
from app.extensions import db
from app.jobs import pauses, publication
from app.worker.sweeper.reconcile import REPUBLISH_BATCH, WINDOW, reconcile
from tests.factories import paused_queue, paused_type, pending_job, scheduled_job
from tests.support.proxy import Proxy
from tests.support.ready_sets import depths

KEYS = Keys()


@pytest.fixture
def reconcile_now(engine: Any, ready: ReadySet) -> Callable[[], int]:
    """Reconciles once; the first run, which sets the epoch, has been."""
    reconcile(engine, ready)
    return lambda: reconcile(engine, ready)


@pytest.fixture
def old_jobs(rows: Any) -> Callable[..., list[UUID]]:
    """So many jobs, due for ten seconds, in PostgreSQL only."""

    def old_jobs(count: int, queue: str = "default") -> list[UUID]:
        found = rows(
            "INSERT INTO jobs (id, queue, type, payload, run_at) "
            "SELECT gen_random_uuid(), :queue, 'act', '{}', now() - make_interval(secs => 10 + n * 0.001) "
            "FROM generate_series(1, :count) AS n RETURNING id, run_at",
            count=count,
            queue=queue,
        )
        return [r.id for r in sorted(found, key=lambda r: (r.run_at, r.id))]

    return old_jobs


def test_a_lost_id_is_published_again(reconcile_now: Any, ready: ReadySet) -> None:
    kept, lost = pending_job(due_in=-10), pending_job(due_in=-10)
    ready.publish([publication.ref(_row(kept))])

    assert reconcile_now() == 1

    assert sorted(ready.pop(["default"], 10)[0]) == sorted([kept.id.hex, lost.id.hex])


def test_jobs_that_just_became_due_are_left_alone(reconcile_now: Any, ready: ReadySet) -> None:
    """It is being published or claimed right now."""
    pending_job(due_in=-0.5)

    assert reconcile_now() == 0
    assert depths(ready) == {"delayed": 0}


def test_nothing_changes_when_nothing_is_missing(
    reconcile_now: Any, ready: ReadySet, redis: Redis
) -> None:
    job = pending_job(due_in=-10)
    redis.zadd(KEYS.ready("default"), {job.id.hex: 1})

    assert reconcile_now() == 0
    assert redis.zscore(KEYS.ready("default"), job.id.hex) == 1


def test_each_queue_has_its_window(reconcile_now: Any, ready: ReadySet) -> None:
    a, b = pending_job(due_in=-10, queue="a"), pending_job(due_in=-10, queue="b")

    assert reconcile_now() == 2
    assert ready.pop(["a"], 10)[0] == [a.id.hex]
    assert ready.pop(["b"], 10)[0] == [b.id.hex]


def test_paused_queues_and_types_are_left_alone(reconcile_now: Any, ready: ReadySet) -> None:
    pending_job(due_in=-10, queue="off")
    pending_job(due_in=-10, type="echo")
    paused_queue("off")
    paused_type("echo")

    assert reconcile_now() == 0


def test_a_paused_type_does_not_fill_the_window(
    reconcile_now: Any, old_jobs: Any, rows: Any, ready: ReadySet
) -> None:
    old_jobs(WINDOW + 10)
    rows("UPDATE jobs SET type = 'echo'")
    paused_type("echo")
    lost = pending_job(due_in=-5, type="act")

    assert reconcile_now() == 1
    assert ready.pop(["default"], 10)[0] == [lost.id.hex]


def test_a_window_with_gaps_gets_only_what_is_missing(
    reconcile_now: Any, old_jobs: Any, ready: ReadySet, redis: Redis
) -> None:
    ids = old_jobs(WINDOW + 100)
    redis.zadd(KEYS.ready("default"), {ids[0].hex: 0})

    assert reconcile_now() == WINDOW - 1
    assert redis.zcard(KEYS.ready("default")) == WINDOW


def test_everything_is_published_when_a_whole_window_is_missing(
    reconcile_now: Any, old_jobs: Any, ready: ReadySet
) -> None:
    old_jobs(WINDOW + 100)
    scheduled_job()

    assert reconcile_now() == WINDOW + 101

    assert depths(ready) == {"default": WINDOW + 100, "delayed": 1}


def test_a_long_backlog_costs_no_more_than_a_short_one(
    reconcile_now: Any, old_jobs: Any, engine: Any, ready: ReadySet
) -> None:
    old_jobs(3000)
    reconcile_now()
    fetched: list[int] = []

    def count(connection: Any, cursor: Any, *_: Any) -> None:
        fetched.append(max(cursor.rowcount, 0))

    event.listen(db.engine, "after_cursor_execute", count)
    try:
        assert reconcile_now() == 0
    finally:
        event.remove(db.engine, "after_cursor_execute", count)
    assert sum(fetched) < WINDOW + 20


@pytest.mark.parametrize("loss", ["flushed", "another server", "confessed by the web"])
def test_another_redis_gets_everything(
    reconcile_now: Any, enqueue: Any, enqueue_many: Any, ready: ReadySet, redis: Redis, loss: str
) -> None:
    due = enqueue_many(3)
    later = enqueue(delay_seconds=60)
    assert reconcile_now() == 0
    redis.delete(KEYS.ready("default"), KEYS.delayed)
    if loss == "flushed":
        redis.flushdb()
    elif loss == "another server":
        redis.set(KEYS.epoch, "0" * 40)
    else:
        ready.forget_epoch()

    assert reconcile_now() == 4

    assert ready.pop(["default"], 10)[0] == [i.hex for i in due]
    assert redis.zscore(KEYS.delayed, later.hex) is not None
    assert ready.is_epoch_current()
    assert reconcile_now() == 0


def test_the_epoch_is_set_last(
    engine: Any, enqueue_many: Any, ready: ReadySet, redis: Redis, redis_proxy: Proxy, settings: Any
) -> None:
    """A sweeper that dies on the way leaves the work to the next one."""
    enqueue_many(5)
    redis.flushdb()
    cut = ReadySet(connect(redis_proxy.url, timeout_seconds=0.25))
    assert not cut.is_epoch_current()

    class DiesAfterPublishing(ReadySet):
        def publish(self, refs: Any, **options: Any) -> None:
            super().publish(refs, **options)
            redis_proxy.cut()

    dying = DiesAfterPublishing(cut.client)
    with pytest.raises(Exception, match=r"[Cc]onnect"):
        reconcile(engine, dying)

    assert not ready.is_epoch_current()
    assert reconcile(engine, ready) == 5


def test_everything_is_published_in_batches(
    engine: Any, old_jobs: Any, ready: ReadySet, redis: Redis
) -> None:
    ids = old_jobs(REPUBLISH_BATCH * 2 + 1)

    assert reconcile(engine, ready) == len(ids)
    assert redis.zcard(KEYS.ready("default")) == len(ids)


def test_only_one_process_reconciles(engine: Any, ready: ReadySet) -> None:
    pending_job(due_in=-10)

    with elected(engine, "reconcile"):
        assert reconcile(engine, ready) == 0

    assert reconcile(engine, ready) == 1


class TestMissedPublications:
    """The web could not reach Redis: the rows are safe, and the epoch tells the sweeper."""

    @pytest.fixture
    def publisher(self, app: Any, session: Any, settings: Any, redis_proxy: Proxy) -> Any:
        return Publisher(redis_proxy.url, settings.redis_prefix)

    def test_a_process_that_missed_one_deletes_the_epoch_when_redis_is_back(
        self, publisher: Any, reconcile_now: Any, enqueue: Any, ready: ReadySet, redis_proxy: Proxy,
        row: Any, monkeypatch: Any,
    ) -> None:  # fmt: skip
        ref = publication.ref(_row(pending_job()))
        redis_proxy.cut()

        assert publisher.publish([ref]) is False
        redis_proxy.mend()
        # Resting after the failure: Redis is not even asked.
        assert publisher.publish([ref]) is False
        assert ready.is_epoch_current()
        monkeypatch.setattr(publisher, "_resting_until", 0.0)

        assert publisher.publish([ref]) is True
        assert not ready.is_epoch_current()
        assert reconcile_now() == 1

    def test_a_ping_deletes_the_epoch_as_well(
        self, publisher: Any, reconcile_now: Any, ready: ReadySet, redis_proxy: Proxy
    ) -> None:
        redis_proxy.cut()
        publisher.publish([publication.ref(_row(pending_job()))])
        redis_proxy.mend()

        publisher.probe()

        assert not ready.is_epoch_current()

    def test_a_process_that_missed_nothing_keeps_the_epoch(
        self, publisher: Any, reconcile_now: Any, ready: ReadySet
    ) -> None:
        publisher.publish([publication.ref(_row(pending_job()))])

        assert ready.is_epoch_current()

    def test_it_is_logged_once_not_per_job(
        self, publisher: Any, redis_proxy: Proxy, caplog: Any, monkeypatch: Any
    ) -> None:
        ref = publication.ref(_row(pending_job()))
        redis_proxy.cut()

        with caplog.at_level(logging.WARNING, "app"):
            for _ in range(5):
                # The rest after a failure is over.
                monkeypatch.setattr(publisher, "_resting_until", time.monotonic())
                publisher.publish([ref])

        assert len(caplog.records) == 1


def test_an_id_popped_but_never_claimed_comes_back(
    reconcile_now: Any, rows: Any, enqueue: Any, ready: ReadySet
) -> None:
    job_id = enqueue()
    ready.pop(["default"], 1)
    rows("UPDATE jobs SET run_at = run_at - interval '3 s' WHERE id = :id", id=job_id)

    assert reconcile_now() == 1
    assert ready.pop(["default"], 1)[0] == [job_id.hex]


def test_resume_publishes_what_was_dropped_meanwhile(
    session: Any, enqueue: Any, make_inbox: Any, ready: ReadySet
) -> None:
    pauses.pause_queue(session, "default", by="test")
    session.commit()
    job_id = enqueue()
    inbox = make_inbox()
    assert inbox.next() is None
    assert depths(ready)["default"] == 0

    pauses.resume_queue(session, "default", by="test")
    session.commit()

    assert inbox.next().id == job_id


def _row(job: Any) -> Any:
    """A job as the sweeper's statements return it."""
    return SimpleNamespace(
        type="act",
        id=job.id,
        queue=job.queue,
        priority=job.priority,
        is_due=True,
        run_at_ms=int(job.run_at.timestamp() * 1000),
        held_by=None,
    )
