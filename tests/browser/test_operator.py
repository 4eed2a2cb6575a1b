"""An operator's morning in a real browser: what is wrong, why, a canary, all of it, and who did it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests import factories as make
from tests.browser.conftest import Tab

pytestmark = pytest.mark.browser

GROUP = "0123456789ab"


def failures(n: int) -> None:
    for _ in range(n):
        job = make.failed_job(type="mail", fingerprint=GROUP, error="Refused: no such mailbox")
        make.attempt(
            job, fingerprint=GROUP, error="Refused: no such mailbox", error_class="Refused"
        )


def test_from_the_banner_to_a_canary_to_the_whole_error_group(tab: Tab, session: Any) -> None:
    failures(12)
    page = tab.open("/")
    expect(page.locator("#problem-workers")).to_contain_text("No workers are running.")
    page.get_by_role("link", name="Failures").click()
    row = page.locator(f"#failure-{GROUP}")
    expect(row).to_contain_text("Refused")
    row.locator(f"#retry-menu-{GROUP} > summary").click()
    row.get_by_role("button", name="Retry 10 ").click()
    expect(page.locator("#flash")).to_contain_text("Retrying 10 jobs.")
    expect(row.locator('[data-label="Dead"]')).to_have_text("2")
    row.locator(f"#retry-menu-{GROUP} > summary").click()
    row.get_by_role("button", name="Retry all").click()
    expect(page.locator("#flash")).to_contain_text("Retrying 2 jobs.")
    expect(row.locator('[data-label="Dead"]')).to_have_text("0")
    expect(row.locator(".failure-retry")).to_contain_text("Canary of 2: 2 still waiting")
    tab.open("/audit")
    expect(page.locator("#live")).to_contain_text("bulk.retry")


def test_the_selection_bar_offers_only_applicable_verbs(tab: Tab, session: Any) -> None:
    make.completed_job()
    page = tab.open("/jobs")
    page.locator("#live [name=ids]").check()
    bar = page.locator("#selected")
    expect(bar.get_by_role("button", name="Delete selected jobs")).to_be_visible()
    for verb in ("Retry", "Run now", "Cancel", "Discard"):
        expect(bar.get_by_role("button", name=f"{verb} selected jobs")).to_be_hidden()
    bar.get_by_role("button", name="Delete selected jobs").click()
    expect(page.locator("#confirm-text")).to_contain_text("Delete 1 job, including logs")
    page.get_by_role("dialog").get_by_role("button", name="Delete 1 job").click()
    expect(page.locator("#flash")).to_contain_text("1 job deleted.")


def test_a_type_is_paused_and_a_worker_stopped(tab: Tab, session: Any) -> None:
    worker = make.worker(silent_for=-60)  # alive for as long as the test takes
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


def test_a_copy_of_a_job_with_another_payload(tab: Tab, session: Any) -> None:
    job = make.failed_job(type="echo", payload={"to": "ada"})
    page = tab.open(f"/jobs/{job.id}")
    page.locator("#copy-job").click()
    page.locator("textarea").fill('{"to": ')
    page.get_by_role("button", name="Create job").click()
    expect(page.get_by_role("alert")).to_contain_text("must be valid JSON")
    page.locator("textarea").fill('{"to": "bob"}')
    page.get_by_role("button", name="Create job").click()
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
