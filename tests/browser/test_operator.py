"""An operator's morning in a real browser: what is wrong, why, a canary, all of it, and who did it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from app.jobs import bulk
from tests import factories as make
from tests.browser.conftest import Tab

pytestmark = pytest.mark.browser

GROUP = "0123456789ab"


def failures(n: int) -> None:
    for _ in range(n):
        job = make.failed_job(type="mail", failure=GROUP, error="Refused: no such mailbox")
        make.attempt(job, failure=GROUP, error="Refused: no such mailbox", error_class="Refused")


def test_from_the_banner_to_a_canary_to_all_of_a_failure(tab: Tab, session: Any) -> None:
    failures(12)
    page = tab.open("/")
    expect(page.locator("#problem-workers")).to_contain_text("No worker is alive.")
    page.get_by_role("link", name="Failures").click()
    row = page.locator(f"#failure-{GROUP}")
    expect(row).to_contain_text("Refused")
    row.get_by_role("button", name="Retry 10 ").click()
    expect(page.locator("#flash")).to_contain_text("10 jobs of the group go back to pending.")
    expect(row.locator('[data-label="Dead"]')).to_have_text("2")
    row.get_by_role("button", name="Retry all").click()
    page.wait_for_url("**/bulk/1")
    expect(page.locator("#live")).to_contain_text("Running: 0 done, 2 to go.")
    bulk.step(session)
    tab.look()
    expect(page.locator("#live")).to_contain_text("Finished: 2 done, 0 to go.")
    tab.open("/failures")
    expect(page.get_by_text("No failures. Good.")).to_be_visible()
    tab.open("/audit")
    expect(page.locator("#live")).to_contain_text("bulk.retry")


def test_everything_that_matches_is_previewed_paused_and_left(tab: Tab, session: Any) -> None:
    for _ in range(3):
        make.failed_job(type="mail")
    make.failed_job(type="other")
    page = tab.open("/jobs?status=failed&type=mail")
    page.locator("#bulk-all").click()
    expect(page.locator("h1")).to_have_text("Everything that matches")
    expect(page.locator("#main li")).to_have_count(3)
    page.get_by_role("button", name="Retry 3 jobs").click()
    page.get_by_role("button", name="Pause bulk action").click()
    expect(page.locator("#live")).to_contain_text("Paused")
    assert bulk.step(session) == 0
    page.get_by_role("button", name="Cancel what is left").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.locator("#live")).to_contain_text("3 were not touched")


def test_a_type_is_switched_off_and_a_worker_asked_to_stop(tab: Tab, session: Any) -> None:
    worker = make.worker()
    make.pending_job(type="echo")
    page = tab.open("/job-types")
    page.get_by_role("button", name="Pause echo").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.locator("#type-echo")).to_contain_text("Paused")
    tab.open("/jobs?type=echo")
    page.locator("#live tbody a").first.click()
    expect(page.locator("#why")).to_contain_text("paused")
    tab.open("/workers")
    page.get_by_role("button", name="Stop worker").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.locator(f"#worker-{worker.id}")).to_contain_text("Stopping")


def test_a_job_again_with_another_payload(tab: Tab, session: Any) -> None:
    job = make.failed_job(type="echo", payload={"to": "ada"})
    page = tab.open(f"/jobs/{job.id}")
    page.locator("#again").click()
    page.locator("textarea").fill('{"to": ')
    page.get_by_role("button", name="Enqueue it").click()
    expect(page.get_by_role("alert")).to_contain_text("is not JSON")
    page.locator("textarea").fill('{"to": "bob"}')
    page.get_by_role("button", name="Enqueue it").click()
    expect(page.locator("#payload")).to_contain_text("bob")
    expect(page.locator(".timeline")).to_contain_text("Created")
    tab.open(f"/jobs/{job.id}")
    expect(page.locator("#payload")).to_contain_text("ada")
    tab.excuse("422")


def test_the_range_of_the_chart_is_chosen_and_stays(tab: Tab, session: Any) -> None:
    make.completed_job()
    page = tab.open("/")
    page.locator("#range-week").click()
    expect(page.locator("#chart-title")).to_have_text("Finished jobs, last 7 days")
    make.completed_job()
    tab.look()
    expect(page.locator("#chart-title")).to_have_text("Finished jobs, last 7 days")
    expect(page.locator("svg.chart")).to_have_accessible_name(re.compile("in the last 7 days"))
