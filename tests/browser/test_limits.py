"""Limits in a real browser: made, put over a type, paused by key, and jobs that wait at one."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from tests import factories as make
from tests.browser.conftest import Tab

pytestmark = pytest.mark.browser


def test_a_limit_is_created_and_put_over_a_type(tab: Tab, session: Any) -> None:
    make.worker(silent_for=-600, limits=[])
    page = tab.open("/limits")
    page.locator("#empty-new").click()
    page.get_by_label("Name").fill("stripe")
    page.locator("#save").click()
    expect(page.locator("#error-concurrency")).to_contain_text("give concurrency, rate")
    page.locator("#field-concurrency").fill("20")
    page.locator("#field-by").fill("customerId")
    page.locator("#save").click()
    expect(page.locator("h1")).to_have_text("stripe")
    expect(page.locator("#flash")).to_contain_text("Limit stripe created.")
    page.locator("#attach").click()
    page.locator("#field-use").select_option("type:echo")
    page.locator("#save").click()
    expect(page.locator("#use-type-echo")).to_be_visible()
    page.get_by_role("button", name="Remove type echo").click()
    page.locator("#confirm-yes").click()
    expect(page.locator("#use-type-echo")).to_have_count(0)
    tab.excuse("422")


def test_a_key_is_paused_raised_and_its_jobs_are_seen(tab: Tab, session: Any) -> None:
    make.limit("stripe", key_concurrency=1)
    jobs = [make.waiting_job(key="42") for _ in range(3)]
    page = tab.open("/limits")
    page.locator("#limit-stripe .c-type a").click()
    row = page.locator("#key-42")
    row.get_by_role("button", name="Pause key 42").click()
    page.locator("#confirm-yes").click()
    expect(row).to_contain_text("Paused by")
    row.get_by_role("button", name="Resume key 42").click()
    expect(row).not_to_contain_text("Paused by")
    row.get_by_role("link", name="Change key 42").click()
    page.locator("#field-concurrency").fill("5")
    page.locator("#save").click()
    expect(row).to_contain_text("0 of 5 running")
    row.locator(".c-type a").click()
    expect(page.locator("tbody tr")).to_have_count(3)
    expect(page.locator("#chip-limit_key")).to_contain_text("key 42")
    page.locator("#filter-type").select_option("echo")  # the form keeps limit and key
    expect(page.locator("#chip-limit_key")).to_be_visible()
    page.locator("#tab-waiting").click()
    page.locator(f"#job-{jobs[0].id} .c-type a").click()
    expect(page.locator("#why")).to_contain_text("limit stripe")


def test_pause_in_the_list_keeps_focus_and_place(tab: Tab, session: Any) -> None:
    make.limit("smtp")
    make.limit("stripe")
    page = tab.open("/limits")
    button = page.get_by_role("button", name="Pause limit smtp")
    button.focus()
    tab.look()
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    page.locator("#confirm-yes").click()
    expect(page.locator("#limit-smtp")).to_contain_text("Paused by")
    tab.expect_focus_in("limit-smtp")
    tab.open("/workers")
    page.keyboard.press("g")
    page.keyboard.press("l")
    page.wait_for_url("**/limits")


def test_a_refresh_moves_bars_and_keeps_what_is_typed(tab: Tab, session: Any) -> None:
    make.limit("stripe", concurrency=2)
    page = tab.open("/limits")
    page.locator("#q").fill("half")
    make.processing_job(limit_name="stripe", limit_key="")
    tab.look()
    expect(page.locator("#limit-stripe")).to_contain_text("1 of 2 running")
    expect(page.locator("#usage-stripe")).to_have_js_property("value", 1)
    expect(page.locator("#q")).to_have_value("half")
    expect(page.locator("#q")).to_be_focused()


def test_limits_work_without_scripts(plain_tab: Tab, session: Any) -> None:
    make.limit("stripe")
    plain_tab.open("/limits")
    page = plain_tab.page
    page.get_by_role("button", name="Pause limit stripe").click()
    expect(page.locator("#flash")).to_contain_text("Limit stripe paused.")
    plain_tab.open("/limits/stripe")
    page.get_by_role("button", name="Delete limit stripe").click()
    expect(page.locator("h1")).to_have_text("Delete limit stripe?")
    page.get_by_role("button", name="Delete limit").click()
    expect(page.locator("#flash")).to_contain_text("Limit stripe deleted.")
