"""Schedules in a real browser: created with a live preview, paused, run, and what refreshes leave alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from app.jobs.models import Job
from app.jobs.schedules import listing
from tests import factories as make
from tests.browser.conftest import Tab

pytestmark = pytest.mark.browser


def test_a_schedule_is_created_with_a_live_preview(tab: Tab, session: Any) -> None:
    page = tab.open("/schedules")
    page.locator("#new-schedule").click()
    page.get_by_label("Name").fill("nightly-report")
    preview = page.locator("#preview")
    page.locator("#cron").press_sequentially("61 * * * *", delay=20)
    expect(preview).to_contain_text("Line: the minute '61' is not understood")
    page.locator("#cron").fill("30 2 * * *")
    expect(preview).to_contain_text("At 02:30 every day, UTC")
    page.locator("#zone").fill("Europe/Berlin")
    expect(preview).to_contain_text("At 02:30 every day, Europe/Berlin")
    expect(preview.locator("li")).to_have_count(5)
    expect(page.locator("#zone")).to_be_focused()
    expect(page.locator("#zone")).to_have_value("Europe/Berlin")
    page.locator("#type").select_option("send-email")
    expect(page.locator("#payload-fields")).to_contain_text("to (required)")
    page.locator("textarea").fill('{"to": "ada@example.com"}')
    page.locator("#save").click()
    expect(page.get_by_role("alert")).to_contain_text("Check the fields marked below.")
    expect(page.locator("#error-payload")).to_contain_text("payload.subject")
    page.locator("textarea").fill('{"to": "a@example.com", "subject": "s", "body": "b"}')
    page.locator("#save").click()
    expect(page.locator("h1")).to_have_text("nightly-report")
    expect(page.locator("#flash")).to_contain_text("Schedule nightly-report created.")
    expect(page.locator(".runs li")).to_have_count(10)
    tab.excuse("422")


def test_the_preview_follows_the_interval_and_a_change_of_rule(tab: Tab, session: Any) -> None:
    page = tab.open("/new-schedule")
    page.get_by_role("radio", name="Interval").check()
    expect(page.locator("#preview")).to_contain_text("Every hour")
    expect(page.locator("#cron")).to_be_hidden()
    page.locator("#every").fill("90")
    page.locator("#unit").select_option("minutes")
    expect(page.locator("#preview")).to_contain_text("Every 90 minutes")
    page.locator("#every").fill("often")
    expect(page.locator("#preview")).to_contain_text("Interval: must be a whole number")


def test_the_preview_does_not_move_the_fields_below(tab: Tab, session: Any) -> None:
    page = tab.open("/new-schedule")
    place = "document.querySelector('#type').getBoundingClientRect().top + scrollY"
    before = page.evaluate(place)
    for line in ("30 2 * * *", "61 * * * *", ""):
        page.locator("#cron").fill(line)
        page.wait_for_timeout(600)
        assert page.evaluate(place) == before, line


def test_pause_resume_and_run_now_in_a_row(tab: Tab, session: Any) -> None:
    schedule = make.schedule("nightly")
    page = tab.open("/schedules")
    row = page.locator(f"#schedule-{schedule.id}")
    row.get_by_role("button", name="Pause nightly").click()
    page.get_by_role("button", name="Pause schedule").click()
    expect(row).to_contain_text("Paused")
    expect(page.locator("#flash")).to_contain_text("Schedule nightly paused.")
    row.get_by_role("button", name="Resume nightly").click()
    expect(row).to_contain_text("Active")
    row.get_by_role("button", name="Run now nightly").click()
    expect(row.locator(".tick")).to_have_count(1)
    expect(row).to_contain_text("Pending")
    [job] = session.query(Job)
    row.locator(".tick").click()
    expect(page).to_have_url(f"{tab.site.url}/jobs/{job.id}")
    page.get_by_role("link", name=re.compile("nightly")).click()
    expect(page.locator("#history-title")).to_be_visible()
    expect(page.locator(".history tbody tr")).to_have_count(1)


def test_run_now_next_to_a_live_job_is_confirmed(tab: Tab, session: Any) -> None:
    schedule = make.schedule("nightly")
    make.tick(schedule, job_id=make.processing_job(unique_key="schedule:nightly").id)
    page = tab.open("/schedules/nightly")
    page.get_by_role("button", name="Run now nightly").click()
    expect(page.locator("#confirm-text")).to_contain_text(
        "is processing. Run another one next to it?"
    )
    page.locator("#confirm-yes").click()
    expect(page.locator("#flash")).to_contain_text("of schedule nightly created.")
    expect(page.locator(".history tbody tr")).to_have_count(2)


def test_a_deleted_schedule_leads_back_to_the_list(tab: Tab, session: Any) -> None:
    make.schedule("nightly")
    page = tab.open("/schedules/nightly")
    page.get_by_role("button", name="Delete nightly").click()
    page.get_by_role("button", name="Delete schedule").click()
    page.wait_for_url("**/schedules")
    expect(page.locator("#flash")).to_contain_text("Schedule nightly deleted.")
    assert listing.list_schedules(session, limit=1).items == []


def test_filters_and_search_narrow_the_list_and_the_address(tab: Tab, session: Any) -> None:
    make.schedule("daily", type="echo")
    make.paused_schedule("weekly", type="echo")
    page = tab.open("/schedules")
    page.locator("#filter-state").select_option("paused")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page).to_have_url(f"{tab.site.url}/schedules?state=paused")
    page.locator("#chip-state").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.keyboard.press("/")
    page.keyboard.type("dai")
    expect(page.locator("tbody tr")).to_have_count(1)
    make.schedule("another")
    tab.look()
    expect(page.locator("#q")).to_be_focused()
    expect(page.locator("#q")).to_have_value("dai")
    expect(page.locator("tbody tr")).to_have_count(1)


def test_the_keyboard_reaches_rows_actions_and_pages(tab: Tab, session: Any) -> None:
    schedule = make.schedule("nightly")
    make.tick(schedule, job_id=make.completed_job().id)
    page = tab.open("/")
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.wait_for_url("**/schedules")
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="nightly", exact=True)).to_be_focused()
    page.keyboard.press("Tab")  # not through the marks: the history has the same ticks
    expect(page.locator(f"#last-{schedule.id}")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Run now nightly")).to_be_focused()
    tab.look()
    expect(page.get_by_role("button", name="Run now nightly")).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/schedules/nightly")


def test_a_time_is_shown_in_the_zone_of_the_schedule_and_in_ones_own(
    tab: Tab, session: Any
) -> None:
    schedule = make.schedule("nightly", zone="Asia/Tokyo")
    page = tab.open("/schedules")
    shown = page.locator(f"#schedule-{schedule.id} .c-next time")
    shown.hover()
    lines = (shown.get_attribute("title") or "").splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["JST", "GMT+2", "UTC"] or len(lines) == 3
    assert lines[0].endswith("JST")


def test_everything_works_without_scripts(plain_tab: Tab, session: Any) -> None:
    plain_tab.open("/new-schedule")
    page = plain_tab.page
    page.get_by_label("Name").fill("hourly")
    page.locator("#cron").fill("@hourly")
    page.locator("#type").select_option("echo")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#preview li")).to_have_count(5)
    expect(page.get_by_label("Name")).to_have_value("hourly")
    page.locator("#save").click()
    expect(page.locator("h1")).to_have_text("hourly")
    page.get_by_role("button", name="Pause hourly").click()
    expect(page.locator("#flash")).to_contain_text("Schedule hourly paused.")
    page.get_by_role("button", name="Delete hourly").click()
    expect(page.locator("h1")).to_have_text("Delete schedule hourly?")
    page.get_by_role("button", name="Delete schedule").click()
    expect(page.locator("#flash")).to_contain_text("Schedule hourly deleted.")
