"""A worker claims only types it knows; what it does not know waits, unharmed and in nobody's way, for one that does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from redis import Redis

from app.broker.keys import Keys
from app.broker.lanes import Lanes
from app.broker.ready_set import ReadySet
from app.jobs import lifecycle, registry
from app.jobs.lifecycle import NewJob
from app.worker.inbox import Inbox
from app.worker.sweeper.orphans import fail_orphans
from app.worker.sweeper.reconcile import reconcile
from tests import factories
from tests.support.waiting import wait_until

KEYS = Keys()
LANE = KEYS.ready("default|new")


@pytest.fixture
def knowing(types: Any) -> Callable[[], Any]:
    """``with knowing():`` the type "new" is registered, as in a worker of the next release."""

    @contextmanager
    def knowing() -> Iterator[None]:
        types("new")(lambda payload: "ran")
        try:
            yield
        finally:
            registry._types.pop("new")

    return knowing


@pytest.fixture
def add(session: Any, redis: Redis, knowing: Any) -> Callable[..., list[UUID]]:
    """Enqueues jobs of type "new"; due and published, or not published at all."""

    def add(count: int = 1, **columns: Any) -> list[UUID]:
        with knowing():
            jobs = lifecycle.enqueue(session, [NewJob("new", **columns) for _ in range(count)])
            session.commit()
        return [job.id for job in jobs]

    return add


def test_a_worker_leaves_unknown_types_alone(
    make_inbox: Any, add: Any, enqueue: Any, row: Any, redis: Redis
) -> None:
    [unknown] = add()
    known = enqueue()
    inbox = make_inbox()

    assert wait_until(inbox.next).id == known
    assert (row(unknown).status, row(unknown).attempts) == ("pending", 0)
    assert redis.zrange(LANE, 0, -1) == [unknown.hex.encode()]
    assert not redis.zcard(KEYS.ready("default"))
    assert 0 < redis.ttl(LANE) <= 600


def test_a_worker_that_knows_the_type_takes_it_from_the_lane(
    make_inbox: Any, add: Any, knowing: Any, row: Any, redis: Redis
) -> None:
    old, new = make_inbox(), make_inbox()
    [job_id] = add()
    assert old.next() is None

    with knowing():
        assert new.next().id == job_id
    assert row(job_id).status == "processing"
    assert not redis.exists(LANE)


def test_queue_and_lane_take_turns(
    make_inbox: Any, add: Any, enqueue_many: Any, knowing: Any, redis: Redis
) -> None:
    old, new = make_inbox(), make_inbox()
    add(20)
    while redis.zcard(KEYS.ready("default")):
        assert old.next() is None
    enqueue_many(20)

    with knowing():
        seen = {new.next().type for _ in range(4)}
    assert seen == {"act", "new"}


def test_a_worker_with_queues_takes_only_their_lanes(
    make_inbox: Any, add: Any, knowing: Any
) -> None:
    mail, media = add(queue="mail"), add(queue="media")
    old, new = make_inbox(), make_inbox(queues=["media", "other"])
    for _ in range(3):
        assert old.next() is None

    with knowing():
        assert [new.next().id] == media
        assert new.next() is None
    with knowing():
        assert [make_inbox().next().id] == mail


def test_an_old_worker_takes_each_unknown_id_once_and_starves_nobody(
    make_inbox: Any, add: Any, enqueue: Any, engine: Any, ready: ReadySet, redis: Redis
) -> None:
    """Higher in priority and older than what it can run, and twice as many as an audit looks at."""
    add(1000, priority=50)
    known = enqueue()
    inbox = make_inbox(threads=0)  # so that the prefetch does not limit how many it takes
    for _ in range(2000):
        if job := inbox.next():
            assert job.id == known
            break
        inbox.finished()
    else:
        pytest.fail("the known job was starved")
    assert redis.zcard(LANE) == 1000


@pytest.mark.parametrize("must_be_lost", [False, True])
def test_reconciling_without_knowing_the_type_publishes_nothing(
    add: Any,
    knowing: Any,
    engine: Any,
    ready: ReadySet,
    rows: Any,
    redis: Redis,
    must_be_lost: bool,
) -> None:
    reconcile(engine, ready)
    ids = add(600)
    rows("UPDATE jobs SET run_at = now() - interval '10 s'")
    lost = factories.pending_job(type="act", due_in=-5)
    Lanes(ready).set_aside(rows("SELECT *, (extract(epoch FROM run_at) * 1000)::bigint AS run_at_ms FROM jobs WHERE type = 'new'"))  # fmt: skip
    redis.delete(KEYS.ready("default"))
    if must_be_lost:
        redis.delete(LANE)

    # The lost job behind them is found all the same.
    assert reconcile(engine, ready) == 1
    assert redis.zrange(KEYS.ready("default"), 0, -1) == [lost.id.hex.encode()]
    redis.zrem(KEYS.ready("default"), lost.id.hex)
    with knowing():
        published = reconcile(engine, ready)
    assert published == (len(ids) + 1 if must_be_lost else 0)


def test_a_lost_job_is_published_by_a_worker_that_does_not_know_its_type_for_one_that_does(
    engine: Any, ready: ReadySet, redis: Redis
) -> None:
    reconcile(engine, ready)
    lost = factories.pending_job(type="new", due_in=-5)
    factories.worker(types=["act", "new"], silent_for=3600)
    assert reconcile(engine, ready) == 0

    factories.worker(types=["act", "new"])

    assert reconcile(engine, ready) == 1
    assert redis.zscore(KEYS.ready("default"), lost.id.hex) is not None


def test_foreign_names_among_the_lanes_are_ignored(
    make_inbox: Any, enqueue: Any, redis: Redis
) -> None:
    for name in (b"\xff", b"no bar", b"a|b|c", b"default|act x"):
        redis.zadd(KEYS.lanes, {name: 1})
    job_id = enqueue()
    assert make_inbox().next().id == job_id


def test_an_old_and_a_new_worker_together_lose_nothing(
    make_inbox: Any, add: Any, knowing: Any, enqueue_many: Any, row: Any
) -> None:
    new_ids, act_ids = add(30), enqueue_many(30)
    old, new = make_inbox(), make_inbox()
    started: list[UUID] = []

    def take(inbox: Inbox) -> None:
        if job := inbox.next():
            started.append(job.id)

    for _ in range(200):
        take(old)
        with knowing():
            take(new)
        if len(started) == 60:
            break
    assert sorted(started) == sorted([*new_ids, *act_ids])
    assert {row(i).attempts for i in started} == {1}


class TestUnknownTypeHours:
    @pytest.fixture
    def orphans(self, engine: Any, settings: Any) -> Callable[[], int]:
        return lambda: fail_orphans(engine, settings)

    @pytest.fixture
    def switch(self, rows: Any) -> Callable[[], Any]:
        def switch() -> Any:
            found = rows("SELECT * FROM type_switches WHERE type = 'new'")
            return found[0] if found else None

        return switch

    def age(self, rows: Any, hours: float, seen_minutes_ago: float = 0) -> None:
        rows(
            "UPDATE type_switches SET unknown_since = now() - make_interval(secs => :s),"
            " unknown_seen_at = now() - make_interval(secs => :seen)",
            s=hours * 3600,
            seen=seen_minutes_ago * 60,
        )

    def test_a_type_that_no_live_worker_knows_is_noted(
        self, add: Any, orphans: Any, switch: Any, redis: Redis
    ) -> None:
        factories.worker(types=["act"])
        factories.worker(types=["new"], silent_for=100)
        add()
        assert orphans() == 0
        assert switch().unknown_since == switch().unknown_seen_at
        factories.worker(types=["act", "new"])
        orphans()
        assert (switch().unknown_since, switch().unknown_seen_at) == (None, None)

    def test_workers_of_an_older_version_know_every_type(
        self, add: Any, orphans: Any, switch: Any
    ) -> None:
        factories.worker(types=None)
        add()
        orphans()
        assert switch() is None

    @pytest.mark.parametrize(
        ("unknown_hours", "due_hours", "seen_minutes_ago", "is_over"),
        [(25, 25, 1, True), (25, 23, 1, False), (23, 25, 1, False), (25, 25, 60, False)],
    )
    def test_jobs_of_unknown_types_fail_after_the_limit(
        self, add: Any, orphans: Any, row: Any, rows: Any, redis: Redis,
        unknown_hours: float, due_hours: float, seen_minutes_ago: float, is_over: bool,
    ) -> None:  # fmt: skip
        factories.worker(types=["act"])
        [job_id] = add()
        orphans()
        rows("UPDATE jobs SET run_at = now() - make_interval(hours => :h)", h=due_hours)
        self.age(rows, unknown_hours, seen_minutes_ago)

        assert orphans() == int(is_over)

        assert row(job_id).status == ("failed" if is_over else "pending")
        letters = rows("SELECT reason, attempts FROM dead_letters")
        if not is_over:
            assert letters == []
            return
        assert [tuple(letter) for letter in letters] == [
            ("No worker knew the type new for 24 hours (UNKNOWN_TYPE_HOURS).", 0)
        ]
        assert row(job_id).attempts == 0
        [attempt] = rows("SELECT outcome, error_class FROM job_attempts")
        assert tuple(attempt) == ("failed", "UnknownJobType")

    def test_a_limit_of_zero_never_fails_a_job(
        self, add: Any, engine: Any, make_kernel: Any, row: Any, rows: Any, switch: Any
    ) -> None:
        settings = make_kernel(unknown_type_hours=0.0).settings
        [job_id] = add()
        fail_orphans(engine, settings)
        rows("UPDATE jobs SET run_at = now() - interval '1 year'")
        self.age(rows, 9000)

        assert fail_orphans(engine, settings) == 0
        assert row(job_id).status == "pending"
        assert switch().unknown_since
