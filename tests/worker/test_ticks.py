"""When a process looks for ticks: the leader at their time, the others a moment later, all when a hint says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from app.jobs import open_work
from app.worker import ticks
from app.worker.sweeper import Sweeper
from app.worker.ticks import Ticks
from tests.factories import schedule
from tests.support.waiting import wait_until

NO_HINT: frozenset[str] = frozenset()
HINT = frozenset({""})


@pytest.fixture
def source(engine: Engine) -> Callable[..., Ticks]:
    """The source of a process; what it hints goes to ``hints``."""

    def source(*, leads: bool = True) -> Ticks:
        hints: list[str] = []
        process = Ticks(engine, leads=lambda: leads, hint=hints.append, grace_seconds=60)
        process.hints = hints  # type: ignore[attr-defined]
        return process

    return source


def histories(rows: Any) -> list[str]:
    return [row.outcome for row in rows("SELECT outcome FROM schedule_ticks")]


@pytest.mark.parametrize("leads", [True, False])
def test_without_schedules_a_process_hardly_looks(leads: bool, source: Any) -> None:
    process = source(leads=leads)
    assert [process.work(NO_HINT) for _ in range(7)] == [1, 2, 4, 8, 10, 10, 10]


def test_the_leader_looks_at_the_time_of_the_tick(source: Any) -> None:
    schedule(next_in=2)
    assert 1 < source().work(NO_HINT) <= 2
    schedule("later", next_in=3600)
    assert 1 < source().work(NO_HINT) <= 2


def test_the_leader_looks_every_few_seconds_in_any_case(source: Any) -> None:
    schedule(next_in=3600)
    assert source().work(NO_HINT) == ticks.LEAD_SECONDS


def test_the_others_look_a_moment_later(source: Any) -> None:
    schedule(next_in=0.2)
    first, last = ticks.FOLLOW_SECONDS
    assert first < source(leads=False).work(NO_HINT) <= 0.2 + last


def test_the_others_look_often_enough_to_replace_a_dead_leader(source: Any) -> None:
    schedule(next_in=3600)
    assert source(leads=False).work(NO_HINT) == ticks.LOOK_SECONDS


def test_a_process_with_a_hint_looks_at_the_time_of_the_tick(source: Any) -> None:
    schedule(next_in=0.2)
    process = source(leads=False)
    assert process.work(HINT) <= 0.2
    assert process.work(NO_HINT) <= 0.2


def test_a_process_that_finds_what_the_leader_left_replaces_it(source: Any, rows: Any) -> None:
    schedule("late", next_in=-0.4)
    schedule("next", next_in=0.2)
    assert source(leads=False).work(NO_HINT) <= 0.2
    assert histories(rows) == ["enqueued"]


def test_a_due_tick_is_carried_out_by_any_process(source: Any, rows: Any) -> None:
    schedule(next_in=-0.1)
    source(leads=False).work(NO_HINT)
    assert histories(rows) == ["enqueued"]


def test_each_process_passes_on_that_there_are_schedules(source: Any, session: Any) -> None:
    process = source(leads=False)
    process.work(NO_HINT)
    assert process.hints == []
    schedule(next_in=3600)
    process.work(HINT)
    assert process.hints == ["schedules"]
    process.work(HINT)
    assert process.hints == ["schedules"]


def test_what_one_batch_leaves_calls_another_process(
    source: Any, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.jobs.schedules.turn.MAX_TICKS", 1)
    for n in range(2):
        schedule(f"s{n}", next_in=-0.1)
    process = source()
    assert process.work(NO_HINT) == 0
    assert process.hints == ["schedules", "schedules"]  # and that there are any
    process.work(NO_HINT)
    assert len(process.hints) == 2


def test_a_locked_tick_is_looked_at_again(source: Any, session: Any, rows: Any) -> None:
    schedule(next_in=-0.1)
    session.execute(text("SELECT 1 FROM schedules FOR UPDATE"))
    assert source().work(NO_HINT) == ticks.LOCKED_SECONDS
    session.rollback()
    source().work(NO_HINT)
    assert histories(rows) == ["enqueued"]


def test_a_type_of_another_release_is_looked_for_seldom(source: Any) -> None:
    schedule(next_in=-5, type="of-tomorrow")
    assert source().work(NO_HINT) == ticks.LEAD_SECONDS
    assert source(leads=False).work(NO_HINT) == ticks.LOOK_SECONDS


def test_the_leader_finds_a_tick_whose_hint_was_lost(
    engine: Engine, ready: Any, clock: Any, settings: Any
) -> None:
    called: list[bool] = []
    sweeper = Sweeper(engine, ready, clock, settings, tick=lambda: called.append(True))
    sweeper.run_due()
    called.clear()

    schedule(next_in=3600)
    assert "schedules" not in open_work.duties_with_work(engine)
    schedule("late", next_in=-1)
    assert "schedules" in open_work.duties_with_work(engine)

    wait_until(lambda: sweeper.run_due() or called)


def test_a_started_kernel_carries_out_ticks(kernel: Any, rows: Any) -> None:
    kernel.start()
    schedule(next_in=0.3, every_seconds=3600)
    kernel.pacer.hint({"schedules"})

    wait_until(lambda: histories(rows) == ["enqueued"])
