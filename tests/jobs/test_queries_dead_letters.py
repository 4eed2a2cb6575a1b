"""Dead letters: the open ones, newest first; the text the mirror and the API share."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from app.errors import DeadLetterNotFound, InvalidCursor, OffsetTooLarge
from app.jobs.dead_letters import dead_letter_entry, dead_letter_fields
from app.jobs.listing import dead_letters_of, list_dead_letters, open_dead_letter
from app.jobs.models import DeadLetter
from app.json_values import iso
from tests.factories import completed_job, failed_job, pending_job


def jobs_of(page):
    return [letter.job_id for letter in page.items]


def test_newest_failure_first_whatever_the_age_of_the_job(session):
    old, new = failed_job(finished_ago=10), failed_job(finished_ago=20)
    failed_job(is_discarded=True)
    assert jobs_of(list_dead_letters(session, limit=10)) == [old.id, new.id]


def test_filters_and_search(session):
    mail = failed_job(type="send-email", queue="mail", error="Refused", payload={"to": "ada"})
    echo = failed_job(type="echo", error="ValueError", finished_ago=5)
    for fields, expected in (
        ({"type": "send-email"}, [mail.id]),
        ({"queue": "default"}, [echo.id]),
        ({"search": "refused"}, [mail.id]),
        ({"search": "ADA"}, [mail.id]),
        ({"search": "send"}, [mail.id]),
        ({"search": str(echo.id)}, [echo.id]),
        ({"search": str(echo.id)[:8]}, [mail.id, echo.id]),  # made in the same minute
        ({"search": "00000000"}, []),
        ({"search": "nobody"}, []),
        ({"search": "  "}, [mail.id, echo.id]),
        ({"type": "echo", "search": "Refused"}, []),
        ({"search": "\0"}, []),
        ({"type": "\0"}, []),
    ):
        assert jobs_of(list_dead_letters(session, limit=10, **fields)) == expected, fields


@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("fields", [{}, {"search": "boom"}, {"type": "echo"}])
def test_pages_cover_the_list_once_in_both_directions(session, limit, fields):
    # Several with one failed_at: buried in one transaction, distinguished by id.
    at = datetime(2026, 1, 1, tzinfo=UTC)
    expected = []
    for n in range(5):
        job = failed_job(id=None)
        letter = dead_letters_of(session, job.id)[-1]
        letter.failed_at = at + timedelta(microseconds=n // 2)
        expected.insert(0, job.id)
    session.commit()
    expected.sort(key=lambda one: (dead_letters_of(session, one)[-1].failed_at, one), reverse=True)
    page = list_dead_letters(session, limit=limit, **fields)
    seen = jobs_of(page)
    while page.next_cursor:
        page = list_dead_letters(session, limit=limit, cursor=page.next_cursor, **fields)
        seen += jobs_of(page)
    assert seen == expected
    seen = jobs_of(page)
    while page.previous_cursor:
        page = list_dead_letters(session, limit=limit, cursor=page.previous_cursor, **fields)
        seen = jobs_of(page) + [one for one in seen if one not in jobs_of(page)]
    assert seen == expected


def test_bad_cursors_and_offsets_are_refused(session):
    failed_job()
    with pytest.raises(InvalidCursor):
        list_dead_letters(session, limit=1, cursor="bm9uc2Vuc2U")
    with pytest.raises(OffsetTooLarge):
        list_dead_letters(session, limit=1, offset=10_001)
    assert jobs_of(list_dead_letters(session, limit=1, offset=1)) == []


def test_the_dead_letter_of_a_job_is_its_last_one(session):
    job = failed_job()
    assert open_dead_letter(session, job.id).job_id == job.id
    closed = failed_job(is_discarded=True)
    assert dead_letters_of(session, closed.id)[-1].closed_how == "discarded"
    assert dead_letters_of(session, completed_job().id) == []
    for other in (closed, pending_job()):
        with pytest.raises(DeadLetterNotFound, match=str(other.id)):
            open_dead_letter(session, other.id)


def test_entry_is_the_same_from_the_row_and_from_what_the_trigger_logged(session):
    job = failed_job(error='Zeilen\n"ü" 😀', payload={"b": 1, "a": [1.5, None, "é"]})
    logged = session.execute(text("SELECT letter FROM dead_letter_changes")).scalar_one()
    row = session.execute(text("SELECT * FROM dead_letters")).mappings().one()
    letter = open_dead_letter(session, job.id)
    entry = dead_letter_entry(letter)
    assert entry == dead_letter_entry(logged) == dead_letter_entry(row)
    assert entry == (
        '{"attempts":5,"failedAt":"' + str(iso(letter.failed_at)) + '",'
        f'"jobId":"{job.id}",'
        '"payload":{"a":[1.5,null,"é"],"b":1},'
        '"reason":"Zeilen\\n\\"ü\\" 😀","type":"echo"}'
    )


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])))
def test_milliseconds_are_cut_alike_from_text_and_datetime(instant):
    row = dict.fromkeys(("job_id", "type", "payload", "reason", "attempts"))
    try:
        written = dead_letter_fields({**row, "failed_at": instant})["failedAt"]
    except OverflowError:  # year 0
        return
    text_row = {**row, "failed_at": instant.isoformat()}
    assert written == dead_letter_fields(text_row)["failedAt"]
    assert len(written) == 24
    assert written.endswith("Z")


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists)))
def test_entry_is_json_that_says_what_went_in(payload):
    letter = DeadLetter(
        job_id="x",
        type="t",
        payload=payload,
        reason="r",
        attempts=1,
        failed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    read = json.loads(dead_letter_entry(letter))
    assert read["payload"] == payload
    assert list(read) == sorted(read)
