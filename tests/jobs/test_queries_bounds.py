"""What a search does when it cannot look at everything: it stops, says so, and can go on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, text

from app.jobs import ids
from app.jobs.listing import JobFilter, list_dead_letters, list_jobs, walk
from tests.factories import completed_job, failed_job, pending_job

BOUND = 5


@pytest.fixture
def bound(monkeypatch):
    """A walk looks at BOUND rows, and no shortcut helps it."""
    monkeypatch.setattr("app.jobs.listing.walk.CANDIDATES", BOUND)
    monkeypatch.setattr("app.jobs.listing.few.FEW", -1)


@pytest.fixture
def late(monkeypatch):
    """Every walk is late from the first row on."""
    monkeypatch.setattr("app.jobs.listing.walk.ALWAYS_WALKED", 0)
    is_late = func.clock_timestamp() > func.statement_timestamp() - timedelta(seconds=1)
    monkeypatch.setattr("app.jobs.listing.walk.IS_LATE", is_late)


def search_on(session, filter, *, limit=100, cursor=None, direction="next"):
    """All pages of a search: the ids found, and how many pages it took."""
    found, pages = [], 0
    while True:
        page = list_jobs(session, filter, limit=limit, cursor=cursor, direction=direction)
        found += [job.id for job in page.items]
        pages += 1
        cursor = page.next_cursor if direction == "next" else page.previous_cursor
        if cursor is None:
            return found, pages


def test_a_search_that_stopped_says_so(session, bound):
    needle = pending_job(payload={"find": "me"})
    later = [pending_job() for _ in range(BOUND + 1)]
    page = list_jobs(session, JobFilter(search="find"), limit=10)
    assert page.items == []
    assert page.is_cut_short
    assert page.searched_until == ids.created_at(later[1].id)
    further = list_jobs(session, JobFilter(search="find"), limit=10, cursor=page.next_cursor)
    assert [job.id for job in further.items] == [needle.id]
    assert (further.next_cursor, further.is_cut_short) == (None, False)


@pytest.mark.parametrize("n", [BOUND - 1, BOUND])
def test_a_search_through_everything_is_not_cut_short(session, bound, n):
    needle = pending_job(payload={"find": "me"})
    [pending_job() for _ in range(n - 1)]
    page = list_jobs(session, JobFilter(search="find"), limit=10)
    assert [job.id for job in page.items] == [needle.id]
    # With exactly as many rows as it may look at, it cannot know that they were all.
    assert page.is_cut_short == (n == BOUND)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize(
    "fields", [{"search": "find"}, {"payload": {"find": 1}}, {"error": "find"}]
)
def test_searching_on_finds_each_match_once(session, bound, limit, fields):
    jobs = [
        failed_job(payload={"find": 1}, error="find") if n % 4 == 0 else completed_job()
        for n in range(19)
    ]
    matches = [job.id for n, job in enumerate(jobs) if n % 4 == 0]
    found, pages = search_on(session, JobFilter(**fields), limit=limit)
    assert found == matches[::-1]
    assert pages >= len(jobs) // BOUND


def test_searching_back_up_finds_each_match_once(session, bound):
    jobs = [pending_job(payload={"find": 1} if n % 4 == 0 else {}) for n in range(19)]
    matches = [job.id for n, job in enumerate(jobs) if n % 4 == 0]
    filter = JobFilter(payload={"find": 1})
    bottom = list_jobs(session, filter, limit=1, cursor=None)
    while bottom.next_cursor:
        bottom = list_jobs(session, filter, limit=1, cursor=bottom.next_cursor)
    assert [job.id for job in bottom.items] == matches[:1]
    found, _ = search_on(
        session, filter, limit=1, cursor=bottom.previous_cursor, direction="previous"
    )
    assert found == matches[1:]


def test_a_late_walk_stops_at_the_row_it_is_at_and_goes_on_from_there(session, late):
    jobs = [pending_job(payload={"find": 1} if n in (0, 3) else {}) for n in range(6)]
    found, pages = search_on(session, JobFilter(search="find"))
    assert found == [jobs[3].id, jobs[0].id]
    assert pages >= 6


def test_a_late_walk_keeps_count_of_the_offset(session, late):
    [pending_job(payload={"find": 1}) for _ in range(3)]
    page = list_jobs(session, JobFilter(search="find"), limit=2, offset=1)
    assert (page.items, page.is_cut_short) == ([], True)


def test_a_busy_moment_does_not_cut_a_short_list(session, monkeypatch):
    monkeypatch.setattr(
        "app.jobs.listing.walk.IS_LATE", func.clock_timestamp() > text("'-infinity'")
    )
    [pending_job() for _ in range(20)]
    page = list_jobs(session, JobFilter(search="nothing has it"), limit=10)
    assert (page.items, page.is_cut_short) == ([], False)


@pytest.mark.parametrize(
    "name", [{"unique_key": "order-1"}, {"tags": ["order-1"]}, {"type": "order-1"}]
)
def test_an_exact_name_is_found_beyond_the_bound(session, monkeypatch, name):
    monkeypatch.setattr("app.jobs.listing.walk.CANDIDATES", BOUND)
    job = pending_job(**name)
    [completed_job() for _ in range(BOUND * 2)]
    page = list_jobs(session, JobFilter(search="order-1"), limit=10)
    assert [one.id for one in page.items] == [job.id]
    assert page.is_cut_short


def test_counters_show_that_a_short_page_is_complete(session, bound):
    # Whichever index is walked, it is longer than the bound.
    [completed_job(queue="mail") for _ in range(BOUND * 2)]
    [failed_job() for _ in range(BOUND * 2)]
    jobs = [failed_job(queue="mail") for _ in range(2)]
    page = list_jobs(session, JobFilter(queue="mail", status="failed"), limit=10)
    assert [job.id for job in page.items] == [jobs[1].id, jobs[0].id]
    assert (page.next_cursor, page.is_cut_short) == (None, False)


def test_nothing_failed_in_a_long_queue_is_known_without_reading_it(session, bound):
    [completed_job(queue="mail") for _ in range(BOUND * 2)]
    [failed_job() for _ in range(BOUND * 2)]
    page = list_jobs(session, JobFilter(queue="mail", status="failed"), limit=10)
    assert (page.items, page.next_cursor, page.is_cut_short) == ([], None, False)


def test_dead_letters_are_bounded_the_same_way(session, bound):
    old = failed_job(error="needle", finished_ago=60)
    [failed_job() for _ in range(BOUND * 2)]
    page = list_dead_letters(session, limit=10, search="needle")
    assert (page.items, page.is_cut_short) == ([], True)
    found = []
    while page.next_cursor:
        page = list_dead_letters(session, limit=10, search="needle", cursor=page.next_cursor)
        found += page.items
    assert [letter.job_id for letter in found] == [old.id]


def test_bounds_are_what_the_documentation_says():
    assert (walk.CANDIDATES, walk.WALK_MILLISECONDS) == (100_000, 25)


def test_a_group_of_failures_is_walked_by_its_own_index(session, bound):
    group = [failed_job(fingerprint="0123456789ab").id for _ in range(3)]
    for _ in range(BOUND * 2):
        failed_job(fingerprint="ffffffffffff")
    page = list_jobs(session, JobFilter(fingerprint="0123456789ab"), limit=10)
    assert [job.id for job in page.items] == group[::-1]
    assert not page.is_cut_short
