"""Bulk actions: exactly the previewed set, in chunks, over restarts, pauses and races."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.jobs import bulk, bulk_scope, lifecycle
from app.jobs.lifecycle import NewJob
from app.jobs.queries import JobFilter, list_jobs


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
    number = bulk.create(session, verb, filter, description="failed jobs", by="ada")
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


def test_a_pause_holds_and_a_stop_leaves_the_rest(
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
    bulk.stop(session, number, by="ada")
    session.commit()
    assert bulk.step(session) == 0
    assert bulk.find(session, number).state == "stopped"
    assert statuses(session) == {"pending": 4, "failed": 2}


def test_a_crash_in_the_middle_of_a_chunk_repeats_nothing(
    session: Any, failed: Any, monkeypatch: Any
) -> None:
    failed(3)
    number = make(session, "discard")
    monkeypatch.setattr(bulk, "_RECORD", text("SELECT 1 / 0"))
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
    found = bulk_scope.preview(session, JobFilter(status="failed", type="sleep"))
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
    bulk.step(session)
    assert [row.action for row in session.execute(text("SELECT action FROM audit_events"))] == [
        "bulk.retry"
    ]


def previewed(session: Any, filter: JobFilter = FAILED) -> Any:
    found = bulk_scope.preview(session, filter)
    session.commit()
    return found


def confirm(session: Any, verb: str, found: Any, filter: JobFilter = FAILED) -> Any:
    number = bulk.create(
        session, verb, filter, description="jobs", by="ada", scope=found.scope, expected=found.counts[verb],
    )  # fmt: skip
    session.commit()
    return bulk.find(session, number)


def run_out(session: Any) -> None:
    while bulk.step(session):
        pass


@pytest.mark.parametrize("verb", ["retry", "delete", "discard", "edit"])
def test_what_arrives_after_the_preview_is_not_included(
    session: Any, failed: Any, verb: str
) -> None:
    failed(3)
    found = previewed(session)
    failed(2)
    action = confirm(session, verb, found)
    assert (action.total, action.late) == (3, 2)


@pytest.mark.parametrize("verb", ["run", "cancel"])
def test_what_is_scheduled_after_the_preview_is_not_included(session: Any, verb: str) -> None:
    def schedule(count: int) -> None:
        lifecycle.enqueue(session, [NewJob("echo", delay_seconds=3600) for _ in range(count)])
        session.commit()

    filter = JobFilter(status="scheduled")
    schedule(3)
    found = previewed(session, filter)
    schedule(2)
    action = confirm(session, verb, found, filter)
    assert (action.total, action.late) == (3, 2)
    run_out(session)
    assert bulk.find(session, action.id).done == 3


def test_an_old_job_that_comes_to_match_after_the_preview_is_not_included(
    session: Any, failed: Any
) -> None:
    [waiting] = lifecycle.enqueue(session, [NewJob("echo")])
    session.commit()
    failed(2)
    found = previewed(session)
    token = uuid4()
    lifecycle.claim(session, [waiting.id.hex], token=token, worker_id=uuid4(), lease_seconds=30)
    lifecycle.end_attempts(
        session, [{"id": waiting.id.hex, "token": token.hex, "verb": "bury", "outcome": "failed", "error": "x"}]
    )  # fmt: skip
    session.commit()
    action = confirm(session, "retry", found)
    assert (action.total, action.late) == (2, 1)


def test_a_client_whose_clock_is_behind_adds_nothing(session: Any, failed: Any) -> None:
    failed(1)
    found = previewed(session)
    session.execute(
        text(
            "INSERT INTO jobs (id, queue, type, payload, status, finished_at)"
            " VALUES ('01900000-0000-7000-8000-000000000000', 'q', 'echo', '{}', 'failed', now())"
        )
    )
    session.commit()
    assert confirm(session, "delete", found).total == 1


def test_more_than_the_preview_counted_is_refused_and_nothing_is_written(
    session: Any, failed: Any
) -> None:
    failed(2)
    found = previewed(session)
    with pytest.raises(bulk.PreviewOutdated, match="2 jobs match instead of the 1"):
        bulk.create(
            session, "retry", FAILED, description="x", by="ada", scope=found.scope, expected=1
        )
    session.rollback()
    assert bulk.latest(session) == []


def test_a_preview_tells_types_queues_and_what_goes_back_to_its_schedule(session: Any) -> None:
    made = lifecycle.enqueue(
        session,
        [NewJob("echo", delay_seconds=3600), NewJob("echo"), NewJob("sleep", {"seconds": 1})],
    )
    lifecycle.cancel(session, [one.id for one in made], by="ada")
    session.commit()
    found = bulk_scope.preview(session, JobFilter(status="cancelled"))
    assert found.by("retry", "type") == [("echo", 2), ("sleep", 1)]
    assert (found.counts["retry"], found.restored) == (3, 1)


def test_a_cancelled_schedule_is_restored_in_bulk(session: Any) -> None:
    lifecycle.enqueue(session, [NewJob("echo", delay_seconds=3600) for _ in range(4)])
    session.commit()
    run_at = session.scalars(text("SELECT run_at FROM jobs ORDER BY id")).all()
    for verb, status in (("cancel", "scheduled"), ("retry", "cancelled")):
        filter = JobFilter(status=status)
        confirm(session, verb, previewed(session, filter), filter)
        run_out(session)
    assert session.scalars(text("SELECT run_at FROM jobs ORDER BY id")).all() == run_at
    assert statuses(session) == {"pending": 4}


def test_what_became_of_the_jobs(session: Any, failed: Any) -> None:
    ids = failed(4)
    action = confirm(session, "retry", previewed(session))
    run_out(session)
    token = uuid4()
    lifecycle.claim(
        session, [i.hex for i in ids[:2]], token=token, worker_id=uuid4(), lease_seconds=30
    )
    lifecycle.complete(session, [(ids[0].hex, token.hex, "null", None)])
    lifecycle.delete(session, ids[3:], by="ada")
    session.commit()
    found = bulk.outcome(session, bulk.find(session, action.id))
    assert found.by_status == {
        "pending": 1, "processing": 1, "completed": 1, "failed": 0, "cancelled": 0,
    }  # fmt: skip
    assert found.gone == 1
    listed = list_jobs(session, JobFilter(bulk=action.id, status="completed"), limit=10)
    assert [job.id for job in listed.items] == ids[:1]


def test_the_jobs_of_old_actions_are_forgotten(session: Any, failed: Any) -> None:
    failed(2)
    make(session, "retry")
    run_out(session)
    assert bulk.prune(session) == 0
    session.execute(text("UPDATE bulk_actions SET finished_at = now() - interval '31 days'"))
    assert bulk.prune(session) == 2
    session.commit()
