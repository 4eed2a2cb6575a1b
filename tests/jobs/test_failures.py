"""Groups of failures: what is one group, and when a job is in it."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from app.jobs import lifecycle, listing
from app.jobs.control_flow import JobTimeout, Permanent
from app.jobs.ending import AttemptError
from app.jobs.error_groups import place_in_traceback, without_numbers
from app.jobs.listing import JobFilter
from tests import factories

TRACEBACK = """Traceback (most recent call last):
  File "/srv/app/shop/mail.py", line {line}, in send
    server.login(user, password)
  File "/srv/app/.venv/lib/python3.11/site-packages/aiosmtp/server.py", line 12, in login
    raise Refused(code)
{error}
"""


def end(session, job, verb="retry_later", how="failed", **more):
    columns = {"error": "ValueError: boom", "error_class": "ValueError", "delay": 0, **more}
    ending = factories.ending(job.id, job.lease_token, verb, outcome=how, **columns)
    lifecycle.end_attempts(session, [ending])
    session.commit()


def group_of(session, job):
    found = session.execute(text("SELECT fingerprint FROM jobs WHERE id = :id"), {"id": job.id})
    return found.scalar_one()


def test_the_place_is_the_deepest_frame_of_own_code_without_its_line():
    places = {place_in_traceback(TRACEBACK.format(line=line, error="x")) for line in (7, 8)}
    assert places == {"shop/mail.py in send"}


def test_of_chained_exceptions_the_last_one_counts():
    chained = (
        TRACEBACK.format(line=1, error="KeyError: 1")
        + "\nDuring handling of the above exception, another exception occurred:\n\n"
        + 'Traceback (most recent call last):\n  File "/srv/app/shop/pay.py", line 3, in pay\n    raise\nOops\n'
    )
    assert place_in_traceback(chained) == "shop/pay.py in pay"


def test_without_a_traceback_the_reason_without_numbers_is_the_place():
    place = without_numbers("Order 4711 of 0197ab3c-1111-7000-8000-00000000abcd is gone")
    assert place == without_numbers("Order 12 of 0197ab3c-2222-7000-8000-00000000ffff is gone")
    assert place == "Order # of # is gone"
    assert place != without_numbers("Order 12 is unpaid")
    assert AttemptError.of(Permanent("Order 12 is unpaid")).place == "Order # is unpaid"


def test_a_timeout_has_no_place():
    assert AttemptError.of(raised(lambda: throw(JobTimeout()))).place == ""


def throw(error):
    raise error


def raised(fn):
    try:
        fn()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def chained():
    try:
        throw(KeyError("a"))
    except KeyError as error:
        raise ValueError("b") from error


@pytest.mark.parametrize(
    ("fn", "place"),
    [
        (lambda: throw(ValueError("boom")), "jobs/test_failures.py in throw"),
        (chained, "jobs/test_failures.py in chained"),
        (lambda: json.loads("{"), "jobs/test_failures.py in <lambda>"),
    ],
    ids=["raised", "chained", "in a library"],
)
def test_the_frames_of_an_exception_and_its_stored_traceback_name_one_place(fn, place):
    error = AttemptError.of(raised(fn))
    assert error.place == place
    assert place_in_traceback(error.traceback) == place


def test_the_class_of_an_error_is_apart_from_its_text():
    error = AttemptError.of(ValueError("boom"))
    assert (error.class_name, error.text, error.line) == ("ValueError", "boom", "ValueError: boom")


def test_same_type_exception_and_place_make_one_group_and_each_difference_another(session):
    def failing(type="mail", error_class="ValueError", line=1, trace=TRACEBACK):
        job = factories.processing_job(type=type)
        end(session, job, error_class=error_class, traceback=trace.format(line=line, error="x"))
        return group_of(session, job)

    group = failing()
    assert group == failing(line=99)
    others = {
        failing(type="post"), failing(error_class="KeyError"), failing(trace=TRACEBACK.replace("send", "post")),
    }  # fmt: skip
    assert len({group, *others}) == 4


def test_a_job_leaves_its_group_when_it_completes(session):
    job = factories.processing_job(fingerprint="0123456789ab")
    lifecycle.complete(session, [factories.ending(job.id, job.lease_token)])
    session.commit()
    assert group_of(session, job) is None


@pytest.mark.parametrize("verb", ["retry", "discard", "cancel"])
def test_a_job_leaves_its_group_when_a_person_resolves_it(session, verb):
    if verb == "cancel":
        job = factories.retrying_job(fingerprint="0123456789ab")
    else:
        job = factories.failed_job(fingerprint="0123456789ab")
    getattr(lifecycle, verb)(session, [job.id], by="ada").one()
    session.commit()
    assert group_of(session, job) is None


def test_a_job_that_is_cancelled_while_it_fails_is_in_no_group(session):
    job = factories.processing_job(cancel_requested=True)
    end(session, job)
    assert group_of(session, job) is None


def test_endings_that_cost_no_attempt_do_not_change_the_group(session):
    job = factories.processing_job(fingerprint="0123456789ab")
    end(session, job, verb="release", how="released", error=None, error_class=None)
    assert group_of(session, job) == "0123456789ab"


def test_groups_show_how_many_and_since_when(session):
    for verb in ("bury", "bury", "retry_later"):
        end(
            session,
            factories.processing_job(type="mail"),
            verb=verb,
            traceback=TRACEBACK.format(line=1, error="x"),
        )
    end(session, factories.processing_job(type="post"), how="crashed", verb="crash", max_crashes=3,
        error="The worker died.", error_class=None)  # fmt: skip
    first, second = listing.list_error_groups(session)
    assert (first.type, first.error_class, first.place) == (
        "mail",
        "ValueError",
        "shop/mail.py in send",
    )
    assert (first.dead, first.trying, first.attempts) == (2, 1, 3)
    assert first.first_seen <= first.last_seen
    assert sum(first.per_hour) == first.per_hour[-1] == 3
    assert (second.type, second.dead, second.trying, second.place) == (
        "post",
        0,
        1,
        "",
    )


def test_a_list_filtered_by_a_group_shows_its_jobs(session):
    jobs = [factories.failed_job(fingerprint="0123456789ab") for _ in range(3)]
    factories.failed_job(fingerprint="ffffffffffff")
    factories.failed_job()
    page = listing.list_jobs(session, JobFilter(fingerprint="0123456789ab"), limit=2)
    assert [job.id for job in page.items] == [jobs[2].id, jobs[1].id]
    rest = listing.list_jobs(
        session,
        JobFilter(fingerprint="0123456789ab", status="failed"),
        limit=2,
        cursor=page.next_cursor,
    )
    assert [job.id for job in rest.items] == [jobs[0].id]
