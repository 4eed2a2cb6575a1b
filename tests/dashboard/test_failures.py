"""The failures page: groups, what it shows of them and what can be done with them."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import text

from app import cache
from app.jobs import bulk, lifecycle
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
    assert "Canary of 10</a>: " in client.get("/failures").text
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
    links = re.findall(rf'id="retried-{fingerprint}-\d" href="([^"]*)">([^<]*)<', page)
    assert [words for _, words in links] == ["7 completed", "3 failed again"]
    for url, words in links:
        assert client.get(url.replace("&amp;", "&")).text.count("data-row") == int(words.split()[0])


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
