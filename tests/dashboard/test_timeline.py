"""The story of a job."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from app.dashboard.present.timeline import OUTCOMES, TRACEBACK_LIMIT, tail, timeline
from app.jobs import audit, lifecycle, listing
from app.jobs.models import Job, JobAttempt
from tests import factories as make


def titles(session: Any, job: Job) -> list[str]:
    attempts = listing.attempts_of(session, job.id)
    letters, acts = listing.dead_letters_of(session, job.id), audit.events_of(session, str(job.id))
    return [event.title for event in timeline(job, attempts, letters, acts)]


def test_a_waiting_job_has_its_next_attempt_first(session: Any) -> None:
    assert titles(session, make.pending_job()) == ["First attempt", "Created"]
    job = make.retrying_job(attempts=2, created_ago=60)
    make.attempt(job, attempt=1, started_at=make._now(-40), ended_at=make._now(-39))
    make.attempt(job, attempt=2)
    assert titles(session, job) == ["Attempt 3", "Attempt 2 failed", "Attempt 1 failed", "Created"]


def test_a_running_job_says_where_it_runs(session: Any) -> None:
    job = make.processing_job(created_ago=60)
    [event, _] = timeline(job, [])
    assert event.title == "Attempt 1 running"
    assert event.note == f"worker {str(job.worker_id)[-8:]}"


def test_endings(session: Any) -> None:
    assert titles(session, make.completed_job(created_ago=60))[0] == "Completed (attempt 1)"
    assert titles(session, make.failed_job(created_ago=60))[0] == "Failed permanently"
    assert titles(session, make.cancelled_job(created_ago=60))[0] == "Cancelled"
    discarded = titles(session, make.failed_job(created_ago=60, is_discarded=True, finished_ago=9))
    assert discarded[:2] == ["Dead letter discarded", "Failed permanently"]
    stopping = titles(session, make.processing_job(created_ago=60, cancel_requested=True))
    assert stopping[0] == "Stop requested"


def test_user_actions_are_shown_with_their_actors(session: Any) -> None:
    job = make.failed_job(created_ago=60, finished_ago=9)
    lifecycle.edit(session, [job.id], {"priority": 5}, by="ada").one()
    session.commit()
    lifecycle.retry(session, [job.id], by="bob").one()
    session.commit()
    lifecycle.cancel(session, [job.id], by="eve").one()
    session.commit()
    session.refresh(job)
    letters, acts = listing.dead_letters_of(session, job.id), audit.events_of(session, str(job.id))
    events = [(e.title, e.note) for e in timeline(job, [], letters, acts)]
    assert events == [
        ("Cancelled", "by eve"),
        ("Retried", "by bob"),
        ("Changed", "priority, by ada"),
        ("Failed permanently", "kept as a dead letter"),
        ("Created", ""),
    ]
    lifecycle.retry(session, [job.id], by="bob").one()
    session.commit()
    session.refresh(job)
    assert titles(session, job)[:3] == ["First attempt", "Retried", "Cancelled"]


@pytest.mark.parametrize(
    ("error_class", "error", "shown"),
    [
        ("ValueError", "boom", "ValueError: boom"),
        ("ValueError", "ValueError: boom", "ValueError: boom"),
        ("ValueError", "ValueError: ValueError: boom", "ValueError: boom"),
        ("ValueError", "ValueError", "ValueError"),
        ("ValueError", "", "ValueError"),
        ("Error", "Errors in two rows", "Error: Errors in two rows"),
        (None, "lease expired", "lease expired"),
    ],
)
def test_the_class_of_an_error_is_shown_once(
    client: Any, session: Any, error_class: str | None, error: str, shown: str
) -> None:
    job = make.failed_job(error=error or "unknown", created_ago=60)
    attempt = make.attempt(job, error=error, error_class=error_class)
    event = next(event for event in timeline(job, [attempt]) if event.title == "Attempt 1 failed")
    assert event.error == shown
    if error:
        page = client.get(f"/jobs/{job.id}").text
        panel = page.split('id="job-error"')[1].split("</pre>")[0]
        assert f">{shown}</bdi>" in panel


def test_waits_are_shown(session: Any) -> None:
    now = session.scalar(select(func.now()))  # one moment, however busy the machine is

    def ago(seconds: float) -> datetime:
        return now - timedelta(seconds=seconds)

    job = make.completed_job(created_ago=60, run_at=ago(10), started_at=ago(7))
    session.refresh(job)
    assert "waited 3.0 s" in timeline(job, [])[0].note
    job = make.retrying_job(attempts=2, created_ago=60)
    first = make.attempt(job, started_at=ago(50), ended_at=ago(40), retry_at=ago(30))
    second = make.attempt(job, attempt=2, started_at=ago(28), ended_at=ago(20))
    for attempt in (first, second):
        session.refresh(attempt)
    assert "waited 2.0 s" in timeline(job, [first, second])[1].note


@pytest.mark.parametrize("error", ["KeyError: 'merchant_id'", "'merchant_id'"])
def test_the_error_class_is_not_repeated(session: Any, error: str) -> None:
    job = make.failed_job(created_ago=60)
    attempt = make.attempt(job, error=error, error_class="KeyError")
    events = timeline(job, [attempt])
    assert [event.error for event in events if event.error] == ["KeyError: 'merchant_id'"]


@pytest.mark.parametrize("outcome", JobAttempt.OUTCOMES)
def test_every_outcome_has_a_title_and_a_shape(session: Any, outcome: str) -> None:
    assert outcome in OUTCOMES
    job = make.retrying_job(created_ago=60)
    make.attempt(job, outcome=outcome)
    assert titles(session, job)[1].startswith("Attempt 1 ")


def test_the_end_of_a_long_traceback_is_kept() -> None:
    text = tail("first\n" + "x" * TRACEBACK_LIMIT + "\nlast")
    assert text.endswith("last")
    assert "first" not in text
    assert "characters omitted" in text
