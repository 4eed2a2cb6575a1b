"""Real clicks on real buttons."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from app.jobs.models import Job, Pause
from tests import factories as make
from tests.browser.conftest import Tab

pytestmark = pytest.mark.browser


def status_of(session: Any, job: Job) -> str:
    session.expire_all()
    status = session.get(Job, job.id).status
    session.rollback()
    return str(status)


def posts(tab: Tab) -> list[str]:
    return [url.removeprefix(tab.site.url) for method, url in tab.requests if method == "POST"]


def test_retry_from_the_list(tab: Tab, session: Any) -> None:
    job = make.failed_job(type="mail")
    page = tab.open("/jobs?status=failed&type=mail")
    page.get_by_role("button", name="Retry mail").click()
    expect(page.locator("#flash")).to_contain_text("Retrying ")
    expect(page.locator(f"#job-{job.id}")).to_have_count(0)
    expect(page.get_by_text("No results.")).to_be_visible()
    expect(page).to_have_url(tab.site.url + "/jobs?status=failed&type=mail")
    expect(page.locator("#live")).to_have_attribute("hx-get", "/jobs?type=mail&status=failed")
    assert status_of(session, job) == "pending"


def test_a_double_click_is_one_request(tab: Tab, session: Any) -> None:
    job = make.failed_job()
    page = tab.open("/jobs")
    page.get_by_role("button", name="Retry").dblclick()
    expect(page.locator("#flash")).to_contain_text("Retrying ")
    page.wait_for_timeout(300)
    assert posts(tab) == [f"/jobs/{job.id}/retry"]


def test_cancel_from_the_job_page(tab: Tab, session: Any) -> None:
    job = make.pending_job()
    page = tab.open(f"/jobs/{job.id}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".head-line .status")).to_have_text("Cancelled")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    assert status_of(session, job) == "cancelled"


def test_discard_needs_confirmation(tab: Tab, session: Any) -> None:
    job = make.failed_job()
    page = tab.open("/failures/dead-letters")
    for _ in range(2):
        page.get_by_role("button", name="Discard").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("Discard this dead letter?")
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("dialog").get_by_role("button", name="Go back").click()
    assert posts(tab) == []
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("dialog").get_by_role("button", name="Discard").click()
    expect(page.get_by_text("No dead letters.")).to_be_visible()
    assert posts(tab) == [f"/jobs/{job.id}/discard"]


def test_delete_needs_confirmation_and_returns_to_the_list(tab: Tab, session: Any) -> None:
    job_id = make.completed_job(type="old").id
    page = tab.open(f"/jobs/{job_id}")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.wait_for_url("**/jobs")
    expect(page.locator("#flash")).to_contain_text(" deleted.")
    session.expire_all()
    assert session.get(Job, job_id) is None


def test_a_queue_is_paused_and_resumed(tab: Tab, session: Any) -> None:
    make.pending_job(queue="mail")
    page = tab.open("/queues")
    page.get_by_role("button", name="Pause queue mail").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause queue").click()
    expect(page.locator("#queue-mail")).to_contain_text("Paused")
    expect(page.locator("[data-count=nav-paused]")).to_contain_text("1")
    assert session.get(Pause, ("queue", "mail")).paused_by == "dashboard"
    session.rollback()
    page.get_by_role("button", name="Resume queue mail").click()
    expect(page.locator("#queue-mail")).to_contain_text("Running")


def test_a_refused_action_shows_a_message_and_refreshes_the_list(tab: Tab, session: Any) -> None:
    job = make.failed_job()
    page = tab.open("/jobs?status=failed")
    session.get(Job, job.id)
    session.execute(
        make.db.text("UPDATE jobs SET status = 'pending', finished_at = NULL, attempts = 0")
    )
    session.execute(
        make.db.text("UPDATE dead_letters SET closed_at = now(), closed_how = 'retried'")
    )
    session.commit()
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#flash")).to_contain_text("is pending")
    expect(page.locator(f"#job-{job.id}")).to_have_count(0)  # at once, not after 15 s
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator(".flash-line")).to_have_count(0)
    tab.excuse("409")


def test_success_messages_disappear(tab: Tab, session: Any) -> None:
    make.failed_job()
    tab.page.clock.install()
    page = tab.open("/jobs")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".flash-line")).to_be_visible()
    tab.page.clock.run_for(7_000)
    expect(page.locator(".flash-line")).to_have_count(0)


def test_an_expired_session_is_explained(tab: Tab, session: Any) -> None:
    make.failed_job()
    page = tab.open("/jobs")
    page.context.clear_cookies()
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#flash")).to_contain_text("Reload the page")
    tab.excuse("400")


class TestWithoutScripts:
    def test_every_page_shows_its_content(self, plain_tab: Tab, session: Any) -> None:
        job = make.failed_job(type="mail", payload={"to": "ada"})
        make.worker(host="box-7")
        for path, words in (
            ("/", "box-7"), ("/jobs", "mail"), (f"/jobs/{job.id}", '"ada"'), ("/failures/dead-letters", "boom"),
            ("/queues", "default"), ("/workers", "box-7"),
        ):  # fmt: skip
            page = plain_tab.open(path)
            expect(page.locator("main")).to_contain_text(words)
            expect(page.locator("#pause")).to_be_hidden()

    def test_actions_are_forms(self, plain_tab: Tab, session: Any) -> None:
        job = make.failed_job()
        page = plain_tab.open("/jobs?status=failed")
        page.get_by_role("button", name="Retry").click()
        expect(page.locator("#flash")).to_contain_text("Retrying ")
        expect(page).to_have_url(plain_tab.site.url + "/jobs?status=failed")
        assert status_of(session, job) == "pending"

    def test_a_filter_is_a_form(self, plain_tab: Tab, session: Any) -> None:
        make.pending_job(type="other")
        job = make.pending_job(type="mail", queue="slow")
        page = plain_tab.open("/jobs?status=pending")
        page.locator("#q").fill("mail")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator(f"#job-{job.id}")).to_be_visible()
        assert "status=pending" in page.url

    def test_delete_needs_confirmation_on_a_separate_page(
        self, plain_tab: Tab, session: Any
    ) -> None:
        job = make.completed_job()
        page = plain_tab.open(f"/jobs/{job.id}")
        page.get_by_role("button", name="Delete").click()
        expect(page.locator("h1")).to_contain_text("Delete echo")
        page.get_by_role("button", name="Delete job").click()
        expect(page.locator("#flash")).to_contain_text(" deleted.")
