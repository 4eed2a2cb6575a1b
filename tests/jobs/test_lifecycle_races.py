"""Verbs that meet: exactly one wins, the others learn it, nobody deadlocks."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.errors import UniqueConflict
from app.extensions import db
from app.jobs import enqueue, ids, lifecycle, reports
from app.jobs.lifecycle import NewJob
from tests.factories import cancelled_job, ending, failed_job, pending_job, processing_job
from tests.support.racing import race


@pytest.fixture
def own(app) -> Callable[[Callable[[Any], Any]], Callable[[], Any]]:
    """Turns ``f(session)`` into a function with a session and a transaction of its own."""

    def wrap(function: Callable[[Any], Any]) -> Callable[[], Any]:
        def call() -> Any:
            with app.app_context():
                try:
                    result = function(db.session)
                    db.session.commit()
                    return result
                finally:
                    db.session.remove()

        return call

    return wrap


def status_of(session, job_id) -> str:
    session.rollback()
    return session.execute(
        text("SELECT status FROM jobs WHERE id = :id"), {"id": job_id}
    ).scalar_one()


def claim(ids_: list[UUID], token: UUID) -> Callable[[Any], set[UUID]]:
    def call(session) -> set[UUID]:
        rows = lifecycle.claim(
            session, [i.hex for i in ids_], token=token, worker_id=uuid4(), lease_seconds=30
        )
        return {row.id for row in rows}

    return call


def test_concurrent_identical_unique_keys_create_one_row(session, own):
    def post(session):
        return lifecycle.enqueue(session, [NewJob("echo", unique_key="daily")])[0]

    answers = race(*[own(post) for _ in range(6)])
    assert len({answer.id for answer in answers}) == 1
    assert sum(answer.is_new for answer in answers) == 1
    assert session.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 1


def test_each_job_is_claimed_by_one_worker(session, own):
    jobs = [pending_job().id for _ in range(40)]
    session.rollback()
    claims = [own(claim(jobs[::step], uuid4())) for step in (1, -1, 1, -1)]
    taken = race(*claims)
    assert sum(len(each) for each in taken) == 40
    assert set().union(*taken) == set(jobs)


def test_complete_and_rescue_of_one_job_have_one_winner(session, own):
    for _ in range(10):
        job = processing_job(lease_expired_by=1)
        job_id, token = job.id, job.lease_token
        session.rollback()
        refused, rescued = race(
            own(lambda s, i=job_id, t=token: lifecycle.complete(s, [ending(i, t, result="1")])),
            own(lambda s: {row.id for row in lifecycle.rescue(s)}),
        )
        assert refused == rescued
        assert status_of(session, job_id) == ("pending" if rescued else "completed")


def test_cancel_and_claim_leave_a_cancelled_job_or_a_request(session, own):
    for _ in range(10):
        job_id = pending_job().id
        session.rollback()
        taken, changes = race(
            own(claim([job_id], uuid4())),
            own(lambda s, i=job_id: lifecycle.cancel(s, [i], by="ada")),
        )
        assert changes.done == [job_id]
        assert status_of(session, job_id) == ("processing" if taken else "cancelled")
        request = session.execute(
            text("SELECT cancel_requested_at FROM jobs WHERE id = :id"), {"id": job_id}
        ).scalar_one()
        assert (request is not None) == bool(taken)


def test_two_retries_of_one_job_count_once(session, own):
    job_id = failed_job().id
    session.rollback()
    changes = race(*[own(lambda s: lifecycle.retry(s, [job_id], by="ada")) for _ in range(4)])
    assert sum(len(each.done) for each in changes) == 1
    letters = text("SELECT count(*) FROM dead_letters WHERE closed_how = 'retried'")
    assert session.execute(letters).scalar_one() == 1


def test_retries_into_one_unique_key_have_one_winner(session, own):
    rivals = [cancelled_job(unique_key="daily").id for _ in range(4)]
    session.rollback()
    changes = race(*[own(lambda s, i=i: lifecycle.retry(s, [i], by="ada")) for i in rivals])
    assert sum(len(each.done) for each in changes) == 1
    refusals = [error for each in changes for error in each.refused.values()]
    assert len(refusals) == 3
    assert all(isinstance(error, UniqueConflict) for error in refusals)


def test_batches_in_opposite_order_never_deadlock(session, own):
    for _ in range(5):
        jobs = [processing_job() for _ in range(60)]
        leases = [(job.id, job.lease_token) for job in jobs]
        session.rollback()
        endings = [ending(i, t, result="1") for i, t in leases]
        everyone = [i for i, _ in leases]
        race(
            own(lambda s, o=endings: lifecycle.complete(s, o[:40])),
            own(lambda s, o=endings: lifecycle.complete(s, o[::-1][:40])),
            own(lambda s, e=everyone: lifecycle.cancel(s, e[::-1], by="ada")),
            own(lambda s, held=leases: lifecycle.extend(s, held[::-1], lease_seconds=30)),
        )
        left = text("SELECT count(*) FROM jobs WHERE status <> 'completed'")
        assert session.execute(left).scalar_one() == 0
        session.rollback()


# ---------------------------------------------------------------------------- enqueue


class Recorder:
    """A publisher that remembers what was published to it."""

    def __init__(self) -> None:
        self.published: list[UUID] = []

    def publish(self, refs) -> bool:
        self.published += [ref.id for ref in refs]
        return True


@pytest.fixture
def published(app, monkeypatch) -> list[UUID]:
    recorder = Recorder()
    monkeypatch.setitem(app.extensions, "publisher", recorder)
    return recorder.published


def test_a_job_is_published_after_the_commit_and_not_before(session, published):
    job_id = enqueue("echo", {"a": 1})
    assert published == []
    session.commit()
    assert published == [job_id]


def test_a_rolled_back_job_is_neither_stored_nor_published(session, published):
    enqueue("echo")
    session.rollback()
    session.commit()
    assert published == []
    assert session.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 0


def test_a_released_savepoint_publishes_nothing_yet(session, published):
    with session.begin_nested():
        job_id = enqueue("echo")
    assert published == []
    session.commit()
    assert published == [job_id]


def test_one_list_with_the_same_key_twice_creates_one_job(session):
    first, second = lifecycle.enqueue(
        session, [NewJob("echo", unique_key="k"), NewJob("echo", unique_key="k")]
    )
    session.commit()
    assert (first.id, first.is_new, second.is_new) == (second.id, True, False)


def test_a_delay_counts_from_the_databases_clock(session):
    job_id = enqueue("echo", delay_seconds=90)
    session.commit()
    sql = text("SELECT extract(epoch FROM run_at - created_at) FROM jobs WHERE id = :id")
    assert float(session.execute(sql, {"id": job_id}).scalar_one()) == 90.0


def test_ids_rise_within_a_process():
    made = [ids.new_id() for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == 10_000


def test_a_fork_makes_ids_with_its_own_random_bits():
    """Both go on from the same state, within the same millisecond."""
    ids.new_id()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, ids.new_id().bytes[8:])
        os._exit(0)
    ours = ids.new_id().bytes[8:]
    os.waitpid(pid, 0)
    assert os.read(reader, 8) != ours
    os.close(reader)
    os.close(writer)


def test_a_heartbeat_does_not_wait_for_outcomes_that_are_being_written(session, own):
    """Completed and failed jobs of one batch are locked by two statements, so not in id order over both."""
    first, second = processing_job(), processing_job()
    leases = [(first.id, first.lease_token), (second.id, second.lease_token)]
    lifecycle.complete(session, [ending(second.id, second.lease_token)])

    def heartbeat(other):
        other.execute(text("SET LOCAL lock_timeout = '3s'"))
        return lifecycle.extend(other, leases, lease_seconds=30)

    assert set(own(heartbeat)()) == {first.id}
    assert lifecycle.complete(session, [ending(first.id, first.lease_token)]) == set()
    session.commit()


def test_two_writers_of_one_log_do_not_wait_for_each_other(session, own):
    job = processing_job()

    def write(db_):
        db_.execute(text("SET LOCAL lock_timeout = '3s'"))
        lines = [(job.id, 1, (datetime.now(UTC), "info", f"line {n}")) for n in range(3)]
        reports.write_lines(db_, lines, limit=3)

    own(write)()
    write(session)  # has pushed out the lines, not committed
    own(write)()
    session.commit()
