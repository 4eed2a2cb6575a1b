"""Pages of the list of jobs: both directions, cursors that stand still while rows arrive."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidCursor, OffsetTooLarge
from app.jobs.listing import JobFilter, list_jobs
from app.jobs.listing.cursors import Position, decode, encode
from tests.factories import (
    completed_job,
    pending_job,
)

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def ids_of(session, limit=100, offset=0, **fields) -> list[UUID]:
    page = list_jobs(session, JobFilter(**fields), limit=limit, offset=offset)
    return [job.id for job in page.items]


def walk_through(session, filter, *, limit, direction="next", cursor=None) -> list[UUID]:
    """Every id from ``cursor`` on, in the order seen."""
    seen: list[UUID] = []
    while True:
        page = list_jobs(session, filter, limit=limit, cursor=cursor, direction=direction)
        here = [job.id for job in page.items]
        seen += here if direction == "next" else here[::-1]
        cursor = page.next_cursor if direction == "next" else page.previous_cursor
        if cursor is None:
            return seen


def test_list_is_newest_first(session):
    jobs = [pending_job() for _ in range(5)]
    assert ids_of(session) == [job.id for job in reversed(jobs)]


FILTERS = [
    JobFilter(),
    JobFilter(status="pending"),
    JobFilter(type="echo"),
    JobFilter(queue="default"),
    JobFilter(queue="default", type="echo"),
    JobFilter(tag="t"),
    JobFilter(search="echo"),
    JobFilter(payload={"n": 1}),
]


@pytest.mark.parametrize("filter", FILTERS, ids=repr)
@pytest.mark.parametrize("limit", [1, 3, 7, 8])
def test_pages_cover_the_list_once_in_both_directions(session, filter, limit):
    jobs = [pending_job(tags=["t"], payload={"n": 1}) for _ in range(7)]
    completed_job(type="other", queue="other")
    newest_first = [job.id for job in reversed(jobs)]
    whole = walk_through(session, filter, limit=limit)
    assert [one for one in whole if one in newest_first] == newest_first
    # From the oldest one back up to the top.
    bottom = encode(Position((jobs[0].id,), "previous"))
    back = walk_through(session, filter, limit=limit, cursor=bottom, direction="previous")
    # A short last page is filled up to a whole first page, so that rows may repeat there.
    assert set(newest_first[:-1]) <= set(back)


def test_a_page_stays_the_same_while_jobs_arrive_and_leave(session):
    jobs = [pending_job() for _ in range(6)]
    first = list_jobs(session, limit=2)
    newcomers = [pending_job() for _ in range(3)]
    session.delete(jobs[5])  # one that the first page showed
    session.commit()
    second = list_jobs(session, limit=2, cursor=first.next_cursor)
    assert [job.id for job in second.items] == [jobs[3].id, jobs[2].id]
    back = list_jobs(session, limit=2, cursor=second.previous_cursor)
    assert [job.id for job in back.items] == [newcomers[0].id, jobs[4].id]
    top = list_jobs(session, limit=2, cursor=back.previous_cursor)
    assert [job.id for job in top.items] == [newcomers[2].id, newcomers[1].id]
    assert top.previous_cursor is None


def test_going_back_to_the_top_gives_a_full_page(session):
    jobs = [pending_job() for _ in range(5)]
    cursor = encode(Position((jobs[3].id,), "previous"))
    page = list_jobs(session, limit=3, cursor=cursor)
    assert [job.id for job in page.items] == [jobs[4].id, jobs[3].id, jobs[2].id]
    assert page.previous_cursor is None


def test_the_first_and_last_page_have_no_further_cursor(session):
    [pending_job() for _ in range(3)]
    page = list_jobs(session, limit=3)
    assert (page.next_cursor, page.previous_cursor, page.is_cut_short) == (None, None, False)


def test_a_page_that_became_empty_still_leads_back(session):
    jobs = [pending_job() for _ in range(3)]
    first = list_jobs(session, limit=2)
    session.delete(session.merge(jobs[0]))
    session.commit()
    empty = list_jobs(session, limit=2, cursor=first.next_cursor)
    assert empty.items == []
    back = list_jobs(session, limit=2, cursor=empty.previous_cursor)
    assert [job.id for job in back.items] == [jobs[2].id, jobs[1].id]


def test_offset_skips_matches(session):
    jobs = [pending_job(queue="mail") for _ in range(5)]
    [pending_job() for _ in range(3)]
    assert ids_of(session, offset=2, limit=2, queue="mail") == [jobs[2].id, jobs[1].id]
    assert ids_of(session, offset=4, limit=2, queue="mail", type="echo") == [jobs[0].id]
    assert ids_of(session, offset=5, limit=2, search="mail") == []
    assert ids_of(session, offset=10_000) == []


@pytest.mark.parametrize("offset", [10_001, 10**9, -1])
def test_offset_out_of_bounds_is_refused(session, offset):
    with pytest.raises(OffsetTooLarge, match="10000"):
        list_jobs(session, limit=1, offset=offset)


@pytest.mark.parametrize("cursor", ["x", "bm90IGEgY3Vyc29y", "n" * 24, "é", "=", "AAAA" * 50])
def test_a_foreign_cursor_is_refused(session, cursor):
    with pytest.raises(InvalidCursor):
        list_jobs(session, limit=1, cursor=cursor)


def test_a_cursor_of_another_list_is_refused(session):
    letters = encode(Position((NEW_YEAR, UUID(int=1)), "next"))
    with pytest.raises(InvalidCursor):
        list_jobs(session, limit=1, cursor=letters)


@given(
    st.uuids(),
    st.integers(0, 2**53).map(
        lambda us: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    ),
    st.sampled_from(["next", "previous"]),
)
def test_cursors_survive_encoding_and_decoding(row_id, instant, direction):
    for key in ((row_id,), (instant, row_id)):
        position = Position(key, direction)
        assert decode(encode(position), width=len(key)) == position


@given(st.text(max_size=60))
def test_only_cursors_are_decoded(text):
    for width in (1, 2):
        try:
            position = decode(text, width=width)
        except InvalidCursor:
            continue
        assert encode(position).rstrip("=") != ""
