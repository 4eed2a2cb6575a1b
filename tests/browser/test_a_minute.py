"""Sixty seconds of refreshes, while the system changes, under a person who is doing something."""

from __future__ import annotations

from typing import Any

import pytest

from tests import factories as make
from tests.browser.conftest import Tab

pytestmark = pytest.mark.browser


def pass_a_minute(tab: Tab, change: Any) -> int:
    """How often the page asked for its own content meanwhile; counts and health have a request of their own."""
    before = len(tab.requests)
    for _ in range(6):
        change()
        tab.pass_seconds(10)
    others = ("/static/", "/assets/", "/pulse")
    return sum(not any(part in url for part in others) for _, url in tab.requests[before:])


@pytest.fixture
def clock(tab: Tab) -> None:
    tab.page.clock.install()


def test_open_details_scroll_position_and_focus_stay_on_a_job_page(
    tab: Tab, session: Any, clock: None
) -> None:
    job = make.retrying_job(payload={"order": {"lines": list(range(60))}, "to": "ada"})
    make.attempt(job, traceback="Traceback\n" * 30)
    for n in range(80):
        make.log_line(job, f"line {n}")
    page = tab.open(f"/jobs/{job.id}")
    page.locator(".timeline details summary").first.click()
    page.locator("#log").evaluate("el => { el.scrollTop = 300; }")
    page.evaluate("scrollTo(0, 500)")
    page.locator("#log").focus()
    state = """() => [document.activeElement.id, scrollY, document.querySelector('#log').scrollTop,
      [...document.querySelectorAll('details[open]')].map((el) => el.id).join()]"""
    before = page.evaluate(state)
    n = iter(range(100))
    assert pass_a_minute(tab, lambda: make.log_line(job, f"late {next(n)}")) >= 10
    page.get_by_text("late 4").wait_for(state="attached")
    assert page.evaluate(state) == before


def test_the_caret_stays_in_a_half_typed_word(tab: Tab, session: Any, clock: None) -> None:
    make.pending_job()
    page = tab.open("/failures/dead-letters")
    page.locator("#q").fill("half a word")
    page.locator("#q").evaluate("el => el.setSelectionRange(3, 6)")
    pass_a_minute(tab, make.failed_job)
    caret = "[document.activeElement.id, document.activeElement.value, document.activeElement.selectionStart, document.activeElement.selectionEnd]"
    assert page.evaluate(caret) == ["q", "half a word", 3, 6]


def test_selected_rows_and_typed_changes_stay(tab: Tab, session: Any, clock: None) -> None:
    jobs = [make.pending_job() for _ in range(5)]
    page = tab.open("/jobs")
    boxes = [page.locator(f"#job-{jobs[n].id} [name=ids]") for n in (1, 3)]
    for box in boxes:
        box.check()
    page.get_by_text("Change…").click()
    page.locator("#change-priority").fill("7")
    assert pass_a_minute(tab, make.pending_job) == 0  # it waits
    assert all(box.is_checked() for box in boxes)
    assert page.locator("#change-priority").input_value() == "7"
    assert page.locator("#selected-change").get_attribute("open") is not None


def test_open_dialogs_stay_open(tab: Tab, session: Any, clock: None) -> None:
    make.failed_job()
    page = tab.open("/failures/dead-letters")
    page.get_by_role("button", name="Discard").first.click()
    pass_a_minute(tab, make.failed_job)
    assert page.locator("#confirm").get_attribute("open") is not None
    page.get_by_role("button", name="Go back").click()
    page.keyboard.press("?")
    pass_a_minute(tab, make.failed_job)
    assert page.locator("#keys").get_attribute("open") is not None


def test_selected_text_stays_selected(tab: Tab, session: Any, clock: None) -> None:
    make.failed_job(error="ValueError: copy me")
    page = tab.open("/jobs")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.error-line'))")
    pass_a_minute(tab, make.failed_job)
    assert page.evaluate("getSelection().toString()") == "ValueError: copy me"


def test_the_layout_does_not_shift(tab: Tab, session: Any, clock: None) -> None:
    job = make.failed_job()
    make.worker(silent_for=-600)  # alive however long this takes
    make.tick(make.schedule("nightly"), ago=3600, job_id=job.id)
    make.limit("stripe", types=("charge",), rate_count=5, rate_seconds=1)
    make.waiting_job(key="42")
    for path in (
        "/", "/jobs", "/queues", "/workers", "/job-types", "/failures", "/schedules", "/schedules/nightly", "/limits", "/limits/stripe",
    ):  # fmt: skip
        page = tab.open(path)
        page.evaluate(
            """() => {
                const place = (r) => [r.x, r.y, r.width, r.height].map(Math.round).join(" ");
                window.shifts = [];
                new PerformanceObserver((list) => list.getEntries().forEach((e) => window.shifts.push(
                    [e.value, ...e.sources.map((s) => `${s.node?.outerHTML ?? s.node?.nodeValue}: `
                        + `${place(s.previousRect)} -> ${place(s.currentRect)}`)]
                ))).observe({ type: "layout-shift" });
            }"""
        )
        tab.pass_seconds(20)
        assert page.evaluate("window.shifts") == [], path
