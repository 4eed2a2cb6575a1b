"""Bulk actions in a real browser: exactly the previewed jobs, time to think again, and a way back."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text

from app.jobs import bulk
from app.jobs.models import Job
from tests import factories as make
from tests.browser.conftest import Tab

pytestmark = pytest.mark.browser


def schedule(session: Any, n: int, type: str = "export-report") -> None:
    """Scheduled jobs, each at its own time from tomorrow on."""
    session.execute(
        text(
            "INSERT INTO jobs (id, queue, type, payload, run_at) SELECT gen_random_uuid(), 'reports', :type, '{}',"
            " now() + interval '1 day' + i * interval '1.000001 s' FROM generate_series(1, :n) AS i"
        ),
        {"n": n, "type": type},
    )
    session.commit()


def schedules(session: Any) -> dict[Any, Any]:
    """The id of each pending job → its run_at."""
    session.rollback()
    rows = session.execute(text("SELECT id, run_at FROM jobs WHERE status = 'pending'")).all()
    return dict(tuple(row) for row in rows)


def carry_out(session: Any) -> None:
    """The grace period passes, and a worker carries out what is open."""
    session.execute(text("UPDATE bulk_actions SET next_at = least(next_at, now())"))
    session.commit()
    while bulk.step(session):
        pass


def confirm_cancel(page: Page, n: str, digits: str) -> None:
    page.get_by_role("button", name=f"Cancel {n} jobs…").click()
    page.locator("#confirm-typed").fill(digits)
    page.get_by_role("dialog").get_by_role("button", name=f"Cancel {n} jobs").click()
    page.wait_for_url("**/bulk/*")


LIST = "/jobs?status=scheduled&type=export-report"
PREVIEW = "/jobs/all?status=scheduled&type=export-report"


def test_exactly_the_previewed_6000_are_cancelled_and_all_are_restored(
    tab: Tab, session: Any
) -> None:
    schedule(session, 6000)
    page = tab.open(LIST)
    page.locator("#bulk-all").click()
    page.locator("#choose-cancel").click()
    expect(page.locator("h1")).to_have_text("Cancel 6,000 jobs?")
    expect(page.locator("#bulk-sentence")).to_contain_text(
        re.compile("^Cancel 6,000 jobs of export-report in queue reports, scheduled for .* to ")
    )
    before = schedules(session)
    schedule(session, 30)
    confirm_cancel(page, "6,000", "6000")
    expect(page.locator("#live")).to_contain_text("Starting: No jobs have been changed yet.")
    expect(page.locator("#bulk-late")).to_contain_text(
        "30 jobs arrived or changed after the preview and are not included."
    )
    carry_out(session)
    tab.look()
    expect(page.locator("#live")).to_contain_text("Finished: 6,000 cancelled or stopping.")
    left = schedules(session)
    assert len(left) == 30
    assert not left.keys() & before.keys()
    page.get_by_role("button", name="Undo for 6,000 jobs").click()
    expect(page.locator("h1")).to_have_text("Undo “Cancel 6,000 jobs”")
    carry_out(session)
    tab.look()
    expect(page.locator("#live")).to_contain_text("Finished: 6,000 restored.")
    restored = schedules(session)
    assert {job: run_at for job, run_at in restored.items() if job in before} == before
    assert len(restored) == 6030


def test_an_undo_within_the_grace_period_changes_no_job(tab: Tab, session: Any) -> None:
    schedule(session, 101)
    before = schedules(session)
    page = tab.open(f"{PREVIEW}&verb=cancel")
    confirm_cancel(page, "101", "101")
    expect(page.locator("#bulk-start")).to_contain_text("Starts in ")
    page.get_by_role("button", name="Undo bulk action").click()
    expect(page.locator("#flash")).to_contain_text("No jobs were changed.")
    expect(page.locator("#live")).to_contain_text("Undone: No jobs were changed.")
    carry_out(session)
    assert schedules(session) == before


def test_an_undo_in_the_middle_restores_every_schedule(tab: Tab, session: Any) -> None:
    schedule(session, 6000)
    before = schedules(session)
    page = tab.open(f"{PREVIEW}&verb=cancel")
    confirm_cancel(page, "6,000", "6000")
    session.execute(text("UPDATE bulk_actions SET next_at = now()"))
    session.commit()
    for _ in range(9):
        bulk.step(session)
    tab.look()
    expect(page.locator("#live")).to_contain_text(
        "Running: 4,500 cancelled or stopping, 1,500 remaining."
    )
    expect(page.locator("#became-1")).to_have_text("4,500 cancelled")
    page.get_by_role("button", name=re.compile("^Undo")).click()
    expect(page.locator("h1")).to_have_text("Undo “Cancel 6,000 jobs”")
    carry_out(session)
    assert schedules(session) == before


def test_each_part_of_the_outcome_leads_to_just_its_jobs(tab: Tab, session: Any) -> None:
    for _ in range(12):
        make.failed_job(type="mail")
    page = tab.open("/jobs/all?status=failed&verb=retry")
    page.get_by_role("button", name="Retry 12 jobs").click()
    page.wait_for_url("**/bulk/*")
    carry_out(session)
    session.execute(
        text(
            "UPDATE jobs SET status = CASE WHEN n < 7 THEN 'completed' ELSE 'failed' END, finished_at = now()"
            " FROM (SELECT id, row_number() OVER () AS n FROM jobs) AS numbered"
            " WHERE jobs.id = numbered.id AND n < 10"
        )
    )
    session.commit()
    tab.look()
    parts = page.locator("#bulk-became a").all_inner_texts()
    assert parts == ["6 completed", "3 failed again", "3 still waiting"]
    for part in parts:
        tab.open("/bulk/1")
        page.get_by_role("link", name=part).click()
        expect(page.locator("#live tbody tr")).to_have_count(int(part.split()[0]))


def test_a_bulk_action_is_previewed_paused_and_stopped(tab: Tab, session: Any) -> None:
    for _ in range(3):
        make.failed_job(type="mail")
    make.failed_job(type="other")
    page = tab.open("/jobs?status=failed&type=mail")
    page.locator("#bulk-all").click()
    expect(page.locator("h1")).to_have_text("Act on all matching jobs")
    expect(page.locator("#main .list li")).to_have_count(3)
    page.get_by_role("link", name="Retry 3 jobs…").click()
    page.locator("#bulk-speed").select_option("1")
    page.get_by_role("button", name="Retry 3 jobs").click()
    expect(page.locator("#live")).to_contain_text("at most 1 job a second")
    session.execute(text("UPDATE bulk_actions SET next_at = now()"))
    session.commit()
    assert bulk.step(session) == 1
    tab.look()
    page.get_by_role("button", name="Pause bulk action").click()
    expect(page.locator("#live")).to_contain_text("Paused")
    page.get_by_role("button", name="Stop bulk action").click()
    expect(page.locator("#confirm-text")).to_have_text("Stop after 1 of 3?")
    page.get_by_role("button", name="Keep going").click()
    page.get_by_role("button", name="Stop bulk action").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.locator("#live")).to_contain_text("Stopped: 1 retried, 2 not reached.")


def test_only_the_previewed_jobs_are_deleted_after_their_count_is_typed(
    tab: Tab, session: Any
) -> None:
    schedule(session, 101, "mail")
    page = tab.open("/jobs/all?status=scheduled&type=mail&verb=delete")
    schedule(session, 30, "mail")
    page.get_by_role("button", name="Delete 101 jobs…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete 101 jobs, including logs and attempts?")
    yes = dialog.get_by_role("button", name="Delete 101 jobs")
    expect(yes).to_be_disabled()
    page.keyboard.type("100")
    expect(yes).to_be_disabled()
    page.locator("#confirm-typed").fill("101")
    yes.click()
    page.wait_for_url("**/bulk/1")
    expect(page.locator("#bulk-late")).to_contain_text("30 jobs arrived or changed")
    carry_out(session)
    tab.look()
    expect(page.locator("#live")).to_contain_text("Finished: 101 deleted.")
    assert session.query(Job).count() == 30


def test_without_scripts_the_count_is_typed_on_a_page_and_an_undo_works(
    plain_tab: Tab, session: Any
) -> None:
    schedule(session, 101)
    before = schedules(session)
    page = plain_tab.open(f"{PREVIEW}&verb=cancel")
    page.get_by_role("button", name="Cancel 101 jobs…").click()
    expect(page.locator("h1")).to_have_text("Cancel 101 jobs?")
    page.get_by_role("textbox").fill("100")
    page.get_by_role("button", name="Cancel 101 jobs").click()
    expect(page.get_by_role("alert")).to_have_text("Type 101 to confirm. Nothing was changed.")
    page.get_by_role("textbox").fill("101")
    page.get_by_role("button", name="Cancel 101 jobs").click()
    expect(page.locator("#bulk-start")).to_contain_text("Starts in ")
    page.get_by_role("button", name="Undo bulk action").click()
    expect(page.locator("#live")).to_contain_text("Undone: No jobs were changed.")
    carry_out(session)
    assert schedules(session) == before


def test_with_the_whole_page_selected_the_bar_leads_to_all_matching_jobs(
    tab: Tab, session: Any
) -> None:
    schedule(session, 51)
    page = tab.open(LIST)
    page.locator("#pick-all").check()
    expect(page.locator("#picked")).to_have_text("50 selected")
    page.locator("#live [name=ids]").first.uncheck()
    expect(page.locator("#picked-all")).to_be_hidden()
    page.locator("#live [name=ids]").first.check()
    page.locator("#picked-all").click()
    expect(page.locator("#choose-cancel")).to_have_text("Cancel 51 jobs…")
