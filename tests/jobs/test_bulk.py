"""Bulk actions: exactly the previewed set, in chunks, over restarts, pauses and races."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.errors import PreviewOutdated
from app.extensions import db
from app.jobs import bulk, committed, lifecycle
from app.jobs.bulk import chunks
from app.jobs.bulk import scope as bulk_scope
from app.jobs.bulk.outcomes import count_outcome
from app.jobs.lifecycle import NewJob
from app.jobs.listing import JobFilter, list_jobs
from app.jobs.models import Job
from tests import factories


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
            session, [factories.ending(i, token, "bury", outcome="failed", error="x") for i in ids]
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


def test_all_matching_jobs_are_changed_chunk_by_chunk(
    session: Any, failed: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 4)
    failed(10)
    number = make(session, "retry")
    assert [bulk.step(session) for _ in range(4)] == [4, 4, 2, 0]
    action = bulk.find(session, number)
    assert (action.total, action.done, action.refused, action.state) == (10, 10, 0, "finished")
    assert statuses(session) == {"pending": 10}


def test_jobs_that_match_later_are_not_changed(session: Any, failed: Any) -> None:
    failed(3)
    make(session, "retry")
    failed(2)
    bulk.step(session)
    assert statuses(session) == {"pending": 3, "failed": 2}


def test_jobs_that_changed_meanwhile_are_skipped_and_counted(session: Any, failed: Any) -> None:
    ids = failed(3)
    number = make(session, "delete")
    lifecycle.retry(session, ids[:1], by="bob")
    lifecycle.claim(session, [ids[0].hex], token=uuid4(), worker_id=uuid4(), lease_seconds=30)
    session.commit()
    bulk.step(session)
    action = bulk.find(session, number)
    assert (action.done, action.refused) == (2, 1)
    assert statuses(session) == {"processing": 1}


def test_a_pause_suspends_and_a_stop_leaves_the_rest(
    session: Any, failed: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 2)
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
    monkeypatch.setattr(chunks, "_RECORD", text("SELECT 1 / 0"))
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


def test_an_action_without_matches_is_finished_at_once(session: Any) -> None:
    number = make(session, "retry", JobFilter(search="\ud800"))
    assert bulk.find(session, number).state == "finished"


def test_it_is_in_the_audit_log(session: Any, failed: Any) -> None:
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
def test_jobs_that_arrive_after_the_preview_are_not_included(
    session: Any, failed: Any, verb: str
) -> None:
    failed(3)
    found = previewed(session)
    failed(2)
    action = confirm(session, verb, found)
    assert (action.total, action.late) == (3, 2)


@pytest.mark.parametrize("verb", ["run", "cancel"])
def test_jobs_scheduled_after_the_preview_are_not_included(session: Any, verb: str) -> None:
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
        session, [factories.ending(waiting.id, token, "bury", outcome="failed", error="x")]
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
    with pytest.raises(PreviewOutdated, match="2 jobs match instead of the 1"):
        bulk.create(
            session, "retry", FAILED, description="x", by="ada", scope=found.scope, expected=1
        )
    session.rollback()
    assert bulk.latest(session) == []


def test_a_preview_shows_types_queues_and_restored_schedules(session: Any) -> None:
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


def test_the_outcome_counts_jobs_by_status(session: Any, failed: Any) -> None:
    ids = failed(4)
    action = confirm(session, "retry", previewed(session))
    run_out(session)
    token = uuid4()
    lifecycle.claim(
        session, [i.hex for i in ids[:2]], token=token, worker_id=uuid4(), lease_seconds=30
    )
    lifecycle.complete(session, [factories.ending(ids[0], token)])
    lifecycle.delete(session, ids[3:], by="ada")
    session.commit()
    found = count_outcome(session, action.id)
    assert found.by_status == {
        "pending": 1, "processing": 1, "completed": 1, "failed": 0, "cancelled": 0,
    }  # fmt: skip
    assert found.gone == 1
    listed = list_jobs(session, JobFilter(bulk=action.id, status="completed"), limit=10)
    assert [job.id for job in listed.items] == ids[:1]


def test_the_jobs_of_old_actions_are_deleted(session: Any, failed: Any) -> None:
    failed(2)
    make(session, "retry")
    run_out(session)
    assert bulk.prune(session) == 0
    session.execute(text("UPDATE bulk_actions SET finished_at = now() - interval '31 days'"))
    assert bulk.prune(session) == 2
    session.commit()


def bury(session: Any, ids: list[Any]) -> None:
    token = uuid4()
    lifecycle.claim(session, [i.hex for i in ids], token=token, worker_id=uuid4(), lease_seconds=30)
    lifecycle.end_attempts(
        session, [factories.ending(i, token, "bury", outcome="failed", error="x") for i in ids]
    )  # fmt: skip


def jobs_as_they_are(session: Any) -> list[Any]:
    session.rollback()
    rows = session.execute(
        text("SELECT id, status, priority, run_at, updated_at FROM jobs ORDER BY id")
    )
    return [tuple(row) for row in rows]


#: Verb → (what it is confirmed for, what a colleague does to all of them before a worker begins).
RIVALS = {
    "delete, now pending": ("delete", "failed", lambda db, ids: lifecycle.retry(db, ids, by="bob")),
    "edit, now pending": ("edit", "failed", lambda db, ids: lifecycle.retry(db, ids, by="bob")),
    "edit, edited": ("edit", "failed", lambda db, ids: lifecycle.edit(db, ids, {"queue": "q"}, by="bob")),
    "retry, discarded": ("retry", "failed", lambda db, ids: lifecycle.discard(db, ids, by="bob")),
    "delete, discarded": ("delete", "failed", lambda db, ids: lifecycle.discard(db, ids, by="bob")),
    "run, moved": (
        "run", "scheduled",
        lambda db, ids: lifecycle.edit(db, ids, {"run_at": "2100-01-01T00:00:00Z"}, by="bob"),
    ),
    "cancel, moved": ("cancel", "scheduled", lambda db, ids: lifecycle.edit(db, ids, {"queue": "q"}, by="bob")),
}  # fmt: skip


def make_some(session: Any, failed: Any, status: str) -> list[Any]:
    if status == "failed":
        return failed(3)
    made = lifecycle.enqueue(session, [NewJob("echo", delay_seconds=3600) for _ in range(3)])
    session.commit()
    return [one.id for one in made]


@pytest.mark.parametrize("rival", RIVALS)
def test_a_resumed_action_leaves_alone_what_changed_since_it_was_confirmed(
    session: Any, failed: Any, rival: str
) -> None:
    verb, status, meddle = RIVALS[rival]
    ids = make_some(session, failed, status)
    number = bulk.create(
        session, verb, JobFilter(status=status), description="jobs", by="ada", args={"priority": 9} if verb == "edit" else None,
    )  # fmt: skip
    bulk.pause(session, number, by="ada")
    session.commit()
    meddle(session, ids)
    session.commit()
    before = jobs_as_they_are(session)
    bulk.resume(session, number, by="ada")
    session.commit()
    run_out(session)
    action = bulk.find(session, number)
    assert (action.done, action.refused, action.state) == (0, 3, "finished")
    assert jobs_as_they_are(session) == before


@pytest.mark.parametrize("verb", ["retry", "delete", "discard", "edit"])
def test_a_job_that_failed_again_since_the_confirmation_is_left_alone(
    session: Any, failed: Any, verb: str
) -> None:
    ids = failed(3)
    args = {"priority": 9} if verb == "edit" else None
    number = bulk.create(session, verb, FAILED, description="jobs", by="ada", args=args)
    session.commit()
    lifecycle.retry(session, ids[:1], by="bob")
    session.commit()
    bury(session, ids[:1])
    session.commit()
    before = jobs_as_they_are(session)[0]
    run_out(session)
    action = bulk.find(session, number)
    assert (action.done, action.refused) == (2, 1)
    assert jobs_as_they_are(session)[0] == before


def test_heartbeats_and_progress_do_not_count_as_changes(session: Any) -> None:
    made = lifecycle.enqueue(session, [NewJob("echo") for _ in range(2)])
    ids, token = [one.id for one in made], uuid4()
    lifecycle.claim(session, [i.hex for i in ids], token=token, worker_id=uuid4(), lease_seconds=30)
    session.commit()
    number = make(session, "cancel", JobFilter(status="processing"))
    lifecycle.extend(session, [(i, token) for i in ids], lease_seconds=60)
    session.execute(text("UPDATE jobs SET progress = '{\"done\": 1}'"))
    session.commit()
    run_out(session)
    assert bulk.find(session, number).done == 2
    asked = "SELECT count(*) FROM jobs WHERE cancel_requested_at IS NOT NULL"
    assert session.execute(text(asked)).scalar() == 2


def test_a_change_that_holds_the_row_when_the_chunk_begins_wins(
    session: Any, failed: Any, wait_until: Any
) -> None:
    ids = failed(2)
    number = make(session, "delete")
    lifecycle.edit(session, ids[:1], {"priority": 3}, by="bob")
    holder = session.execute(text("SELECT pg_backend_pid()")).scalar()
    engine, waits = (
        db.engine,
        "SELECT 1 FROM pg_stat_activity WHERE :holder = ANY(pg_blocking_pids(pid))",
    )

    def chunk() -> int:
        with Session(engine) as own:
            return bulk.step(own)

    with ThreadPoolExecutor() as pool, engine.connect() as watcher:
        watcher.execution_options(isolation_level="AUTOCOMMIT")
        looked_at = pool.submit(chunk)
        wait_until(lambda: watcher.execute(text(waits), {"holder": holder}).first())
        session.commit()
        assert looked_at.result(20) == 2
    action = bulk.find(session, number)
    assert (action.done, action.refused) == (1, 1)
    assert [row[0] for row in jobs_as_they_are(session)] == ids[:1]


def test_items_of_the_release_before_are_judged_by_the_moment_of_the_confirmation(
    session: Any, failed: Any
) -> None:
    ids = failed(3)
    number = make(session, "delete")
    session.execute(text("UPDATE bulk_items SET job_updated_at = NULL"))
    session.commit()
    lifecycle.retry(session, ids[:1], by="bob")
    session.commit()
    run_out(session)
    action = bulk.find(session, number)
    assert (action.done, action.refused) == (2, 1)
    assert statuses(session) == {"pending": 1}


@pytest.fixture
def meanwhile(session: Any) -> Any:
    """A transaction that began before the preview; the test commits it after."""
    with Session(db.engine) as own:
        # Its now() is from here.
        own.execute(text("SELECT pg_current_xact_id()"))
        yield own


INSERT_FAILED = text(
    "INSERT INTO jobs (id, queue, type, payload, status, finished_at)"
    " VALUES ('01900000-0000-7000-8000-000000000000', 'q', 'echo', '{}', 'failed', now())"
)


@pytest.mark.parametrize("how", ["plainly", "in a savepoint", "among many writers"])
def test_an_insert_committed_after_the_preview_is_not_included(
    session: Any, failed: Any, meanwhile: Any, monkeypatch: Any, how: str
) -> None:
    if how == "among many writers":
        monkeypatch.setattr(committed, "MAX_XIDS", 0)
    with meanwhile.begin_nested() if how == "in a savepoint" else nullcontext():
        meanwhile.execute(INSERT_FAILED)
    ids = failed(3)
    found = previewed(session)
    assert found.counts["delete"] == 3
    meanwhile.commit()
    lifecycle.delete(session, ids[:1], by="bob")
    session.commit()
    action = confirm(session, "delete", found)
    assert (action.total, action.late) == (2, 1)
    run_out(session)
    assert statuses(session) == {"failed": 1}


def test_a_change_committed_after_the_preview_is_not_included(
    session: Any, failed: Any, meanwhile: Any
) -> None:
    made = lifecycle.enqueue(session, [NewJob("echo") for _ in range(3)])
    session.commit()
    ids = [one.id for one in made]
    lifecycle.cancel(session, ids[1:], by="ada")
    session.commit()
    filter = JobFilter(status="cancelled")
    lifecycle.cancel(meanwhile, ids[:1], by="bob")
    found = previewed(session, filter)
    meanwhile.commit()
    action = confirm(session, "retry", found, filter)
    assert (action.total, action.late) == (2, 1)


def test_jobs_unchanged_by_an_open_transaction_are_included(
    session: Any, failed: Any, meanwhile: Any
) -> None:
    failed(2)
    failed(1)
    action = confirm(session, "retry", previewed(session))
    assert (action.total, action.late) == (3, 0)


def test_a_heartbeat_after_the_preview_does_not_count_as_a_change(session: Any) -> None:
    [made] = lifecycle.enqueue(session, [NewJob("echo")])
    token = uuid4()
    lifecycle.claim(session, [made.id.hex], token=token, worker_id=uuid4(), lease_seconds=30)
    session.commit()
    filter = JobFilter(status="processing")
    found = previewed(session, filter)
    lifecycle.extend(session, [(made.id, token)], lease_seconds=60)
    session.commit()
    assert confirm(session, "cancel", found, filter).total == 1


def test_rows_are_distinguished_by_all_digits_of_their_transaction(
    session: Any, failed: Any
) -> None:
    failed(2)
    rows = session.execute(
        select(committed.row_xid, text("jobs.xmin::text::bigint")).select_from(Job)
    ).all()
    current = int(session.execute(text("SELECT pg_current_xact_id()::text")).scalar())
    assert all(full < current and full % 2**32 == short for full, short in rows)
    assert len(rows) == 2
