"""The ready and the delayed set: where an id is, and in what order ids come out."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from app.broker.keys import Keys
from app.broker.ready_set import CHUNK, WOKEN, ReadySet, score
from app.broker.refs import Ref
from app.extensions import db
from app.jobs import lifecycle
from app.jobs.ids import new_id
from tests.support.racing import race
from tests.support.ready_sets import depths

KEYS = Keys()


NOW_MS = 1_800_000_000_000


def ref(queue: str = "default", priority: int = 0, at: int = 0, is_due: bool = True) -> Ref:
    return Ref(new_id(), queue, priority, NOW_MS + at, is_due)


def places(redis: Redis, job_id: UUID, *queues: str) -> list[str]:
    """Every set that holds the id."""
    keys = [*map(KEYS.ready, queues or ("default",)), KEYS.delayed]
    return [key for key in keys if redis.zscore(key, job_id.hex) is not None]


def test_an_id_published_a_thousand_times_is_one_member(ready: ReadySet) -> None:
    one = ref()

    for _ in range(10):
        ready.publish([one] * 100)

    assert ready.pop(["default"], 1000)[0] == [one.id.hex]


def test_an_id_published_by_many_at_once_is_one_member(ready: ReadySet) -> None:
    refs = [ref() for _ in range(50)]

    race(*[lambda: ready.publish(refs)] * 6)

    assert sorted(ready.pop(["default"], 1000)[0]) == sorted(r.id.hex for r in refs)


def test_an_id_is_in_exactly_one_place(ready: ReadySet, redis: Redis) -> None:
    due = ref()
    later = due._replace(is_due=False, run_at_ms=NOW_MS + 60_000)

    for published, place in ((due, KEYS.ready("default")), (later, KEYS.delayed)) * 2:
        ready.publish([published])
        assert places(redis, due.id) == [place]


def test_readers_always_see_an_id_in_exactly_one_set(ready: ReadySet, redis: Redis) -> None:
    due = [ref() for _ in range(20)]
    later = [r._replace(is_due=False) for r in due]
    ready.publish(due)
    seen: set[int] = set()

    def look() -> None:
        for _ in range(200):
            with redis.pipeline(transaction=True) as pipe:
                pipe.zcard(KEYS.ready("default")).zcard(KEYS.delayed)
                seen.add(sum(pipe.execute()))

    def move() -> None:
        for _ in range(50):
            ready.publish(later)
            ready.publish(due)

    race(look, move)

    assert seen == {20}


def test_ids_come_by_priority_then_time_then_id(ready: ReadySet) -> None:
    refs = [
        ref(priority=100, at=50),
        ref(priority=1, at=10),
        ref(priority=0, at=-5000),
        ref(priority=0, at=10),
        ref(priority=0, at=10),  # made later: a greater id
        ref(priority=0, at=11),
        ref(priority=-100, at=-(10**9)),
    ]

    ready.publish(refs[::-1])

    assert ready.pop(["default"], 100)[0] == [r.id.hex for r in refs]


@given(
    st.lists(
        st.tuples(st.integers(-100, 100), st.integers(0, 2**42 - 1)), min_size=2, max_size=2
    ).map(sorted)
)
def test_scores_are_exact_and_in_order(pair: list[tuple[int, int]]) -> None:
    epoch = 1_700_000_000_000
    (low, low_at), (high, high_at) = pair
    first, second = score(high, epoch + high_at), score(low, epoch + low_at)

    assert int(float(first)) == first
    if high != low:
        assert first < second
    else:
        assert (first < second) == (high_at < low_at)


def test_a_changed_priority_moves_the_id(ready: ReadySet) -> None:
    first, second = ref(at=1), ref(at=2)
    ready.publish([first, second])

    ready.publish([second._replace(priority=5)])

    assert ready.pop(["default"], 10)[0] == [second.id.hex, first.id.hex]


def test_publishing_what_is_missing_leaves_scores_alone(ready: ReadySet) -> None:
    first, second = ref(at=1), ref(at=2)
    ready.publish([first, second])

    ready.publish([second._replace(priority=5), third := ref(at=3)], only_if_missing=True)

    assert ready.pop(["default"], 10)[0] == [first.id.hex, second.id.hex, third.id.hex]


def test_an_edited_priority_reaches_redis(ready: ReadySet, enqueue: Any, session: Any) -> None:
    first, second = enqueue(), enqueue()

    lifecycle.edit(session, [second], {"priority": 7}, by="test").one()
    session.commit()

    assert ready.pop(["default"], 10)[0] == [second.hex, first.hex]


def test_a_job_moved_to_another_queue_is_not_run_by_workers_of_the_old_one(
    enqueue: Any, session: Any, make_inbox: Any, row: Any
) -> None:
    moved = enqueue(queue="slow")
    lifecycle.edit(session, [moved], {"queue": "fast"}, by="test").one()
    session.commit()

    assert make_inbox(queues=("slow",)).next() is None
    assert row(moved).status == "pending"
    assert make_inbox(queues=("fast",)).next().id == moved


def test_more_than_a_chunk_is_published_whole(ready: ReadySet) -> None:
    refs = [ref(at=n) for n in range(CHUNK + 5)]

    ready.publish(refs)

    assert ready.pop(["default"], CHUNK * 2)[0] == [r.id.hex for r in refs]


def test_a_pop_takes_at_most_its_limit_over_all_queues(ready: ReadySet) -> None:
    ready.publish([ref("a", at=n) for n in range(3)] + [ref("b", at=n) for n in range(3)])

    ids, next_due = ready.pop(["a", "b"], 4)

    assert len(ids) == 4
    assert next_due is None
    assert depths(ready) == {"a": 0, "b": 2, "delayed": 0}


def test_a_pop_returns_when_the_next_delayed_job_is_due(ready: ReadySet) -> None:
    ready.publish([ref(at=70_000, is_due=False), ref(at=60_000, is_due=False)])

    assert ready.pop(["default"], 1) == ([], NOW_MS + 60_000)


def test_a_pop_of_zero_ids_returns_nothing(ready: ReadySet) -> None:
    ready.publish([ref()])

    assert ready.pop(["default"], 0)[0] == []
    assert depths(ready)["default"] == 1


def test_a_blocking_pop_returns_what_is_published_meanwhile(ready: ReadySet) -> None:
    one = ref()
    ready.publish([ref("known")])
    ready.pop(["known"], 1)

    popped, _ = race(
        lambda: ready.pop_blocking(["known", "default"], 10), lambda: ready.publish([one])
    )

    # Woken by the new queue's name or by the id itself, whichever came first.
    if popped == WOKEN:
        popped = ready.pop_blocking(["default"], 1)
    assert popped == one.id.hex


def test_two_poppers_never_get_the_same_id(ready: ReadySet) -> None:
    ready.publish([ref(at=n) for n in range(500)])

    def drain() -> list[str]:
        mine: list[str] = []
        while ids := ready.pop(["default"], 7)[0]:
            mine += ids
        return mine

    popped = [i for ids in race(*[drain] * 4) for i in ids]

    assert len(popped) == len(set(popped)) == 500


def test_queues_are_known_by_what_was_published(ready: ReadySet) -> None:
    ready.publish([ref("b"), ref("a", is_due=False)])

    assert ready.queues() == ["a", "b"]
    assert depths(ready) == {"a": 0, "b": 1, "delayed": 1}


class TestOrderOfQueues:
    def fill(self, enqueue: Any) -> None:
        for queue in ("a", "b", "c"):
            for _ in range(4):
                enqueue(queue=queue)

    def popped(self, inbox: Any, count: int) -> list[str]:
        return [inbox.next().queue for _ in range(count)]

    def test_queues_take_turns(self, enqueue: Any, make_inbox: Any) -> None:
        self.fill(enqueue)

        queues = self.popped(make_inbox(), 12)

        for start in range(0, 12, 3):
            assert sorted(queues[start : start + 3]) == ["a", "b", "c"]

    def test_a_flooded_queue_starves_no_other(self, enqueue_many: Any, make_inbox: Any) -> None:
        enqueue_many(30, queue="flood")
        enqueue_many(2, queue="quiet")

        assert self.popped(make_inbox(), 4).count("quiet") == 2

    def test_named_queues_are_served_in_strict_order(self, enqueue: Any, make_inbox: Any) -> None:
        self.fill(enqueue)

        assert self.popped(make_inbox(queues=("c", "a")), 8) == ["c"] * 4 + ["a"] * 4

    def test_a_queue_that_is_not_named_is_left_alone(self, enqueue: Any, make_inbox: Any) -> None:
        enqueue(queue="other")

        assert make_inbox(queues=("mine",)).next() is None


def test_a_rolled_back_job_is_not_published(session: Any, ready: ReadySet) -> None:
    lifecycle.enqueue(session, [lifecycle.NewJob("act")])
    session.rollback()
    db.session.commit()

    assert ready.pop(["default"], 10)[0] == []


@pytest.mark.parametrize("delay", [0, 3600])
def test_a_committed_job_is_in_the_right_set(enqueue: Any, redis: Redis, delay: float) -> None:
    job_id = enqueue(delay_seconds=delay)

    assert places(redis, job_id) == [KEYS.delayed if delay else KEYS.ready("default")]
