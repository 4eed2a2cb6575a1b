"""Workers learn of queues from a set in Redis, which a flush empties like everything else."""

from redis import Redis

from app.broker.ready_set import WOKEN, ReadySet
from app.broker.refs import Ref
from app.jobs.ids import new_id


def ref(queue: str) -> Ref:
    return Ref(new_id(), queue, 0, 1_800_000_000_000, True)


def test_a_queue_is_announced_again_after_a_flush(redis: Redis) -> None:
    ready = ReadySet(redis)
    ready.publish([ref("media")])
    redis.flushdb()

    ready.publish([ref("media")])

    assert ready.queues() == ["media"]


def test_a_new_queue_wakes_a_popper_that_blocks_on_others(redis: Redis) -> None:
    ready = ReadySet(redis)
    ready.publish([ref("media")])

    assert ready.pop_blocking(["default"], 5) == WOKEN
    assert ready.queues() == ["media"]
