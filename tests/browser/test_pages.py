"""Pages in a real browser: finding things, copying, colours, sizes, and the security policy."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import BrowserContext, expect

from app.jobs import bulk
from app.jobs.listing import JobFilter
from tests import factories as make
from tests.browser.conftest import Tab

pytestmark = pytest.mark.browser

#: What makes the page wider than the window.
TOO_WIDE = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.querySelectorAll("main *")].filter((el) => el.getBoundingClientRect().right > innerWidth + 1)
    .map((el) => `${el.tagName} ${el.className} ${el.id}`)"""

PATHS = (
    "/",
    "/jobs",
    "/jobs?status=failed",
    "/failures/dead-letters",
    "/queues",
    "/workers",
    "/schedules",
    "/limits",
    "/nowhere",
)


def test_typing_narrows_the_list_and_the_address(tab: Tab, session: Any) -> None:
    wanted = make.pending_job(type="needle")
    other = make.pending_job(type="hay")
    page = tab.open("/jobs?status=pending")
    entries = page.evaluate("history.length")
    page.locator("#q").press_sequentially("needle", delay=30)
    expect(page.locator(f"#job-{other.id}")).to_have_count(0)
    expect(page.locator(f"#job-{wanted.id}")).to_be_visible()
    expect(page).to_have_url(tab.site.url + "/jobs?q=needle&status=pending")
    assert page.evaluate("history.length") == entries  # a pause in typing is no place to go back to
    tab.look()
    expect(page.locator("tbody tr")).to_have_count(1)  # the refresh stays with the search
    page.reload()
    expect(page.locator("#q")).to_have_value("needle")
    expect(page.locator("tbody tr")).to_have_count(1)


def test_a_chosen_type_narrows_at_once_and_its_chip_removes_it(tab: Tab, session: Any) -> None:
    make.pending_job(type="echo")
    make.pending_job(type="sleep")
    page = tab.open("/jobs")
    page.locator("#filter-type").select_option("sleep")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("#chip-type").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("#filter-type")).to_have_value("")


def test_back_restores_the_previous_page(tab: Tab, session: Any) -> None:
    job = make.pending_job(type="needle")
    page = tab.open("/jobs")
    page.locator("#q").fill("needle")
    expect(page.locator("#chip-q")).to_be_visible()
    page.locator(f"#job-{job.id} a").click()
    expect(page.locator("h1")).to_have_text("needle")
    page.go_back()
    expect(page.locator("#q")).to_have_value("needle")
    expect(page.locator("nav.nav-links")).to_be_visible()
    expect(page.locator(f"#job-{job.id}")).to_be_visible()


def test_the_whole_row_links_to_the_job(tab: Tab, session: Any, context: BrowserContext) -> None:
    job = make.pending_job()
    page = tab.open("/jobs")
    page.locator(f"#job-{job.id} td.c-queue").click()
    page.wait_for_url(f"**/jobs/{job.id}")
    page.go_back()
    with context.expect_page() as opened:
        page.locator(f"#job-{job.id} td.c-queue").click(modifiers=["Control"])
    expect(opened.value).to_have_url(f"{tab.site.url}/jobs/{job.id}")
    expect(page).to_have_url(tab.site.url + "/jobs")


def test_an_id_is_copied_by_a_click(tab: Tab, session: Any, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    job = make.pending_job(payload={"a": [1, "ü"]})
    page = tab.open("/jobs")
    page.locator(f"#job-{job.id} .id").click()
    expect(page.locator("#copied")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == str(job.id)
    expect(page).to_have_url(tab.site.url + "/jobs")
    tab.open(f"/jobs/{job.id}")
    page.locator("#copy-payload").click()
    expect(page.locator("#copied")).to_have_text("Copied")
    assert page.evaluate("async () => JSON.parse(await navigator.clipboard.readText()).a[1]") == "ü"


def test_the_theme_is_stored_and_rendered_by_the_server(tab: Tab, session: Any) -> None:
    page = tab.open("/")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.locator(".choice label[title=Dark]").click()
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == dark
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator(".choice label[title=Auto]").click()
    assert page.evaluate(background) == light


def test_the_keyboard_reaches_the_content_first(tab: Tab, session: Any) -> None:
    page = tab.open("/jobs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


@pytest.mark.parametrize("width", [390, 800])
def test_no_page_scrolls_sideways(tab: Tab, session: Any, width: int) -> None:
    long = "W" * 300
    job = make.failed_job(
        type=long, queue=long, tags=[long, long], error=long, payload={long: long}, unique_key=long
    )
    make.attempt(job, error=long, traceback=long)
    make.log_line(job, long)
    make.processing_job(type=long, progress={"percent": 50, "note": long})
    make.worker(host=long, queues=[long], version=long)
    make.paused_queue(long)
    make.pending_job(queue=long)
    make.limit(long, types=(long,), paused_at=make._now(), paused_by=long)
    make.waiting_job(limit=long, key=long[:200], queue=long)
    schedule = make.schedule(long, type=long, payload={long: long}, tags=[long])
    make.tick(schedule, outcome="failed", note=long)
    tab.page.set_viewport_size({"width": width, "height": 700})
    for path in (*PATHS, f"/jobs/{job.id}", f"/schedules/{long}", f"/limits/{long}"):
        page = tab.open(path)
        assert page.evaluate(TOO_WIDE) == [], path
    tab.excuse("404")


def test_text_from_outside_is_never_executed(tab: Tab, session: Any) -> None:
    attack = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    partial = "</section><hx-partial hx-target='body' hx-swap='innerHTML'>gone</hx-partial>"
    job = make.failed_job(
        type=attack, queue=partial, error=partial, payload={attack: partial}, tags=[attack]
    )
    make.log_line(job, partial)
    for path in ("/", "/jobs", "/failures/dead-letters", "/queues", f"/jobs/{job.id}"):
        page = tab.open(path)
        make.pending_job()
        assert tab.look() == 200
        expect(page.locator("nav.nav-links")).to_be_visible()
        assert page.locator("main img, main script").count() == 0


def test_the_security_policy_blocks_inline_code(tab: Tab, session: Any) -> None:
    page = tab.open("/")
    page.evaluate("""() => {
      window.refused = [];
      document.addEventListener("securitypolicyviolation", (e) => window.refused.push(e.effectiveDirective));
      const script = document.createElement("script");
      script.textContent = "window.ran = true";
      document.body.append(script);
      document.body.insertAdjacentHTML("beforeend", '<img src="data:," onerror="window.ran = true"><p style="color: red">');
    }""")
    page.wait_for_function("window.refused.length >= 3")
    assert page.evaluate("window.ran") is None
    tab.excuse("Content Security Policy", "content security policy")


def test_refreshes_write_nothing_to_the_console(tab: Tab, session: Any) -> None:
    job = make.failed_job()
    make.attempt(job)
    make.worker()
    for path in (*PATHS[:-1], f"/jobs/{job.id}"):
        tab.open(path)
        for _ in range(3):
            make.pending_job()
            tab.look()
    assert tab.complaints == []


@pytest.mark.parametrize("width", [390, 320])
def test_on_a_phone_the_current_entry_is_in_view(tab: Tab, session: Any, width: int) -> None:
    tab.page.set_viewport_size({"width": width, "height": 844})
    for path, row in (("/audit", ".nav-links"), ("/jobs?status=cancelled", ".tabs")):
        page = tab.open(path)
        box = page.locator(f"{row} [aria-current]").bounding_box()
        assert box
        assert box["x"] >= 0, path
        assert box["x"] + box["width"] <= width, path


#: Cells and figures whose text is wider than their box.
CUT = """() => [...document.querySelectorAll(".c-when, .c-number, .figures dd, .chart-text, .progress .number, .actions")]
  .filter((el) => el.checkVisibility() && (el.scrollWidth > el.clientWidth + 1 && el.clientWidth > 0
    || el.getBoundingClientRect().right > innerWidth + 1))
  .map((el) => `${el.className.baseVal ?? el.className}: ${el.textContent.trim()}`)"""


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_times_numbers_and_buttons_are_not_cut_off(tab: Tab, session: Any, width: int) -> None:
    for n in range(12):
        job = make.failed_job(fingerprint="0123456789ab", created_ago=5000)
        make.attempt(
            job,
            fingerprint="0123456789ab",
            ended_at=make.datetime.now(make.UTC) - make.timedelta(seconds=600 + n * 240),
        )
    make.processing_job(progress={"percent": 100, "note": "page 4 of 10"})
    make.completed_job(created_ago=3000)
    tab.page.set_viewport_size({"width": width, "height": 844})
    for path in (
        "/", "/failures", "/jobs", "/jobs?status=processing", "/failures/dead-letters", "/audit",
        "/queues", "/job-types", "/workers",
    ):  # fmt: skip
        assert tab.open(path).evaluate(CUT) == [], path


def test_titles_of_bulk_actions_are_not_cut_off_on_a_phone(tab: Tab, session: Any) -> None:
    make.failed_job()
    description = "newest failed job, requests.exceptions.ConnectionError in charge-card"
    bulk.create(session, "retry", JobFilter(status="failed"), description=description, by="ada")
    session.commit()
    tab.page.set_viewport_size({"width": 390, "height": 844})
    page = tab.open("/bulk")
    expect(page.locator(".list-name")).to_have_text("Retry 1 job")
    cut = "el => el.scrollWidth > el.clientWidth || el.getBoundingClientRect().width < 60"
    assert page.locator(".list-name").evaluate(cut) is False
