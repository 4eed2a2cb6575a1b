"""Failures as incidents, in a real browser: new since a version, a canary's verdict, muted and resolved groups."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text

from app.jobs import error_group_states, lifecycle
from tests import factories as make
from tests.browser.conftest import Tab

pytestmark = pytest.mark.browser

GROUP = "0123456789ab"


def failures(n: int, *, group: str = GROUP, version: str = "1.4.2", type: str = "mail") -> None:
    worker = make.worker(version=version)
    for _ in range(n):
        job = make.failed_job(type=type, fingerprint=group, error="Refused: no such mailbox")
        make.attempt(
            job, fingerprint=group, worker_id=worker.id, error="Refused: no such mailbox", error_class="Refused"
        )  # fmt: skip


def row(page: Page, group: str = GROUP) -> Any:
    return page.locator(f"#failure-{group}")


def choose(page: Page, menu: str, button: str) -> None:
    page.locator(f"#{menu}-{GROUP} > summary").click()
    row(page).get_by_role("button", name=button).click()


def fail_again(session: Any) -> None:
    """The pending jobs end as a worker would end them."""
    session.execute(
        text(
            "UPDATE jobs SET status = 'failed', finished_at = now(), fingerprint = :g WHERE status = 'pending'"
        ),
        {"g": GROUP},
    )
    session.commit()


def test_the_verdict_of_a_canary_comes_with_the_pointer_on_the_button(
    tab: Tab, session: Any
) -> None:
    failures(12)
    page = tab.open("/failures")
    choose(page, "retry-menu", "Retry 10 ")
    expect(row(page).locator(".failure-retry")).to_contain_text("Canary of 10: 10 still waiting")
    page.mouse.move(*_middle(page, f"#retry-menu-{GROUP} > summary"))  # and rests there
    expect(page.locator(f"#retry-menu-{GROUP}")).not_to_have_attribute("open", "")
    fail_again(session)
    # Nothing is read again at once: the page has to look by itself.
    expect(row(page).locator(".failure-retry")).to_contain_text("Canary: 10 of 10 failed again")
    page.get_by_role("link", name="10 of 10 failed again").click()
    expect(page.locator("#live tbody tr")).to_have_count(10)


def test_after_a_retry_the_page_looks_again_after_a_second(tab: Tab, session: Any) -> None:
    failures(12)
    # The first delay above 0.8 s that a timer gets once the retry was sent.
    tab.page.add_init_script("""
      const plain = setTimeout; window.delays = [];
      window.setTimeout = (run, ms, ...more) => { if (ms > 800 && ms < 9000) delays.push(ms); return plain(run, ms, ...more); };
    """)
    page = tab.open("/failures")
    page.locator(f"#retry-menu-{GROUP} > summary").click()
    page.evaluate("delays.length = 0")
    row(page).get_by_role("button", name="Retry 10 ").click()
    expect(row(page).locator(".failure-retry")).to_contain_text("10 still waiting")
    assert page.evaluate("delays.some((ms) => ms < 1200)")


def _middle(page: Page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_group_is_new_since_the_version_of_the_deploy(tab: Tab, session: Any) -> None:
    page = tab.open("/failures")
    expect(page.get_by_text("No failures.")).to_be_visible()
    worker = make.worker(version="1.4.2")
    job = make.processing_job(type="mail", worker_id=worker.id)
    ending = make.ending(job.id, job.lease_token, "bury", outcome="failed", error="KeyError: 'x'",
                         error_class="KeyError")  # fmt: skip
    lifecycle.end_attempts(session, [ending])
    session.commit()
    expect(page.locator(".state.is-new")).to_have_text("New since 1.4.2")
    expect(page.locator("#live")).to_contain_text("KeyError")


def test_a_muted_group_leaves_the_list_and_returns_at_twice_its_rate(
    tab: Tab, session: Any
) -> None:
    failures(2)
    session.execute(text("UPDATE error_groups SET first_seen_at = now() - interval '1 day'"))
    session.commit()
    page = tab.open("/failures")
    choose(page, "more", "Mute")
    expect(row(page)).to_have_count(0)
    page.locator("#view-muted").click()
    expect(row(page)).to_contain_text("reopens at 4 failures an hour")
    failures(2)
    error_group_states.note_failures(session)
    session.commit()
    page = tab.open("/failures")
    expect(row(page)).to_contain_text("2 times as frequent")
    expect(row(page).locator(".state.is-new")).to_have_text("Reopened in 1.4.2")


def test_the_type_is_paused_and_resumed_in_place(tab: Tab, session: Any) -> None:
    failures(1)
    page = tab.open("/failures")
    choose(page, "more", "Pause type")
    page.get_by_role("dialog").get_by_role("button", name="Pause type").click()
    expect(row(page)).to_contain_text("Type paused")
    choose(page, "more", "Resume type")
    expect(row(page)).not_to_contain_text("Type paused")


def test_more_than_a_hundred_are_asked_about_with_count_and_type(tab: Tab, session: Any) -> None:
    failures(1)
    make.db.session.execute(
        text(
            "INSERT INTO jobs (id, queue, type, payload, status, attempts, fingerprint, last_error, finished_at)"
            " SELECT gen_random_uuid(), queue, type, payload, status, attempts, fingerprint, last_error, now()"
            " FROM jobs CROSS JOIN generate_series(1, 104) WHERE status = 'failed'"
        )
    )
    make.db.session.execute(
        text(
            "INSERT INTO dead_letters (job_id, queue, type, payload, reason, attempts) SELECT id, queue, type, payload,"
            " last_error, attempts FROM jobs j WHERE NOT EXISTS (SELECT FROM dead_letters d WHERE d.job_id = j.id)"
        )
    )
    make.db.session.commit()
    page = tab.open("/failures")
    page.locator(f"#retry-menu-{GROUP} > summary").click()
    expect(row(page).get_by_role("button", name="Retry 100 ")).to_be_visible()
    page.locator(f"#retry-all-{GROUP}").click()
    expect(page.locator("h1")).to_have_text("Retry 105 jobs?")
    expect(page.locator("main")).to_contain_text("of mail")


def test_a_menu_works_by_keyboard_and_closes(tab: Tab, session: Any) -> None:
    failures(2)
    page = tab.open("/failures")
    summary = page.locator(f"#retry-menu-{GROUP} > summary")
    summary.focus()
    page.keyboard.press("Enter")
    expect(row(page).get_by_role("button", name="Retry 1 ")).to_be_visible()
    tab.look()
    expect(
        row(page).get_by_role("button", name="Retry 1 ")
    ).to_be_visible()  # a refresh leaves it open
    page.keyboard.press("Escape")
    expect(row(page).get_by_role("button", name="Retry 1 ")).to_be_hidden()
    expect(summary).to_be_focused()
    summary.click()
    page.locator(f"#more-{GROUP} > summary").click()
    expect(row(page).get_by_role("button", name="Retry 1 ")).to_be_hidden()
    page.locator("h1").click()
    expect(row(page).get_by_role("button", name="Mute")).to_be_hidden()


def test_the_badge_is_calm_after_a_look(tab: Tab, session: Any) -> None:
    failures(3)
    session.execute(text("UPDATE dead_letters SET failed_at = now() - interval '5 s'"))
    session.commit()
    page = tab.open("/jobs")
    expect(page.locator("[data-count=nav-failures]")).to_contain_text("3")
    tab.open("/failures")
    expect(page.locator("[data-count=nav-failures]")).to_be_empty()
    tab.open("/jobs")
    expect(page.locator("[data-count=nav-failures]")).to_be_empty()


def test_the_tabs_lead_to_dead_letters_and_discarded_jobs(tab: Tab, session: Any) -> None:
    failures(1)
    make.failed_job(is_discarded=True)
    page = tab.open("/dead-letters")
    expect(page).to_have_url(tab.site.url + "/failures/dead-letters")
    expect(page.locator("#live tbody tr")).to_have_count(1)
    page.locator("#tab-discarded").click()
    expect(page.locator("#live tbody tr")).to_have_count(1)
    page.locator("#tab-failures").click()
    expect(row(page)).to_be_visible()


@pytest.mark.parametrize("width", [320, 390])
def test_nothing_is_clipped_on_a_phone(tab: Tab, session: Any, width: int) -> None:
    failures(12)
    page = tab.page
    page.set_viewport_size({"width": width, "height": 844})
    tab.open("/failures")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    choose(page, "retry-menu", "Retry 10 ")
    expect(row(page).locator(".failure-retry")).to_contain_text("Canary of 10")
    for menu in ("retry-menu", "more"):
        page.locator(f"#{menu}-{GROUP} > summary").click()
        box = page.locator(f"#{menu}-{GROUP} .menu-items").bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    for selector in (".c-when time", ".c-number data"):
        for cell in row(page).locator(selector).all():
            assert cell.evaluate(
                "el => el.parentElement.scrollWidth <= el.parentElement.clientWidth + 1"
            )
