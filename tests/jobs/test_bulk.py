"""Bulk actions: exactly the previewed set, in chunks, over restarts, pauses and races."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.jobs import bulk, lifecycle
from app.jobs.lifecycle import NewJob
from app.jobs.queries import JobFilter


@pytest.fixture(autouse=True)
def _redis(redis: Any) -> None:
    """What is retried is published."""


@pytest.fixture
def failed(session: Any) -> Any:
    def failed(count: int, type: str = "echo") -> list[Any]:
        made = lifecycle.enqueue(session, [NewJob(type, {}) for _ in range(count)])
        ids, token = [one.id for one in made], uuid4()
        lifecycle.claim(
            session, [i.hex for i in ids], token=token, worker_id=uuid4(), lease_seconds=30
        )
        lifecycle.end_attempts(
            session, [{"id": i.hex, "token": token.hex, "verb": "bury", "outcome": "failed", "error": "x"} for i in ids]
        )  # fmt: skip
        session.commit()
        return ids

    return failed


FAILED = JobFilter(status="failed")


def make(session: Any, verb: str, filter: JobFilter = FAILED) -> int:
    number = bulk.create(session, verb, filter, told="failed jobs", by="ada")
    session.commit()
    return number


def statuses(session: Any) -> dict[str, int]:
    rows = session.execute(text("SELECT status, count(*) FROM jobs GROUP BY 1")).all()
    session.rollback()
    return dict(tuple(row) for row in rows)


def test_all_that_matched_are_touched_chunk_by_chunk(
    session: Any, failed: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 4)
    failed(10)
    number = make(session, "retry")
    assert [bulk.step(session) for _ in range(4)] == [4, 4, 2, 0]
    action = bulk.find(session, number)
    assert (action.total, action.done, action.refused, action.state) == (10, 10, 0, "finished")
    assert statuses(session) == {"pending": 10}


def test_what_matches_later_is_not_touched(session: Any, failed: Any) -> None:
    failed(3)
    make(session, "retry")
    failed(2)
    bulk.step(session)
    assert statuses(session) == {"pending": 3, "failed": 2}


def test_what_changed_meanwhile_is_left_alone_and_counted(session: Any, failed: Any) -> None:
    ids = failed(3)
    number = make(session, "delete")
    lifecycle.retry(session, ids[:1], by="bob")
    lifecycle.claim(session, [ids[0].hex], token=uuid4(), worker_id=uuid4(), lease_seconds=30)
    session.commit()
    bulk.step(session)
    action = bulk.find(session, number)
    assert (action.done, action.refused) == (2, 1)
    assert statuses(session) == {"processing": 1}


def test_a_pause_holds_and_a_cancel_leaves_the_rest(
    session: Any, failed: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 2)
    failed(6)
    number = make(session, "retry")
    bulk.step(session)
    bulk.pause(session, number, by="ada")
    session.commit()
    assert bulk.step(session) == 0
    bulk.resume(session, number, by="ada")
    session.commit()
    assert bulk.step(session) == 2
    bulk.cancel(session, number, by="ada")
    session.commit()
    assert bulk.step(session) == 0
    assert bulk.find(session, number).state == "cancelled"
    assert statuses(session) == {"pending": 4, "failed": 2}


def test_a_crash_in_the_middle_of_a_chunk_repeats_nothing(
    session: Any, failed: Any, monkeypatch: Any
) -> None:
    failed(3)
    number = make(session, "discard")
    monkeypatch.setattr(bulk, "_TELL", text("SELECT 1 / 0"))
    with pytest.raises(Exception, match="division"):
        bulk.step(session)
    session.rollback()
    monkeypatch.undo()
    assert bulk.find(session, number).done == 0
    bulk.step(session)
    assert bulk.find(session, number).done == 3
    closed = session.execute(
        text("SELECT count(*) FROM dead_letters WHERE closed_how = 'discarded'")
    ).scalar()
    assert closed == 3


def test_the_filter_is_the_lists_own(session: Any, failed: Any) -> None:
    failed(2, "echo")
    failed(3, "sleep")
    found = bulk.preview(session, JobFilter(status="failed", type="sleep"))
    assert found.counts == {
        "retry": 3, "run": 0, "cancel": 0, "delete": 3, "discard": 3, "edit": 3,
    }  # fmt: skip
    assert len(found.sample) == 3
    make(session, "retry", JobFilter(status="failed", type="sleep"))
    bulk.step(session)
    assert statuses(session) == {"pending": 3, "failed": 2}


def test_nothing_that_matches_is_finished_at_once(session: Any) -> None:
    number = make(session, "retry", JobFilter(search="\ud800"))
    assert bulk.find(session, number).state == "finished"


def test_it_is_in_the_audit(session: Any, failed: Any) -> None:
    failed(2)
    make(session, "retry")
    rows = session.execute(
        text("SELECT actor, action, subject FROM audit_events ORDER BY id")
    ).all()
    assert tuple(rows[-1]) == ("ada", "bulk.retry", "2 jobs")
