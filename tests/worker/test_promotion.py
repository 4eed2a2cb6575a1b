"""From the delayed to the ready set: nothing is popped before it is placed."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import pytest
from redis import Redis
from redis.exceptions import RedisError

from app.broker.client import connect
from app.broker.keys import Keys
from app.broker.ready_set import ReadySet
from app.broker.refs import Ref
from app.jobs import lifecycle
from app.jobs.ids import new_id
from app.worker.clock import Clock
from app.worker.sweeper.promote import promote_due_jobs
from tests.factories import completed_job, pending_job
from tests.support.proxy import Proxy
from tests.support.racing import in_thread, race
from tests.support.ready_sets import depths
from tests.support.waiting import wait_until

KEYS = Keys()


def delay(ready: ReadySet, *ids: UUID) -> None:
    """Put ids into the delayed set, due a minute ago."""
    past_ms = int(time.time() * 1000) - 60_000
    ready.publish([Ref(i, "default", 0, past_ms, False) for i in ids])


def test_due_ids_move_to_their_queue_and_place(
    engine: Any, ready: ReadySet, clock: Clock, redis: Redis
) -> None:
    low = pending_job(due_in=-5, priority=-1).id
    high = pending_job(due_in=-5, priority=1).id
    media = pending_job(due_in=-5, queue="media").id
    delay(ready, low, high, media)

    assert promote_due_jobs(engine, ready, clock) == 3

    assert redis.zcard(KEYS.delayed) == 0
    assert ready.pop(["default"], 10)[0] == [high.hex, low.hex]
    assert ready.pop(["media"], 10)[0] == [media.hex]


def test_ids_that_are_not_due_stay(
    engine: Any, ready: ReadySet, clock: Clock, enqueue: Any
) -> None:
    enqueue(delay_seconds=60)

    assert promote_due_jobs(engine, ready, clock) == 0
    assert depths(ready)["delayed"] == 1


def test_an_id_that_is_due_only_in_redis_goes_back(
    engine: Any, ready: ReadySet, clock: Clock, redis: Redis
) -> None:
    job = pending_job(due_in=60)
    delay(ready, job.id)

    promote_due_jobs(engine, ready, clock)

    assert redis.zscore(KEYS.ready("default"), job.id.hex) is None
    assert redis.zscore(KEYS.delayed, job.id.hex) == pytest.approx(
        job.run_at.timestamp() * 1000, abs=1
    )


def test_ids_that_are_no_longer_pending_are_dropped(
    engine: Any, ready: ReadySet, clock: Clock, redis: Redis
) -> None:
    delay(ready, completed_job().id, new_id())

    assert promote_due_jobs(engine, ready, clock) == 0
    assert ready.pop(["default"], 10) == ([], None)


def test_an_id_delayed_again_during_promotion_stays_delayed(
    engine: Any, ready: ReadySet, clock: Clock, redis: Redis, claim: Any
) -> None:
    """Promotion saw it processing; before it drops the id, the attempt fails and is delayed anew."""
    job_id = pending_job(due_in=-5).id
    delay(ready, job_id)
    claim(job_id)

    class Meanwhile(ReadySet):
        def publish(self, refs: Any, **options: Any) -> None:
            super().publish(refs, **options)
            later_ms = int(clock.now_ms()) + 60_000
            super().publish([Ref(job_id, "default", 0, later_ms, False)])

    promote_due_jobs(engine, Meanwhile(redis), clock)

    assert redis.zscore(KEYS.delayed, job_id.hex) is not None


def test_nothing_is_lost_when_promotion_dies_halfway(
    engine: Any, ready: ReadySet, clock: Clock, settings: Any, redis_proxy: Proxy, redis: Redis
) -> None:
    """Redis goes away after the due ids were read: they are still where they were."""
    job_id = pending_job(due_in=-5).id
    delay(ready, job_id)

    class CutAfterReading(ReadySet):
        def due(self, now_ms: float, limit: int = 500) -> list[UUID]:
            found = super().due(now_ms, limit)
            redis_proxy.cut()
            return found

    through_proxy = CutAfterReading(connect(redis_proxy.url, timeout_seconds=0.25))
    with pytest.raises(RedisError):
        promote_due_jobs(engine, through_proxy, clock)

    assert redis.zscore(KEYS.delayed, job_id.hex) is not None
    assert promote_due_jobs(engine, ready, clock) == 1


def test_several_workers_can_promote_at_once(
    engine: Any, ready: ReadySet, clock: Clock, redis: Redis
) -> None:
    ids = [pending_job(due_in=-5).id for _ in range(20)]
    delay(ready, *ids)

    race(*[lambda: promote_due_jobs(engine, ready, clock)] * 4)

    assert sorted(ready.pop(["default"], 100)[0]) == sorted(i.hex for i in ids)
    assert redis.zcard(KEYS.delayed) == 0


def test_one_run_is_bounded(engine: Any, ready: ReadySet, clock: Clock) -> None:
    delay(ready, *(new_id() for _ in range(700)))

    promote_due_jobs(engine, ready, clock)

    assert depths(ready)["delayed"] == 200


def test_a_job_due_soon_starts_without_a_sweeper(enqueue: Any, make_inbox: Any) -> None:
    """No blocking pop outlasts the next due time, and an empty pop promotes."""
    job_id = enqueue(delay_seconds=0.3)
    inbox = make_inbox()

    claimed = wait_until(inbox.next, timeout=5)

    assert claimed.id == job_id


def test_a_retry_due_now_starts_without_a_sweeper(
    enqueue: Any, kernel: Any, session: Any, row: Any
) -> None:
    job_id = enqueue("act", {"do": "retry after", "seconds": 0})
    first = kernel.next()
    in_thread(lambda: kernel.run(first))
    assert row(job_id).attempts == 1

    again = wait_until(kernel.next, timeout=5)

    assert (again.id, again.attempt) == (job_id, 2)


def test_an_edited_time_moves_the_id(enqueue: Any, session: Any, redis: Redis) -> None:
    job_id = enqueue(delay_seconds=3600)

    lifecycle.edit(session, [job_id], {"run_at": None}, by="test").one()
    session.commit()

    assert redis.zscore(KEYS.delayed, job_id.hex) is None
    assert redis.zscore(KEYS.ready("default"), job_id.hex) is not None
