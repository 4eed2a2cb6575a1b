"""Jobs under limits: how they come to wait, and which a pass admits."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.extensions import db
from app.jobs import lifecycle
from app.jobs.ending import Ending
from app.jobs.lifecycle import NewJob
from app.jobs.limits import admission, backstop
from app.jobs.limits.deal import deal
from app.jobs.limits.rates import Tokens
from app.jobs.models import Job
from app.worker.claimed import Claimed
from tests import factories


@pytest.fixture
def limit(session: Any) -> Callable[..., None]:
    """``limit("stripe", concurrency=2)``: the type echo is under it."""

    def limit(
        name: str = "stripe", *, type: str | None = "echo", queue: str | None = None, **columns: Any
    ) -> None:
        names = ", ".join(["name", "source", *columns])
        values = ", ".join([":name", "'api'", *(f":{column}" for column in columns)])
        session.execute(
            text(f"INSERT INTO limits ({names}) VALUES ({values})"), {"name": name, **columns}
        )
        for kind, attached in (("type", type), ("queue", queue)):
            if attached:
                session.execute(
                    text(
                        "INSERT INTO limit_attachments (kind, name, limit_name) VALUES (:kind, :of, :name)"
                    ),
                    {"kind": kind, "of": attached, "name": name},
                )
        session.commit()

    return limit


@pytest.fixture(autouse=True)
def worker(session: Any) -> None:
    """A live worker of five threads that serves everything."""
    factories.worker(threads=5)


@pytest.fixture
def enqueue(session: Any) -> Callable[..., list[Job]]:
    def enqueue(*payloads: dict[str, Any], n: int = 1, **columns: Any) -> list[Job]:
        new = [
            NewJob("echo", payload, **columns) for payload in payloads or ({},) for _ in range(n)
        ]
        done = lifecycle.enqueue(session, new)
        session.commit()
        return [job(each.id) for each in done]

    return enqueue


def job(job_id: UUID) -> Job:
    db.session.expire_all()
    found = db.session.get(Job, job_id)
    assert found is not None
    db.session.commit()
    return found


def admit(name: str = "stripe", **options: Any) -> admission.Pass:
    with db.engine.begin() as connection:
        return admission.admit(connection, name, alive_seconds=3600, **options)


def admit_all(name: str = "stripe") -> list[UUID]:
    admitted: list[UUID] = []
    done = admit(name)
    while True:
        admitted += [row.id for row in done.admitted]
        if not done.is_more:
            return admitted
        done = admit(name, circle=done.circle)


def claim(*ids: UUID, session: Any = None) -> list[Claimed]:
    token = uuid4()
    with db.engine.begin() as connection:
        rows = lifecycle.claim(
            connection, [i.hex for i in ids], token=token, worker_id=uuid4(), lease_seconds=30
        )
    return [Claimed.of(row, token, time.monotonic()) for row in rows]


def end(verb: str, *jobs: Claimed, **fields: Any) -> Any:
    with db.engine.begin() as connection:
        if verb == "complete":
            return lifecycle.complete(connection, [Ending(j, verb) for j in jobs])
        return lifecycle.end_attempts(connection, [Ending(j, verb, **fields) for j in jobs])


def hold(a_job: Job) -> int:
    return job(a_job.id).hold


def limits_row(session: Any, column: str, name: str = "stripe") -> Any:
    value = session.scalar(text(f"SELECT {column} FROM limits WHERE name = :name"), {"name": name})
    session.commit()
    return value


class TestWaiting:
    def test_a_job_under_no_limit_is_free(self, limit: Any, enqueue: Any) -> None:
        limit(type="sleep", concurrency=1)
        [new] = enqueue()
        assert (new.hold, new.limit_name, new.limit_key) == (0, None, None)

    def test_a_due_job_waits_and_a_later_one_holds_no_slot(self, limit: Any, enqueue: Any) -> None:
        limit(concurrency=1)
        [due] = enqueue()
        [later] = enqueue(delay_seconds=60)
        assert (due.hold, due.limit_name, due.limit_key) == (1, "stripe", "")
        assert (later.hold, later.limit_name) == (3, "stripe")

    def test_the_limit_of_the_type_goes_before_that_of_the_queue(
        self, limit: Any, enqueue: Any
    ) -> None:
        limit("of-type", concurrency=1)
        limit("of-queue", type=None, queue="mail", concurrency=1)
        assert enqueue(queue="mail")[0].limit_name == "of-type"
        [other] = lifecycle.enqueue(db.session, [NewJob("sleep", {}, queue="mail")])
        db.session.commit()
        assert job(other.id).limit_name == "of-queue"

    @pytest.mark.parametrize(
        ("payload", "given", "key"),
        [
            ({"customer": {"id": 42}}, None, "42"),
            ({"customer": {"id": "eu"}}, "us", "us"),
            ({}, None, ""),
            ({}, "us", "us"),
            ({"customer": {"id": "x" * 300}}, None, "x" * 200),
        ],
    )
    def test_the_key_is_given_or_a_field_of_the_payload(
        self, limit: Any, enqueue: Any, payload: Any, given: str | None, key: str
    ) -> None:
        limit(by_field="customer.id", key_concurrency=1)
        assert enqueue(payload, limit_key=given)[0].limit_key == key

    def test_the_limit_of_schedules_is_given_with_the_job(self, limit: Any, enqueue: Any) -> None:
        limit(concurrency=1)
        [new] = enqueue(limit_name=lifecycle.SCHEDULE_LIMIT, limit_key="nightly")
        assert (new.hold, new.limit_name, new.limit_key) == (1, "schedule", "nightly")

    def test_no_claim_takes_a_waiting_job(self, limit: Any, enqueue: Any) -> None:
        limit(concurrency=1)
        [waiting] = enqueue()
        assert claim(waiting.id) == []
        assert admit_all() == [waiting.id]
        assert [claimed.id for claimed in claim(waiting.id)] == [waiting.id]

    def test_a_job_that_was_inserted_before_the_limit_is_not_claimed_without_it(
        self, limit: Any, enqueue: Any
    ) -> None:
        [before] = enqueue({"id": 7})
        limit(by_field="id", concurrency=1)
        assert claim(before.id) == []
        with db.engine.begin() as connection:
            [row] = lifecycle.assign(connection, [before.id])
        assert row.held_by == "stripe"
        assert (hold(before), job(before.id).limit_key) == (1, "7")

    def test_a_change_of_the_queue_changes_the_limit(
        self, limit: Any, enqueue: Any, session: Any
    ) -> None:
        limit(type=None, queue="mail", by_field="id", concurrency=1)
        [moved] = enqueue({"id": 1})
        lifecycle.edit(session, [moved.id], {"queue": "mail"}, by="ada")
        session.commit()
        assert (hold(moved), job(moved.id).limit_key) == (1, "1")
        admit_all()
        lifecycle.edit(session, [moved.id], {"priority": 5}, by="ada")
        session.commit()
        assert hold(moved) == 0  # it keeps its slot
        lifecycle.edit(session, [moved.id], {"payload": {"id": 2}}, by="ada")
        session.commit()
        assert (hold(moved), job(moved.id).limit_key) == (1, "2")
        lifecycle.edit(session, [moved.id], {"queue": "default"}, by="ada")
        session.commit()
        assert (hold(moved), job(moved.id).limit_name) == (0, None)

    def test_the_verbs_of_people(self, limit: Any, enqueue: Any, session: Any) -> None:
        limit(concurrency=1)
        [waiting] = enqueue()
        [later] = enqueue(delay_seconds=60)
        lifecycle.run_now(session, [later.id], by="ada")
        session.commit()
        assert hold(later) == 1
        lifecycle.cancel(session, [waiting.id], by="ada")
        session.commit()
        assert (job(waiting.id).status, hold(waiting)) == ("cancelled", 0)
        lifecycle.retry(session, [waiting.id], by="ada")
        session.commit()
        assert hold(waiting) == 1
        lifecycle.edit(
            session, [waiting.id], {"run_at": waiting.run_at + timedelta(days=1)}, by="ada"
        )
        session.commit()
        assert hold(waiting) == 3
        lifecycle.delete(session, [waiting.id], by="ada")
        session.commit()

    def test_a_held_job_can_expire(self, limit: Any, enqueue: Any, session: Any) -> None:
        limit(concurrency=1)
        [waiting] = enqueue(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        assert lifecycle.expire(session) == 1
        session.commit()
        assert job(waiting.id).status == "cancelled"


class TestConcurrency:
    def test_as_many_as_the_limit_allows_by_priority_and_time(
        self, limit: Any, enqueue: Any
    ) -> None:
        limit(concurrency=2)
        low, first = enqueue(n=2)
        [high] = enqueue(priority=5)
        assert admit_all() == sorted([high.id, low.id])
        assert admit_all() == []
        assert hold(first) == 1

    @pytest.mark.parametrize(
        "verb", ["complete", "bury", "cancel", "retry_later", "snooze", "release", "crash"]
    )
    def test_the_statement_that_ends_a_job_frees_its_slot(
        self, limit: Any, enqueue: Any, verb: str
    ) -> None:
        limit(concurrency=1)
        first, second = enqueue(n=2)
        [claimed] = claim(*admit_all())
        assert (claimed.id, claimed.limit_name) == (first.id, "stripe")
        assert admit_all() == []
        end(
            verb,
            claimed,
            **({"delay": 60} if verb in ("retry_later", "snooze") else {}),
            **({"max_crashes": 9} if verb == "crash" else {}),
        )
        expected = {"retry_later": 3, "snooze": 3, "release": 1, "crash": 1}.get(verb, 0)
        assert hold(first) == expected
        assert len(admit_all()) == 1
        assert [hold(first), hold(second)].count(0) == (1 if expected == 1 else 1 + (expected == 0))

    def test_keys_take_turns(self, limit: Any, enqueue: Any) -> None:
        limit(by_field="c", concurrency=3)
        enqueue({"c": "a"}, n=100)
        enqueue({"c": "b"}, n=2)
        enqueue({"c": "c"}, n=2)
        order: list[str] = []
        for _ in range(6):
            ids = admit_all()
            order += sorted(str(job(i).limit_key) for i in ids)
            end("complete", *claim(*ids))
        assert order[:6] == ["a", "b", "c"] * 2
        assert set(order[6:]) == {"a"}

    def test_a_key_has_its_own_bound(self, limit: Any, enqueue: Any, session: Any) -> None:
        limit(by_field="c", key_concurrency=2)
        for key in "abc":
            enqueue({"c": key}, n=5)
        session.execute(
            text("INSERT INTO limit_keys (limit_name, key, concurrency) VALUES ('stripe', 'b', 4)")
        )
        session.execute(
            text(
                "INSERT INTO limit_keys (limit_name, key, paused_at) VALUES ('stripe', 'c', now())"
            )
        )
        session.commit()
        assert Counter(job(i).limit_key for i in admit_all()) == {"a": 2, "b": 4}

    def test_an_operators_number_counts(self, limit: Any, enqueue: Any) -> None:
        limit(concurrency=5, override='{"concurrency": 2}')
        enqueue(n=5)
        assert len(admit_all()) == 2

    def test_a_paused_limit_admits_nothing(self, limit: Any, enqueue: Any) -> None:
        limit(concurrency=5, paused_at=datetime.now(UTC))
        enqueue()
        assert admit_all() == []

    def test_without_a_bound_in_all_a_window_is_admitted(self, limit: Any, enqueue: Any) -> None:
        limit(by_field="c")
        enqueue({"c": "a"}, n=100)
        assert len(admit_all()) == 10
        enqueue({"c": "b"}, n=100)
        end("complete", *claim(*ids(hold_=0, key="a")))
        assert Counter(job(i).limit_key for i in admit_all()) == {"a": 5, "b": 5}

    def test_more_keys_than_a_pass_looks_at(self, limit: Any, enqueue: Any, session: Any) -> None:
        limit(by_field="c", concurrency=3000)
        enqueue(*({"c": n} for n in range(1200)))
        session.execute(
            text(
                "INSERT INTO limit_keys (limit_name, key, paused_at) SELECT 'stripe', g::text, now() FROM generate_series(0, 1199) g WHERE g <> 999"
            )
        )
        session.commit()
        assert [job(i).limit_key for i in admit_all()] == ["999"]

    def test_a_job_that_no_worker_serves_takes_no_slot(
        self, limit: Any, enqueue: Any, session: Any
    ) -> None:
        limit(concurrency=1)
        session.execute(text("UPDATE workers SET queues = '{default}'"))
        session.commit()
        enqueue(queue="nobody", priority=9)
        [served] = enqueue()
        assert admit_all() == [served.id]

    def test_a_job_that_has_not_started_leaves_its_slot(
        self, limit: Any, enqueue: Any, session: Any
    ) -> None:
        limit(by_field="c", concurrency=1)
        [first] = enqueue({"c": "a"})
        [second] = enqueue({"c": "b"})
        assert admit_all() == [first.id]
        session.execute(
            text("UPDATE jobs SET admitted_at = now() - interval '11 s' WHERE hold = 0")
        )
        session.commit()
        assert admit_all() == [second.id]
        assert hold(first) == 1

    def test_paused_jobs_are_passed_over(self, limit: Any, enqueue: Any) -> None:
        limit(concurrency=1)
        enqueue(queue="mail", priority=9)
        [free] = enqueue()
        factories.paused_queue("mail")
        assert admit_all() == [free.id]

    def test_a_timed_pass_that_was_overtaken_does_nothing(
        self, limit: Any, enqueue: Any, session: Any
    ) -> None:
        limit(concurrency=5, rate_count=1, rate_seconds=3600.0, burst=1)
        enqueue(n=5)
        claim(*admit_all())
        done = admit()
        assert done.timer is not None
        assert 3500 < done.wake_in <= 3600
        assert not admit(timer=done.timer).is_busy
        session.execute(text("UPDATE limits SET tat = tat + interval '1 s'"))
        session.commit()
        assert admit().timer > done.timer
        assert admit(timer=done.timer).is_busy


def ids(*, hold_: int, key: str) -> list[UUID]:
    found = db.session.scalars(
        text("SELECT id FROM jobs WHERE hold = :hold AND limit_key = :key AND status = 'pending'"),
        {"hold": hold_, "key": key},
    ).all()
    db.session.commit()
    return list(found)


class TestRates:
    def test_a_burst_and_then_one_per_interval(
        self, limit: Any, enqueue: Any, session: Any
    ) -> None:
        limit(rate_count=1, rate_seconds=100.0, burst=3)
        enqueue(n=10)
        first = admit_all()
        assert len(first) == 3
        assert admit_all() == []  # what is admitted and has not started has its token
        claim(*first)
        assert admit_all() == []
        session.execute(text("UPDATE limits SET tat = tat - interval '101 s'"))
        session.commit()
        assert len(admit_all()) == 1

    def test_an_idle_limit_saves_no_more_than_its_burst(
        self, limit: Any, enqueue: Any, session: Any
    ) -> None:
        limit(
            rate_count=1, rate_seconds=1.0, burst=2, tat=datetime.now(UTC) - timedelta(seconds=1000)
        )
        enqueue(n=10)
        assert len(admit_all()) == 2

    def test_a_key_has_its_own_rate(self, limit: Any, enqueue: Any, session: Any) -> None:
        limit(by_field="c", key_rate_count=1, key_rate_seconds=100.0, key_burst=2)
        enqueue({"c": "a"}, n=5)
        enqueue({"c": "b"}, n=1)
        admitted = admit_all()
        assert Counter(job(i).limit_key for i in admitted) == {"a": 2, "b": 1}
        claim(*admitted)
        done = admit()
        assert (list(done.admitted), done.timer is not None) == ([], True)
        assert 90 < done.wake_in <= 100

    def test_a_release_of_an_unstarted_job_gives_its_token_back(
        self, limit: Any, enqueue: Any
    ) -> None:
        limit(
            rate_count=1,
            rate_seconds=100.0,
            burst=1,
            by_field="c",
            key_rate_count=1,
            key_rate_seconds=100.0,
            key_burst=1,
        )
        enqueue({"c": "a"}, n=2)
        end("release", *claim(*admit_all()))
        again = admit_all()
        assert len(again) == 1
        end("release", *claim(*again), outcome="released")  # it had started
        assert admit_all() == []

    @pytest.mark.parametrize("scope", ["key", "limit"])
    def test_throttle_closes_the_key_or_the_limit(
        self, limit: Any, enqueue: Any, session: Any, scope: str
    ) -> None:
        limit(by_field="c", concurrency=10)
        enqueue({"c": "a"}, n=3)
        enqueue({"c": "b"}, n=1)
        claimed = claim(*admit_all())
        enqueue({"c": "a"}, {"c": "b"})
        [of_a, *_] = [each for each in claimed if job(each.id).limit_key == "a"]
        end("snooze", of_a, delay=30, throttles=scope)
        assert (job(of_a.id).hold, job(of_a.id).attempts) == (3, 0)
        assert [job(i).limit_key for i in admit_all()] == (["b"] if scope == "key" else [])
        session.execute(text("UPDATE limits SET blocked_until = now() - interval '1 s'"))
        session.execute(text("UPDATE limit_keys SET blocked_until = now() - interval '1 s'"))
        session.commit()
        assert "a" in [job(i).limit_key for i in admit_all()]


class TestBackstop:
    def test_it_finds_limits_and_lets_due_jobs_wait(
        self, limit: Any, enqueue: Any, session: Any
    ) -> None:
        limit(concurrency=1)
        [later] = enqueue(delay_seconds=60)
        assert backstop.look(session, after="").limits == []
        session.execute(text("UPDATE jobs SET run_at = now()"))
        session.commit()
        found = backstop.look(session, after="")
        session.commit()
        assert (found.limits, found.count, hold(later)) == (["stripe"], 1, 1)

    def test_jobs_of_a_limit_that_is_gone_are_released(
        self, limit: Any, enqueue: Any, session: Any
    ) -> None:
        limit(concurrency=1)
        [waiting] = enqueue()
        session.execute(text("DELETE FROM limit_attachments"))
        session.execute(text("DELETE FROM limits WHERE name = 'stripe'"))
        session.commit()
        found = backstop.look(session, after="")
        session.commit()
        assert [row.id for row in found.released] == [waiting.id]
        assert (hold(waiting), job(waiting.id).limit_name) == (0, None)


class TestDealing:
    @pytest.mark.parametrize(
        ("rooms", "free", "shares"),
        [
            ([("a", 9), ("b", 9)], 3, {"a": 2, "b": 1}),
            ([("a", 1), ("b", 9), ("c", 0)], 5, {"a": 1, "b": 4}),
            ([("a", 500)], 500, {"a": 500}),
            ([("a", 1)], 9, {"a": 1}),
            ([], 9, {}),
            ([("a", 2), ("b", 5), ("c", 5)], 0, {}),
        ],
    )
    def test_one_each_in_turn(self, rooms: Any, free: int, shares: Any) -> None:
        assert deal(rooms, free) == shares


class TestTokens:
    def test_any_window_has_at_most_the_burst_and_what_the_rate_gives(self) -> None:
        tokens, starts, now = Tokens(0.02, 5, float("-inf")), [], 1000.0
        for step in range(2000):
            now += 0.007 if step % 100 else 2.0
            n = tokens.available(now)
            starts += [now] * n
            tokens = Tokens(0.02, 5, max(tokens.tat, now) + n * 0.02)
        for i, at in enumerate(starts):
            for seconds in (0.1, 1.0, 10.0):
                within = sum(1 for later in starts[i:] if later < at + seconds)
                assert within <= 5 + seconds * 50 + 1e-6
