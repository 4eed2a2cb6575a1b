"""A search that stops at its bound and goes on by itself."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from tests import factories as make
from tests.browser.conftest import Tab

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten candidates to a step."""
    monkeypatch.setattr("app.jobs.listing.walk.CANDIDATES", 10)


@pytest.fixture
def needles(session: Any) -> list[str]:
    """Three of 64 jobs, as listed: none of them within the first step."""
    jobs = [
        make.pending_job(payload={"user_id": 42 if n in (2, 31, 33) else n + 100})
        for n in range(64)
    ]
    return [f"job-{jobs[n].id}" for n in (33, 31, 2)]


def rows(tab: Tab) -> list[str]:
    ids: list[str] = tab.page.evaluate(
        "[...document.querySelectorAll('#live tbody tr')].map((row) => row.id)"
    )
    return ids


def expect_rows(tab: Tab, ids: list[str]) -> None:
    expect(tab.page.locator("#live tbody tr")).to_have_count(len(ids))
    assert rows(tab) == ids


def steps(tab: Tab) -> list[str]:
    return [url for _, url in tab.requests if "matches=" in urlsplit(url).query]


def test_a_search_continues_to_the_end_and_keeps_its_rows(tab: Tab, needles: list[str]) -> None:
    page = tab.open("/jobs?q=payload.user_id:42")
    expect(page.locator("#search")).to_contain_text("All jobs searched: 3 found.")
    expect_rows(tab, needles)
    assert [parse_qs(urlsplit(url).query)["matches"] for url in steps(tab)] == [["0"]] * 3 + [
        ["2"]
    ] * 3
    assert urlsplit(page.url).query == "q=payload.user_id:42"
    # Rows stay: one look would show the first step alone.
    assert not page.evaluate(
        "document.dispatchEvent(new CustomEvent('before-refresh', {cancelable: true}))"
    )
    # What was found can be acted on.
    page.locator("#live [name=ids]").last.check()
    expect(page.locator("#picked")).to_have_text("1 selected")


def test_no_results_appears_only_after_all_jobs_were_searched(tab: Tab, needles: list[str]) -> None:
    page = tab.page
    page.route("**/jobs?*matches=*", lambda route: route.abort())
    tab.open("/jobs?q=payload.user_id:7")
    expect(page.get_by_text("No matches yet.")).to_be_visible()
    expect(page.get_by_role("link", name="Search older jobs")).to_be_visible()
    assert page.get_by_text("No results.").count() == 0
    page.unroute_all()
    page.get_by_role("link", name="Search older jobs").click()
    expect(page.get_by_text("No results.")).to_be_visible()
    tab.excuse("ERR_FAILED", "Object")


def test_stop_ends_the_search_and_the_link_continues_it(tab: Tab, needles: list[str]) -> None:
    page = tab.page
    held: list[Any] = []
    page.route("**/jobs?*matches=2*", lambda route: held.append(route))
    tab.open("/jobs?q=payload.user_id:42")
    expect(page.locator("#live tbody tr")).to_have_count(2)
    tab.wait_until(lambda: held, "the request for the next step")
    expect(page.locator("#search-on")).to_be_hidden()
    page.locator("#search-stop").click()
    held.pop().continue_()
    expect(page.get_by_role("link", name="Search older jobs")).to_be_visible()
    expect(page.locator("#search")).to_contain_text("2 found.")
    page.wait_for_timeout(150)
    assert held == []
    page.unroute_all()
    page.get_by_role("link", name="Search older jobs").click()
    expect(page.locator("#search")).to_contain_text("3 found.")
    expect_rows(tab, needles)


def test_another_search_ends_the_running_one(tab: Tab, needles: list[str]) -> None:
    page = tab.page
    held: list[Any] = []
    page.route("**/jobs?*user_id:42*matches=*", lambda route: held.append(route))
    tab.open("/jobs?q=payload.user_id:42")
    expect(page.locator("#search-stop")).to_be_visible()
    tab.wait_until(lambda: held, "the request for the next step")
    page.locator("#q").fill("payload.user_id:163")
    expect(page.locator("#live tbody tr")).to_have_count(1)
    for route in held:
        route.continue_()
    expect(page.locator("#search")).to_contain_text("All jobs searched: 1 found.")
    assert set(rows(tab)).isdisjoint(needles)
    tab.excuse("ERR_ABORTED")


def test_a_search_stops_after_a_full_page(tab: Tab, session: Any) -> None:
    for n in range(140):
        make.pending_job(type="a" if n % 2 else "b", payload={"n": n % 2})
    page = tab.open("/jobs?q=payload.n:1")
    listed = page.locator("#live tbody tr")
    expect(listed).to_have_count(50)
    expect(page.get_by_role("link", name="Search older jobs")).to_be_visible()
    expect(listed).to_have_count(50)
    page.get_by_role("link", name="Search older jobs").click()
    expect(page.locator("#search")).to_contain_text("All jobs searched: 70 found.")
    expect(listed).to_have_count(70)


def test_the_link_is_hidden_whenever_the_search_continues(tab: Tab, session: Any) -> None:
    """From the first moment at which the scripts run, and after each step."""
    for n in range(140):
        make.pending_job(type="a" if n % 2 else "b", payload={"n": n % 2})
    page = tab.page
    page.add_init_script("""
      window.rowsBesideLink = [];
      const note = () => {
        if (!document.querySelector("#search-on")?.checkVisibility()) return;
        window.rowsBesideLink.push(document.querySelectorAll("#live tbody tr").length);
      };
      document.addEventListener("DOMContentLoaded", () => {
        note();
        new MutationObserver(note).observe(document.querySelector("#main"), { childList: true, subtree: true });
      });""")
    tab.open("/jobs?q=payload.n:1")
    expect(page.get_by_role("link", name="Search older jobs")).to_be_visible()
    expect(page.locator("#live tbody tr")).to_have_count(50)
    page.locator("#q").fill("payload.n:0")
    expect(page.locator("#chip-q")).to_contain_text("payload.n:0")
    expect(page.locator("#live tbody tr")).to_have_count(50)
    expect(page.get_by_role("link", name="Search older jobs")).to_be_visible()
    assert [n for n in page.evaluate("window.rowsBesideLink") if n < 50] == []


def test_without_scripts_a_link_continues_the_search(plain_tab: Tab, needles: list[str]) -> None:
    page = plain_tab.open("/jobs?q=payload.user_id:42")
    for _ in range(3):
        expect(page.get_by_text("No matches yet.")).to_be_visible()
        page.get_by_role("link", name="Search older jobs").click()
    expect(page.locator("#live tbody tr")).to_have_count(2)
    for _ in range(3):
        page.get_by_role("link", name="Search older jobs").click()
    expect(page.locator("#live tbody tr")).to_have_count(1)
    expect(page.get_by_role("link", name="Search older jobs")).to_have_count(0)
