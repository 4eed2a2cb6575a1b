"""Selecting rows: shift-click, the whole page, by key; what is done to them; the refresh that waits."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import text

from app import cache
from tests import factories as make
from tests.browser.conftest import Tab

pytestmark = pytest.mark.browser


def test_shift_click_selects_a_range_and_the_bar_retries_it(tab: Tab, session: Any) -> None:
    for _ in range(6):
        make.failed_job()
    page = tab.open("/jobs?status=failed")
    boxes = page.locator("#live [name=ids]")
    bar = page.locator("#selected")
    expect(bar).to_be_hidden()
    boxes.nth(1).click()
    boxes.nth(4).click(modifiers=["Shift"])
    expect(page.locator("#live [name=ids]:checked")).to_have_count(4)
    expect(page.locator("#picked")).to_have_text("4 selected")
    bar.get_by_role("button", name="Retry").click()
    expect(page.locator("#flash")).to_contain_text("Retrying 4 jobs.")
    expect(page.locator("#live tr[data-row]")).to_have_count(2)
    expect(page.locator("#live [name=ids]:checked")).to_have_count(0)
    expect(bar).to_be_hidden()


def test_the_checkbox_in_the_header_selects_and_clears_the_page(tab: Tab) -> None:
    for _ in range(3):
        make.failed_job()
    page = tab.open("/failures/dead-letters")
    page.locator("#pick-all").check()
    expect(page.locator("#picked")).to_have_text("3 selected")
    page.locator("#live [name=ids]").first.uncheck()
    expect(page.locator("#pick-all:indeterminate")).to_have_count(1)
    page.locator("#pick-none").click()
    expect(page.locator("#live [name=ids]:checked")).to_have_count(0)


def test_x_selects_the_focused_row(tab: Tab) -> None:
    make.failed_job()
    make.failed_job()
    page = tab.open("/jobs")
    for key in "jjx":
        page.keyboard.press(key)
    expect(page.locator("#live tr").nth(2).locator("[name=ids]")).to_be_checked()


def test_counts_and_health_stay_live_while_rows_are_selected(tab: Tab, session: Any) -> None:
    make.worker()
    job = make.failed_job()
    tab.page.clock.install()
    page = tab.open("/jobs")
    expect(page.locator("#health")).to_contain_text("Healthy")
    page.locator("#live [name=ids]").check()
    session.execute(make.db.text("UPDATE workers SET stopped_at = now()"))
    make.failed_job()
    cache.forget()
    tab.pass_seconds(12)
    expect(page.locator("[data-count=nav-failures]")).to_contain_text("2")
    expect(page.locator("#health")).to_contain_text("No workers")
    expect(page.locator("#live tr[data-row]")).to_have_count(1)
    expect(page.locator(f"#job-{job.id} [name=ids]")).to_be_checked()
    expect(page.locator("#selected")).to_contain_text("Updates paused")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_message_never_covers_the_selection_bar(tab: Tab, session: Any, width: int) -> None:
    for _ in range(40):
        make.failed_job()
    tab.page.set_viewport_size({"width": width, "height": 800})
    page = tab.open("/jobs?status=failed")
    page.locator("#live [name=ids]").first.check()
    ticked = page.locator("#live [name=ids]").first.get_attribute("value")
    session.execute(text("UPDATE jobs SET status = 'completed' WHERE id = :id"), {"id": ticked})
    session.commit()
    page.locator("#selected").get_by_role("button", name="Retry").click()
    expect(page.locator(".flash-line.is-problem")).to_be_visible()
    page.locator("#live [name=ids]").nth(1).check()
    flash, bar = (page.locator(name).bounding_box() for name in (".flash-line", "#selected"))
    assert flash
    assert bar
    assert flash["y"] + flash["height"] <= bar["y"]
    assert bar["y"] + bar["height"] <= 800
    for button in page.locator("#selected > button:visible, #selected summary:visible").all():
        button.click(trial=True)
    page.locator("#live [name=ids]").nth(2).click(trial=True)


def test_rows_stay_selected_while_the_list_changes(tab: Tab, session: Any) -> None:
    job = make.failed_job()
    page = tab.open("/jobs")
    page.locator("#live [name=ids]").check()
    before = len(tab.requests)
    make.failed_job()
    assert not page.evaluate(
        "document.dispatchEvent(new CustomEvent('before-refresh', {cancelable: true}))"
    )
    assert [url for _, url in tab.requests[before:] if "/jobs" in url] == []
    expect(page.locator(f"#job-{job.id} [name=ids]")).to_be_checked()
    tab.look()  # even a look that could not wait keeps them
    expect(page.locator(f"#job-{job.id} [name=ids]")).to_be_checked()


def test_the_priority_of_the_selection_is_changed(tab: Tab, session: Any) -> None:
    job = make.pending_job()
    page = tab.open("/jobs")
    page.locator("#live [name=ids]").check()
    page.get_by_text("Change…").click()
    page.locator("#selected [name=priority]").fill("9")
    page.get_by_role("button", name="Change selected jobs").click()
    expect(page.locator("#flash")).to_contain_text("1 job changed.")
    session.expire_all()
    assert session.get(type(job), job.id).priority == 9
