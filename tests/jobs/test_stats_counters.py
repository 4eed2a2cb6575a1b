"""Counters: exact at every instant, under any writers and any number of folds."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from app.extensions import db
from app.jobs import ids
from app.jobs.models import STATUSES
from app.jobs.statistics import counters, summary
from tests import factories
from tests.factories import completed_job, failed_job, pending_job, processing_job

TRUTH = text("SELECT status, count(*) AS n FROM jobs GROUP BY 1")


def truth(session) -> dict[str, int]:
    found = {row.status: row.n for row in session.execute(TRUTH)}
    return {status: found.get(status, 0) for status in STATUSES}


def base(session) -> dict[tuple[str, str, str], int]:
    rows = session.execute(text("SELECT queue, type, status, n FROM job_counters"))
    return {(row.queue, row.type, row.status): row.n for row in rows}


def deltas(session, table="job_counter_deltas") -> int:
    return session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()


def test_every_status_is_counted_even_if_empty(session):
    assert summary.status_counts(session) == dict.fromkeys(STATUSES, 0)
    for make in factories.BY_VIEW.values():
        make()
    counts = summary.status_counts(session)
    assert counts == {
        "pending": 3, "processing": 1, "completed": 1, "failed": 1, "cancelled": 1,
    }  # fmt: skip


def test_folding_changes_no_count(session):
    for _ in range(3):
        failed_job(queue="mail")
        completed_job(type="sleep")
    before = summary.status_counts(session)
    while summary.fold(session, limit=2):
        session.commit()
        assert summary.status_counts(session) == before
    assert (deltas(session), deltas(session, "job_series_deltas")) == (0, 0)
    assert base(session) == {("mail", "echo", "failed"): 3, ("default", "sleep", "completed"): 3}


def test_folded_counts_go_down_again(session):
    job = pending_job()
    summary.fold(session)
    session.commit()
    session.delete(job)
    session.commit()
    summary.fold(session)
    session.commit()
    assert base(session) == {("default", "echo", "pending"): 0}
    assert summary.status_counts(session)["pending"] == 0


def test_count_by_any_part(session):
    failed_job(queue="mail", type="send-email")
    failed_job(queue="mail")
    pending_job(queue="mail")
    summary.fold(session)
    pending_job()
    assert counters.count(session) == 4
    assert counters.count(session, queue="mail") == 3
    assert counters.count(session, queue="mail", status="failed") == 2
    assert counters.count(session, type="send-email", queue="mail", status="failed") == 1
    assert counters.count(session, type="nobody") == 0


WRITES = [
    # Each a statement of its own kind, over what the others leave.
    """INSERT INTO jobs (id, queue, type, payload)
       SELECT unnest(CAST(:ids AS uuid[])), (ARRAY['a', 'b'])[1 + (random() * 1.9)::int % 2],
              (ARRAY['x', 'y'])[1 + (random() * 1.9)::int % 2], '{}'""",
    """UPDATE jobs SET status = 'processing', attempts = attempts + 1, lease_token = gen_random_uuid(),
              worker_id = gen_random_uuid(), leased_until = now(), started_at = now()
       WHERE id IN (SELECT id FROM jobs WHERE status = 'pending' ORDER BY id LIMIT 7
                    FOR UPDATE SKIP LOCKED)""",
    """UPDATE jobs SET status = (ARRAY['completed', 'failed'])[1 + attempts % 2], lease_token = NULL,
              leased_until = NULL, finished_at = now()
       WHERE id IN (SELECT id FROM jobs WHERE status = 'processing' ORDER BY id LIMIT 5
                    FOR UPDATE SKIP LOCKED)""",
    """UPDATE jobs SET status = 'pending', finished_at = NULL, queue = 'b'
       WHERE id IN (SELECT id FROM jobs WHERE status = 'failed' ORDER BY id LIMIT 2
                    FOR UPDATE SKIP LOCKED)""",
    """DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE status = 'completed' ORDER BY id LIMIT 3
                    FOR UPDATE SKIP LOCKED)""",
]


def test_counts_are_exact_under_concurrent_writers_and_folds(app, session):
    rounds, problems, is_over = 40, [], threading.Event()
    barrier = threading.Barrier(2 + 2 + 1)

    def write(seed: int) -> None:
        barrier.wait()
        for n in range(rounds):
            with db.engine.connect() as connection:
                for statement in WRITES:
                    new = [str(ids.new_id()) for _ in range(9)]
                    connection.execute(text(statement), {"ids": new})
                if (n + seed) % 5:
                    connection.commit()  # every fifth is rolled back

    def fold() -> None:
        barrier.wait()
        while not is_over.is_set():
            with db.engine.begin() as connection:
                summary.fold(connection, limit=20)

    def look() -> None:
        barrier.wait()
        while not is_over.is_set():
            with db.engine.connect().execution_options(
                isolation_level="REPEATABLE READ"
            ) as connection:
                counted = summary.status_counts(connection)
                if counted != (actual := truth(connection)):
                    problems.append((counted, actual))

    def run(job) -> None:
        with app.app_context():
            job()

    with ThreadPoolExecutor(5) as pool:
        writers = [pool.submit(run, lambda seed=seed: write(seed)) for seed in range(2)]
        others = [pool.submit(run, job) for job in (fold, fold, look)]
        try:
            for writer in writers:
                writer.result()
        finally:
            is_over.set()
        for other in others:
            other.result()
    assert problems == []
    assert sum(truth(session).values()) > 0
    while summary.fold(session):
        session.commit()
    assert summary.check(session).is_clean


def test_two_folds_share_the_work_without_waiting(session):
    [pending_job() for _ in range(4)]
    with db.engine.connect() as one, db.engine.connect() as two:
        assert summary.fold(one, limit=2) == 4  # two of each kind
        two.execute(text("SET LOCAL lock_timeout = '1s'"))
        taken = two.execute(
            text(
                "SELECT count(*) FROM (SELECT FROM job_counter_deltas FOR UPDATE SKIP LOCKED) AS d"
            )
        )
        assert taken.scalar_one() == 2
        two.rollback()
        one.commit()
    assert summary.status_counts(session)["pending"] == 4


def test_check_reports_no_drift_of_exact_counters(session):
    for make in factories.BY_VIEW.values():
        make()
    summary.fold(session)
    pending_job()
    drift = summary.check(session)
    assert (drift.rows, drift.is_clean) == ([], True)


def test_check_names_what_is_wrong_and_fix_repairs_it(session):
    completed_job(queue="mail")
    summary.fold(session)
    pending_job()
    session.execute(text("UPDATE job_counters SET n = n + 3"))
    session.execute(text("DELETE FROM job_counter_deltas"))
    session.execute(text("INSERT INTO job_counter_deltas VALUES ('gone', 'old', 'failed', 2)"))
    session.commit()
    expected = [
        counters.CounterDrift("default", "echo", "pending", counted=0, actual=1),
        counters.CounterDrift("gone", "old", "failed", counted=2, actual=0),
        counters.CounterDrift("mail", "echo", "completed", counted=4, actual=1),
    ]
    assert summary.check(session).rows == expected
    fixed = summary.check(session, fix=True)
    assert (fixed.rows, fixed.is_fixed) == (expected, True)
    session.commit()
    assert summary.check(session).is_clean
    assert summary.status_counts(session) == truth(session)


def test_repairs_at_the_same_time_add_the_difference_once(app, session):
    pending_job()
    session.execute(text("INSERT INTO job_counter_deltas VALUES ('q', 't', 'failed', 5)"))
    session.commit()
    barrier = threading.Barrier(3)

    def repair(_: int) -> int:
        with app.app_context(), db.engine.begin() as connection:
            barrier.wait()
            return len(summary.check(connection, fix=True).rows)

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(repair, range(3))) == [0, 0, 1]
    assert summary.check(session).is_clean


def test_repair_is_exact_under_concurrent_writers(app, session):
    pending_job()
    session.execute(text("INSERT INTO job_counter_deltas VALUES ('default', 'echo', 'pending', 5)"))
    session.commit()
    with db.engine.connect() as other:
        other.execute(text(WRITES[0]), {"ids": [str(ids.new_id())]})  # not yet committed
        summary.check(session, fix=True)
        session.commit()
        other.commit()
    assert summary.check(session).is_clean


def test_the_web_folds_only_what_is_overdue(session):
    [pending_job() for _ in range(3)]
    assert summary.fold_if_overdue(db.engine, limit=3) == 0
    assert summary.fold_if_overdue(db.engine, limit=2) == 4  # two of each kind
    assert summary.status_counts(session)["pending"] == 3


def put(session, ago: timedelta, *, outcome="completed", run=40, wait=20, n=1, type="echo"):
    at = datetime.now(UTC).replace(second=0, microsecond=0) - ago
    session.execute(
        text("INSERT INTO job_series_deltas VALUES (:at, :type, :outcome, :run, :wait, :n)"),
        {"at": at, "type": type, "outcome": outcome, "run": run, "wait": wait, "n": n},
    )
    session.commit()
    return at


def series(session) -> Counter:
    rows = session.execute(text("SELECT minute, n FROM job_series ORDER BY 1"))
    return Counter({row.minute: row.n for row in rows})


def settle(session):
    while summary.fold(session) + summary.prune_series(session):
        session.commit()


def test_old_minutes_become_hours_and_very_old_ones_are_deleted(session):
    now = put(session, timedelta(0), n=2)
    put(session, timedelta(0), n=3)
    recent = put(session, timedelta(minutes=90))
    settle(session)
    put(session, timedelta(days=8))
    settle(session)
    assert series(session) == {now: 5, recent: 1}
    # As rows that were folded in time, and are now four hours old.
    session.execute(text("UPDATE job_series SET minute = minute - interval '4 hours'"))
    session.commit()
    settle(session)
    hours = {at.replace(minute=0) - timedelta(hours=4) for at in (now, recent)}
    assert set(series(session)) == hours
    assert sum(series(session).values()) == 6


def test_late_deltas_are_folded_into_their_hour(session):
    at = put(session, timedelta(hours=5), n=1)
    settle(session)
    put(session, timedelta(hours=5), n=2)
    settle(session)
    assert series(session) == {at.replace(minute=0): 3}


def test_prune_goes_in_batches(session):
    for n in range(5):
        put(session, timedelta(days=8, hours=n))
    summary.fold(session)
    assert [summary.prune_series(session, limit=2) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.parametrize("ended", ["completed", "failed"])
def test_a_finished_attempt_enters_the_series_with_its_times(session, ended):
    job = processing_job(started_ago=4)
    session.execute(
        text("""UPDATE jobs SET status = :ended, lease_token = NULL, leased_until = NULL,
                finished_at = now() WHERE id = :id"""),
        {"ended": ended, "id": job.id},
    )
    session.commit()
    activity = summary.last_hour(session).types["echo"]
    assert getattr(activity, ended) == 1
    assert 3_500 < activity.run_ms(0.5) < 5_500
