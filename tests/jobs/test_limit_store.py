"""What people and code change about limits, and what moves with them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.errors import InvalidName, ValidationFailed
from app.extensions import db
from app.jobs import Limit, Rate
from app.jobs.limits import attach, declared, moves, store
from app.jobs.limits.definition import Definition
from app.jobs.limits.errors import (
    AttachedByCode,
    LimitDefinedInCode,
    LimitInUse,
    LimitNotFound,
    OldWorkers,
)
from app.jobs.models import AuditEvent, Job, LimitAttachment, LimitKey, LimitMove, LimitRow
from app.jobs.testing import temporary_types
from tests import factories


@pytest.fixture
def row(session: Any) -> Any:
    """The row of a limit as it is stored now."""

    def row(name: str = "stripe") -> Any:
        session.commit()
        return session.get(LimitRow, name, populate_existing=True)

    return row


@pytest.fixture
def job() -> Iterator[Any]:
    with temporary_types() as decorator:
        yield decorator


def put(name: str = "stripe", **numbers: Any) -> bool:
    return store.put_limit(db.session, Definition(name, **numbers), by="ada")


def patch(name: str = "stripe", **changes: Any) -> None:
    store.patch_limit(db.session, name, changes, by="ada")


def actions(session: Any) -> list[str]:
    return [event.action for event in session.query(AuditEvent).order_by(AuditEvent.id)]


class TestNumbers:
    def test_a_limit_is_created_and_replaced(self, session: Any, row: Any) -> None:
        assert put(by="customerId", concurrency=20, rate=Rate(100), key_concurrency=2) is True
        limit = row()
        assert (limit.source, limit.by_field, limit.concurrency) == ("api", "customerId", 20)
        assert (limit.rate_count, limit.rate_seconds, limit.burst) == (100, 1.0, 5)
        assert limit.key_concurrency == 2

        assert put(concurrency=5) is False
        limit = row()
        assert (limit.concurrency, limit.rate_count, limit.by_field) == (5, None, None)
        assert actions(session) == ["limit.create", "limit.edit"]

    def test_what_is_wrong_is_named_and_nothing_is_stored(self, session: Any, row: Any) -> None:
        with pytest.raises(ValidationFailed) as refusal:
            put()
        assert refusal.value.errors == {
            "concurrency": ["give concurrency, rate, perKey or by; else there is nothing to limit."]
        }
        with pytest.raises(ValidationFailed, match="schedule is kept for schedules"):
            put("schedule", concurrency=1)
        assert row() is None

    def test_a_patch_changes_some_numbers(self, session: Any, row: Any) -> None:
        put(concurrency=20, key_concurrency=2)
        patch(concurrency=5)
        assert (row().concurrency, row().key_concurrency, row().override) == (5, 2, {})
        with pytest.raises(ValidationFailed):
            patch(concurrency=None, key_concurrency=None)

    def test_an_unknown_limit_names_the_known_ones(self, session: Any) -> None:
        put("smtp", concurrency=1)
        put("stripe", concurrency=1)
        with pytest.raises(LimitNotFound) as refusal:
            patch("strype", concurrency=5)
        assert str(refusal.value) == "No limit is named strype; known: smtp, stripe."
        with pytest.raises(LimitNotFound):
            patch("schedule", concurrency=5)


class TestCode:
    @pytest.fixture(autouse=True)
    def worker(self, session: Any) -> Any:
        return factories.worker(limits=["stripe"])

    def declare(self, **numbers: Any) -> bool:
        """What a deploy with this definition does."""
        with temporary_types() as job:
            job("test.charge", limit=Limit("stripe", **numbers))(lambda payload: None)
            is_done = declared.declare(db.session)
            db.session.commit()
        return is_done

    def test_a_worker_stores_what_its_code_declares(self, session: Any, row: Any) -> None:
        assert self.declare(concurrency=20, by="customerId") is True
        assert (row().source, row().concurrency, row().by_field) == ("code", 20, "customerId")
        attachment = session.get(LimitAttachment, ("type", "test.charge"))
        assert (attachment.limit_name, attachment.source) == ("stripe", "code")
        assert actions(session) == ["limit.declare", "type.limit"]

    def test_starting_again_changes_nothing(self, session: Any) -> None:
        self.declare(concurrency=20)
        self.declare(concurrency=20)
        assert actions(session) == ["limit.declare", "type.limit"]

    def test_an_override_survives_deploys(self, session: Any, row: Any) -> None:
        self.declare(concurrency=20)
        patch(concurrency=5)
        for concurrency in (20, 30, 40):
            self.declare(concurrency=concurrency)
            assert row().override == {"concurrency": 5}
            assert (row().concurrency, row().overridden_by) == (concurrency, "ada")

        store.drop_override(session, "stripe", by="ada")
        assert (row().override, row().concurrency, row().overridden_by) == ({}, 40, None)

    def test_an_override_may_lift_a_bound_but_not_all(self, session: Any, row: Any) -> None:
        self.declare(concurrency=20, rate=Rate(5))
        patch(rate_count=None, rate_seconds=None, burst=None)
        assert row().override == {"rate_count": None, "rate_seconds": None, "burst": None}
        with pytest.raises(ValidationFailed):
            patch(concurrency=None)

    def test_the_rest_is_the_codes(self, session: Any) -> None:
        self.declare(concurrency=20)
        with pytest.raises(LimitDefinedInCode) as refusal:
            patch(by_field="customerId")
        assert str(refusal.value) == (
            "Limit stripe is defined in code: only its numbers can be overridden."
        )
        with pytest.raises(LimitDefinedInCode):
            put(concurrency=5)
        with pytest.raises(AttachedByCode) as attached:
            attach.set_limit(session, "type", "test.charge", None, by="ada")
        assert str(attached.value) == (
            "Job type test.charge is put under limit stripe by its code; change it there."
        )

    def test_a_limit_of_live_code_stays(self, session: Any, row: Any) -> None:
        self.declare(concurrency=20)
        session.query(LimitAttachment).delete()
        with pytest.raises(LimitDefinedInCode):
            store.delete_limit(session, "stripe", by="ada")
        session.execute(text("UPDATE workers SET limits = '{}'"))
        store.delete_limit(session, "stripe", by="ada")
        assert row() is None

    def test_a_type_leaves_its_limit_when_no_live_code_puts_it_there(
        self, session: Any, worker: Any
    ) -> None:
        self.declare(concurrency=20)
        worker.limits = ["stripe", "test.charge=stripe"]
        former = factories.worker(limits=[])
        session.commit()
        assert declared.retire(session) == 0

        worker.stopped_at = former.started_at
        session.commit()
        assert declared.retire(session) == 1
        session.commit()
        assert session.get(LimitAttachment, ("type", "test.charge")) is None

    def test_nothing_is_retired_while_no_worker_lives(self, session: Any, worker: Any) -> None:
        self.declare(concurrency=20)
        session.delete(worker)
        session.commit()
        assert declared.retire(session) == 0

    def test_a_worker_of_a_former_release_postpones_the_attachment(
        self, session: Any, row: Any
    ) -> None:
        old = factories.worker(limits=None, version="1.3")
        assert self.declare(concurrency=20) is False
        assert row().concurrency == 20
        assert session.query(LimitAttachment).count() == 0

        session.delete(old)
        session.commit()
        assert self.declare(concurrency=20) is True
        assert session.query(LimitAttachment).count() == 1


class TestOldWorkers:
    def test_limits_are_refused_while_one_lives(self, session: Any) -> None:
        put("smtp", concurrency=1)
        old = factories.worker(limits=None, version="1.3")
        text = f"Worker {old.id} runs version 1.3, which doesn't know limits; try again when it has stopped."
        for change in (
            lambda: put(concurrency=1),
            lambda: patch("smtp", concurrency=2),
            lambda: attach.set_limit(session, "queue", "mail", "smtp", by="ada"),
        ):
            with pytest.raises(OldWorkers) as refusal:
                change()
            assert str(refusal.value) == text

    def test_one_that_stopped_or_went_silent_is_no_obstacle(self, session: Any) -> None:
        factories.worker(limits=None, stopped_ago=1)
        factories.worker(limits=None, silent_for=3600)
        assert put(concurrency=1)


class TestPausesAndKeys:
    def test_a_limit_is_paused_and_resumed(self, session: Any, row: Any) -> None:
        put(concurrency=1)
        store.pause_limit(session, "stripe", by="ada")
        assert (row().paused_at is not None, row().paused_by) == (True, "ada")
        store.resume_limit(session, "stripe", by="ada")
        assert (row().paused_at, row().paused_by) == (None, None)

    def test_a_key_has_its_own_number_and_pause(self, session: Any) -> None:
        put(key_concurrency=1)
        store.set_key_concurrency(session, "stripe", "a/b 42", concurrency=10, by="ada")
        store.pause_key(session, "stripe", "a/b 42", by="ada")
        session.commit()
        key = session.get(LimitKey, ("stripe", "a/b 42"))
        assert (key.concurrency, key.paused_by) == (10, "ada")

        store.resume_key(session, "stripe", "a/b 42", by="ada")
        store.set_key_concurrency(session, "stripe", "a/b 42", concurrency=None, by="ada")
        session.commit()
        session.refresh(key)
        assert (key.concurrency, key.paused_at, key.paused_by) == (None, None, None)


def move_all(session: Any) -> None:
    session.commit()
    with Session(db.engine) as own:
        while moves.step(own):
            pass
    session.commit()


@pytest.fixture
def small_chunks(monkeypatch: Any) -> None:
    monkeypatch.setattr(moves, "CHUNK", 3)
    monkeypatch.setattr(moves, "WINDOW", 5)


@pytest.fixture
def held(session: Any) -> Any:
    """(limit, key, hold) of a job."""

    def held(job: Job) -> tuple[Any, ...]:
        session.refresh(job)
        return (job.limit_name, job.limit_key, job.hold)

    return held


@pytest.mark.usefixtures("small_chunks", "redis")
class TestAttaching:
    def test_the_backlog_follows_in_chunks(self, session: Any, held: Any) -> None:
        put(by="customerId", concurrency=1)
        due = [factories.pending_job(type="charge", payload={"customerId": n}) for n in range(7)]
        others = [factories.pending_job(type="echo") for _ in range(12)]
        later = factories.scheduled_job(type="charge")
        running = factories.processing_job(type="charge", payload={"customerId": "x"})
        done = factories.completed_job(type="charge")

        assert attach.set_limit(session, "type", "charge", "stripe", by="ada") is True
        move_all(session)

        assert [held(job) for job in due] == [("stripe", str(n), 1) for n in range(7)]
        assert held(later) == ("stripe", "", 3)
        assert held(running) == ("stripe", "x", 0)
        assert {held(job) for job in (*others, done)} == {(None, None, 0)}
        assert session.query(LimitMove).count() == 0

    def test_it_shows_its_progress_and_goes_on_after_a_crash(self, session: Any) -> None:
        put(concurrency=1)
        for _ in range(7):
            factories.pending_job(type="charge")
        attach.set_limit(session, "type", "charge", "stripe", by="ada")
        session.commit()
        with Session(db.engine) as crashed:
            moves.step(crashed)
        move = session.get(LimitMove, ("type", "charge"))
        assert (move.done, move.started_by) == (3, "ada")
        move_all(session)
        session.expire_all()
        assert session.query(Job).filter_by(limit_name="stripe").count() == 7

    def test_the_limit_of_the_type_comes_before_the_queues(self, session: Any, held: Any) -> None:
        put("stripe", concurrency=1)
        put("smtp", concurrency=1)
        job = factories.pending_job(type="charge", queue="mail")
        attach.set_limit(session, "queue", "mail", "smtp", by="ada")
        move_all(session)
        assert held(job) == ("smtp", "", 1)
        attach.set_limit(session, "type", "charge", "stripe", by="ada")
        move_all(session)
        assert held(job) == ("stripe", "", 1)
        attach.set_limit(session, "type", "charge", None, by="ada")
        move_all(session)
        assert held(job) == ("smtp", "", 1)

    def test_detaching_sets_jobs_free(self, session: Any, held: Any) -> None:
        put(concurrency=1)
        attach.set_limit(session, "type", "charge", "stripe", by="ada")
        move_all(session)
        waiting = [factories.waiting_job(type="charge") for _ in range(7)]
        running = factories.processing_job(type="charge", limit_name="stripe", limit_key="")
        attach.set_limit(session, "type", "charge", None, by="ada")
        move_all(session)
        assert {held(job) for job in (*waiting, running)} == {(None, None, 0)}

    def test_jobs_of_a_deleted_limit_are_set_free(self, session: Any, held: Any) -> None:
        put(concurrency=1)
        waiting = [factories.waiting_job(type="charge") for _ in range(4)]
        later = factories.scheduled_job(type="charge", limit_name="stripe", limit_key="", hold=3)
        store.delete_limit(session, "stripe", by="ada")
        move_all(session)
        assert {held(job) for job in (*waiting, later)} == {(None, None, 0)}

    def test_a_limit_in_use_is_not_deleted(self, session: Any) -> None:
        put(concurrency=1)
        attach.set_limit(session, "type", "refund", "stripe", by="ada")
        attach.set_limit(session, "type", "charge", "stripe", by="ada")
        with pytest.raises(LimitInUse) as refusal:
            store.delete_limit(session, "stripe", by="ada")
        assert str(refusal.value) == "Limit stripe holds for charge, refund; detach them first."

    def test_two_workers_do_not_move_the_same_jobs(self, app: Any, session: Any) -> None:
        put(concurrency=1)
        for _ in range(20):
            factories.pending_job(type="charge")
        attach.set_limit(session, "type", "charge", "stripe", by="ada")
        session.commit()
        barrier = threading.Barrier(2)

        def work() -> None:
            barrier.wait()
            with app.app_context(), Session(db.engine) as own:
                while own.query(LimitMove).count():
                    moves.step(own)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert session.query(Job).filter_by(limit_name="stripe", hold=1).count() == 20

    def test_names_that_nothing_can_have_are_refused(self, session: Any) -> None:
        put(concurrency=1)
        with pytest.raises(InvalidName):
            attach.set_limit(session, "queue", "a b", "stripe", by="ada")
        with pytest.raises(LimitNotFound):
            attach.set_limit(session, "queue", "mail", "strype", by="ada")
