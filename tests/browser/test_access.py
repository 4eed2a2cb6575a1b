"""For everybody: axe finds nothing on any page, small screens, forced colours, no motion, paper, no script."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from app import config, create_app
from app.jobs import bulk
from app.jobs.listing import JobFilter
from tests import factories as make
from tests.browser.conftest import Site, Tab
from tests.browser.test_pages import TOO_WIDE
from tests.security.conftest import PRODUCTION

pytestmark = pytest.mark.browser

GROUP = "0123456789ab"


@pytest.fixture
def addresses(session: Any) -> list[str]:
    """Every page, each with something to show."""
    jobs = {
        view: maker(tags=["customer:acme"], payload={"to": "ada@example.com", "n": [1, None, True]})
        for view, maker in make.BY_VIEW.items()
    }
    failed = make.failed_job(type="mail", fingerprint=GROUP, error="Refused: no such mailbox")
    make.attempt(
        failed,
        fingerprint=GROUP,
        error="Refused: no such mailbox",
        error_class="Refused",
        traceback='  File "/srv/shop/mail.py", line 7, in send\n',
    )
    make.log_line(failed)
    make.processing_job(progress={"percent": 40, "note": "page 4 of 10"})
    make.worker(running=[{"jobId": str(failed.id), "type": "mail", "attempt": 1, "since": None}])
    make.worker(silent_for=3600)
    make.paused_queue("slow")
    schedule = make.schedule("nightly", payload={"to": "ada@example.com"}, tags=["a"])
    for ago, job in enumerate(jobs.values(), start=1):
        make.tick(schedule, ago=60 * ago, job_id=job.id)
    for ago, outcome in enumerate(("skipped", "missed", "paused", "failed"), start=1):
        make.tick(schedule, ago=3600 * ago, outcome=outcome, n=ago, lasts=60, note="a reason")
    make.schedule("late", type="report", next_in=-600)
    make.paused_schedule("paused")
    make.retired_schedule("retired")
    make.limit(
        "stripe", types=("charge", "refund"), source="code", by_field="customerId", concurrency=3, rate_count=5,
        rate_seconds=1, key_concurrency=1, override={"concurrency": 2}, overridden_by="ada", overridden_at=make._now(-9),
    )  # fmt: skip
    make.limit("smtp", paused_at=make._now(-60), paused_by="grace", blocked_until=make._now(600))
    waiting = make.waiting_job(key="42")
    make.waiting_job(key="a long name / with slashes")
    make.processing_job(limit_name="stripe", limit_key="42")
    number = bulk.create(
        session, "retry", JobFilter(status="failed"), description="failed jobs", by="ada"
    )
    session.commit()
    return [
        "/", "/?range=week", "/jobs", "/jobs?status=failed", "/jobs?q=nobody", "/jobs?fingerprint=" + GROUP,
        *(f"/jobs/{job.id}" for job in jobs.values()), f"/jobs/{failed.id}", f"/jobs/{failed.id}/copy",
        "/jobs/all?status=failed", "/jobs/all?status=failed&verb=retry", "/bulk", f"/bulk/{number}", "/failures/dead-letters", "/failures", "/queues",
        "/workers", "/job-types", "/audit", "/sign-in", "/nowhere", "/api/docs",
        "/schedules", "/schedules?state=ended", *(f"/schedules/{name}" for name in ("nightly", "late", "paused", "retired")),
        "/new-schedule", "/new-schedule?rule=cron&cron=30+2+*+*+*&zone=Europe/Berlin&queue=a", "/schedules/nightly/edit",
        "/limits", "/limits/stripe", "/limits/smtp", "/limits/stripe/edit", "/new-limit", "/limits/stripe/key?key=42",
        "/limits/stripe/attach", "/jobs?status=waiting", f"/jobs/{waiting.id}",
    ]  # fmt: skip


@pytest.fixture
def axe(tab: Tab) -> Callable[[str], list[str]]:
    def look(path: str, only: list[str] | None = None) -> list[str]:
        options = {"runOnly": only} if only else None
        found = Axe().run(tab.page, options=options).response["violations"]
        return [
            f"{path}: {one['id']}, {one['help']}: {node['html'][:160]}"
            for one in found
            for node in one["nodes"]
        ]

    return look


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("width", "colours"), [(1280, "light"), pytest.param(390, "dark", marks=pytest.mark.long)]
)
def test_axe_finds_nothing(
    tab: Tab, addresses: list[str], axe: Any, colours: Any, width: int
) -> None:
    tab.page.set_viewport_size({"width": width, "height": 900})
    tab.page.emulate_media(color_scheme=colours)
    # The other colours and sizes change nothing about names and roles.
    only = ["color-contrast", "target-size"] if colours == "dark" else None
    found = [wrong for path in addresses if tab.open(path) for wrong in axe(path, only)]
    tab.excuse("404")
    assert found == []


def test_axe_finds_nothing_in_dialogs_and_with_rows_selected(
    tab: Tab, addresses: list[str], axe: Any
) -> None:
    page = tab.open("/jobs?status=failed")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    assert axe("keys") == []
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    expect(page.locator("#palette")).to_be_visible()
    assert axe("palette") == []
    page.keyboard.press("Escape")
    page.locator("#live [name=ids][data-verbs~=edit]").first.check()
    page.get_by_text("Change…").click()
    expect(page.locator("#selected [name=priority]")).to_be_visible()
    assert axe("selected") == []


def test_no_page_scrolls_sideways_at_320(tab: Tab, addresses: list[str]) -> None:
    tab.page.set_viewport_size({"width": 320, "height": 700})
    wide = {path: found for path in addresses if (found := tab.open(path).evaluate(TOO_WIDE))}
    assert wide == {}
    tab.excuse("404")


def test_forced_colors_keep_status_and_focus_visible(tab: Tab, addresses: list[str]) -> None:
    page = tab.page
    page.emulate_media(forced_colors="active")
    tab.open("/jobs")
    link = page.locator("#live tbody a").first
    page.keyboard.press("j")
    expect(link).to_be_focused()
    outline = link.evaluate("el => getComputedStyle(el).outlineStyle")
    assert outline != "none"
    icon = page.locator("#live .status svg").first
    assert icon.evaluate("el => el.getBoundingClientRect().width") > 8


def test_reduced_motion_disables_animations(tab: Tab, addresses: list[str]) -> None:
    tab.page.emulate_media(reduced_motion="reduce")
    for path in addresses[:12]:
        page = tab.open(path)
        moving = page.evaluate(
            "document.getAnimations().filter(a => a.effect.getComputedTiming().duration > 1).length"
        )
        assert moving == 0, path
    tab.excuse("404")


def test_a_printed_page_has_the_list_and_no_controls(tab: Tab, addresses: list[str]) -> None:
    page = tab.open("/jobs")
    page.emulate_media(media="print")
    expect(page.locator("#live table")).to_be_visible()
    for gone in (".nav", ".bar", ".c-actions >> nth=0", ".c-pick >> nth=0", "#selected"):
        expect(page.locator(gone)).to_be_hidden()


def test_every_page_and_every_verb_work_without_scripts(
    plain_tab: Tab, addresses: list[str], session: Any
) -> None:
    page = plain_tab.page
    for path in addresses:
        if path == "/api/docs":
            continue
        plain_tab.open(path)
        assert page.locator("h1").count() == 1, path
    plain_tab.open("/failures")
    page.get_by_role("button", name="Discard all").first.click()
    expect(page.locator("h1")).to_have_text("Discard 1 dead letter?")
    plain_tab.open("/jobs?status=failed")
    page.locator("#live [name=ids]").first.check()
    page.locator("#selected").get_by_role("button", name="Retry").click()
    expect(page.locator("#flash")).to_contain_text("Retrying 1 job.")


def test_the_layout_does_not_shift_after_the_first_paint(
    browser: Browser, site: Site, session: Any
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(site.url + "/jobs")
    shifts = page.evaluate(
        """() => new Promise((done) => { let sum = 0;
          new PerformanceObserver((list) => list.getEntries().forEach((e) => { sum += e.value; }))
            .observe({ type: "layout-shift", buffered: true });
          setTimeout(() => done(sum), 300); })"""
    )
    context.close()
    assert shifts == 0


def test_axe_finds_nothing_on_the_sign_in_page(
    context: Any, test_env: dict[str, str], session: Any
) -> None:
    site = Site(create_app(config.load({**test_env, **PRODUCTION})))
    site.start()
    try:
        tab = Tab(context, site)
        page = tab.open("/jobs")
        assert page.url.endswith("/sign-in?next=/jobs")
        for colours in ("light", "dark"):
            page.emulate_media(color_scheme=colours)
            assert Axe().run(page).response["violations"] == []
        page.get_by_label("Name").fill("eve")
        page.get_by_label("Password").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_be_visible()
        assert Axe().run(page).response["violations"] == []
        if folder := os.environ.get("SHOTS"):
            page.screenshot(path=f"{folder}/sign-in.png")
    finally:
        site.stop()
