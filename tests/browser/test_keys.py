"""Work without a mouse."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests import factories as make
from tests.browser.conftest import Tab

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("keys", "path"), [("gj", "/jobs"), ("gd", "/dead-letters"), ("gt", "/job-types"), ("ga", "/audit"), ("gb", "/bulk")])  # fmt: skip
def test_g_and_a_letter_go_places(tab: Tab, keys: str, path: str) -> None:
    page = tab.open("/")
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_url(f"**{path}")


def test_j_and_k_walk_the_rows_and_r_retries(tab: Tab, session: Any) -> None:
    jobs = [make.failed_job(), make.failed_job(), make.failed_job()]
    page = tab.open("/jobs")
    focused = lambda: page.evaluate("document.activeElement.closest('tr')?.id")  # noqa: E731
    page.keyboard.press("j")
    first = focused()
    page.keyboard.press("j")
    assert focused() != first
    page.keyboard.press("k")
    assert focused() == first
    page.keyboard.press("r")
    expect(page.locator("#flash")).to_contain_text("goes back to pending")
    assert first in {f"job-{job.id}" for job in jobs}


def test_slash_searches_and_typing_there_is_only_typing(tab: Tab) -> None:
    page = tab.open("/")
    page.keyboard.press("/")
    page.keyboard.type("gj?")
    assert page.locator("#q").input_value() == "gj?"
    assert page.locator("dialog[open]").count() == 0


def test_the_palette_goes_and_searches(tab: Tab) -> None:
    page = tab.open("/")
    page.keyboard.press("Control+k")
    expect(page.locator("#palette")).to_be_visible()
    page.keyboard.type("retry")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs?status=retrying")
    page.keyboard.press("Control+k")
    page.keyboard.type("error:timeout")
    page.keyboard.press("ArrowDown")
    page.get_by_text("Search jobs for this").click()
    page.wait_for_url(re.compile(r"/jobs\?q=error(:|%3A)timeout"))


def test_the_question_mark_lists_the_keys_and_escape_closes(tab: Tab) -> None:
    page = tab.open("/")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
