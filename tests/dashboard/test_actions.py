"""What a person does: with and without scripts, twice, too late, forged."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.jobs import ids
from app.jobs.models import AuditEvent, DeadLetter, Job, Pause
from tests import factories as make
from tests.dashboard.conftest import BUTTON

Press = Callable[..., TestResponse]

#: verb → a job it fits, the status afterwards, words of the message
VERBS: dict[str, tuple[Callable[[], Job], str, str]] = {
    "retry": (make.failed_job, "pending", "Retrying "),
    "run": (make.scheduled_job, "pending", " is due now."),
    "cancel": (make.pending_job, "cancelled", " cancelled."),
    "discard": (make.failed_job, "failed", " discarded."),
}
#: verb → jobs it does not fit
REFUSED = {
    "retry": ("pending", "scheduled", "retrying", "processing", "completed"),
    "cancel": ("completed", "failed"),
    "delete": ("processing",),
    "run": ("processing", "completed", "failed", "cancelled"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_form_works_without_scripts(
    client: FlaskClient, session: Any, press: Press, verb: str
) -> None:
    factory, status, words = VERBS[verb]
    job = factory()
    answer = press(f"/jobs/{job.id}/{verb}", page="/jobs?status=failed")
    assert answer.status_code == 303
    assert answer.location == "/jobs?status=failed"
    assert words in client.get(answer.location).text
    session.refresh(job)
    assert job.status == status


def test_a_schedule_that_was_cancelled_is_restored(
    client: FlaskClient, session: Any, press: Press
) -> None:
    job = make.cancelled_job(run_at=make._now(9000))
    page = client.get(f"/jobs/{job.id}").text
    assert 'aria-label="Restore echo ' in page
    assert 'aria-label="Retry ' not in page
    assert 'aria-label="Restore echo ' in client.get("/jobs?status=cancelled").text
    press(f"/jobs/{job.id}/retry")
    page = client.get("/jobs?status=scheduled").text
    assert " restored to its schedule." in page
    assert 'aria-label="Run now echo ' in page


@pytest.mark.parametrize("verb", VERBS)
def test_with_htmx_the_response_is_the_list_and_a_message(
    client: FlaskClient, session: Any, press: Press, verb: str
) -> None:
    factory, _, words = VERBS[verb]
    job = factory()
    answer = press(f"/jobs/{job.id}/{verb}", part=True, page="/jobs")
    assert answer.status_code == 303
    part = client.get(answer.location, headers=BUTTON).text  # fetch follows with its headers
    assert part.strip().startswith('<section id="live"')
    assert re.search(r'hx-get="/jobs["?]', part)  # the list's address, not the action's
    assert 'hx-swap-oob="innerHTML:#flash"' in part
    assert words in part


def test_a_retried_dead_letter_leaves_the_list(
    client: FlaskClient, session: Any, press: Press
) -> None:
    job = make.failed_job()
    press(f"/jobs/{job.id}/retry", page="/failures/dead-letters")
    assert str(job.id) not in client.get("/failures/dead-letters").text
    letter = session.query(DeadLetter).one()
    assert (letter.closed_how, letter.closed_by) == ("retried", "dashboard")


def test_a_discarded_dead_letter_keeps_its_job(
    client: FlaskClient, session: Any, press: Press
) -> None:
    job = make.failed_job()
    press(f"/jobs/{job.id}/discard", page="/failures/dead-letters")
    assert "No dead letters." in client.get("/failures/dead-letters").text
    page = client.get(f"/jobs/{job.id}").text
    assert "Dead letter discarded" in page
    assert "/discard" not in page
    assert "/retry" in page


def test_a_running_job_is_asked_to_stop(client: FlaskClient, session: Any, press: Press) -> None:
    job = make.processing_job()
    answer = press(f"/jobs/{job.id}/cancel")
    assert "Stop requested for " in client.get(answer.location).text
    session.refresh(job)
    assert job.status == "processing"
    assert job.cancel_requested


def test_cancelling_twice_is_allowed(client: FlaskClient, session: Any, press: Press) -> None:
    job = make.pending_job()
    assert press(f"/jobs/{job.id}/cancel").status_code == 303
    assert press(f"/jobs/{job.id}/cancel").status_code == 303


class TestDelete:
    def test_it_asks_for_confirmation_without_scripts(
        self, client: FlaskClient, session: Any, press: Press
    ) -> None:
        job = make.completed_job()
        asked = press(f"/jobs/{job.id}/delete")
        assert asked.status_code == 200
        assert "Delete job" in asked.text
        assert session.get(Job, job.id) is not None

    def test_confirming_deletes_and_redirects_to_the_list(
        self, client: FlaskClient, session: Any, press: Press
    ) -> None:
        job_id = make.completed_job().id
        answer = press(f"/jobs/{job_id}/delete", confirmed="yes", page=f"/jobs/{job_id}")
        assert (answer.status_code, answer.location) == (303, "/jobs")
        assert " deleted." in client.get("/jobs").text
        session.expunge_all()
        assert session.get(Job, job_id) is None

    def test_with_htmx_the_whole_page_is_redirected(
        self, client: FlaskClient, session: Any, press: Press
    ) -> None:
        job = make.completed_job()
        answer = press(f"/jobs/{job.id}/delete", part=True, confirmed="yes", page=f"/jobs/{job.id}")
        assert answer.headers["HX-Redirect"] == "/jobs"
        assert " deleted." in client.get("/jobs").text


class TestRefused:
    @pytest.mark.parametrize(
        ("verb", "view"), [(verb, view) for verb, views in REFUSED.items() for view in views]
    )
    def test_the_wrong_status_is_a_409_that_names_it(
        self, client: FlaskClient, session: Any, press: Press, verb: str, view: str
    ) -> None:
        job = make.BY_VIEW[view]()
        before, updated = job.status, job.updated_at
        part = press(f"/jobs/{job.id}/{verb}", part=True, confirmed="yes")
        assert part.status_code == 409
        assert f"is {before}" in part.text
        assert 'hx-swap-oob="innerHTML:#flash"' in part.text
        assert part.headers["HX-Trigger"] == "refresh"  # the page shows the present at once
        page = press(f"/jobs/{job.id}/{verb}", confirmed="yes", page="/jobs?status=failed")
        assert page.status_code == 409
        assert f"is {before}" in page.text
        assert 'href="/jobs?status=failed"' in page.text
        session.refresh(job)
        assert (job.status, job.updated_at) == (before, updated)

    def test_a_second_retry_is_refused(
        self, client: FlaskClient, session: Any, press: Press
    ) -> None:
        job = make.failed_job()
        assert press(f"/jobs/{job.id}/retry").status_code == 303
        again = press(f"/jobs/{job.id}/retry")
        assert again.status_code == 409
        assert "is pending" in again.text

    def test_a_discard_without_an_open_dead_letter_is_refused(
        self, client: FlaskClient, session: Any, press: Press
    ) -> None:
        job = make.failed_job(is_discarded=True)
        assert press(f"/jobs/{job.id}/discard", part=True).status_code in (404, 409)

    def test_a_live_unique_key_is_named(
        self, client: FlaskClient, session: Any, press: Press
    ) -> None:
        job = make.failed_job(unique_key="order-1")
        make.pending_job(unique_key="order-1")
        answer = press(f"/jobs/{job.id}/retry", part=True)
        assert answer.status_code == 409
        assert "order-1" in answer.text

    @pytest.mark.parametrize("verb", ["retry", "cancel", "delete", "discard"])
    def test_a_missing_job_is_a_404(self, press: Press, verb: str) -> None:
        assert press(f"/jobs/{ids.new_id()}/{verb}", confirmed="yes").status_code == 404
        assert press("/jobs/1/retry").status_code == 404

    @pytest.mark.parametrize("verb", ["retry", "cancel", "delete", "discard"])
    def test_a_get_changes_nothing(self, client: FlaskClient, session: Any, verb: str) -> None:
        job = make.failed_job()
        assert client.get(f"/jobs/{job.id}/{verb}").status_code == 405
        assert client.get("/queues/default/pause").status_code == 405

    @pytest.mark.parametrize("verb", ["retry", "cancel", "delete", "discard"])
    @pytest.mark.parametrize("forged", [None, "", "wrong", "InNlc3Npb24i.x.y"])
    def test_a_forged_form_is_refused(
        self, client: FlaskClient, session: Any, token: str, verb: str, forged: str | None
    ) -> None:
        job = make.failed_job()
        data = {"confirmed": "yes"} | ({} if forged is None else {"csrf_token": forged})
        for headers in ({}, BUTTON):
            answer = client.post(f"/jobs/{job.id}/{verb}", data=data, headers=headers)
            assert answer.status_code == 400
            assert "Reload the page" in answer.text
        session.refresh(job)
        assert job.status == "failed"

    def test_a_forged_switch_is_refused(self, client: FlaskClient, session: Any) -> None:
        assert client.post("/queues/default/pause").status_code == 400
        assert session.query(Pause).count() == 0


class TestQueues:
    @pytest.mark.parametrize("name", ["mail", "a/b", "a b", "a?b#c", "ü", "a%2Fb"])
    def test_any_queue_is_paused_and_resumed_from_its_button(
        self, client: FlaskClient, session: Any, press: Press, name: str
    ) -> None:
        make.pending_job(queue=name)
        for verb, is_paused in (("pause", True), ("resume", False)):
            page = client.get("/queues").text
            url = _button(page, verb, name)
            answer = press(url, page="/queues")
            assert answer.status_code == 303
            assert answer.location == "/queues"
            session.expire_all()
            assert (session.get(Pause, ("queue", name)) is not None) == is_paused

    def test_a_change_is_visible_at_once_although_reads_are_cached(
        self, client: FlaskClient, session: Any, press: Press
    ) -> None:
        make.pending_job(queue="mail")
        client.get("/queues")
        press("/queues/mail/pause", page="/queues")
        assert "Paused" in client.get("/queues").text


def test_every_action_is_audited_with_its_actor(session: Any, press: Press) -> None:
    job = make.failed_job()
    press(f"/jobs/{job.id}/retry")
    press("/queues/mail/pause")
    events = session.query(AuditEvent).order_by(AuditEvent.id).all()
    assert [(one.actor, one.action) for one in events] == [
        ("dashboard", "job.retry"),
        ("dashboard", "queue.pause"),
    ]


@pytest.mark.parametrize(
    ("came_from", "leads_to"),
    [
        ("http://localhost/jobs?status=failed", "/jobs?status=failed"),
        # Behind a proxy that rewrites Host, only the path is the same.
        ("https://queue.example/failures/dead-letters", "/failures/dead-letters"),
        ("http://evil.example/evil", None),
        ("http://localhost//evil.example/", None),
        ("http://localhost/\\evil.example/", None),
        ("http://localhost/api/docs", None),
        ("http://localhost/static/css/base.css", None),
        ("//evil.example", None),
        ("javascript:alert(1)", None),
        ("", None),
        ("http://[::1", None),
    ],
)
def test_an_action_redirects_only_to_our_own_pages(
    client: FlaskClient, session: Any, token: str, came_from: str, leads_to: str | None
) -> None:
    for name in ("Referer", "HX-Current-URL"):
        job = make.failed_job()
        answer = client.post(
            f"/jobs/{job.id}/retry", data={"csrf_token": token}, headers={name: came_from}
        )
        assert answer.status_code == 303
        assert answer.location == (leads_to or f"/jobs/{job.id}")


def _button(page: str, verb: str, name: str) -> str:
    """Where the button to pause or resume the queue of that name leads."""
    found = re.findall(
        rf'formaction="([^"]+/{verb})"[^>]*aria-label="[A-Z][a-z]+ queue ([^"]*)"', page
    )
    return {unescape(queue): unescape(url) for url, queue in found}[name]


def test_a_worker_is_asked_to_stop(client: FlaskClient, session: Any, press: Press) -> None:
    worker = make.worker()
    page = client.get("/workers").text
    assert f"/workers/{worker.id}/stop" in page
    assert press(f"/workers/{worker.id}/stop", page="/workers").status_code == 303
    page = client.get("/workers").text
    assert "Stop requested. " in page
    assert "Stopping" in page
    assert f"/workers/{worker.id}/stop" not in page
    assert "worker.stop" in client.get("/audit").text
    assert press(f"/workers/{make.uuid4()}/stop", page="/workers").status_code == 404
