"""All queues, all types, all workers at a glance."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.errors import WorkerNotFound
from app.jobs import registry
from app.jobs.listing import (
    job_type_overview,
    list_workers,
    paused_queues,
    paused_types,
    queue_overview,
    worker,
)
from app.jobs.statistics import backlog, summary
from tests import factories
from tests.factories import (
    completed_job,
    paused_queue,
    paused_type,
    pending_job,
    processing_job,
    retrying_job,
    scheduled_job,
)


def queue(session, name):
    return {one.name: one for one in queue_overview(session)}[name]


def job_type(session, name):
    return {one.name: one for one in job_type_overview(session)}[name]


def ended(session, outcome, *, n, type="echo", run=40, ago=1):
    at = session.execute(text("SELECT date_trunc('minute', now())")).scalar_one()
    session.execute(
        text("INSERT INTO job_series_deltas VALUES (:at, :type, :outcome, :run, 0, :n)"),
        {"at": at - timedelta(minutes=ago), "type": type, "outcome": outcome, "run": run, "n": n},
    )
    session.commit()


def test_pending_is_split_into_what_can_run_and_what_cannot(session):
    pending_job(queue="mail")
    pending_job(queue="mail", due_in=-50)
    scheduled_job(queue="mail")
    retrying_job(queue="mail")
    retrying_job(queue="mail", due_in=-5)
    processing_job(queue="mail")
    pending_job(queue="other")
    for is_folded in (False, True):
        mail = queue(session, "mail")
        assert (mail.pending, mail.due, mail.scheduled, mail.retrying) == (5, 3, 1, 2), is_folded
        assert mail.processing == 1
        assert mail.due.is_exact
        assert mail.scheduled.is_exact
        assert mail.retrying.is_exact
        summary.fold(session)
        session.commit()


COUNTED = """
    SELECT queue, count(*) FILTER (WHERE run_at <= now()) AS due,
           count(*) FILTER (WHERE run_at > now() AND attempts = 0) AS scheduled,
           count(*) FILTER (WHERE attempts > 0) AS retrying
    FROM jobs WHERE status = 'pending' GROUP BY 1
"""


def check_queues(session) -> None:
    expected = {row.queue: tuple(row)[1:] for row in session.execute(text(COUNTED))}
    found = {
        one.name: (one.due, one.scheduled, one.retrying)
        for one in queue_overview(session)
        if one.name in expected
    }
    assert found == expected
    assert all(count.is_exact for counts in found.values() for count in counts)
    session.commit()


def test_every_number_of_a_large_backlog_is_exact(session):
    session.execute(text("SET LOCAL synchronous_commit = off"))
    session.execute(
        text("""
            INSERT INTO jobs (id, queue, type, payload, run_at, attempts)
            SELECT gen_random_uuid(), 'q' || i % 4, 'echo', '{}',
                   now() + make_interval(secs => CASE WHEN i % 9 < 4 THEN -(i % 900) ELSE 5 + i % 7200 END),
                   CASE WHEN i % 9 IN (0, 8) THEN 1 ELSE 0 END
            FROM generate_series(1, 27000) AS i""")
    )
    session.commit()
    check_queues(session)
    counts = summary.view_counts(session)
    assert counts["scheduled"] > 10_000
    assert (counts["pending"] - counts["scheduled"], counts["retrying"]) == (15_000, 6_000)
    session.execute(text("UPDATE jobs SET queue = 'q0', updated_at = now() WHERE queue = 'q1'"))
    session.execute(
        text(
            "UPDATE jobs SET status = 'cancelled', finished_at = now() WHERE queue = 'q2' AND attempts = 0"
        )
    )
    session.execute(text("DELETE FROM jobs WHERE queue = 'q3' AND run_at > now()"))
    session.commit()
    check_queues(session)
    summary.fold(session)
    session.commit()
    check_queues(session)
    assert summary.check(session).is_clean


def test_a_job_whose_time_has_come_moves_from_scheduled_to_due(session):
    for due_in in (0.3, 0.6, 59, 61, 3600):
        scheduled_job(due_in=due_in)
    check_queues(session)
    # As if all of them had been enqueued an hour ago.
    session.execute(
        text(
            "UPDATE jobs SET run_at = run_at - interval '1 h', updated_at = updated_at - interval '1 h'"
        )
    )
    session.commit()
    check_queues(session)
    assert queue(session, "default").due == 5


def test_an_inexact_count_of_the_current_minute_is_marked(session, monkeypatch):
    monkeypatch.setattr("app.jobs.statistics.backlog.SOON_BOUND", 2)
    [scheduled_job(due_in=30) for _ in range(3)]
    # The present minute is the next five, so that a test begun at its end sees the same.
    minute = re.compile(r"date_trunc\('minute', now\(\), 'UTC'\) \+ interval '1 minute'")
    later = minute.sub("now() + interval '5 minutes'", str(backlog.SPLIT))
    monkeypatch.setattr(backlog, "SPLIT", text(later))
    one = queue(session, "default")
    assert not one.due.is_exact
    assert not one.scheduled.is_exact
    assert one.retrying.is_exact
    assert summary.overview(session).drain_seconds is None


def test_the_counts_of_waiting_jobs_are_checked_and_repaired(session):
    scheduled_job(queue="mail")
    session.execute(text("UPDATE job_waiting_deltas SET n = 5"))
    session.commit()
    [drift] = summary.check(session, fix=True).rows
    assert (drift.queue, drift.type, drift.counted, drift.actual) == ("mail", "scheduled", 5, 1)
    session.commit()
    assert summary.check(session).is_clean
    check_queues(session)


def test_the_oldest_wait_is_found_in_any_priority_among_due_jobs(session):
    pending_job(queue="a", due_in=-10, priority=50)
    pending_job(queue="a", due_in=-90, priority=-50)
    pending_job(queue="a", due_in=-20, priority=0)
    pending_job(queue="b", due_in=-40)
    scheduled_job(queue="c")
    processing_job(queue="d", started_ago=500)
    found = {one.name: one.oldest_wait_seconds for one in queue_overview(session)}
    assert found["a"] == pytest.approx(90, abs=10)
    assert found["b"] == pytest.approx(40, abs=10)
    assert found["c"] is found["d"] is None


def test_queues_are_those_with_jobs_of_types_or_paused(session):
    job = pending_job(queue="gone")
    paused_queue("mail")
    session.delete(job)
    session.commit()
    names = [one.name for one in queue_overview(session)]
    assert "gone" not in names
    assert {"mail", *(one.queue for one in registry.all_types())} == set(names)
    assert names == sorted(names)


def test_paused_queues_and_types(session):
    paused_queue("mail")
    paused_type("sleep")
    resumed = paused_queue("later")
    session.delete(resumed)
    session.commit()
    assert (paused_queues(session), paused_types(session)) == ({"mail"}, {"sleep"})
    assert queue(session, "mail").is_paused
    assert not queue(session, "default").is_paused
    assert job_type(session, "sleep").is_paused
    assert not job_type(session, "echo").is_paused


def test_throughput_of_a_type_is_distributed_to_its_queues(session):
    [completed_job(queue="a") for _ in range(3)]
    completed_job(queue="b")
    completed_job(type="sleep", queue="b")
    # What the triggers wrote themselves is of no use here.
    session.execute(text("DELETE FROM job_series_deltas"))
    ended(session, "completed", n=40)
    ended(session, "completed", n=5, type="sleep")
    ended(session, "completed", n=1000, ago=10)
    ended(session, "failed", n=1000)
    assert queue(session, "a").completed_per_minute == pytest.approx(40 / 5 * 0.75)
    assert queue(session, "b").completed_per_minute == pytest.approx(40 / 5 * 0.25 + 1)


def test_types_are_the_registered_ones_and_those_that_have_jobs(session):
    pending_job(type="from-elsewhere")
    session.delete(pending_job(type="long-gone"))
    session.commit()
    found = {one.name: one for one in job_type_overview(session)}
    assert found["from-elsewhere"].job_type is None
    assert found["from-elsewhere"].counts["pending"] == 1
    assert found["echo"].job_type is registry.get("echo")
    assert set(found["echo"].counts.values()) == {0}
    assert "long-gone" not in found
    assert list(found) == sorted(found)


def test_type_counts_cover_all_queues(session):
    completed_job(queue="a")
    completed_job(queue="b")
    summary.fold(session)
    completed_job(queue="a")
    assert job_type(session, "echo").counts["completed"] == 3


def test_type_failures_and_run_times_are_of_its_own_last_hour(session):
    ended(session, "completed", n=6, run=40)
    ended(session, "retried", n=1, run=40)
    ended(session, "failed", n=1, run=80)
    ended(session, "failed", n=9, ago=70)
    ended(session, "failed", n=9, type="sleep")
    echo = job_type(session, "echo")
    assert echo.failure_share == pytest.approx(0.25)
    assert echo.run_p50_ms == pytest.approx(1.0, rel=0.2)
    assert echo.run_p95_ms == pytest.approx(1049, rel=0.2)
    quiet = job_type(session, "fail")
    assert quiet.failure_share is quiet.run_p50_ms is quiet.run_p95_ms is None


def test_workers_are_alive_by_the_database_clock(session, app, monkeypatch):
    def lease(seconds):
        settings = replace(app.extensions["settings"], lease_seconds=seconds)
        monkeypatch.setitem(app.extensions, "settings", settings)

    lease(30.0)
    running = [
        {"jobId": str(uuid4()), "type": "echo", "attempt": 1, "since": "2026-01-01T00:00:00Z"}
    ]
    states = {
        factories.worker(running=running).id: ("busy", True),
        factories.worker(silent_for=20).id: ("idle", True),
        factories.worker(silent_for=45).id: ("silent", False),
        factories.worker(stopped_ago=5).id: ("stopped", False),
        factories.worker(stopping_at=factories._now()).id: ("stopping", True),
    }
    found = list_workers(session)
    assert {one.id: (one.state, one.is_alive) for one in found} == states
    assert [one.is_alive for one in found] == [True, True, True, False, False]
    assert found[0].running in (running, [])
    by_id = {one.id: one for one in found}
    silent = next(one for one in by_id.values() if one.state == "silent")
    assert silent.silent_seconds == pytest.approx(45, abs=5)
    lease(0.0)
    assert not any(one.is_alive for one in list_workers(session))


def test_workers_long_gone_are_not_listed_but_can_be_read(session):
    stopped = factories.worker(stopped_ago=700, silent_for=700)
    silent = factories.worker(silent_for=4000)
    assert list_workers(session) == []
    assert worker(session, stopped.id).state == "stopped"
    assert worker(session, silent.id).state == "silent"
    with pytest.raises(WorkerNotFound, match=str(UUID(int=3))):
        worker(session, UUID(int=3))


def test_rates_are_rounded(session):
    completed_job(queue="a")
    session.execute(text("DELETE FROM job_series_deltas"))
    for ago in range(1, 5):  # sums of fifths: 57.599999999999994 in floats
        ended(session, "completed", n=72, ago=ago)
    rates = {
        job_type(session, "echo").completed_per_minute,
        queue(session, "a").completed_per_minute,
    }
    assert rates == {57.6}
