"""The failures page: groups, what it shows of them and what can be done with them."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import text

from app import cache
from app.jobs import bulk, error_group_states, lifecycle
from tests import factories
from tests.dashboard.test_bulk import pass_grace, ticket_in


def fail(session: Any, times: int, *, type: str = "mail", verb: str = "bury") -> str:
    jobs = [factories.processing_job(type=type) for _ in range(times)]
    lifecycle.end_attempts(
        session,
        [
            factories.ending(job.id, job.lease_token, verb, outcome="failed",
                             error="Refused: order 4711 <b>", error_class="Refused", delay=60,
                             traceback='  File "/srv/shop/mail.py", line 7, in send\n')
            for job in jobs
        ],
    )  # fmt: skip
    session.commit()
    session.refresh(jobs[0])
    assert jobs[0].fingerprint
    return jobs[0].fingerprint


def test_a_group_shows_its_facts(client: Any, session: Any) -> None:
    fingerprint = fail(session, 3)
    fail(session, 1, verb="retry_later")
    page = client.get("/failures").text
    assert page.count('id="failure-') == 1
    assert f"/jobs?fingerprint={fingerprint}" in page
    assert "shop/mail.py in send" in page
    assert "order 4711 &lt;b&gt;" in page
    assert "4 failed attempts in the last 24 hours, 4 in the current hour" in page
    assert page.count("bar-failed") == 1  # only the current hour is red
    assert re.search(
        r"<title data-at=\"[^\"]+:00:00.000Z\" data-label=\": 4 failed attempts\">", page
    )
    assert '<data value="3">3</data>' in page


def test_an_empty_page_explains_what_appears_there(client: Any) -> None:
    assert "No failures." in client.get("/failures").text


def test_a_list_narrowed_to_the_group(client: Any, session: Any) -> None:
    fingerprint = fail(session, 2)
    factories.failed_job()
    page = client.get(f"/jobs?fingerprint={fingerprint}").text
    assert page.count("data-row") == 2
    assert "Remove filter: Refused in mail" in page
    former = client.get(f"/jobs?failure={fingerprint}").text  # in bookmarks
    assert former.count("data-row") == 2
    assert "Remove filter: Refused in mail" in former
    assert client.get("/jobs?fingerprint=nonsense").status_code == 422


def test_ten_jobs_are_retried_at_once(client: Any, press: Any, session: Any, redis: Any) -> None:
    fingerprint = fail(session, 12)
    answer = press(f"/failures/{fingerprint}/retry?newest=10")
    assert answer.status_code == 303
    assert "Retrying 10 jobs." in client.get("/failures").text
    assert client.get("/api/jobs/stats").json["pending"] == 10
    assert client.get("/api/jobs/stats").json["failed"] == 2


def test_the_whole_group_is_a_bulk_action(
    client: Any, press: Any, session: Any, redis: Any
) -> None:
    fingerprint = fail(session, 101)
    fail(session, 1, type="post")
    page = client.get("/failures").text
    assert f'href="/jobs/all?status=failed&amp;fingerprint={fingerprint}&amp;verb=retry"' in page
    assert f"/failures/{fingerprint}/retry?newest=101" not in page
    preview = press(f"/failures/{fingerprint}/retry").headers["Location"]
    question = client.get(preview).text
    assert "<h1>Retry 101 jobs?</h1>" in question
    assert "Refused in mail" in question
    assert "Delete" not in question.split("<main")[1].split("</main")[0]
    page = press(preview, **ticket_in(question), verb="retry").headers["Location"]
    pass_grace(session)
    assert bulk.step(session) == 101
    assert "101 retried" in client.get(page).text
    assert "shop/mail.py" in client.get("/failures").text  # of the other type


def test_a_canary_shows_its_result(client: Any, press: Any, session: Any, redis: Any) -> None:
    fingerprint = fail(session, 12)
    press(f"/failures/{fingerprint}/retry?newest=10")
    page = client.get("/failures").text
    assert "Canary of 10</a>: " in page
    assert 'data-live="1"' in page
    ids = [job["id"] for job in client.get("/api/jobs?status=pending").json]
    session.execute(
        text(
            "UPDATE jobs SET status = CASE WHEN id = ANY(CAST(:ok AS uuid[])) THEN 'completed' ELSE 'failed' END,"
            " fingerprint = CASE WHEN id = ANY(CAST(:ok AS uuid[])) THEN NULL ELSE :fingerprint END,"
            " finished_at = now() WHERE status = 'pending'"
        ),
        {"ok": ids[:7], "fingerprint": fingerprint},
    )
    session.commit()
    cache.forget()
    page = client.get("/failures").text
    links = verdict_in(page, fingerprint)
    assert [words for _, words in links] == ["7 of 10 completed", "3 of 10 failed again"]
    assert 'data-live="5"' in page
    for url, words in links:
        assert client.get(url.replace("&amp;", "&")).text.count("data-row") == int(words.split()[0])


def verdict_in(page: str, fingerprint: str) -> list[tuple[str, str]]:
    """The links of a retry: address and words."""
    return re.findall(rf'id="retried-{fingerprint}-\d"[^>]* href="([^"]*)">([^<]*)<', page)


def test_a_group_that_was_retried_as_a_whole_stays_with_its_verdict(
    client: Any, press: Any, session: Any, redis: Any
) -> None:
    fingerprint = fail(session, 2)
    press(f"/failures/{fingerprint}/retry?newest=2")
    session.execute(text("UPDATE jobs SET status = 'completed', finished_at = now()"))
    session.commit()
    cache.forget()
    page = client.get("/failures").text
    assert [words for _, words in verdict_in(page, fingerprint)] == ["2 of 2 completed"]
    session.execute(text("UPDATE bulk_actions SET created_at = now() - interval '1 hour'"))
    session.commit()
    cache.forget()
    assert "No failures." in client.get("/failures").text


def test_a_group_is_new_since_a_version_until_a_person_says_it_is_known(
    client: Any, press: Any, session: Any
) -> None:
    fingerprint = fail(session, 1)
    session.execute(text("UPDATE error_groups SET first_version = '1.4.2'"))
    session.commit()
    assert "New since 1.4.2" in client.get("/failures").text
    assert "New since 1.4.2" in client.get("/").text
    press(f"/failures/{fingerprint}/acknowledge", page="/failures")
    page = client.get("/failures").text
    assert "Marked as known: Refused in mail." in page
    assert "New since" not in page
    assert ">1.4.2</bdi>" in page


def test_a_resolved_group_is_listed_apart_and_says_why_it_came_back(
    client: Any, press: Any, session: Any
) -> None:
    fingerprint = fail(session, 1)
    press(f"/failures/{fingerprint}/resolve", page="/failures")
    assert "Resolved: Refused in mail." in client.get("/failures").text
    assert "No failures." in client.get("/failures").text
    page = client.get("/failures?state=resolved").text
    assert "by dashboard; reopens when it fails again" in page
    fail(session, 1)
    error_group_states.note_failures(session)
    session.commit()
    cache.forget()
    page = client.get("/failures").text
    assert ">Reopened</bdi>" in page
    assert "failed again now after dashboard resolved it" not in page
    assert re.search(r"failed again .* after dashboard resolved it", page)


def test_a_muted_group_says_when_it_reopens(client: Any, press: Any, session: Any) -> None:
    fingerprint = fail(session, 3)
    session.execute(text("UPDATE error_groups SET first_seen_at = now() - interval '1 day'"))
    session.commit()
    press(f"/failures/{fingerprint}/mute", page="/failures")
    assert "reopens at 6 failures an hour" in client.get("/failures?state=muted").text
    press(f"/failures/{fingerprint}/reopen", page="/failures")
    assert "Reopened: Refused in mail." in client.get("/failures").text
    assert "Reopened</bdi></span> <bdi>by dashboard" in client.get("/failures").text


def test_a_state_that_does_not_apply_is_refused(press: Any, session: Any) -> None:
    fingerprint = fail(session, 1)
    assert press(f"/failures/{fingerprint}/reopen").status_code == 409
    assert press("/failures/ffffffffffff/mute").status_code == 404


def test_the_type_is_paused_from_the_row(client: Any, press: Any, session: Any) -> None:
    fail(session, 1)
    assert "/job-types/mail/pause" in client.get("/failures").text
    answer = press("/job-types/mail/pause", page="/failures")
    assert answer.location == "/failures"
    page = client.get("/failures").text
    assert "Type paused" in page
    assert "/job-types/mail/resume" in page


def test_the_share_is_of_the_attempts_of_the_type(client: Any, session: Any) -> None:
    fail(session, 1)
    for _ in range(3):
        job = factories.processing_job(type="mail")
        lifecycle.complete(session, [factories.ending(job.id, job.lease_token)])
    session.commit()
    assert re.search(r'data-label="Share of attempts">25%', client.get("/failures").text)


def test_groups_are_filtered_by_type_and_text(client: Any, session: Any) -> None:
    fail(session, 1)
    fail(session, 1, type="post")
    for query in ("type=post", "q=POS", "q=refused&type=post"):
        page = client.get(f"/failures?{query}").text
        assert page.count('id="failure-') == 1, query
    assert client.get("/failures?state=nonsense").status_code == 422


def test_more_groups_than_a_page_are_paged(client: Any, session: Any) -> None:
    for n in range(51):
        fail(session, 1, type=f"mail-{n}")
    page = client.get("/failures").text
    assert page.count('id="failure-') == 50
    assert "/failures?skip=50" in page
    assert client.get("/failures?skip=50").text.count('id="failure-') == 1


def test_discarded_jobs_leave_the_group(client: Any, press: Any, session: Any) -> None:
    fingerprint = fail(session, 2)
    assert (
        'hx-confirm="Discard 2 jobs of mail? The jobs stay failed."' in client.get("/failures").text
    )
    asked = press(f"/failures/{fingerprint}/discard?newest=2")  # without scripts a page asks
    assert (asked.status_code, asked.location.split("?")[0]) == (303, "/jobs/all")
    press(f"/failures/{fingerprint}/discard?newest=2", part=True)
    assert "No failures." in client.get("/failures").text
    assert client.get("/api/jobs/stats").json["failed"] == 2


def test_what_is_refused(press: Any) -> None:
    assert press("/failures/0123456789ab/explode").status_code == 404
    for fingerprint in ("%00", "0123456789a%00", "x" * 12, "0123456789AB"):
        assert press(f"/failures/{fingerprint}/retry").status_code == 404
    for newest in ("0", "101", "x", "-1", "9" * 400):
        assert press(f"/failures/0123456789ab/retry?newest={newest}").status_code == 422
    assert press("/failures/0123456789ab/retry?newest=1").status_code == 303


def test_the_former_address_of_the_dead_letters_leads_to_the_tab(client: Any) -> None:
    answer = client.get("/dead-letters?type=mail&q=a+b")
    assert (answer.status_code, answer.location) == (301, "/failures/dead-letters?type=mail&q=a+b")


def test_discarded_jobs_are_listed_by_when_and_by_whom(
    client: Any, press: Any, session: Any, redis: Any
) -> None:
    jobs = [factories.failed_job(type=name) for name in ("mail", "post")]
    factories.failed_job(type="stays")
    for job in jobs:
        press(f"/jobs/{job.id}/discard", page="/failures/dead-letters")
    page = client.get("/failures/discarded").text
    assert re.findall(r'<tr id="dead-([^"]+)"', page) == [str(job.id) for job in reversed(jobs)]
    assert "by <bdi>dashboard" in page
    assert f"/jobs/{jobs[0].id}/retry" in page
    assert f"/jobs/{jobs[0].id}/discard" not in page
    only = client.get("/failures/discarded?type=mail").text
    assert re.findall(r'<tr id="dead-([^"]+)"', only) == [str(jobs[0].id)]
    press(f"/jobs/{jobs[0].id}/retry", page="/failures/discarded")
    assert client.get("/api/jobs/stats").json["pending"] == 1


def badge(client: Any) -> str:
    cache.forget()
    found = re.search(
        r'data-count="nav-failures">(?:<data value="(\d+)")?', client.get("/jobs").text
    )
    assert found
    return found[1] or ""


def test_the_badge_counts_what_failed_since_the_reader_looked(client: Any, session: Any) -> None:
    fail(session, 2)
    assert badge(client) == "2"
    client.get("/failures")
    session.execute(text("UPDATE dead_letters SET failed_at = now() - interval '1 minute'"))
    session.commit()
    assert badge(client) == ""
    fail(session, 1)
    session.execute(
        text(
            "UPDATE dead_letters SET failed_at = now() + interval '2 s' WHERE id = (SELECT max(id) FROM dead_letters)"
        )
    )
    session.commit()
    assert badge(client) == "1"


def test_the_badge_leaves_out_muted_groups_and_bad_cookies(client: Any, session: Any) -> None:
    fingerprint = fail(session, 1)
    for nonsense in ("x", "-5", "9" * 30, "٣"):
        client.set_cookie("failures_seen", nonsense)
        assert badge(client) in ("", "1")
    client.set_cookie("failures_seen", "0")
    assert badge(client) == "1"
    error_group_states.change(session, fingerprint, "mute", by="ada")
    session.commit()
    assert badge(client) == ""
