"""The list of jobs: every filter, both directions, cursors that stand still while rows arrive."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidCursor, JobNotFound, OffsetTooLarge
from app.jobs import ids
from app.jobs.models import VIEWS
from app.jobs.queries import JobFilter, attempts_of, get_job, list_jobs, log_of
from app.jobs.queries.cursors import Position, decode, encode
from tests import factories
from tests.factories import (
    cancelled_job,
    completed_job,
    failed_job,
    pending_job,
    processing_job,
    retrying_job,
    scheduled_job,
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


def test_get_job_gives_the_row_or_says_which_id_is_unknown(session):
    job = pending_job(type="send-email")
    assert get_job(session, job.id).type == "send-email"
    with pytest.raises(JobNotFound, match=str(UUID(int=7))):
        get_job(session, UUID(int=7))


def test_list_is_newest_first(session):
    jobs = [pending_job() for _ in range(5)]
    assert ids_of(session) == [job.id for job in reversed(jobs)]


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_holds_its_jobs_and_no_others(session, view):
    made = {name: factory().id for name, factory in factories.BY_VIEW.items()}
    expected = {made[view]}
    if view == "pending":  # scheduled and retrying are views of pending
        expected |= {made["scheduled"], made["retrying"]}
    assert set(ids_of(session, status=view)) == expected


def test_a_retrying_job_that_is_due_is_still_retrying(session):
    job = retrying_job(due_in=-5)
    assert ids_of(session, status="retrying") == [job.id]
    assert ids_of(session, status="scheduled") == []


def test_unknown_status_is_refused_at_once():
    with pytest.raises(ValueError, match="status is one of"):
        JobFilter(status="done")


def test_type_and_queue_are_matched_whole(session):
    job = pending_job(type="send-email", queue="mail")
    pending_job(type="send-email-later", queue="mail2")
    assert ids_of(session, type="send-email") == [job.id]
    assert ids_of(session, queue="mail") == [job.id]
    assert ids_of(session, type="send-email", queue="mail2") == []
    assert ids_of(session, type="send-") == []


@pytest.mark.parametrize("status", ["pending", "completed", "failed", "cancelled", "processing"])
@pytest.mark.parametrize("by", [{"queue": "a"}, {"type": "x"}, {"queue": "a", "type": "x"}])
def test_queue_type_and_status_narrow_together(session, status, by):
    factory = factories.BY_VIEW[status]
    expected = []
    for queue in "ab":
        for type in "xy":
            job = factory(queue=queue, type=type)
            if by.items() <= {"queue": queue, "type": type}.items():
                expected.insert(0, job.id)
    assert ids_of(session, status=status, **by) == expected


def test_tag_is_one_of_the_tags(session):
    job = pending_job(tags=["vip", "customer-7"])
    done = completed_job(tags=["vip"])
    pending_job(tags=["vips"])
    pending_job()
    assert ids_of(session, tag="vip") == [done.id, job.id]
    assert ids_of(session, tag="vip", status="completed") == [done.id]
    assert ids_of(session, tag="none-has-it") == []


def test_created_range_goes_by_the_instant_in_the_id(session):
    jobs = [
        pending_job(id=factories.job_at(NEW_YEAR + timedelta(milliseconds=n))) for n in range(4)
    ]
    first, second, third, fourth = (job.id for job in jobs)
    at = [NEW_YEAR + timedelta(milliseconds=n) for n in range(4)]
    assert ids_of(session, created_from=at[2]) == [fourth, third]
    assert ids_of(session, created_to=at[1]) == [first]
    assert ids_of(session, created_from=at[1], created_to=at[3]) == [third, second]
    assert ids_of(session, created_from=at[3], created_to=at[1]) == []


def test_created_range_beyond_what_ids_can_say_is_no_error(session):
    job = pending_job()
    ages = {"created_from": datetime(1, 1, 1, tzinfo=UTC)}
    assert ids_of(session, **ages, created_to=datetime(9999, 12, 31, tzinfo=UTC)) == [job.id]
    assert ids_of(session, created_to=datetime(1, 1, 2, tzinfo=UTC)) == []


def test_id_prefix_of_any_length_finds_the_job(session):
    job = pending_job(id=UUID("01977777-7777-7777-8777-777777777777"))
    pending_job(id=UUID("01988888-8888-7888-8888-888888888888"))
    for length in (4, 7, 8, 9, 14, 36):
        assert ids_of(session, id_prefix=str(job.id)[:length]) == [job.id]
    assert ids_of(session, id_prefix=job.id.hex.upper()) == [job.id]
    assert len(ids_of(session, id_prefix="019")) == 2


@pytest.mark.parametrize("prefix", ["zz", "0197%", "-", " ", "0" * 33, "'; --"])
def test_a_prefix_that_starts_no_id_matches_nothing(session, prefix):
    pending_job()
    assert ids_of(session, id_prefix=prefix) == []


def test_error_text_is_found_whatever_the_case_and_taken_literally(session):
    job = failed_job(error="TimeoutError: 100% of_it")
    retrying = retrying_job(error="timeouterror: again")
    failed_job(error="ValueError: 100x of it")
    assert ids_of(session, error="timeouterror") == [retrying.id, job.id]
    assert ids_of(session, error="timeouterror", status="failed") == [job.id]
    assert ids_of(session, error="100% of_it") == [job.id]
    assert ids_of(session, error="\\") == []


def test_payload_containment(session):
    job = pending_job(payload={"user": {"id": 42, "name": "Ada"}, "n": [1, 2]})
    pending_job(payload={"user": {"id": "42"}})
    assert ids_of(session, payload={"user": {"id": 42}}) == [job.id]
    assert ids_of(session, payload={"n": [2]}) == [job.id]
    assert ids_of(session, payload={"user": {"id": 43}}) == []
    assert len(ids_of(session, payload={})) == 2


@pytest.mark.parametrize(
    "words", ["send-EMAIL", "order-17", "Customer-9", "boom at", "ada@example.com", " boom "]
)
def test_search_looks_in_type_key_tags_error_and_payload(session, words):
    job = retrying_job(
        type="send-email",
        unique_key="order-17",
        tags=["vip", "customer-9"],
        error="ValueError: boom at noon",
        payload={"to": "ada@example.com"},
    )
    pending_job(type="echo", payload={"to": "bob"})
    assert ids_of(session, search=words) == [job.id]


def test_search_finds_an_id_or_the_start_of_one(session):
    job = pending_job()
    pending_job(id=UUID("01988888-8888-7888-8888-888888888888"))
    assert ids_of(session, search=str(job.id)) == [job.id]
    assert job.id in ids_of(session, search=f" {str(job.id)[:9]} ")


def test_blank_search_does_not_narrow(session):
    job = pending_job()
    assert ids_of(session, search="  ") == [job.id]


def test_search_text_is_literal(session):
    pending_job(payload={"a": "x"})
    for words in ("%", "_", "\\", "a%x", "'", '"a": "y"'):
        assert ids_of(session, search=words) == [], words
    assert len(ids_of(session, search='"a": "x"')) == 1


def test_all_filters_at_once(session):
    job = failed_job(type="send-email", queue="mail", tags=["vip"], error="boom", payload={"n": 1})
    failed_job(type="send-email", queue="mail", tags=["vip"], error="boom", payload={"n": 2})
    found = ids_of(
        session,
        status="failed",
        type="send-email",
        queue="mail",
        tag="vip",
        error="BOOM",
        payload={"n": 1},
        search="send",
        id_prefix=str(job.id)[:4],
        created_from=datetime.now(UTC) - timedelta(minutes=5),
        created_to=datetime.now(UTC) + timedelta(minutes=5),
    )
    assert found == [job.id]


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


def test_a_page_stands_still_while_jobs_arrive_and_leave(session):
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


def test_first_and_last_page_have_no_way_further(session):
    [pending_job() for _ in range(3)]
    page = list_jobs(session, limit=3)
    assert (page.next_cursor, page.previous_cursor, page.is_cut_short) == (None, None, False)


def test_a_page_emptied_by_others_still_leads_back(session):
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
def test_a_cursor_we_did_not_make_is_refused(session, cursor):
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
def test_cursors_survive_the_way_there_and_back(row_id, instant, direction):
    for key in ((row_id,), (instant, row_id)):
        position = Position(key, direction)
        assert decode(encode(position), width=len(key)) == position


@given(st.text(max_size=60))
def test_no_text_but_a_cursor_is_decoded(text):
    for width in (1, 2):
        try:
            position = decode(text, width=width)
        except InvalidCursor:
            continue
        assert encode(position).rstrip("=") != ""


def test_rows_show_what_stands_in_the_table_now(session):
    job = pending_job()
    assert list_jobs(session, limit=1).items[0].status == "pending"
    from app.extensions import db

    with db.engine.begin() as other:
        other.exec_driver_sql(
            "UPDATE jobs SET status = 'cancelled', finished_at = now() WHERE id = %s",
            (str(job.id),),
        )
    assert list_jobs(session, limit=1).items[0].status == "cancelled"


def test_light_rows_load_payload_and_result_when_looked_at(session):
    completed_job(payload={"n": 1}, result={"ok": True})
    session.expunge_all()
    job = list_jobs(session, limit=1, is_light=True).items[0]
    assert "payload" not in job.__dict__
    assert (job.payload, job.result) == ({"n": 1}, {"ok": True})


def test_attempts_are_told_oldest_first(session):
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


def test_scheduled_jobs_behind_a_long_backlog_are_all_found(session, monkeypatch):
    monkeypatch.setattr("app.jobs.queries.walk.CANDIDATES", 3)
    scheduled = [scheduled_job() for _ in range(2)]
    [pending_job() for _ in range(10)]
    page = list_jobs(session, JobFilter(status="scheduled"), limit=5)
    assert [job.id for job in page.items] == [scheduled[1].id, scheduled[0].id]
    assert not page.is_cut_short


def test_rare_tags_are_found_however_old(session, monkeypatch):
    monkeypatch.setattr("app.jobs.queries.walk.CANDIDATES", 3)
    job = cancelled_job(tags=["needle"])
    [completed_job() for _ in range(10)]
    page = list_jobs(session, JobFilter(tag="needle"), limit=5)
    assert [one.id for one in page.items] == [job.id]
    assert not page.is_cut_short


def test_first_id_of_an_instant_bounds_its_millisecond():
    for n in range(0, 1000, 7):
        at = NEW_YEAR + timedelta(milliseconds=n)
        low, _ = JobFilter(created_from=at).id_range()
        assert ids.created_at(low) == at, json.dumps(n)
