"""Schedules of the code survive rolling deploys: nothing doubles, nothing is lost, a pause stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import text

from app.extensions import db
from app.jobs import Schedule, audit
from app.jobs.schedules import declared, definition, store, upkeep, zones
from app.jobs.testing import temporary_types
from app.worker.sweeper.schedules import Upkeep
from tests.factories import schedule, tick, worker
from tests.support.racing import race


@pytest.fixture(autouse=True)
def types() -> Iterator[Any]:
    with temporary_types() as job:

        @job("report", schedule=Schedule(cron="0 * * * *"))
        def report(payload: Any) -> None: ...

        yield job


@pytest.fixture
def declare(session: Any, redis: Redis) -> Callable[..., None]:
    """What a worker does that starts; ``declare(cron=…)`` with another definition of report."""

    def declare(**changes: Any) -> None:
        if changes:
            definition._declared.pop("report", None)
            definition.declare(Schedule(**changes).definition("report", "report"))
        declared.declare(session)
        session.commit()

    return declare


@pytest.fixture
def row(session: Any) -> Callable[..., Any]:
    def row(name: str = "report") -> Any:
        session.rollback()
        values = {"name": name}
        return session.execute(
            text("SELECT *, now() AS now FROM schedules WHERE name = :name"), values
        ).first()

    return row


def age(seconds: float) -> None:
    """As if the schedules had been declared that long ago."""
    db.session.execute(
        text("UPDATE schedules SET declared_at = now() - make_interval(secs => :s)"), {"s": seconds}
    )
    db.session.commit()


def retire() -> list[str]:
    names = declared.retire(db.session)
    db.session.commit()
    return names


def test_a_worker_that_starts_stores_its_schedules(declare: Any, row: Any, session: Any) -> None:
    declare()

    stored = row()
    assert (stored.source, stored.type, stored.cron) == ("code", "report", "0 * * * *")
    assert stored.next_run_at > stored.now
    assert declared.names() == ["report"]
    assert [e.action for e in audit.events_of(session, "report")] == ["schedule.create"]


def test_the_next_worker_changes_nothing(declare: Any, row: Any, session: Any) -> None:
    declare()
    before = row()
    declare()
    assert row()[:-1] == before[:-1]
    assert len(audit.events_of(session, "report")) == 1


def test_a_changed_definition_counts_from_now(declare: Any, row: Any, session: Any) -> None:
    declare()
    declare(every=90, payload={"of": "eu"})
    stored = row()
    assert (stored.cron, stored.every_seconds, stored.payload) == (None, 90, {"of": "eu"})
    assert stored.next_run_at - stored.starts_at == timedelta(seconds=90)
    assert [e.action for e in audit.events_of(session, "report")][-1] == "schedule.edit"


def test_an_interval_keeps_its_start_through_deploys(declare: Any, row: Any) -> None:
    declare(every=90)
    before = row()
    declare(every=90)
    declare(every=90, payload={"of": "eu"})
    assert (row().starts_at, row().next_run_at) == (before.starts_at, before.next_run_at)


def test_workers_that_start_at_once_store_it_once(app: Any, session: Any, row: Any) -> None:
    def start() -> None:
        with app.app_context():
            declared.declare(db.session)
            db.session.commit()
            db.session.remove()

    race(*[start] * 5)
    assert row().source == "code"
    assert [e.action for e in audit.events_of(session, "report")] == ["schedule.create"]


def test_a_pause_survives_deploys(declare: Any, row: Any, session: Any) -> None:
    declare()
    store.pause(session, "report", by="ada")
    session.commit()
    for minute in range(5):
        declare(cron=f"{minute} * * * *")
    assert (row().paused_by, row().next_run_at, row().cron) == ("ada", None, "4 * * * *")


def test_the_code_takes_over_a_schedule_of_the_api(declare: Any, row: Any, caplog: Any) -> None:
    schedule("report", type="report", created_by="ada")
    declare()
    assert (row().source, row().cron) == ("code", "0 * * * *")
    assert "Schedule report was created by ada; now the code defines it" in caplog.messages


def test_what_no_live_worker_declares_is_retired(declare: Any, row: Any, caplog: Any) -> None:
    declare()
    worker(schedules=["report"], silent_for=70)
    worker(schedules=["report"], stopped_ago=61, silent_for=61)
    worker(schedules=None)
    worker(schedules=[])
    assert retire() == []  # declared just now: that worker's row may not be written yet

    age(61)
    assert retire() == ["report"]
    assert row().retired_at is not None
    assert row().next_run_at is None
    assert "Schedule report is retired: no live worker's code declares it" in caplog.messages
    assert retire() == []


@pytest.mark.parametrize("seen", [{"silent_for": 50}, {"stopped_ago": 50, "silent_for": 50}])
def test_a_worker_seen_lately_keeps_it(seen: Any, declare: Any) -> None:
    declare()
    age(3600)
    worker(schedules=["other", "report"], **seen)
    assert retire() == []


def test_schedules_of_the_api_are_never_retired(session: Any) -> None:
    schedule()
    age(3600)
    assert retire() == []


def test_declared_again_it_goes_on(declare: Any, row: Any, session: Any) -> None:
    declare()
    age(61)
    retire()
    declare()
    stored = row()
    assert stored.retired_at is None
    assert stored.next_run_at > stored.now
    assert retire() == []
    assert [e.action for e in audit.events_of(session, "report")] == [
        "schedule.create", "schedule.retire", "schedule.revive",
    ]  # fmt: skip


def test_a_paused_one_is_revived_paused(declare: Any, row: Any, session: Any) -> None:
    declare()
    store.pause(session, "report", by="ada")
    session.commit()
    age(61)
    assert retire() == ["report"]
    declare(cron="5 * * * *")
    assert (row().retired_at, row().paused_by, row().next_run_at) == (None, "ada", None)
    store.resume(session, "report", by="ada")
    session.commit()
    assert row().next_run_at.minute == 5


def test_a_worker_that_comes_back_revives_what_it_declares(
    declare: Any, row: Any, session: Any
) -> None:
    declare()
    age(61)
    retire()
    worker(schedules=["report"], stopped_ago=5)
    assert declared.revive(session) == []
    worker(schedules=["report"])
    assert declared.revive(session) == ["report"]
    session.commit()
    assert row().next_run_at is not None


# ------------------------------------------------------------------------------------ upkeep


def test_a_worker_retires_nothing_in_its_first_minute(declare: Any, row: Any) -> None:
    clock = [1000.0]
    leader = Upkeep(db.engine, monotonic=lambda: clock[0])
    declare()
    age(3600)

    leader.run()
    assert row().retired_at is None
    clock[0] += declared.RETIRE_SECONDS
    leader.run()
    assert row().retired_at is not None


def test_the_history_of_one_schedule_is_bounded(
    session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "MAX_TICKS", 3)
    monkeypatch.setattr(upkeep, "BATCH", 2)
    for name in "abc":
        for n in range(5 if name != "b" else 2):
            tick(schedule(name) if n == 0 else row_of(name), ago=n + 1)

    leader = Upkeep(db.engine)
    leader.run()
    leader.run()

    counts = session.execute(
        text(
            "SELECT name, count(*) AS n, min(tick_at) > now() - interval '10 s' AS is_new FROM schedules"
            " JOIN schedule_ticks ON schedule_id = id GROUP BY name ORDER BY name"
        )
    ).all()
    assert [(row.name, row.n) for row in counts] == [("a", 3), ("b", 2), ("c", 3)]


def row_of(name: str) -> Any:
    return db.session.execute(text("SELECT id FROM schedules WHERE name = :n"), {"n": name}).one()


def test_rows_of_the_history_are_deleted_after_a_month(session: Any) -> None:
    tick(schedule(), ago=29 * 86_400)
    tick(row_of("nightly"), ago=31 * 86_400)
    tick(row_of("nightly"), ago=400 * 86_400)
    Upkeep(db.engine).run()
    assert session.execute(text("SELECT count(*) FROM schedule_ticks")).scalar_one() == 1


def test_newer_zones_move_the_next_tick(row: Any, session: Any, redis: Redis) -> None:
    # As a release would have stored it to which the clock of Vancouver still changed in November 2026.
    schedule(
        "report", cron="0 9 * * *", zone="America/Vancouver", zone_version="2025b", next_in=7200
    )
    schedule("newer", zone_version="9999z", next_in=7200)
    before = row("newer").next_run_at

    Upkeep(db.engine).run()

    stored = row()
    assert stored.zone_version == zones.VERSION
    assert (stored.next_run_at.hour, stored.next_run_at.minute) in {(16, 0), (17, 0)}
    assert (row("newer").next_run_at, row("newer").zone_version) == (before, "9999z")
    assert upkeep.use_new_zones(session) == 0


def test_a_tick_that_moved_to_a_time_just_passed_is_made_up_for(row: Any, session: Any) -> None:
    now = row_now(session)
    past = now - timedelta(hours=1)
    line = f"{past.minute} {past.hour} * * *"
    start = now - timedelta(days=9)
    schedule("report", cron=line, zone="UTC", zone_version="2025b", next_in=600, starts_at=start,
             last_tick_at=now - timedelta(hours=24))  # fmt: skip
    schedule("ran", cron=line, zone="UTC", zone_version="2025b", next_in=600, starts_at=start,
             last_tick_at=past)  # fmt: skip

    upkeep.use_new_zones(session)
    session.commit()

    assert row().next_run_at == past.replace(second=0, microsecond=0)
    assert row("ran").next_run_at > now


def row_now(session: Any) -> Any:
    now = session.execute(text("SELECT now()")).scalar_one()
    session.rollback()
    return now
