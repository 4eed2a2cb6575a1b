"""A page that is left open: it stays current and harms nothing that a person does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import expect

from app.jobs.models import Job
from tests import factories as make
from tests.browser.conftest import Site, Tab

pytestmark = pytest.mark.browser

LIST = re.compile(r"/jobs(\?top=.*)?$")

FOCUSED = "document.activeElement.closest('tr')?.id + ' ' + document.activeElement.ariaLabel"


def test_changes_appear_without_reloading(tab: Tab, session: Any) -> None:
    page = tab.open("/jobs")
    expect(page.get_by_text("No jobs yet.")).to_be_visible()
    job = make.pending_job(type="fresh")
    expect(page.locator(f"#job-{job.id}")).to_be_visible()  # after 4 s, give or take
    expect(page.locator("[data-count=all]")).to_have_text("1")


def test_focus_stays_on_the_same_job_while_rows_come_and_go(tab: Tab, session: Any) -> None:
    jobs = [make.failed_job(type=f"type-{n}") for n in range(6)]
    page = tab.open("/jobs")
    page.locator(f"#job-{jobs[2].id} button[formaction$=retry]").focus()
    before = page.evaluate(FOCUSED)
    for _ in range(3):
        make.pending_job()
        session.delete(jobs.pop())
        session.commit()
        tab.look()
        assert page.evaluate(FOCUSED) == before
    expect(page.locator("tbody tr")).to_have_count(3)
    expect(page.locator("#news")).to_have_text("3 new jobs")


def test_new_rows_are_announced_and_shown_on_request(tab: Tab, session: Any) -> None:
    first = make.failed_job(type="first")
    for path, row in (("/jobs", "job"), ("/failures/dead-letters", "dead")):
        page = tab.open(path)
        top = page.locator(f"#{row}-{first.id}").bounding_box()
        new = [make.failed_job(type="new") for _ in range(2)]
        assert tab.look() == 200
        expect(page.locator("#news")).to_contain_text("2 new ")
        assert page.locator(f"#{row}-{first.id}").bounding_box() == top
        assert tab.look() == 304
        page.locator("#news-show").click()
        expect(page.locator(f"#{row}-{new[1].id}")).to_be_visible()
        expect(page.locator("#news")).to_have_text("")
        assert tab.look() in (200, 304)
        first = new[1]


def test_empty_and_processing_lists_show_new_rows_without_asking(tab: Tab, session: Any) -> None:
    page = tab.open("/jobs?status=processing")
    for count in (1, 2):
        make.processing_job()
        tab.look()
        expect(page.locator("tbody tr")).to_have_count(count)


def test_focus_moves_to_the_next_row_when_its_row_disappears(tab: Tab, session: Any) -> None:
    jobs = [make.failed_job() for _ in range(3)]
    page = tab.open("/failures/dead-letters")
    page.locator(f"#dead-{jobs[1].id} button[formaction$=retry]").focus()
    page.keyboard.press("Enter")
    expect(page.locator(f"#dead-{jobs[1].id}")).to_have_count(0)
    tab.expect_focus_in(f"dead-{jobs[0].id}")


def test_focus_is_not_lost_when_a_button_is_replaced(tab: Tab, session: Any) -> None:
    job = make.failed_job()
    page = tab.open(f"/jobs/{job.id}")
    page.get_by_role("button", name="Retry").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    expect(page.locator("body :focus")).to_have_count(1)


def test_a_half_typed_search_keeps_its_caret(tab: Tab, session: Any) -> None:
    make.pending_job(type="needle")
    page = tab.open("/jobs")
    search = page.locator("#q")
    search.press_sequentially("neXdle", delay=10)
    page.wait_for_timeout(400)
    search.evaluate("(el) => el.setSelectionRange(3, 3)")
    make.pending_job()
    tab.look()
    page.keyboard.press("Backspace")
    expect(search).to_have_value("nedle")
    assert search.evaluate("(el) => el.selectionStart") == 2


def test_open_details_stay_open_and_closed_ones_closed(tab: Tab, session: Any) -> None:
    job = make.retrying_job(payload={"deep": {"a": 1}}, created_ago=60)
    make.attempt(job)
    page = tab.open(f"/jobs/{job.id}")
    traceback = page.locator(".timeline details").first
    traceback.locator("summary").click()
    tree = page.locator("#payload-0-0")
    tree.locator("summary").first.click()
    make.attempt(job, attempt=2)
    assert tab.look() == 200
    expect(page.locator(".timeline details")).to_have_count(2)
    expect(page.locator(".timeline details[open]")).to_have_count(1)
    expect(page.locator("#payload-0-0:not([open])")).to_have_count(1)


def test_new_rows_do_not_move_the_rows_in_view(tab: Tab, session: Any) -> None:
    jobs = [make.completed_job() for _ in range(45)]
    page = tab.open("/jobs")
    row = page.locator(f"#job-{jobs[15].id}")
    row.evaluate("(el) => el.scrollIntoView({ block: 'center' })")
    tab.next_frame()
    top = row.bounding_box()["y"]  # type: ignore[index]
    for _ in range(4):
        make.completed_job()
    tab.look()
    tab.next_frame()
    assert abs(row.bounding_box()["y"] - top) < 2  # type: ignore[index]


def test_a_scrolled_log_stays_where_it_is(tab: Tab, session: Any) -> None:
    job = make.processing_job()
    for n in range(120):
        session.add(make.JobLogLine(job_id=job.id, attempt=1, level="info", message=f"line {n}"))
    session.commit()
    page = tab.open(f"/jobs/{job.id}")
    page.locator("#log").evaluate("(el) => { el.scrollTop = 400; }")
    make.log_line(job, "one more")
    tab.look()
    expect(page.get_by_text("one more")).to_be_attached()
    assert page.locator("#log").evaluate("(el) => el.scrollTop") == 400


def test_an_unchanged_refresh_changes_no_element(tab: Tab, session: Any) -> None:
    make.failed_job()
    make.worker()
    page = tab.open("/jobs")
    assert tab.look() == 200
    page.evaluate("""() => {
      window.touched = [];
      new MutationObserver((all) => window.touched.push(...all.map((m) => m.target.nodeName + ' ' + m.type)
        .filter((one) => !one.includes('#text') && !one.startsWith('TIME'))))
        .observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
    }""")
    assert tab.look() == 304
    page.wait_for_timeout(50)
    touched = set(page.evaluate("window.touched"))
    assert touched <= {"SECTION attributes", "DIV attributes"}  # htmx's own request class


def test_relative_times_update_without_the_server(tab: Tab, session: Any) -> None:
    make.pending_job()
    tab.page.clock.install()
    page = tab.open("/jobs")
    when = page.locator("td.c-when time")
    first = when.inner_text()
    asked = len(tab.requests)
    tab.page.clock.run_for(3_000)
    expect(when).not_to_have_text(first)
    assert len(tab.requests) == asked


def test_an_instant_shows_local_time_and_utc(tab: Tab, session: Any) -> None:
    job = make.pending_job(created_at=make.datetime(2026, 5, 4, 10, 0, 0, 123000, make.UTC))
    page = tab.open(f"/jobs/{job.id}")
    instant = page.locator('dd time[data-kind="at"][datetime^="2026-05-04"]')
    expect(instant).to_have_text("2026-05-04 13:00:00 GMT+3")
    page.locator(".is-zone label").nth(1).click()
    expect(instant).to_have_text("2026-05-04 10:00:00 UTC")
    page.reload()
    expect(instant).to_have_text("2026-05-04 10:00:00 UTC")
    instant.hover()
    expect(instant).to_have_attribute("title", "2026-05-04 10:00:00 UTC\n2026-05-04 13:00:00 GMT+3")


@pytest.mark.parametrize("name", ["hour", "week"])
def test_the_chart_follows_the_zone(tab: Tab, session: Any, name: str) -> None:
    at = make.datetime.now(make.UTC).replace(second=0, microsecond=0) - make.timedelta(minutes=20)
    session.execute(
        make.db.text("INSERT INTO job_minutes (minute, outcome, n) VALUES (:at, 'completed', 7)"),
        {"at": at},
    )
    make.completed_job()
    page = tab.open(f"/?range={name}")
    bar = at if name == "hour" else at.replace(minute=0)

    def shown() -> tuple[str, str, list[str]]:
        title = page.locator("svg.chart title").first.text_content() or ""
        ticks = page.locator("svg.chart .chart-tick").all_text_contents()
        return title, page.locator("#chart-note").inner_text(), [tick for tick in ticks if tick]

    zones = {"UTC": (make.UTC, "UTC"), "Local": (ZoneInfo("Europe/Helsinki"), "GMT+")}
    for label, (zone, word) in [*zones.items(), ("UTC", zones["UTC"])]:
        page.locator(".is-zone label", has_text=label).click()
        for _ in range(2):
            title, note, ticks = shown()
            moment = f"{bar.astimezone(zone):{'%H:%M' if name == 'hour' else '%a %H:%M'}} {word}"
            assert moment in title
            assert moment in note
            first = page.locator("svg.chart").get_attribute("data-first")
            start = make.datetime.fromisoformat(str(first)).astimezone(zone)
            step, at_round, form = (1, "%M", "%H:%M") if name == "hour" else (60, "%H", "%a")
            points = (
                start + make.timedelta(minutes=i * step) for i in range(60 if step == 1 else 168)
            )
            assert ticks == [
                f"{p:{form}}"
                for p in points
                if int(f"{p:{at_round}}") % (10 if step == 1 else 24) == 0
            ]
            make.completed_job()
            tab.look()


class TestHeld:
    """Nothing is asked for, or no rows, although 20 seconds pass."""

    @pytest.fixture
    def waits(self, tab: Tab) -> Callable[..., int]:
        def wait(*, but: str = "/static/") -> int:
            before = len(tab.requests)
            tab.pass_seconds(20)
            # An icon that arrives late on a busy machine is no look.
            others = ("/static/", "/assets/", but)
            return sum(not any(o in url for o in others) for _, url in tab.requests[before:])

        tab.page.clock.install()
        return wait

    def test_it_refreshes_otherwise(
        self, tab: Tab, session: Any, waits: Callable[..., int]
    ) -> None:
        make.pending_job()
        tab.open("/jobs")
        assert waits() > 0

    def test_while_paused(self, tab: Tab, session: Any, waits: Callable[..., int]) -> None:
        page = tab.open("/jobs")
        page.get_by_role("button", name="Pause refresh").click()
        expect(page.locator("#interval")).to_be_hidden()
        expect(page.locator(".refresh")).to_contain_text("Paused")
        assert waits() == 0
        page.get_by_role("link", name="Queues").click()
        expect(page.locator(".refresh")).to_contain_text("Paused")
        assert waits() == 0
        page.go_back()
        with page.expect_response(LIST):
            page.locator("#pause").click()

    def test_while_hidden(self, tab: Tab, session: Any, waits: Callable[..., int]) -> None:
        page = tab.open("/jobs")
        hide = "Object.defineProperty(document, 'hidden', { value: %s, configurable: true })"
        page.evaluate(hide % "true")
        assert waits() == 0
        with page.expect_response(LIST):
            page.evaluate(hide % "false")
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    def test_while_a_dialog_is_open(
        self, tab: Tab, session: Any, waits: Callable[..., int]
    ) -> None:
        make.failed_job()
        page = tab.open("/failures/dead-letters")
        page.get_by_role("button", name="Discard").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert waits(but="/pulse") == 0
        page.keyboard.press("Escape")
        assert waits() > 0

    def test_while_text_is_selected(
        self, tab: Tab, session: Any, waits: Callable[..., int]
    ) -> None:
        make.pending_job()
        page = tab.open("/jobs")
        page.evaluate("getSelection().selectAllChildren(document.querySelector('td.c-type'))")
        assert waits(but="/pulse") == 0
        expect(page.locator("#refresh-held")).to_have_text("Updates paused")
        with page.expect_response(LIST):
            page.evaluate("getSelection().removeAllRanges()")
        expect(page.locator("#refresh-held")).to_have_text("")

    def test_while_the_pointer_is_on_a_button(self, tab: Tab, session: Any) -> None:
        make.failed_job()
        tab.page.clock.install()
        page = tab.open("/jobs")
        page.locator("button[formaction$=retry]").hover()
        asked = len(tab.requests)
        tab.pass_seconds(6)
        assert [url for _, url in tab.requests[asked:] if "/jobs" in url] == []

    def test_a_chosen_interval_is_kept(
        self, tab: Tab, session: Any, waits: Callable[..., int]
    ) -> None:
        page = tab.open("/jobs")
        page.locator("#interval").select_option("30")
        page.wait_for_timeout(100)
        assert waits() == 0
        page.reload()
        expect(page.locator("#interval")).to_have_value("30")
        assert waits() == 0
        assert waits() > 0


def test_counts_stay_current_beside_a_slow_list(tab: Tab, session: Any) -> None:
    tab.page.clock.install()
    page = tab.open("/jobs?status=failed")
    make.failed_job()
    tab.pass_seconds(6)
    expect(page.locator("[data-count=nav-failures]")).to_contain_text("1")
    expect(page.locator("#tab-failed [data-count]")).to_have_text("1")


def test_rows_stay_while_the_server_is_away_and_it_recovers(
    tab: Tab, session: Any, site: Site
) -> None:
    job = make.pending_job()
    tab.page.clock.install()
    page = tab.open("/jobs")
    row = page.locator(f"#job-{job.id}")
    site.stop()
    tab.look()
    expect(page.locator("#stale")).to_contain_text("Not updating since ")
    expect(row).to_be_visible()
    tab.look()
    expect(row).to_be_visible()
    site.start()
    late = make.pending_job()
    tab.pass_seconds(20)  # it asks again after 16 s, having failed twice
    expect(page.locator("#news")).to_have_text("1 new job")
    expect(page.locator("#stale")).to_have_text("")
    page.locator("#news-show").click()
    expect(page.locator(f"#job-{late.id}")).to_be_visible()
    tab.excuse("ERR_CONNECTION", "Failed to fetch", "ERR_EMPTY")


def test_an_error_page_never_replaces_the_rows(tab: Tab, session: Any, app: Any) -> None:
    job = make.pending_job()
    page = tab.open("/jobs")
    page.route(LIST, lambda route: route.fulfill(status=500, body="<h1>broken</h1>"))
    assert tab.look() == 500
    expect(page.locator(f"#job-{job.id}")).to_be_visible()
    expect(page.locator("#stale")).to_contain_text("Not updating since")
    page.unroute(LIST)
    tab.look()
    expect(page.locator("#stale")).to_have_text("")
    tab.excuse("500")


def test_the_page_of_a_deleted_job_says_so(tab: Tab, session: Any) -> None:
    job = make.completed_job()
    page = tab.open(f"/jobs/{job.id}")
    session.query(Job).delete()
    session.commit()
    assert tab.look() == 404
    expect(page.locator("#stale")).to_have_text("No longer exists.")
    expect(page.locator("h1")).to_be_visible()
    tab.excuse("404")
