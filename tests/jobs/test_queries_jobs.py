"""One job with its history, and rows as they stand now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.errors import JobNotFound
from app.jobs.listing import attempts_of, get_job, list_jobs, log_of
from tests import factories
from tests.factories import (
    completed_job,
    pending_job,
    processing_job,
    retrying_job,
)

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def test_get_job_returns_the_row_or_names_the_unknown_id(session):
    job = pending_job(type="send-email")
    assert get_job(session, job.id).type == "send-email"
    with pytest.raises(JobNotFound, match=str(UUID(int=7))):
        get_job(session, UUID(int=7))


def test_rows_show_the_current_state(session):
    job = pending_job()
    assert list_jobs(session, limit=1).items[0].status == "pending"
    from app.extensions import db

    with db.engine.begin() as other:
        other.exec_driver_sql(
            "UPDATE jobs SET status = 'cancelled', finished_at = now() WHERE id = %s",
            (str(job.id),),
        )
    assert list_jobs(session, limit=1).items[0].status == "cancelled"


def test_light_rows_load_payload_and_result_on_access(session):
    completed_job(payload={"n": 1}, result={"ok": True})
    session.expunge_all()
    job = list_jobs(session, limit=1, is_light=True).items[0]
    assert "payload" not in job.__dict__
    assert (job.payload, job.result) == ({"n": 1}, {"ok": True})


def test_attempts_are_listed_oldest_first(session):
    job = retrying_job(attempts=3)
    for n in (2, 1, 3):
        factories.attempt(job, attempt=n, started_at=NEW_YEAR + timedelta(seconds=n))
    factories.attempt(pending_job())
    assert [one.attempt for one in attempts_of(session, job.id)] == [1, 2, 3]
    assert [one.attempt for one in attempts_of(session, job.id, limit=2)] == [2, 3]


def test_log_is_read_from_the_start_or_after_a_line(session):
    job = processing_job()
    lines = [factories.log_line(job, f"line {n}").id for n in range(5)]
    factories.log_line(pending_job(), "of another job")
    assert [line.id for line in log_of(session, job.id)] == lines
    assert [line.id for line in log_of(session, job.id, limit=2)] == lines[:2]
    assert [line.id for line in log_of(session, job.id, after=lines[2])] == lines[3:]
