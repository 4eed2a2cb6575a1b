"""Bulk actions start after a grace period, at a chosen speed, and can be undone."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.jobs import bulk, lifecycle
from app.jobs.bulk import chunks
from app.jobs.bulk.errors import BulkActionEnded, BulkActionUndone, NothingToUndo
from app.jobs.bulk.outcomes import count_outcome
from app.jobs.lifecycle import NewJob
from app.jobs.listing import JobFilter
from tests import factories


@pytest.fixture(autouse=True)
def _redis(redis: Any) -> None:
    """What is restored is published."""


def create(session: Any, verb: str, status: str | None = None, **more: Any) -> int:
    number = bulk.create(
        session, verb, JobFilter(status=status), description="jobs", by="ada", **more
    )
    session.commit()
    return number


def run_out(session: Any) -> None:
    while bulk.step(session):
        pass


def undo(session: Any, number: int, **more: Any) -> int:
    undoing = bulk.undo(session, number, by="bob", **more)
    session.commit()
    return undoing


def rows(session: Any, table: str = "jobs") -> list[dict[str, Any]]:
    """All rows in full, but for the time of the last change."""
    session.rollback()
    found = session.execute(text(f"SELECT * FROM {table} ORDER BY id")).mappings()
    return [{name: row[name] for name in row if name != "updated_at"} for row in found]


def pass_time(session: Any, seconds: float) -> None:
    """Time passes for the actions that wait."""
    session.execute(
        text("UPDATE bulk_actions SET next_at = next_at - make_interval(secs => :s)"),
        {"s": seconds},
    )
    session.commit()


def bury(session: Any, n: int) -> list[Any]:
    """Jobs that failed, with everything that a failure leaves."""
    ids = [job.id for job in lifecycle.enqueue(session, [NewJob("echo") for _ in range(n)])]
    token = uuid4()
    lifecycle.claim(session, [i.hex for i in ids], token=token, worker_id=uuid4(), lease_seconds=30)
    progress = {"progress": {"percent": 50, "note": None}}
    lifecycle.end_attempts(
        session,
        [
            factories.ending(
                i, token, "bury", outcome="failed", error="ValueError: x", error_class="ValueError", **progress,
            )
            for i in ids
        ],
    )  # fmt: skip
    session.commit()
    return ids


def test_nothing_starts_within_the_grace_period(session: Any) -> None:
    factories.pending_job()
    number = create(session, "cancel", grace_seconds=5)
    assert bulk.step(session) == 0
    assert bulk.find(session, number).state == "starting"
    pass_time(session, 5)
    assert bulk.step(session) == 1
    assert bulk.find(session, number).state == "finished"


def test_an_undo_within_the_grace_period_changes_no_job(session: Any) -> None:
    factories.scheduled_job()
    before = rows(session)
    number = create(session, "cancel", grace_seconds=5)
    assert undo(session, number) == number
    pass_time(session, 60)
    assert bulk.step(session) == 0
    assert rows(session) == before
    assert bulk.find(session, number).state == "undone"
    events = session.execute(text("SELECT actor, action FROM audit_events ORDER BY id")).all()
    assert [tuple(event) for event in events] == [("ada", "bulk.cancel"), ("bob", "bulk.stop")]


def test_a_cancel_is_undone_to_the_last_column(session: Any) -> None:
    for _ in range(3):
        factories.scheduled_job()
    factories.retrying_job(fingerprint="0123456789ab")
    factories.pending_job(priority=7)
    before = rows(session)
    number = create(session, "cancel", "pending")
    run_out(session)
    assert {row["status"] for row in rows(session)} == {"cancelled"}
    undoing = undo(session, number)
    run_out(session)
    assert rows(session) == before
    action = bulk.find(session, undoing)
    assert (action.verb, action.undo_of, action.total, action.done) == ("undo", number, 5, 5)
    assert bulk.undo_of(session, number) == undoing
    event = session.execute(
        text("SELECT actor, action, details FROM audit_events ORDER BY id DESC LIMIT 1")
    ).one()
    assert (event.actor, event.action) == ("bob", "bulk.undo")
    assert event.details == {"bulk": undoing, "undo_of": number, "verb": "cancel"}


def test_a_cancelled_schedule_does_not_run_early_after_an_undo(session: Any, redis: Any) -> None:
    job = factories.scheduled_job()
    number = create(session, "cancel", "scheduled")
    run_out(session)
    undo(session, number)
    run_out(session)
    assert redis.zscore("{jobs}:ready:default", job.id.hex) is None
    token = uuid4()
    claimed = lifecycle.claim(
        session, [job.id.hex], token=token, worker_id=uuid4(), lease_seconds=30
    )
    assert claimed == []


def test_a_running_job_that_was_asked_to_stop_is_not_restored(session: Any) -> None:
    factories.processing_job()
    factories.pending_job()
    number = create(session, "cancel")
    run_out(session)
    assert count_outcome(session, number).undoable == 1
    action = bulk.find(session, undo(session, number))
    assert (action.total, action.late) == (1, 1)


def test_an_edit_is_undone_except_where_somebody_edited_again(session: Any) -> None:
    for n in range(3):
        factories.pending_job(priority=n, queue=f"q{n}")
    before = rows(session)
    number = create(session, "edit", args={"priority": 9, "queue": "slow"})
    run_out(session)
    assert {(row["priority"], row["queue"]) for row in rows(session)} == {(9, "slow")}
    again = before[0]["id"]
    lifecycle.edit(session, [again], {"priority": 5}, by="eve")
    session.commit()
    undo(session, number)
    run_out(session)
    assert rows(session)[1:] == before[1:]
    assert (rows(session)[0]["priority"], rows(session)[0]["queue"]) == (5, "slow")


def test_a_discard_is_undone_and_its_dead_letters_are_listed_again(session: Any) -> None:
    bury(session, 2)
    jobs, dead_letters = rows(session), rows(session, "dead_letters")
    number = create(session, "discard")
    run_out(session)
    assert all(row["closed_how"] == "discarded" for row in rows(session, "dead_letters"))
    session.execute(text("DELETE FROM dead_letter_changes"))
    undo(session, number)
    run_out(session)
    assert (rows(session), rows(session, "dead_letters")) == (jobs, dead_letters)
    changes = session.scalars(text("SELECT is_open FROM dead_letter_changes")).all()
    assert changes == [True, True]


def test_retries_that_have_not_run_are_undone(session: Any) -> None:
    ids = bury(session, 3)
    factories.cancelled_job(last_error="stopped")
    jobs, dead_letters = rows(session), rows(session, "dead_letters")
    number = create(session, "retry")
    run_out(session)
    lifecycle.claim(session, [ids[0].hex], token=uuid4(), worker_id=uuid4(), lease_seconds=30)
    session.commit()
    outcome = count_outcome(session, number)
    assert (outcome.total, outcome.undoable) == (4, 3)
    action = bulk.find(session, undo(session, number))
    assert (action.total, action.late) == (3, 1)
    run_out(session)
    assert rows(session)[0]["status"] == "processing"
    assert rows(session)[1:] == jobs[1:]
    assert rows(session, "dead_letters")[1:] == dead_letters[1:]


def test_run_now_is_undone_until_the_job_starts(session: Any) -> None:
    factories.scheduled_job()
    before = rows(session)
    number = create(session, "run", "scheduled")
    run_out(session)
    assert rows(session) != before
    undo(session, number)
    run_out(session)
    assert rows(session) == before


def test_half_an_action_is_undone_by_half(session: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 2)
    for _ in range(6):
        factories.scheduled_job()
    before = rows(session)
    number = create(session, "cancel")
    bulk.step(session)
    action = bulk.find(session, undo(session, number))
    assert (action.total, bulk.find(session, number).state) == (2, "stopped")
    run_out(session)
    assert rows(session) == before


def test_a_cancelled_job_whose_unique_key_is_taken_stays_cancelled(session: Any) -> None:
    factories.pending_job(unique_key="k")
    factories.pending_job()
    number = create(session, "cancel")
    run_out(session)
    factories.pending_job(unique_key="k")
    undoing = undo(session, number)
    run_out(session)
    action = bulk.find(session, undoing)
    assert (action.done, action.refused) == (1, 1)


def test_an_undo_waits_itself_and_is_as_slow_as_the_action(session: Any) -> None:
    factories.scheduled_job()
    number = create(session, "cancel", per_second=2)
    run_out(session)
    undoing = undo(session, number, grace_seconds=5)
    assert bulk.find(session, undoing).per_second == 2
    assert bulk.step(session) == 0
    assert undo(session, undoing) == undoing  # within its own grace period
    assert bulk.find(session, undoing).state == "undone"
    assert undo(session, number) != undoing  # and again


def test_what_can_not_be_undone(session: Any) -> None:
    factories.cancelled_job()
    factories.scheduled_job()
    deletion = create(session, "delete", "cancelled")
    cancel = create(session, "cancel", "scheduled")
    run_out(session)
    with pytest.raises(NothingToUndo, match="deleted jobs can't be restored"):
        bulk.undo(session, deletion, by="bob")
    session.rollback()
    undoing = undo(session, cancel)
    with pytest.raises(BulkActionUndone, match=f"by bulk action {undoing}"):
        bulk.undo(session, cancel, by="bob")
    session.rollback()
    run_out(session)
    with pytest.raises(NothingToUndo, match="is an undo itself"):
        bulk.undo(session, undoing, by="bob")
    session.rollback()
    with pytest.raises(BulkActionEnded, match="has finished, so it can't be paused"):
        bulk.pause(session, cancel, by="bob")
    session.rollback()


def test_nothing_is_restored_after_all_jobs_have_changed(session: Any) -> None:
    job = factories.scheduled_job()
    number = create(session, "cancel")
    run_out(session)
    lifecycle.retry(session, [job.id], by="eve")
    session.commit()
    with pytest.raises(NothingToUndo, match="have run or changed since"):
        bulk.undo(session, number, by="bob")
    session.rollback()


def test_a_slow_action_changes_so_many_jobs_a_second(session: Any) -> None:
    for _ in range(5):
        factories.scheduled_job()
    number = create(session, "cancel", per_second=2)
    assert [bulk.step(session) for _ in range(3)] == [2, 0, 0]
    assert bulk.find(session, number).state == "running"
    pass_time(session, 1)
    assert [bulk.step(session) for _ in range(2)] == [2, 0]
    pass_time(session, 1)
    assert bulk.step(session) == 1
    assert bulk.find(session, number).state == "finished"


def test_an_action_that_waits_does_not_delay_others(session: Any) -> None:
    factories.scheduled_job()
    factories.cancelled_job()
    create(session, "cancel", "scheduled", grace_seconds=60)
    other = create(session, "retry", "cancelled")
    assert bulk.step(session) == 1
    assert bulk.find(session, other).state == "finished"


def test_confirming_a_preview_twice_starts_one_action(session: Any) -> None:
    factories.scheduled_job()
    first = create(session, "cancel", preview_key="k", grace_seconds=5)
    assert create(session, "cancel", preview_key="k", grace_seconds=5) == first
    undo(session, first)
    assert create(session, "cancel", preview_key="k") != first


# What the previous release runs to find its next action, and to resume one.
FORMER_NEXT = (
    "SELECT id FROM bulk_actions WHERE finished_at IS NULL AND paused_at IS NULL ORDER BY id"
)
FORMER_RESUME = "UPDATE bulk_actions SET paused_at = NULL WHERE id = :id"


def test_a_worker_of_the_previous_release_leaves_new_actions_alone(session: Any) -> None:
    factories.scheduled_job()
    number = create(session, "cancel")
    assert session.scalars(text(FORMER_NEXT)).all() == []
    with pytest.raises(IntegrityError, match="ck_bulk_actions_former"):
        session.execute(text(FORMER_RESUME), {"id": number})
    session.rollback()
    bulk.pause(session, number, by="ada")
    session.commit()
    assert bulk.find(session, number).state == "paused"
    assert bulk.step(session) == 0
    bulk.resume(session, number, by="ada")
    session.commit()
    assert bulk.step(session) == 1


def test_an_action_of_the_previous_release_is_carried_out_and_paused(session: Any) -> None:
    factories.scheduled_job()
    number = create(session, "cancel")
    session.execute(text("UPDATE bulk_actions SET next_at = NULL, paused_at = NULL"))
    session.commit()
    bulk.pause(session, number, by="ada")
    session.commit()
    assert session.scalars(text(FORMER_NEXT)).all() == []
    assert bulk.step(session) == 0
    bulk.resume(session, number, by="ada")
    session.commit()
    assert session.scalars(text(FORMER_NEXT)).all() == [number]
    assert bulk.step(session) == 1


def test_items_that_a_worker_of_the_previous_release_wrote_are_not_undone(session: Any) -> None:
    factories.scheduled_job()
    number = create(session, "cancel")
    run_out(session)
    session.execute(text("UPDATE bulk_items SET done_at = NULL, before = NULL"))
    session.commit()
    assert count_outcome(session, number).undoable == 0
    with pytest.raises(NothingToUndo):
        bulk.undo(session, number, by="bob")
    session.rollback()


def test_deleted_jobs_are_counted_as_gone(session: Any) -> None:
    jobs = [factories.scheduled_job() for _ in range(3)]
    number = create(session, "cancel")
    run_out(session)
    lifecycle.delete(session, [jobs[0].id], by="eve")
    session.commit()
    outcome = count_outcome(session, number)
    assert (outcome.gone, outcome.total, outcome.undoable) == (1, 3, 2)
    action = bulk.find(session, undo(session, number))
    assert (action.total, action.late) == (2, 1)
