"""Which ticks get a job after a while without a worker, and when the next one is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from app.jobs.schedules import times
from app.jobs.schedules.plan import MAX_COUNTED, MAX_CREATED, Due, Missed, Plan, due, plan, run_at

START = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Row:
    """What the plan reads of a row."""

    name: str = "report"
    cron: str | None = "* * * * *"
    every_seconds: int | None = None
    zone: str = "UTC"
    starts_at: datetime = START - timedelta(days=1)
    ends_at: datetime | None = None
    missed: str = "one"
    missed_within_seconds: int = 86_400
    jitter_seconds: int = 0


EVERY_MINUTE = Row()
EVERY_SECOND = Row(cron=None, every_seconds=1)


def planned(row: Row, *, late: timedelta, grace: float = 5) -> Plan:
    """The plan when the tick of START is due since ``late``."""
    return plan(row, START, now=START + late, grace_seconds=grace)


def minutes(*numbers: int) -> tuple[datetime, ...]:
    return tuple(START + n * MINUTE for n in numbers)


def test_a_tick_on_time_gets_its_job() -> None:
    assert planned(EVERY_MINUTE, late=timedelta(milliseconds=40)) == Plan(
        minutes(0), None, START + MINUTE
    )


@pytest.mark.parametrize("missed", ["one", "all", "none"])
def test_ticks_within_the_grace_are_merely_late(missed: str) -> None:
    row = replace(EVERY_SECOND, missed=missed)

    seconds = tuple(START + timedelta(seconds=n) for n in range(5))
    assert planned(row, late=timedelta(seconds=4.5)) == Plan(
        seconds, None, START + timedelta(seconds=5)
    )


#: Ten ticks, from START on, were missed; a worker started 30 s after the tenth.
TEN_MISSED = 9 * MINUTE + timedelta(seconds=30)


def test_one_makes_up_for_the_latest() -> None:
    assert planned(EVERY_MINUTE, late=TEN_MISSED) == Plan(
        minutes(9), Missed(START, START + 8 * MINUTE, 9), START + 10 * MINUTE
    )


def test_all_makes_up_for_each() -> None:
    row = replace(EVERY_MINUTE, missed="all")
    assert planned(row, late=TEN_MISSED) == Plan(minutes(*range(10)), None, START + 10 * MINUTE)


def test_none_records_them() -> None:
    row = replace(EVERY_MINUTE, missed="none")
    assert planned(row, late=TEN_MISSED) == Plan(
        (), Missed(START, START + 9 * MINUTE, 10), START + 10 * MINUTE
    )


def test_what_was_missed_too_long_ago_is_not_made_up_for() -> None:
    within = replace(EVERY_MINUTE, missed="all", missed_within_seconds=120)
    assert planned(within, late=TEN_MISSED) == Plan(
        minutes(8, 9), Missed(START, START + 7 * MINUTE, 8), START + 10 * MINUTE
    )
    daily = replace(EVERY_MINUTE, cron="0 12 * * *", missed_within_seconds=3600)
    assert planned(daily, late=timedelta(hours=2)) == Plan(
        (), Missed(START, START, 1), START + timedelta(days=1)
    )


def test_a_later_tick_on_time_replaces_the_missed_ones_of_one() -> None:
    assert planned(EVERY_MINUTE, late=3 * MINUTE + timedelta(seconds=1)) == Plan(
        minutes(3), Missed(START, START + 2 * MINUTE, 3), START + 4 * MINUTE
    )


def test_all_goes_on_with_ticks_on_time() -> None:
    row = replace(EVERY_MINUTE, missed="all")
    assert planned(row, late=3 * MINUTE + timedelta(seconds=1)).created == minutes(0, 1, 2, 3)


def test_all_makes_up_for_a_hundred_at_most() -> None:
    row = replace(EVERY_MINUTE, missed="all")

    result = planned(row, late=1000 * MINUTE - timedelta(seconds=30))

    assert result.created == minutes(*range(1000 - MAX_CREATED, 1000))
    assert result.missed == Missed(START, START + 899 * MINUTE, 900)


def test_more_late_ticks_than_a_pass_makes_stay_due() -> None:
    result = planned(EVERY_SECOND, late=timedelta(seconds=250), grace=3600)

    assert len(result.created) == MAX_CREATED
    assert result.next_run_at == START + timedelta(seconds=MAX_CREATED)
    assert result.missed is None


@pytest.mark.parametrize("row", [EVERY_MINUTE, Row(cron=None, every_seconds=60)])
def test_counting_stops_and_ticking_goes_on(row: Row) -> None:
    late = timedelta(days=365)

    result = planned(row, late=late + timedelta(seconds=30))

    assert result.created == (START + late,)
    assert result.missed == Missed(START, START + late - MINUTE, MAX_COUNTED - 1)
    assert result.next_run_at == START + late + MINUTE


def test_the_latest_of_a_rare_line_is_found_far_back() -> None:
    # Every minute of the first two weeks of a year only: more than is counted, then a long rest.
    start = datetime(2026, 1, 1, tzinfo=UTC)
    row = replace(EVERY_MINUTE, cron="* * 1-14 1 *", starts_at=start)

    result = due(row, start, datetime(2026, 12, 1, tzinfo=UTC))

    assert not result.is_exact
    assert result.latest[-1] == datetime(2026, 1, 14, 23, 59, tzinfo=UTC)
    assert len(result.latest) == MAX_CREATED + 1


def test_a_schedule_ends() -> None:
    row = replace(EVERY_MINUTE, ends_at=START + 2 * MINUTE)

    assert planned(row, late=timedelta(seconds=1)).next_run_at == START + MINUTE
    assert planned(row, late=2 * MINUTE).next_run_at is None
    assert planned(row, late=TEN_MISSED) == Plan(minutes(2), Missed(START, START + MINUTE, 2), None)


def test_ticks_are_counted_between_two_instants() -> None:
    assert due(EVERY_MINUTE, START, START - MINUTE) == Due(0, ())
    assert due(EVERY_MINUTE, START, START).count == 1
    assert due(EVERY_MINUTE, START, START, is_end_included=False).count == 0
    assert due(EVERY_SECOND, START, START + MINUTE).count == 61


def test_a_clock_change_within_the_missed_time_is_counted_by_the_rules() -> None:
    # 02:30 was skipped on 29 March 2026; the hour after 02:00 came twice on 25 October.
    row = replace(EVERY_MINUTE, cron="30 2 * * *", zone="Europe/Berlin")
    first = datetime(2026, 3, 28, 1, 30, tzinfo=UTC)
    assert due(row, first, datetime(2026, 3, 31, tzinfo=UTC)).latest == (
        first,
        datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
        datetime(2026, 3, 30, 0, 30, tzinfo=UTC),
    )


@pytest.mark.parametrize("n", range(20))
def test_jitter_is_fixed_and_shorter_than_the_gap(n: int) -> None:
    row = replace(EVERY_MINUTE, jitter_seconds=3600, name=f"report-{n}")
    at = run_at(row, START)

    assert START <= at < START + MINUTE
    assert run_at(row, START) == at
    assert run_at(replace(row, jitter_seconds=10), START) < START + timedelta(seconds=10)


def test_jitter_spreads_schedules_and_ticks() -> None:
    row = replace(EVERY_MINUTE, jitter_seconds=30)
    by_name = {run_at(replace(row, name=f"report-{n}"), START) for n in range(100)}
    by_tick = {run_at(row, START + n * MINUTE) - n * MINUTE for n in range(100)}

    assert len(by_name) > 90
    assert len(by_tick) > 90
    assert max(by_name) - min(by_name) > timedelta(seconds=20)


def test_without_jitter_the_job_runs_at_its_tick() -> None:
    assert run_at(EVERY_MINUTE, START) == START


def test_what_planning_costs_is_bounded_whatever_was_missed() -> None:
    before = times._after.cache_info().misses
    planned(replace(EVERY_MINUTE, zone="Europe/Berlin"), late=timedelta(days=700))
    assert times._after.cache_info().misses - before < MAX_COUNTED + 1000
