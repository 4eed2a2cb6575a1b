"""Pages that end at bytes, and go on right after their last row."""

from __future__ import annotations

import random
import string
from itertools import chain

import pytest
from sqlalchemy import event, func, text

from app.extensions import db
from app.jobs.listing import JobFilter, list_dead_letters, list_jobs
from tests.factories import completed_job, failed_job, pending_job

KB = 1024
#: Twenty of them make two pages and a half.
PAGE = 80 * KB


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("app.jobs.listing.page_sizes.PAGE_BYTES", PAGE)
    monkeypatch.setattr("app.jobs.listing.page_sizes.PORTION_BYTES", PAGE)


def large(is_compressible: bool) -> dict[str, str]:
    """A payload of ten kilobytes."""
    letters = "x" if is_compressible else string.ascii_letters + string.digits
    return {"a": "".join(random.choices(letters, k=10 * KB - 100))}


def pages(find, direction="next", cursor=None):
    found = []
    while True:
        page = find(cursor, direction)
        found.append([getattr(row, "job_id", None) or row.id for row in page.items])
        cursor = page.next_cursor if direction == "next" else page.previous_cursor
        if cursor is None:
            return found


@pytest.mark.parametrize("is_compressible", [True, False])
@pytest.mark.parametrize("filter", [JobFilter(), JobFilter(search="a"), JobFilter(type="echo")])
def test_a_page_of_large_jobs_is_short_and_the_next_misses_none(session, is_compressible, filter):
    made = [pending_job(payload=large(is_compressible)).id for _ in range(20)][::-1]
    found = pages(lambda cursor, way: list_jobs(session, filter, limit=100, cursor=cursor))
    assert [len(page) for page in found] == [8, 8, 4]
    assert list(chain(*found)) == made


def test_results_count_as_well(session):
    made = [completed_job(result=large(True)).id for _ in range(10)][::-1]
    found = pages(lambda cursor, way: list_jobs(session, limit=100, cursor=cursor))
    assert [len(page) for page in found] == [8, 2]
    assert list(chain(*found)) == made


def test_pages_back_to_newer_jobs_miss_none(session):
    made = [pending_job(payload=large(False)).id for _ in range(20)][::-1]
    last = list_jobs(session, limit=2, offset=18)
    found = pages(
        lambda cursor, way: list_jobs(session, limit=100, cursor=cursor),
        "previous",
        last.previous_cursor,
    )
    assert found[0] == made[10:18]
    assert found[1] == made[2:10]
    assert found[2] == made[:8]  # the first page


def test_one_row_is_always_shown(session, monkeypatch):
    monkeypatch.setattr("app.jobs.listing.page_sizes.PAGE_BYTES", 1)
    made = [pending_job(payload=large(False)).id for _ in range(3)][::-1]
    found = pages(lambda cursor, way: list_jobs(session, limit=100, cursor=cursor))
    assert found == [[job_id] for job_id in made]


def test_small_jobs_come_in_one_page_and_few_statements(session):
    [pending_job(payload={"to": "user@example.com"}) for _ in range(100)]
    statements: list[str] = []

    def note(*arguments):
        statements.append(arguments[2])

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        page = list_jobs(session, limit=100)
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
    assert len(page.items) == 100
    assert page.next_cursor is None
    assert len([one for one in statements if "payload" in one]) <= 5


def test_a_page_of_large_dead_letters_is_short_and_the_next_misses_none(session):
    made = [failed_job(payload=large(False)).id for _ in range(20)]
    found = pages(lambda cursor, way: list_dead_letters(session, limit=100, cursor=cursor))
    assert [len(page) for page in found] == [8, 8, 4]
    assert sorted(chain(*found)) == sorted(made)


def test_a_list_for_the_dashboard_loads_no_payload_and_is_whole(session):
    [pending_job(payload=large(False)) for _ in range(20)]
    assert len(list_jobs(session, limit=100, is_light=True).items) == 20


def test_a_search_stops_in_time_even_among_few_rows(session, monkeypatch):
    late = func.clock_timestamp() > text("'-infinity'")
    monkeypatch.setattr("app.jobs.listing.walk.IS_TOO_LATE", late)
    [pending_job() for _ in range(3)]
    page = list_jobs(session, JobFilter(search="nowhere"), limit=10)
    assert page.is_cut_short
    assert page.next_cursor is not None
