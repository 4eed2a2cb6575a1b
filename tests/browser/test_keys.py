"""Work without a mouse."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
from playwright.sync_api import Page, expect

from app.jobs.models import Job
from tests import factories as make
from tests.browser.conftest import Tab

pytestmark = pytest.mark.browser


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def focused_row(page: Page) -> str | None:
    row: str | None = page.evaluate("document.activeElement.closest('tr')?.id")
    return row


@pytest.mark.parametrize(("keys", "path"), [("gj", "/jobs"), ("gd", "/failures/dead-letters"), ("gt", "/job-types"), ("ga", "/audit"), ("gb", "/bulk")])  # fmt: skip
def test_g_and_a_letter_open_a_page(tab: Tab, keys: str, path: str) -> None:
    page = tab.open("/")
    press(page, *keys)
    page.wait_for_url(f"**{path}")


def test_j_and_k_move_between_rows_and_r_retries(tab: Tab, session: Any) -> None:
    jobs = [make.failed_job(), make.failed_job(), make.failed_job()]
    page = tab.open("/jobs")
    press(page, "j")
    first = focused_row(page)
    press(page, "j")
    assert focused_row(page) != first
    press(page, "k")
    assert focused_row(page) == first
    press(page, "r")
    expect(page.locator("#flash")).to_contain_text("Retrying ")
    assert first in {f"job-{job.id}" for job in jobs}


def test_slash_focuses_the_search_where_keys_are_only_text(tab: Tab) -> None:
    page = tab.open("/")
    press(page, "/")
    page.keyboard.type("gj?")
    expect(page.locator("#q")).to_have_value("gj?")
    expect(page.locator("dialog[open]")).to_have_count(0)


class TestPalette:
    @pytest.fixture
    def page(self, tab: Tab, session: Any) -> Page:
        page = tab.open("/")
        press(page, "Control+k")
        expect(page.locator("#palette")).to_be_visible()
        return page

    def test_enter_goes_to_the_page_that_matches(self, page: Page) -> None:
        page.keyboard.type("retry")
        press(page, "Enter")
        page.wait_for_url("**/jobs?status=retrying")

    def test_enter_searches_for_text_that_is_not_a_page(self, page: Page) -> None:
        page.keyboard.type("payload.user_id:42")
        press(page, "Enter")
        page.wait_for_url(lambda url: unquote(url).endswith("/jobs?q=payload.user_id:42"))

    def test_arrows_move_through_pages_and_search(self, page: Page) -> None:
        page.keyboard.type("queue")
        expect(page.locator("#palette-list li:visible")).to_have_count(2)
        press(page, "ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp")
        expect(page.locator("[role=option][aria-selected=true]")).to_contain_text("Queues")
        press(page, "ArrowDown")
        expect(page.locator("#palette-q")).to_have_attribute(
            "aria-activedescendant", "go-to-search"
        )
        press(page, "Enter")
        page.wait_for_url("**/jobs?q=queue")

    @pytest.mark.parametrize("part", [slice(None), slice(0, 13)])
    def test_an_id_jumps_to_its_job(self, page: Page, part: slice) -> None:
        job = make.pending_job()
        page.keyboard.type(str(job.id)[part])
        press(page, "Enter")
        page.wait_for_url(f"**/jobs/{job.id}")

    def test_an_unknown_id_is_searched_for(self, page: Page) -> None:
        page.keyboard.type("deadbeef")
        press(page, "Enter")
        page.wait_for_url("**/jobs?q=deadbeef")

    def test_escape_closes_at_once_with_text_typed(self, page: Page) -> None:
        page.keyboard.type("fail")
        press(page, "Escape")
        expect(page.locator("#palette")).to_be_hidden()
        press(page, "Control+k")
        expect(page.locator("#palette-q")).to_have_value("")
        expect(page.locator("#palette-list .place:visible")).to_have_count(15)


def test_the_question_mark_lists_the_keys_and_escape_closes(tab: Tab) -> None:
    page = tab.open("/")
    press(page, "?")
    expect(page.locator("#keys")).to_be_visible()
    for key in "jknpxarcdebg":
        assert page.locator("#keys kbd").get_by_text(key, exact=True).count(), key
    press(page, "Escape")
    expect(page.locator("#keys")).to_be_hidden()


class TestSelection:
    """With rows selected, keys act on these and on no other."""

    @staticmethod
    def status_of(session: Any, job: Job) -> str:
        session.expire_all()
        return str(session.get(Job, job.id).status)

    def test_verbs_act_on_the_selection_not_on_the_focused_row(
        self, tab: Tab, session: Any
    ) -> None:
        jobs = [make.failed_job() for _ in range(4)][::-1]  # as listed
        page = tab.open("/jobs?status=failed")
        press(page, "j", "x", "j", "x", "j")
        tab.expect_focus_in(f"job-{jobs[2].id}")
        press(page, "r")
        expect(page.locator("#live tr[data-row]")).to_have_count(2)
        assert [self.status_of(session, job) for job in jobs] == ["pending"] * 2 + ["failed"] * 2
        tab.expect_focus_in(f"job-{jobs[2].id}")

    def test_a_selects_all_and_c_cancels_them(self, tab: Tab, session: Any) -> None:
        jobs = [make.pending_job() for _ in range(3)]
        page = tab.open("/jobs?status=pending")
        press(page, "a")
        expect(page.locator("#picked")).to_have_text("3 selected")
        press(page, "c")
        expect(page.get_by_text("No pending jobs.")).to_be_visible()
        assert {self.status_of(session, job) for job in jobs} == {"cancelled"}
        expect(page.locator("#main")).to_be_focused()

    def test_d_discards_and_escape_selects_none(self, tab: Tab, session: Any) -> None:
        jobs = [make.failed_job() for _ in range(3)][::-1]
        page = tab.open("/failures/dead-letters")
        press(page, "j", "x", "Escape")
        expect(page.locator("#live [name=ids]:checked")).to_have_count(0)
        tab.expect_focus_in(f"dead-{jobs[0].id}")
        press(page, "x", "d")
        expect(page.locator("#live tr[data-row]")).to_have_count(2)
        tab.expect_focus_in(f"dead-{jobs[1].id}")

    def test_keys_work_after_a_box_was_clicked(self, tab: Tab, session: Any) -> None:
        job = make.failed_job()
        page = tab.open("/jobs?status=failed")
        page.locator("#live [name=ids]").click()
        press(page, "r")
        expect(page.locator("#live tr[data-row]")).to_have_count(0)
        assert self.status_of(session, job) == "pending"

    def test_focus_is_not_lost_when_the_selection_bar_disappears(
        self, tab: Tab, session: Any
    ) -> None:
        jobs = [make.failed_job() for _ in range(3)][::-1]
        page = tab.open("/jobs?status=failed")
        press(page, "j", "x", "b")
        expect(page.locator("#selected [value=retry]")).to_be_focused()
        press(page, "Enter")
        expect(page.locator("#live tr[data-row]")).to_have_count(2)
        page.wait_for_timeout(50)
        tab.expect_focus_in(f"job-{jobs[1].id}")
        press(page, "x")
        page.locator("#pick-none").focus()
        press(page, "Enter")
        page.wait_for_timeout(50)
        tab.expect_focus_in(f"job-{jobs[1].id}")
        press(page, "x", "e")
        expect(page.locator("#change-priority")).to_be_focused()

    def test_n_and_p_turn_pages(self, tab: Tab, session: Any) -> None:
        jobs = [make.pending_job() for _ in range(51)]
        page = tab.open("/jobs")
        press(page, "n")
        expect(page.locator(f"#job-{jobs[0].id}")).to_be_visible()
        press(page, "p")
        expect(page.locator(f"#job-{jobs[-1].id}")).to_be_visible()
