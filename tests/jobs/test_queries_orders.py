"""Lists in the order of their own time, its ranges, and ids by either end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from app.jobs.listing import JobFilter, Order, Page, list_dead_letters, list_jobs, order_of
from app.jobs.listing import walk as walks
from tests import factories as make

FINISHED = {"completed": make.completed_job, "failed": make.failed_job, "cancelled": make.cancelled_job}  # fmt: skip
WAITING = {"pending": make.pending_job, "scheduled": make.scheduled_job, "retrying": make.retrying_job}  # fmt: skip


def walked(session: Any, filter: JobFilter, order: Order, limit: int = 2) -> list[Any]:
    """All ids, page by page to the end, having gone back one page in between."""
    found, cursor, pages = [], None, 0
    while True:
        page = list_jobs(session, filter, limit=limit, cursor=cursor, order=order)
        if pages == 1 and page.previous_cursor:
            back: Page[Any] = list_jobs(
                session, filter, limit=limit, cursor=page.previous_cursor, order=order
            )
            assert [job.id for job in back.items] == found[:limit]
        found += [job.id for job in page.items]
        cursor, pages = page.next_cursor, pages + 1
        if cursor is None:
            return found


@pytest.mark.parametrize("status", FINISHED)
def test_the_last_finished_job_comes_first(session: Any, status: str) -> None:
    agos = [30, 5, 5, 90, 1, 60]
    jobs = [FINISHED[status](finished_ago=ago) for ago in agos]
    expected = [job.id for job in sorted(jobs, key=lambda j: (j.finished_at, j.id), reverse=True)]
    filter = JobFilter(status=status)
    assert order_of(status) == Order("finished")
    assert walked(session, filter, order_of(status)) == expected
    assert walked(session, filter, Order("finished", is_ascending=True)) == expected[::-1]


@pytest.mark.parametrize("view", WAITING)
def test_the_next_job_to_run_comes_first(session: Any, view: str) -> None:
    jobs = [WAITING[view](due_in=due_in) for due_in in (300, 20, 20, 900, 100)]
    expected = [job.id for job in sorted(jobs, key=lambda j: (j.run_at, j.id))]
    make.pending_job(due_in=-60) if view != "pending" else None
    order = order_of(view)
    assert order == Order("run", is_ascending=True)
    assert walked(session, JobFilter(status=view), order) == expected
    backwards = Order("run")
    assert walked(session, JobFilter(status=view), backwards) == expected[::-1]


def test_a_job_that_fails_now_is_first_however_old(session: Any) -> None:
    old = make.failed_job(created_ago=2600, finished_ago=0)
    for ago in (10, 20):
        make.failed_job(finished_ago=ago)
    [first, *_] = list_jobs(
        session, JobFilter(status="failed"), limit=5, order=order_of("failed")
    ).items
    assert first.id == old.id


@pytest.mark.parametrize("is_walked", [False, True])
def test_an_order_with_a_filter_by_sorting_few_and_by_walking(
    session: Any, monkeypatch: pytest.MonkeyPatch, is_walked: bool
) -> None:
    if is_walked:
        monkeypatch.setattr("app.jobs.listing.few.FEW", 0)
    rare = [
        make.failed_job(type="rare", finished_ago=ago, fingerprint="a" * 12) for ago in (50, 3, 20)
    ]
    for ago in range(12):
        make.failed_job(finished_ago=ago)
    expected = [rare[i].id for i in (1, 2, 0)]
    for narrowed in ({"type": "rare"}, {"fingerprint": "a" * 12}):
        filter = JobFilter(status="failed", **narrowed)
        assert walked(session, filter, order_of("failed")) == expected


def test_ranges_by_the_time_of_the_order(session: Any) -> None:
    now = datetime.now(UTC)
    recent = make.failed_job(created_ago=9000, finished_ago=100)
    make.failed_job(created_ago=9000, finished_ago=5000)
    filter = JobFilter(status="failed", finished_from=now - timedelta(hours=1))
    assert walked(session, filter, order_of("failed")) == [recent.id]
    assert walked(session, filter, Order()) == [recent.id]
    soon = make.scheduled_job(due_in=600)
    make.scheduled_job(due_in=9000)
    filter = JobFilter(status="scheduled", run_to=now + timedelta(hours=1))
    assert walked(session, filter, order_of("scheduled")) == [soon.id]


@pytest.mark.parametrize("part", [slice(0, 8), slice(-8, None), slice(-12, None), slice(0, 32)])
def test_an_id_is_found_by_either_end_however_old(
    session: Any, monkeypatch: pytest.MonkeyPatch, part: slice
) -> None:
    job = make.failed_job(created_ago=100_000)
    for _ in range(5):
        make.failed_job()
    monkeypatch.setattr(walks, "CANDIDATES", 2)
    digits = job.id.hex[part]
    for filter in (
        JobFilter(search=digits),
        JobFilter(id_part=digits),
        JobFilter(id_prefix=digits),
    ):
        for order in (Order(), order_of("failed")):
            page = list_jobs(
                session, JobFilter(**{**vars(filter), "status": "failed"}), limit=5, order=order
            )
            assert job.id in [found.id for found in page.items], filter
    letters = list_dead_letters(session, limit=5, search=digits)
    assert job.id in [letter.job_id for letter in letters.items]


def test_a_running_job_is_found_by_the_end_of_its_id(session: Any) -> None:
    job = make.processing_job()
    make.processing_job()
    page = list_jobs(session, JobFilter(id_part=job.id.hex[-8:]), limit=5)
    assert [found.id for found in page.items] == [job.id]


PLANS = {
    "ix_jobs_id_end": (JobFilter(id_part="94adcadb"), Order()),
    "ix_jobs_processing": (JobFilter(id_part="94adcadb"), Order()),
    "ix_jobs_finished": (JobFilter(status="failed"), Order("finished")),
    "ix_jobs_run_at": (JobFilter(status="pending"), Order("run", is_ascending=True)),
    "ix_jobs_retrying_run_at": (JobFilter(status="retrying"), Order("run", is_ascending=True)),
}


@pytest.mark.parametrize("index", PLANS)
def test_each_order_is_read_from_its_index(session: Any, index: str) -> None:
    filter, order = PLANS[index]
    session.execute(
        text("""
            INSERT INTO jobs (id, queue, type, payload, status, attempts, run_at, finished_at)
            SELECT gen_random_uuid(), 'q', 'echo', '{}', s, CASE WHEN i % 5 = 0 THEN 1 ELSE 0 END,
                   now() + make_interval(secs => i), CASE WHEN s = 'failed' THEN now() END
            FROM (SELECT i, CASE WHEN i % 2 = 0 THEN 'failed' ELSE 'pending' END AS s
                  FROM generate_series(1, 2000) AS i) AS g""")
    )
    session.commit()
    session.execute(text("ANALYZE jobs"))
    before = scans(session, index)
    list_jobs(session, filter, limit=10, order=order)
    # A backend reports its own scans, at the end of its transaction.
    session.execute(text("SELECT pg_stat_force_next_flush()"))
    session.commit()
    assert scans(session, index) > before


def scans(session: Any, index: str) -> int:
    session.execute(text("SELECT pg_stat_clear_snapshot()"))
    n: int = session.execute(
        text("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = :index"),
        {"index": index},
    ).scalar_one()
    session.commit()
    return n
