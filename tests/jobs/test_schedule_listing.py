"""Schedules by name, their states, and what became of their ticks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.errors import InvalidCursor, ScheduleNotFound
from app.jobs.schedules import history, listing
from tests import factories as make


def names(session: Any, **wanted: Any) -> list[str]:
    return [row.name for row in listing.list_schedules(session, limit=50, **wanted).items]


def test_each_state_is_named_and_can_be_listed(session: Any) -> None:
    make.schedule("active")
    make.schedule("late", next_in=-60)
    make.schedule("on-time", next_in=-1)  # not late yet
    make.paused_schedule("paused")
    make.retired_schedule("retired")
    make.schedule("ended", next_in=None)
    page = listing.list_schedules(session, limit=50)
    assert {row.name: listing.state_of(row) for row in page.items} == {
        "active": "active", "late": "late", "on-time": "active", "paused": "paused",
        "retired": "retired", "ended": "ended",
    }  # fmt: skip
    for state in listing.STATES:
        wanted = ["active", "on-time"] if state == "active" else [state]
        assert names(session, state=state) == wanted


def test_missed_and_failed_runs_of_a_day_can_be_listed(session: Any) -> None:
    for name, ago, outcome in (
        ("missed", 3600, "missed"), ("failed", 60, "failed"), ("good", 60, "enqueued"),
        ("long-ago", 2 * 86_400, "missed"),
    ):  # fmt: skip
        make.tick(make.schedule(name), ago=ago, outcome=outcome)
    assert names(session, state="missed") == ["failed", "missed"]


def test_search_type_and_source_narrow_the_list(session: Any) -> None:
    make.schedule("daily-report", type="report")
    make.schedule("cleanup", type="sleep", source="code")
    make.schedule("100%", type="echo")
    assert names(session, search="REPORT") == ["daily-report"]
    assert names(session, search="%") == ["100%"]
    assert names(session, type="sleep") == names(session, source="code") == ["cleanup"]


def test_pages_lead_forward_and_back(session: Any) -> None:
    for n in range(7):
        make.schedule(f"s{n}")

    def page(cursor: str | None = None) -> Any:
        return listing.list_schedules(session, limit=3, cursor=cursor)

    first = page()
    second = page(first.next_cursor)
    third = page(second.next_cursor)
    assert [[row.name for row in each.items] for each in (first, second, third)] == [
        ["s0", "s1", "s2"], ["s3", "s4", "s5"], ["s6"],
    ]  # fmt: skip
    assert first.previous_cursor is None
    assert third.next_cursor is None
    assert [row.name for row in page(third.previous_cursor).items] == ["s3", "s4", "s5"]
    back = page(second.previous_cursor)
    assert [row.name for row in back.items] == ["s0", "s1", "s2"]
    assert back.previous_cursor is None


@pytest.mark.parametrize("cursor", ["!", "AAAA", "bgA", "x" * 7])
def test_a_cursor_of_another_list_is_refused(session: Any, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        listing.list_schedules(session, limit=3, cursor=cursor)


def test_an_unknown_name_is_not_found(session: Any) -> None:
    for name in ("nobody", "nul\0"):
        with pytest.raises(ScheduleNotFound):
            listing.get_schedule(session, name)


def test_the_latest_ticks_of_several_schedules_with_their_jobs(session: Any) -> None:
    one, two = make.schedule("one"), make.schedule("two")
    done, failed = make.completed_job(), make.failed_job()
    make.tick(one, ago=300, job_id=done.id)
    make.tick(one, ago=200, outcome="missed", n=12, lasts=90, note="no worker was alive")
    make.tick(one, ago=100, job_id=failed.id, lag=0.25)
    for ago in (30, 20, 10):
        make.tick(two, ago=ago, outcome="skipped", job_id=done.id)
    ticks = history.latest_ticks(session, [one.id, two.id], per=2)
    assert [tick.outcome for tick in ticks[two.id]] == ["skipped", "skipped"]
    missed, last = ticks[one.id]
    assert (missed.n, missed.note, missed.job_view) == (12, "no worker was alive", None)
    assert missed.last_at == missed.at + timedelta(seconds=90)
    assert (last.job_id, last.job_view) == (failed.id, "failed")
    assert last.lag_seconds == pytest.approx(0.25)
    assert last.job_seconds == pytest.approx(1)
    assert history.latest_ticks(session, [], per=2) == {}


def test_the_history_of_one_schedule_is_newest_first_and_goes_on_before(session: Any) -> None:
    schedule = make.schedule()
    for ago in (10, 20, 30, 40):
        make.tick(schedule, ago=ago)
    newest = history.ticks_of(session, schedule.id, limit=2)
    older = history.ticks_of(session, schedule.id, limit=9, before=newest[-1].at)
    times = [tick.at for tick in [*newest, *older]]
    assert times == sorted(times, reverse=True)
    assert len(times) == 4


def test_which_schedule_made_a_job(session: Any) -> None:
    schedule = make.schedule("nightly")
    job, manual, live = make.completed_job(), make.completed_job(), make.pending_job()
    make.tick(schedule, ago=90, job_id=job.id)
    make.tick(schedule, ago=60, job_id=manual.id, outcome="manual")
    make.tick(schedule, ago=30, job_id=live.id, outcome="skipped")
    maker = history.made_by(session, job.id)
    assert maker
    assert (maker.name, maker.is_manual) == ("nightly", False)
    by_hand = history.made_by(session, manual.id)
    assert by_hand
    assert by_hand.is_manual
    assert history.made_by(session, live.id) is None  # only the reason why another was not made


def test_what_is_wrong_with_the_schedules_as_a_whole(session: Any) -> None:
    assert not history.trouble(session).is_any
    for n in range(3):
        make.schedule(f"late-{n}", next_in=-60, type="report" if n else "echo")
    schedule = make.schedule("nightly")
    make.tick(schedule, ago=3600, outcome="missed", n=12)
    make.tick(schedule, ago=60, outcome="failed")
    make.tick(schedule, ago=2 * 86_400, outcome="missed")
    trouble = history.trouble(session)
    assert (trouble.late, trouble.missed, trouble.failed) == (3, 12, 1)
    assert trouble.late_types == ("report", "echo")
