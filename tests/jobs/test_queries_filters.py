"""The list of jobs, narrowed: every filter alone, together, and against a plain model."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest

from app.jobs import ids
from app.jobs.listing import JobFilter, list_dead_letters, list_jobs
from app.jobs.models import VIEWS
from tests import factories
from tests.factories import (
    cancelled_job,
    completed_job,
    failed_job,
    pending_job,
    retrying_job,
    scheduled_job,
)

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def ids_of(session, limit=100, offset=0, **fields) -> list[UUID]:
    page = list_jobs(session, JobFilter(**fields), limit=limit, offset=offset)
    return [job.id for job in page.items]


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
def test_queue_type_and_status_filter_together(session, status, by):
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


def test_a_created_range_beyond_the_range_of_ids_is_no_error(session):
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


@pytest.mark.parametrize("bad", ["\0", "a\0b", "\ud800"])
@pytest.mark.parametrize("field", ["type", "queue", "tag", "error", "search", "id_prefix"])
def test_text_that_no_row_can_hold_matches_nothing(session, field, bad):
    pending_job()
    assert ids_of(session, **{field: bad}) == []


@pytest.mark.parametrize(
    "payload", [{"a": "\0"}, {"\0": 1}, {"a": [{"b": float("nan")}]}, {"a": float("inf")}]
)
def test_payload_that_no_row_can_hold_matches_nothing(session, payload):
    pending_job()
    assert ids_of(session, payload=payload) == []


def test_a_blank_search_does_not_filter(session):
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


def test_scheduled_jobs_behind_a_long_backlog_are_all_found(session, monkeypatch):
    monkeypatch.setattr("app.jobs.listing.walk.CANDIDATES", 3)
    scheduled = [scheduled_job() for _ in range(2)]
    [pending_job() for _ in range(10)]
    page = list_jobs(session, JobFilter(status="scheduled"), limit=5)
    assert [job.id for job in page.items] == [scheduled[1].id, scheduled[0].id]
    assert not page.is_cut_short


def test_rare_tags_are_found_however_old(session, monkeypatch):
    monkeypatch.setattr("app.jobs.listing.walk.CANDIDATES", 3)
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


def matches(job, f: JobFilter) -> bool:
    """What a filter means, said plainly."""
    texts = [job.type, job.unique_key, job.last_error, *job.tags, json.dumps(job.payload)]
    return (
        (f.status is None or job.view == f.status or f.stored_status == f.status == job.status)
        and f.type in (None, job.type)
        and f.queue in (None, job.queue)
        and (f.tag is None or f.tag in job.tags)
        and (f.created_from is None or ids.created_at(job.id) >= f.created_from)
        and (f.created_to is None or ids.created_at(job.id) < f.created_to)
        and (f.error is None or f.error.lower() in (job.last_error or "").lower())
        and (f.payload is None or f.payload.items() <= job.payload.items())
        and (f.search is None or any(f.search.lower() in (one or "").lower() for one in texts))
    )


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("candidates", [4, 100_000])
def test_any_filter_finds_what_the_model_finds(session, monkeypatch, seed, candidates):
    monkeypatch.setattr("app.jobs.listing.walk.CANDIDATES", candidates)
    random = Random(seed)

    def any_of(*values):
        return random.choice(values)

    for n in range(40):
        make = factories.BY_VIEW[any_of(*VIEWS)]
        make(
            id=factories.job_at(NEW_YEAR + timedelta(seconds=n)),
            type=any_of("echo", "send-email"),
            queue=any_of("default", "mail"),
            tags=any_of([], ["vip"], ["vip", "echo-1"]),
            payload=any_of({}, {"n": 1}, {"n": 2, "to": "Ada"}),
            unique_key=any_of(None, f"key-{n}"),
            **({"error": any_of("Boom", "timeout")} if make in (failed_job, retrying_job) else {}),
        )
    jobs = list_jobs(session, limit=100).items
    for _ in range(60):
        fields = {
            "status": any_of(*VIEWS),
            "type": any_of("echo", "send-email", "none"),
            "queue": any_of("default", "mail"),
            "tag": any_of("vip", "echo-1", "none"),
            "created_from": NEW_YEAR + timedelta(seconds=random.randrange(40)),
            "created_to": NEW_YEAR + timedelta(seconds=random.randrange(40)),
            "error": any_of("boom", "TIME", "none"),
            "payload": any_of({"n": 1}, {"to": "Ada"}, {}),
            "search": any_of("ada", "echo", "key-1", "boom", "none"),
        }
        chosen = {name: fields[name] for name in random.sample(sorted(fields), random.randrange(4))}
        filter = JobFilter(**chosen)
        seen, cursor = [], None
        while True:
            page = list_jobs(session, filter, limit=3, cursor=cursor)
            seen += [job.id for job in page.items]
            if (cursor := page.next_cursor) is None:
                break
        expected = [job.id for job in jobs if matches(job, filter)]
        # What an index found for a search ahead of the walk comes again where the walk meets it.
        assert sorted(set(seen), reverse=True) == expected, chosen
        assert len(seen) == len(expected) or filter.search, chosen


SHOWN = [
    'say "hi"', "C:\\temp\\new", "two\nlines", "a\ttab", "\\", '"', "back\\", "bell\x07", "ünïcødé \\o/",
    "20261124", "4915112345678", "deadbeef", "DEADBEEF", "0197ab12-ffff", str(UUID(int=7)),
]  # fmt: skip


@pytest.mark.parametrize("text", SHOWN)
@pytest.mark.parametrize("place", ["payload", "nested", "key", "error", "unique_key", "tags"])
def test_text_is_found_as_people_see_it(session, text, place):
    pending_job(payload={})
    job = {
        "payload": lambda: pending_job(payload={"to": f"<{text}>"}),
        "nested": lambda: pending_job(payload={"a": [{"b": f"<{text}>"}]}),
        "key": lambda: pending_job(payload={f"<{text}>": 1}),
        "error": lambda: failed_job(error=f"<{text}>"),
        "unique_key": lambda: pending_job(unique_key=f"<{text}>"),
        "tags": lambda: pending_job(tags=[f"<{text}>"]),
    }[place]()
    assert ids_of(session, search=text) == [job.id]
    if place in ("payload", "nested", "key"):
        assert ids_of(session, search=text, is_payload_searched=False) == []


@pytest.mark.parametrize("text", SHOWN)
def test_text_of_dead_letters_is_found_as_people_see_it(session, text):
    failed_job(payload={})
    in_payload = failed_job(payload={"to": f"<{text}>"}, finished_ago=20)
    in_reason = failed_job(error=f"<{text}>", finished_ago=10)
    found = [one.job_id for one in list_dead_letters(session, limit=10, search=text).items]
    assert found == [in_reason.id, in_payload.id]


@pytest.mark.parametrize("length", [8, 12, 13, 20, 32])
def test_an_id_is_found_by_its_end_as_well(session, length):
    job = failed_job()
    pending_job()
    part = job.id.hex[-length:]
    assert ids_of(session, search=part) == [job.id]
    assert ids_of(session, search=part.upper()) == [job.id]
    assert ids_of(session, id_part=part) == [job.id]
    assert [one.job_id for one in list_dead_letters(session, limit=9, search=part).items] == [
        job.id
    ]


@pytest.mark.parametrize("part", ["x", "", "0" * 33, "zzzzzzzz"])
def test_text_that_is_not_part_of_an_id_matches_nothing(session, part):
    pending_job()
    assert ids_of(session, id_part=part) == []


def test_an_old_id_is_found_by_its_start_however_many_jobs_are_newer(session, monkeypatch):
    monkeypatch.setattr("app.jobs.listing.walk.CANDIDATES", 3)
    old = failed_job(id=UUID("01970000-0000-7000-8000-000000000001"), finished_ago=99)
    [failed_job() for _ in range(9)]
    for filter in (
        JobFilter(search="01970000"),
        JobFilter(id_part="01970000"),
        JobFilter(search=str(old.id)),
    ):
        page = list_jobs(session, filter, limit=5)
        assert [job.id for job in page.items] == [old.id], filter
    page = list_dead_letters(session, limit=5, search="01970000")
    assert [one.job_id for one in page.items] == [old.id]


def test_an_id_and_a_text_with_the_same_digits_are_both_found_in_order(session, monkeypatch):
    old = pending_job(id=UUID("01970000-0000-7000-8000-000000000001"))
    text = pending_job(payload={"ticket": "01970000"})
    assert ids_of(session, search="01970000") == [text.id, old.id]
