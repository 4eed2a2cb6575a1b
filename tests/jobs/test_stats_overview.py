"""The numbers of the dashboard: counts by view, throughput, latency, what fails."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from app.jobs.statistics import summary
from app.jobs.statistics.count import Count
from app.jobs.statistics.series import LastHour, Minute, Pace
from tests import factories
from tests.factories import (
    completed_job,
    failed_job,
    paused_queue,
    pending_job,
    retrying_job,
    scheduled_job,
)


@pytest.fixture
def this_minute(session):
    at = session.execute(text("SELECT date_trunc('minute', now())")).scalar_one()
    session.commit()
    return at


@pytest.fixture
def ended(session, this_minute):
    """Says that ``n`` attempts ended so many minutes ago: ``ended(3, "completed", n=5)``."""

    def put(ago, outcome, *, n=1, type="echo", run=40, wait=20, table="job_series"):
        session.execute(
            text(f"INSERT INTO {table} VALUES (:at, :type, :outcome, :run, :wait, :n)"),
            {
                "at": this_minute - timedelta(minutes=ago),
                "type": type, "outcome": outcome, "run": run, "wait": wait, "n": n,
            },
        )  # fmt: skip
        session.commit()

    return put


def test_view_counts_know_statuses_views_all_and_dead_letters(session):
    for make in factories.BY_VIEW.values():
        make()
    failed_job(is_discarded=True)
    retrying_job(due_in=-5)
    counts = summary.view_counts(session)
    assert counts == {
        "pending": 4, "scheduled": 1, "retrying": 2, "processing": 1, "completed": 1,
        "failed": 2, "cancelled": 1, "all": 9, "dead_letters": 1,
    }  # fmt: skip
    assert all(count.is_exact for count in counts.values())


def test_view_counts_without_jobs(session):
    counts = summary.view_counts(session)
    assert set(counts.values()) == {0}


def test_a_count_that_stopped_at_its_bound_says_so(session, monkeypatch):
    bound = 3
    monkeypatch.setattr("app.jobs.listing.dead_letters.COUNT_BOUND", bound)
    [failed_job() for _ in range(bound + 1)]
    counts = summary.view_counts(session)
    assert (counts["dead_letters"], counts["dead_letters"].is_exact) == (bound, False)
    assert (counts["failed"], counts["failed"].is_exact) == (bound + 1, True)


def test_a_count_is_a_number_that_knows_whether_it_is_exact():
    assert Count(3) == 3
    assert f"{Count(10, False)!r} of {Count(7)!r}" == "10+ of 7"
    assert Count(3) + 1 == 4


def test_an_empty_overview_has_sixty_minutes_of_zeros(session, this_minute):
    overview = summary.overview(session)
    assert len(overview.per_minute) == 60
    assert overview.per_minute[-1].minute - this_minute in (timedelta(0), timedelta(minutes=1))
    assert overview.per_minute[0].minute == overview.per_minute[-1].minute - timedelta(minutes=59)
    assert all((m.completed, m.failed) == (0, 0) for m in overview.per_minute)
    assert overview.wait_p50_ms is overview.run_p95_ms is overview.oldest_due_seconds is None
    assert overview.drain_seconds is None
    assert overview.failing_types == []


def test_throughput_is_per_minute_from_base_and_deltas_together(session, ended, this_minute):
    ended(3, "completed", n=5)
    ended(3, "completed", n=2, table="job_series_deltas")
    ended(3, "failed", n=1)
    ended(3, "retried", n=9)
    ended(0, "completed", n=1, type="sleep")
    ended(61, "completed", n=100)
    ended(3, "enqueued", n=100, run=-1, wait=-1)
    by_minute = {m.minute: (m.completed, m.failed) for m in summary.overview(session).per_minute}
    assert by_minute[this_minute - timedelta(minutes=3)] == (7, 1)
    assert by_minute[this_minute] == (1, 0)
    assert sum(completed for completed, _ in by_minute.values()) == 8


def test_latency_is_that_of_attempts_not_of_enqueueing(session, ended):
    ended(1, "enqueued", n=1000, run=-1, wait=-1)
    ended(1, "completed", n=90, run=40, wait=20)  # 1 ms run, 32 µs wait
    ended(1, "failed", n=10, run=80, wait=60)  # 1 s run, 33 ms wait
    overview = summary.overview(session)
    assert overview.run_p50_ms == pytest.approx(1.024, rel=0.2)
    assert overview.run_p95_ms == pytest.approx(1049, rel=0.2)
    assert overview.wait_p50_ms == pytest.approx(0.032, rel=0.2)
    assert overview.wait_p95_ms == pytest.approx(33, rel=0.2)


def test_failing_types_are_ordered_worst_first(session, ended):
    ended(5, "failed", n=2, type="a")
    ended(5, "completed", n=2, type="a")
    ended(5, "failed", n=3, type="b")
    ended(5, "retried", n=1, type="c")
    ended(5, "completed", n=50, type="fine")
    worst, middle, least = summary.overview(session).failing_types
    assert (worst.type, worst.failed, worst.failure_share) == ("b", 3, 1.0)
    assert (middle.type, middle.failure_share) == ("a", 0.5)
    assert (least.type, least.failed, least.retried) == ("c", 0, 1)


def test_oldest_due_excludes_scheduled_and_paused_jobs(session):
    pending_job(due_in=-100)
    pending_job(due_in=-500, queue="paused")
    scheduled_job(due_in=900)
    paused_queue("paused")
    assert summary.overview(session).oldest_due_seconds == pytest.approx(100, abs=10)


def test_latency_is_that_of_the_last_minutes_not_of_an_hour_ago(session, ended):
    ended(30, "completed", n=1000, run=80, wait=60)
    assert summary.overview(session).run_p50_ms is None
    ended(2, "completed", n=3, run=40, wait=20)
    overview = summary.overview(session)
    assert overview.run_p95_ms == pytest.approx(1.024, rel=0.2)
    assert overview.wait_p95_ms == pytest.approx(0.032, rel=0.2)


def pace(*ended: int, seconds: float) -> Pace:
    """Of a last hour whose latest minutes ended these numbers of jobs."""
    numbers = [0] * (60 - len(ended)) + list(ended)
    return LastHour([Minute(None, n, 0) for n in numbers], {}, seconds).pace()


@pytest.mark.parametrize(
    ("ended", "seconds", "rate", "is_settled"),
    [
        ((900, 900, 450), 30, 900, True),  # steady
        ((60, 900, 450), 30, 900, True),  # what was five minutes ago does not count
        ((900, 900, 0), 2, 871, True),
        ((900, 0, 0), 30, 0, True),  # it stopped
        ((300, 460), 30, 920, True),  # began in the middle of the last minute: it is left out
        ((300, 150), 10, 386, False),  # too early to tell
        ((460,), 30, 920, False),
        ((), 30, 0, False),
    ],
)
def test_the_pace_is_that_of_the_last_one_to_two_minutes(ended, seconds, rate, is_settled):
    found = pace(*ended, seconds=seconds)
    assert found.ended == pytest.approx(rate, rel=0.01)
    assert found.is_settled is is_settled


def test_drain_time_is_the_due_jobs_at_the_current_pace(session, ended):
    [pending_job() for _ in range(10)]
    scheduled_job()
    assert summary.overview(session).drain_seconds is None
    ended(1, "completed", n=50)
    ended(1, "failed", n=10)
    assert summary.overview(session).drain_seconds is None  # it began a moment ago
    ended(2, "completed", n=1)
    assert 10 <= summary.overview(session).drain_seconds <= 20  # 60 jobs in one to two minutes


def test_overview_counts_are_the_view_counts(session):
    completed_job()
    overview = summary.overview(session)
    assert overview.counts == summary.view_counts(session)


def test_the_trend_leaves_the_running_minute_out(session):
    def series(minutes_ago, outcome, n):
        session.execute(
            text(
                "INSERT INTO job_minutes (minute, outcome, n) VALUES"
                " (date_trunc('minute', now()) - make_interval(mins => :ago), :outcome, :n)"
            ),
            {"ago": minutes_ago, "outcome": outcome, "n": n},
        )

    for ago, outcome, n in (
        (0, "enqueued", 1000), (0, "failed", 1000), (1, "enqueued", 70), (5, "enqueued", 7),
        (6, "enqueued", 1000), (2, "completed", 20), (2, "cancelled", 3), (3, "failed", 4),
        (3, "retried", 1000), (6, "failed", 5), (60, "failed", 6), (61, "failed", 1000),
    ):  # fmt: skip
        series(ago, outcome, n)
    assert summary.trend(session) == summary.Trend(
        enqueued=77, ended=27, failed=4, failed_before=11
    )
