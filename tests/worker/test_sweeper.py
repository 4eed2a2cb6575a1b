"""Rescue, expiry, retention; who is elected; and what happens when a duty fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisAway
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app import database
from app.database import elected
from app.worker.sweeper import Sweeper, promote
from app.worker.sweeper.expire import expire_jobs
from app.worker.sweeper.prune import NIL, Pruner, prune_small_tables
from app.worker.sweeper.rescue import rescue_jobs
from tests import factories


def test_an_expired_lease_is_rescued_and_the_job_published_again(
    engine: Any, ready: Any, row: Any, rows: Any
) -> None:
    job_id = factories.processing_job(lease_expired_by=1).id
    held = factories.processing_job().id
    assert rescue_jobs(engine, ready) == 1
    assert (row(job_id).status, row(job_id).attempts, row(job_id).crashes) == ("pending", 0, 1)
    assert row(held).status == "processing"
    assert ready.not_ready("default", [job_id]) == set()
    [attempt] = rows("SELECT outcome, error FROM job_attempts WHERE job_id = :id", id=job_id)
    assert attempt.outcome == "crashed"
    assert "stopped sending heartbeats" in attempt.error


@pytest.mark.parametrize(("type", "crashes"), [("echo", 2), ("act-once", 0)])
def test_the_last_crash_buries(
    engine: Any, ready: Any, row: Any, rows: Any, type: str, crashes: int
) -> None:
    job_id = factories.processing_job(type=type, crashes=crashes, lease_expired_by=1).id
    assert rescue_jobs(engine, ready) == 1
    assert row(job_id).status == "failed"
    [letter] = rows("SELECT reason FROM dead_letters WHERE job_id = :id", id=job_id)
    assert letter.reason == f"crashed its worker {crashes + 1} times"
    assert ready.not_ready("default", [job_id]) == {job_id}


def test_jobs_past_their_expiry_are_cancelled(engine: Any, row: Any) -> None:
    late = factories.pending_job(expires_at=factories._now(-1)).id
    early = factories.pending_job(expires_at=factories._now(60)).id
    assert expire_jobs(engine) == 1
    assert (row(late).status, row(late).last_error) == (
        "cancelled",
        "Expired before it could start.",
    )
    assert row(early).status == "pending"


class TestRetention:
    OLD = 8 * 86400.0

    @pytest.fixture
    def pruner(self, engine: Any, settings: Any) -> Callable[..., Pruner]:
        return lambda days=7.0: Pruner(engine, replace(settings, retention_days=days))

    def test_only_old_final_jobs_are_deleted(self, pruner: Any, rows: Any) -> None:
        old = {"created_ago": self.OLD, "finished_ago": self.OLD - 60}
        gone = [
            factories.completed_job(**old).id,
            factories.cancelled_job(**old).id,
            factories.failed_job(is_discarded=True, **old).id,
        ]
        kept = [
            factories.failed_job(**old).id,  # its dead letter waits for a person
            factories.completed_job(created_ago=self.OLD, finished_ago=60).id,
            factories.completed_job().id,
            factories.pending_job(created_ago=self.OLD).id,
            factories.processing_job(created_ago=self.OLD).id,
        ]
        assert pruner().prune_jobs() == len(gone)
        assert {row.id for row in rows("SELECT id FROM jobs")} == set(kept)

    def test_zero_days_keeps_everything(self, pruner: Any) -> None:
        factories.completed_job(created_ago=self.OLD, finished_ago=self.OLD)
        assert pruner(0.0).prune_jobs() == 0

    def test_retained_rows_are_not_scanned_again(self, pruner: Any) -> None:
        job_id = factories.completed_job(created_ago=self.OLD, finished_ago=self.OLD).id
        one = pruner()
        assert one.prune_jobs() == 1
        assert one._after == job_id
        older = factories.completed_job(created_ago=self.OLD + 60, finished_ago=self.OLD).id
        assert one.prune_jobs() == 0
        one._restart_at = 0.0  # an hour later
        assert one.prune_jobs() == 1
        assert one._after == older != NIL

    def test_small_tables_are_pruned(self, engine: Any, rows: Any) -> None:
        factories.worker(silent_for=2 * 86400)
        alive = factories.worker().id
        rows(
            "INSERT INTO job_keys (scope, key, body_hash, job_id, created_at) VALUES"
            " ('', 'old', 'h', gen_random_uuid(), now() - interval '25 h'),"
            " ('', 'new', 'h', gen_random_uuid(), now() - interval '23 h')"
        )
        prune_small_tables(engine)
        assert [row.id for row in rows("SELECT id FROM workers")] == [alive]
        assert [row.key for row in rows("SELECT key FROM job_keys")] == ["new"]


def test_one_process_is_elected_at_a_time(engine: Any) -> None:
    with elected(engine, "rescue") as first, elected(engine, "rescue") as second:
        assert first is not None
        assert second is None
        with elected(engine, "reconcile") as other:
            assert other is not None
    with elected(engine, "rescue") as again:
        assert again is not None


class TestSchedule:
    @pytest.fixture
    def made(self, engine: Any, ready: Any, clock: Any, settings: Any) -> Sweeper:
        factories.watched_database()
        return Sweeper(engine, ready, clock, settings)

    def test_a_failing_duty_does_not_stop_the_others_and_is_logged_once(
        self, made: Sweeper, monkeypatch: Any, caplog: Any, row: Any
    ) -> None:
        def away(*_: Any) -> int:
            raise RedisAway("refused")

        monkeypatch.setattr(promote, "promote_due_jobs", away)
        job_id = factories.processing_job(lease_expired_by=1).id
        with caplog.at_level(logging.WARNING, "app.worker.sweeper"):
            for _ in range(3):
                made.hurry("promote")
                made.run_due()
        assert row(job_id).status == "pending"
        messages = [r.message for r in caplog.records if "promote" in r.message]
        assert messages == ["The sweeper's promote failed, trying again: refused"]

    def test_a_bug_in_a_duty_does_not_stop_the_others(
        self, made: Sweeper, monkeypatch: Any, row: Any
    ) -> None:
        monkeypatch.setattr(promote, "promote_due_jobs", lambda *_: 1 / 0)
        job_id = factories.processing_job(lease_expired_by=1).id
        made.run_due()
        assert row(job_id).status == "pending"

    def test_a_duty_waits_for_its_time(
        self, engine: Any, ready: Any, clock: Any, settings: Any, row: Any
    ) -> None:
        factories.watched_database()
        made = Sweeper(engine, ready, clock, replace(settings, sweep_seconds=60.0))
        made.run_due()
        job_id = factories.processing_job(lease_expired_by=1).id
        made.run_due()
        assert row(job_id).status == "processing"
        made.hurry("rescue")
        made.run_due()
        assert row(job_id).status == "pending"


def test_a_duty_of_a_process_that_lost_its_connection_is_soon_taken_over(
    engine: Any, monkeypatch: Any, wait_until: Any
) -> None:
    monkeypatch.setattr(database, "IDLE_SECONDS", 1)
    cut_off = elected(engine, "test")
    held = cut_off.__enter__()
    assert held is not None

    def is_free() -> bool:
        with elected(engine, "test") as db:
            return db is not None

    assert not is_free()
    wait_until(is_free, timeout=10)
    with pytest.raises(DBAPIError):
        held.execute(text("SELECT 1"))
    held.rollback()
    with suppress(SQLAlchemyError):
        cut_off.__exit__(None, None, None)
