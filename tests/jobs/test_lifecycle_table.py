"""Every verb × every status: where it may start, the row it leaves, and that refusal changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.errors import InvalidTransition, JobNotFound
from app.jobs import ids, lifecycle
from app.jobs.ending import Ending
from app.jobs.models import STATUSES
from app.jobs.testing import temporary_types
from tests import factories

MAKERS = {status: factories.BY_VIEW[status] for status in STATUSES}


def row_of(session, job_id) -> dict:
    found = session.execute(text("SELECT * FROM jobs WHERE id = :id"), {"id": job_id}).mappings()
    row = found.first()
    session.rollback()
    return dict(row) if row else {}


def letters_of(session, job_id) -> list:
    sql = "SELECT reason, attempts, closed_how FROM dead_letters WHERE job_id = :id ORDER BY id"
    return session.execute(text(sql), {"id": job_id}).all()


def attempts_of(session, job_id) -> list:
    sql = "SELECT attempt, outcome, error FROM job_attempts WHERE job_id = :id"
    return [tuple(row) for row in session.execute(text(sql), {"id": job_id})]


def ending(row: dict, verb: str, **fields) -> Ending:
    return factories.ending(row["id"], row["lease_token"], verb, **fields)


# ------------------------------------------------------------------ what a person does


PERSON = {
    "retry": (lifecycle.retry, {"failed": "pending", "cancelled": "pending"}),
    "cancel": (
        lifecycle.cancel,
        {"pending": "cancelled", "processing": "processing", "cancelled": "cancelled"},
    ),
    "delete": (
        lifecycle.delete,
        {"pending": None, "completed": None, "failed": None, "cancelled": None},
    ),
    "discard": (lifecycle.discard, {"failed": "failed"}),
    "run": (lifecycle.run_now, {"pending": "pending"}),
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("verb", PERSON)
def test_a_persons_verb_starts_only_from_its_statuses(session, verb, status):
    call, allowed = PERSON[verb]
    job_id = MAKERS[status]().id
    before = row_of(session, job_id)

    changes = call(session, [job_id], by="ada")
    session.commit()

    after = row_of(session, job_id)
    if status in allowed:
        assert changes.done == [job_id]
        assert after.get("status") == allowed[status]
    else:
        assert isinstance(changes.refused[job_id], InvalidTransition)
        assert f"is {status}" in str(changes.refused[job_id])
        assert after == before


@pytest.mark.parametrize("verb", PERSON)
def test_a_missing_job_is_refused_as_such(session, verb):
    missing = ids.new_id()
    changes = PERSON[verb][0](session, [missing], by="ada")
    assert isinstance(changes.refused[missing], JobNotFound)


@pytest.mark.parametrize("status", STATUSES)
def test_edit_applies_only_to_pending_failed_and_cancelled_jobs(session, status):
    job_id = MAKERS[status]().id
    before = row_of(session, job_id)
    if status in ("pending", "failed", "cancelled"):
        lifecycle.edit(session, [job_id], {"priority": 7, "payload": {"a": 1}}, by="ada").one()
        session.commit()
        after = row_of(session, job_id)
        assert (after["priority"], after["payload"], after["status"]) == (7, {"a": 1}, status)
    else:
        with pytest.raises(InvalidTransition, match="edit needs pending, failed or cancelled"):
            lifecycle.edit(session, [job_id], {"priority": 7}, by="ada").one()
        assert row_of(session, job_id) == before


def test_retry_resets_the_job_and_closes_its_dead_letter(session):
    job_id = factories.failed_job(crashes=2, result={"old": 1}).id
    lifecycle.retry(session, [job_id], by="ada").one()
    session.commit()
    row = row_of(session, job_id)
    fresh = dict.fromkeys(
        ("lease_token", "leased_until", "cancel_requested_at", "started_at", "finished_at",
         "last_error", "result", "progress")
    )  # fmt: skip
    assert {name: row[name] for name in fresh} == fresh
    assert (row["attempts"], row["crashes"]) == (0, 0)
    assert [letter.closed_how for letter in letters_of(session, job_id)] == ["retried"]


@pytest.mark.parametrize("status", ["cancelled", "failed"])
def test_retry_keeps_a_time_in_the_future(session, status):
    make = {"cancelled": factories.cancelled_job, "failed": factories.failed_job}[status]
    job_id = make(run_at=factories._now(9000)).id
    before = row_of(session, job_id)
    lifecycle.retry(session, [job_id], by="ada").one()
    session.commit()
    row = row_of(session, job_id)
    assert (row["status"], row["attempts"], row["run_at"]) == ("pending", 0, before["run_at"])


def test_undoing_a_cancel_starts_no_job_early(session):
    job_id = factories.scheduled_job(due_in=9000).id
    lifecycle.cancel(session, [job_id], by="ada").one()
    lifecycle.retry(session, [job_id], by="ada").one()
    session.commit()
    assert lifecycle.claim(
        session, [job_id.hex], token=uuid4(), worker_id=uuid4(), lease_seconds=30
    ) == []  # fmt: skip


@pytest.mark.parametrize(("view", "attempts"), [("scheduled", 0), ("retrying", 1)])
def test_run_now_makes_a_job_due_and_keeps_its_attempts(session, view, attempts):
    job_id = factories.BY_VIEW[view]().id
    lifecycle.run_now(session, [job_id], by="ada").one()
    session.commit()
    row = row_of(session, job_id)
    assert (row["run_at"], row["attempts"]) == (row["updated_at"], attempts)
    token, worker_id = uuid4(), uuid4()
    claimed = lifecycle.claim(
        session, [job_id.hex], token=token, worker_id=worker_id, lease_seconds=30
    )
    assert [job.id for job in claimed] == [job_id]


def test_run_now_leaves_a_job_that_is_due_in_its_place(session):
    job_id = factories.pending_job(due_in=-60).id
    before = row_of(session, job_id)
    lifecycle.run_now(session, [job_id], by="ada").one()
    session.commit()
    assert row_of(session, job_id) == before


def test_discard_closes_the_dead_letter_once(session):
    job_id = factories.failed_job().id
    lifecycle.discard(session, [job_id], by="ada").one()
    session.commit()
    assert [letter.closed_how for letter in letters_of(session, job_id)] == ["discarded"]
    again = lifecycle.discard(session, [job_id], by="ada")
    assert isinstance(again.refused[job_id], InvalidTransition)


def test_every_change_by_a_person_is_an_audit_event(session):
    job_id = factories.failed_job().id
    lifecycle.retry(session, [job_id], by="ada")
    lifecycle.cancel(session, [job_id], by="bob")
    session.commit()
    events = session.execute(text("SELECT actor, action, subject FROM audit_events ORDER BY id"))
    assert [tuple(event) for event in events] == [
        ("ada", "job.retry", str(job_id)),
        ("bob", "job.cancel", str(job_id)),
    ]


# -------------------------------------------------------------------- what a worker does


@pytest.mark.parametrize("status", STATUSES)
def test_claim_takes_only_pending_jobs(session, status):
    job_id = MAKERS[status]().id
    before = row_of(session, job_id)
    token, worker_id = uuid4(), uuid4()
    rows = lifecycle.claim(
        session, [job_id.hex], token=token, worker_id=worker_id, lease_seconds=30
    )
    session.commit()
    after = row_of(session, job_id)
    if status == "pending":
        assert [row.id for row in rows] == [job_id]
        assert (after["status"], after["attempts"]) == ("processing", 1)
        assert (after["lease_token"], after["worker_id"]) == (token, worker_id)
        assert (after["leased_until"] - after["started_at"]).total_seconds() == 30
    else:
        assert (list(rows), after) == ([], before)


@pytest.mark.parametrize(
    "hold_back",
    [
        lambda: factories.pending_job(due_in=60),
        lambda: factories.pending_job(expires_at=factories._now(-1)),
        lambda: (factories.paused_queue("default"), factories.pending_job())[1],
        lambda: (factories.paused_type("echo"), factories.pending_job())[1],
    ],
    ids=["early", "expired", "paused queue", "paused type"],
)
def test_claim_leaves_jobs_that_are_on_hold(session, hold_back: Callable):
    job_id = hold_back().id
    before = row_of(session, job_id)
    claim = {"token": uuid4(), "worker_id": uuid4(), "lease_seconds": 30}
    assert list(lifecycle.claim(session, [job_id.hex], **claim)) == []
    session.commit()
    assert row_of(session, job_id) == before


def complete(session, row: dict, result: str = '{"ok":true}', token=None) -> set:
    end = factories.ending(row["id"], token or row["lease_token"], result=result)
    refused = lifecycle.complete(session, [end])
    session.commit()
    return refused


@pytest.mark.parametrize("status", STATUSES)
def test_complete_ends_only_a_processing_job(session, status):
    before = row_of(session, MAKERS[status](last_error="earlier").id
                    if status == "processing" else MAKERS[status]().id)  # fmt: skip
    refused = complete(session, before, token=before["lease_token"] or uuid4())
    after = row_of(session, before["id"])
    if status == "processing":
        assert refused == set()
        assert (after["status"], after["result"]) == ("completed", {"ok": True})
        assert (after["lease_token"], after["leased_until"], after["last_error"]) == (None,) * 3
        assert after["finished_at"] is not None
        assert after["attempts"] == before["attempts"]
    else:
        assert (refused, after) == ({before["id"]}, before)


def test_a_result_of_none_is_stored_as_null(session):
    row = row_of(session, factories.processing_job().id)
    complete(session, row, "null")
    sql = text("SELECT result IS NULL FROM jobs WHERE id = :id")
    assert session.execute(sql, {"id": row["id"]}).scalar_one()


END = {
    # verb: (status after, attempts after, crashes after, is a letter written)
    "retry_later": ("pending", 1, 0, False),
    "bury": ("failed", 1, 0, True),
    "cancel": ("cancelled", 1, 0, False),
    "release": ("pending", 0, 0, False),
    "snooze": ("pending", 0, 0, False),
    "refuse": ("pending", 0, 0, False),
    "crash": ("pending", 0, 1, False),
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("verb", END)
def test_an_attempt_ends_only_a_processing_job(session, verb, status):
    before = row_of(session, MAKERS[status]().id)
    given = {**before, "lease_token": before["lease_token"] or uuid4()}
    fields = {"outcome": "failed", "error": "boom", "delay": 8.0, "max_crashes": 3}
    rows = lifecycle.end_attempts(session, [ending(given, verb, **fields)])
    session.commit()
    after = row_of(session, before["id"])
    if status != "processing":
        assert (list(rows), after) == ([], before)
        assert attempts_of(session, before["id"]) == []
        return
    next_status, attempts, crashes, has_letter = END[verb]
    assert (after["status"], after["attempts"], after["crashes"]) == (
        next_status, attempts, crashes,
    )  # fmt: skip
    assert (after["lease_token"], after["leased_until"]) == (None, None)
    assert after["last_error"] == "boom"
    assert (after["finished_at"] is None) == (next_status == "pending")
    assert (after["run_at"] > before["run_at"]) == (next_status == "pending")
    assert attempts_of(session, before["id"]) == [(1, "failed", "boom")]
    letters = [(letter.reason, letter.attempts) for letter in letters_of(session, before["id"])]
    assert letters == ([("boom", 1)] if has_letter else [])


@pytest.mark.parametrize("verb", ["retry_later", "release", "snooze", "refuse", "crash", "cancel"])
def test_a_requested_cancel_cancels_instead_of_returning_to_pending(session, verb):
    row = row_of(session, factories.processing_job(cancel_requested=True).id)
    lifecycle.end_attempts(session, [ending(row, verb, delay=1.0, max_crashes=3)])
    session.commit()
    after = row_of(session, row["id"])
    assert (after["status"], after["cancel_requested_at"]) == ("cancelled", None)


def test_completing_wins_over_a_requested_cancel(session):
    row = row_of(session, factories.processing_job(cancel_requested=True).id)
    complete(session, row)
    assert row_of(session, row["id"])["status"] == "completed"


def test_the_last_crash_buries(session):
    row = row_of(session, factories.processing_job(crashes=2).id)
    lifecycle.end_attempts(session, [ending(row, "crash", max_crashes=3, error="silent")])
    session.commit()
    assert row_of(session, row["id"])["status"] == "failed"
    assert [letter.reason for letter in letters_of(session, row["id"])] == [
        "crashed its worker 3 times"
    ]


# ------------------------------------------------------------------------------ the fence


def test_zombie_cannot_complete_a_rescued_job(session):
    row = row_of(session, factories.processing_job(lease_expired_by=5).id)
    rescued = lifecycle.rescue(session)
    session.commit()
    assert [r.id for r in rescued] == [row["id"]]
    after = row_of(session, row["id"])
    assert (after["status"], after["attempts"], after["crashes"]) == ("pending", 0, 1)

    assert complete(session, row) == {row["id"]}
    assert row_of(session, row["id"]) == after


def test_zombie_cannot_complete_the_next_workers_attempt(session):
    row = row_of(session, factories.processing_job(lease_expired_by=5).id)
    lifecycle.rescue(session)
    claim = {"token": uuid4(), "worker_id": uuid4(), "lease_seconds": 30}
    lifecycle.claim(session, [row["id"].hex], **claim)
    session.commit()
    assert complete(session, row) == {row["id"]}
    assert row_of(session, row["id"])["lease_token"] == claim["token"]


def test_an_expired_lease_alone_refuses_nothing(session):
    row = row_of(session, factories.processing_job(lease_expired_by=5).id)
    assert complete(session, row) == set()


def test_a_worker_killed_while_it_was_stopping_did_not_crash(session):
    stopping = factories.worker(stopping_at=factories._now(-5))
    silent = factories.worker()
    announced = factories.processing_job(lease_expired_by=1, worker_id=stopping.id, crashes=2)
    crashed = factories.processing_job(lease_expired_by=1, worker_id=silent.id)
    assert len(lifecycle.rescue(session)) == 2
    session.commit()
    given_back, rescued = row_of(session, announced.id), row_of(session, crashed.id)
    assert [given_back[k] for k in ("status", "attempts", "crashes")] == ["pending", 0, 2]
    assert attempts_of(session, announced.id) == [
        (1, "released", "The worker was stopped before this attempt ended.")
    ]
    assert [rescued[k] for k in ("status", "attempts", "crashes")] == ["pending", 0, 1]


def test_a_job_that_runs_at_most_once_is_not_returned_by_a_killed_stopping_worker(session):
    with temporary_types() as job:
        job("once", max_crashes=0)(lambda payload: None)
        stopping = factories.worker(stopping_at=factories._now(-5))
        started = factories.processing_job(type="once", lease_expired_by=1, worker_id=stopping.id)
        lifecycle.rescue(session)
        session.commit()
    row = row_of(session, started.id)
    assert (row["status"], row["crashes"]) == ("failed", 0)
    [letter] = letters_of(session, started.id)
    assert "at most once" in letter.reason


def _again(session, job_id):
    """The same job held again, as if claimed."""
    session.execute(
        text(
            "UPDATE jobs SET status = 'processing', attempts = attempts + 1, lease_token = :t,"
            " worker_id = :t, leased_until = now() + interval '30 s', started_at = now() WHERE id = :id"
        ),
        {"id": job_id, "t": uuid4()},
    )
    session.commit()
    return row_of(session, job_id)


@pytest.mark.parametrize(("verb", "how"), [("snooze", "snoozed"), ("release", "released")])
def test_attempts_returned_for_one_reason_are_counted_in_one_row(session, verb, how):
    row = row_of(session, factories.processing_job().id)
    for n in range(5):
        lifecycle.end_attempts(session, [ending(row, verb, outcome=how, error=f"n {n}", delay=0.0)])
        session.commit()
        row = _again(session, row["id"])
    lifecycle.end_attempts(session, [ending(row, "retry_later", outcome="failed", error="boom", delay=0.0)])  # fmt: skip
    session.commit()
    row = _again(session, row["id"])
    lifecycle.end_attempts(session, [ending(row, verb, outcome=how, error="other", delay=0.0)])
    session.commit()
    rows = session.execute(
        text("SELECT attempt, outcome, error, times, since < ended_at AS is_since FROM job_attempts ORDER BY ended_at")
    ).all()  # fmt: skip
    assert [tuple(r) for r in rows] == [
        (1, how, "n 4", 5, True), (1, "failed", "boom", 1, None), (2, how, "other", 1, None),
    ]  # fmt: skip


def refuse(session, row, **fields):
    end = {"outcome": "released", "error": "no", "error_class": "PayloadRefused", **fields}
    [ended] = lifecycle.end_attempts(session, [ending(row, "refuse", **end)])
    session.commit()
    after = row_of(session, row["id"])
    return ended.status, (after["run_at"] - after["updated_at"]).total_seconds()


def test_a_refused_job_waits_longer_each_time_and_at_most_a_minute(session):
    row = row_of(session, factories.processing_job().id)
    waits = []
    for _ in range(8):
        status, wait = refuse(session, row, give_up_after=3600.0)
        assert status == "pending"
        waits.append(wait)
        row = _again(session, row["id"])
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize(
    ("first_hours_ago", "last_minutes_ago", "give_up_after", "status"),
    [
        (25, 1, 24 * 3600.0, "failed"),
        (23, 1, 24 * 3600.0, "pending"),
        (25, 1, None, "pending"),
        (25, 90, 24 * 3600.0, "pending"),  # an earlier episode
    ],
)
def test_a_job_refused_for_too_long_fails(
    session, first_hours_ago, last_minutes_ago, give_up_after, status
):
    row = row_of(session, factories.processing_job().id)
    refuse(session, row)
    row = _again(session, row["id"])
    session.execute(
        text(
            "UPDATE job_attempts SET times = 99, since = now() - make_interval(hours => :h),"
            " ended_at = now() - make_interval(mins => :m)"
        ),
        {"h": first_hours_ago, "m": last_minutes_ago},
    )
    session.commit()
    assert refuse(session, row, give_up_after=give_up_after)[0] == status
    letters = letters_of(session, row["id"])
    assert [letter.reason for letter in letters] == (["no"] if status == "failed" else [])


def test_rescue_leaves_valid_leases(session):
    before = row_of(session, factories.processing_job().id)
    assert list(lifecycle.rescue(session)) == []
    session.commit()
    assert row_of(session, before["id"]) == before


def test_a_duplicate_outcome_counts_once(session):
    row = row_of(session, factories.processing_job().id)
    ends = [ending(row, "bury", outcome="failed", error="boom")]
    assert len(lifecycle.end_attempts(session, ends)) == 1
    assert list(lifecycle.end_attempts(session, ends)) == []
    session.commit()
    assert len(letters_of(session, row["id"])) == 1


def test_extend_needs_the_token_and_reports_cancel_requests(session):
    mine = row_of(session, factories.processing_job(lease_expired_by=1).id)
    asked = row_of(session, factories.processing_job(cancel_requested=True).id)
    lost = row_of(session, factories.processing_job().id)
    held = lifecycle.extend(
        session,
        [(mine["id"], mine["lease_token"]), (asked["id"], asked["lease_token"]),
         (lost["id"], uuid4())],
        lease_seconds=60,
    )  # fmt: skip
    session.commit()
    assert held == {mine["id"]: False, asked["id"]: True}
    assert row_of(session, mine["id"])["leased_until"] > mine["leased_until"]
    assert row_of(session, lost["id"]) == lost


# ------------------------------------------------------------------------ what time does


@pytest.mark.parametrize("status", STATUSES)
def test_expire_cancels_only_stale_pending_jobs(session, status):
    before = row_of(session, MAKERS[status](expires_at=factories._now(-1)).id)
    count = lifecycle.expire(session)
    session.commit()
    after = row_of(session, before["id"])
    if status == "pending":
        assert (count, after["status"]) == (1, "cancelled")
        assert "Expired" in after["last_error"]
    else:
        assert (count, after) == (0, before)


@pytest.mark.parametrize("status", STATUSES)
def test_prune_deletes_only_old_final_jobs(session, status):
    old = {"finished_ago": 900} if status in ("completed", "failed", "cancelled") else {}
    before = row_of(session, MAKERS[status](created_ago=1000, **old).id)
    bounds = {"after": ids.UUID(int=0), "before": ids.new_id(), "seconds": 800}
    gone = lifecycle.prune(session, **bounds)
    session.commit()
    if status in ("completed", "cancelled"):
        assert gone == [before["id"]]
        assert row_of(session, before["id"]) == {}
    else:
        assert gone == []
        assert row_of(session, before["id"]) == before
