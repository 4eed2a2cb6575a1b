"""An action or a filter that gets no answer says so, and nothing on the page claims otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests import factories as make
from tests.browser.conftest import Tab

pytestmark = pytest.mark.browser

PROBLEM = "#flash .is-problem"


def retry(page: Page) -> None:
    page.locator("#live tbody tr").first.get_by_role("button", name="Retry ").click()


def test_an_action_while_offline(tab: Tab, context: BrowserContext, session: Any) -> None:
    job = make.failed_job()
    page = tab.open("/jobs?status=failed")
    context.set_offline(True)
    retry(page)
    expect(page.locator(PROBLEM)).to_have_text(
        "Couldn't reach the server. Nothing was changed. Try again."
    )
    context.set_offline(False)
    retry(page)
    expect(page.locator("#flash")).to_contain_text("Retrying ")
    expect(page.locator(PROBLEM)).to_have_count(0)
    session.refresh(job)
    assert job.status == "pending"
    tab.excuse("ERR_INTERNET_DISCONNECTED", "Failed to fetch")


def test_a_filter_while_offline_is_reset_to_match_the_rows(
    tab: Tab, context: BrowserContext, session: Any
) -> None:
    make.failed_job(type="echo")
    make.failed_job(type="sleep")
    page = tab.open("/jobs?status=failed")
    choice = page.locator("#filter-type")
    choice.select_option("echo")
    expect(page.locator("#live tbody tr")).to_have_count(1)
    context.set_offline(True)
    choice.select_option("sleep")
    expect(page.locator(PROBLEM)).to_have_text("Couldn't reach the server. Try again.")
    expect(choice).to_have_value("echo")
    expect(page.locator("#live tbody tr")).to_have_count(1)
    context.set_offline(False)
    tab.excuse("ERR_INTERNET_DISCONNECTED", "Failed to fetch")


def test_an_error_page_of_a_proxy(tab: Tab, session: Any) -> None:
    make.failed_job(type="echo")
    page = tab.open("/jobs?status=failed")
    page.route("**/jobs*/**", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    page.route("**/jobs?**", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    retry(page)
    expect(page.locator(PROBLEM)).to_contain_text(
        "Server error (502). The change may have been applied"
    )
    page.locator("#filter-type").select_option("echo")
    expect(page.locator(PROBLEM)).to_have_text("Server error (502). Try again.")
    expect(page.locator("#filter-type")).to_have_value("")
    tab.excuse("502")


def test_a_refusal_by_the_application_keeps_its_message(tab: Tab, session: Any) -> None:
    job = make.failed_job()
    page = tab.open("/jobs?status=failed")
    job.status = "completed"
    session.commit()
    retry(page)
    expect(page.locator(PROBLEM)).to_contain_text("is completed")
    tab.excuse("409")


def test_a_response_that_times_out(tab: Tab, session: Any) -> None:
    make.failed_job()
    page = tab.open("/jobs?status=failed")
    page.evaluate("htmx.config.defaultTimeout = 200")
    held: list[Route] = []
    page.route("**/retry", lambda route: held.append(route))
    retry(page)
    expect(page.locator(PROBLEM)).to_contain_text("timed out. The change may have been applied")
    assert len(held) == 1
    tab.excuse("timeout")
