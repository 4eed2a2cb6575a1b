"""Schedules are created, changed, paused and run by hand; what they do then is exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from marshmallow import Schema, fields
from redis import Redis
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.broker.keys import Keys
from app.errors import ScheduleNotFound, UnknownJobType, ValidationFailed
from app.extensions import db
from app.jobs import audit, lifecycle
from app.jobs.lifecycle import NewJob
from app.jobs.schedules import store, zones
from app.jobs.schedules.definition import Definition, definition_of
from app.jobs.schedules.errors import ScheduleDefinedInCode, ScheduleExists, StillRunning
from app.jobs.schedules.tick import tick
from app.jobs.testing import temporary_types
from tests.factories import paused_schedule, retired_schedule, schedule
from tests.support.racing import race

MINUTE = timedelta(minutes=1)


class ToOneNumber(Schema):
    n = fields.Integer(required=True)


@pytest.fixture(autouse=True)
def types() -> Iterator[Any]:
    with temporary_types() as job:

        @job("report")
        def report(payload: Any) -> None: ...

        @job("strict", schema=ToOneNumber)
        def strict(payload: Any) -> None: ...

        yield job


@pytest.fixture
def row(session: Any) -> Callable[..., Any]:
    def row(name: str = "nightly") -> Any:
        session.rollback()
        values = {"name": name}
        return session.execute(
            text("SELECT *, now() AS now FROM schedules WHERE name = :name"), values
        ).first()

    return row


@pytest.fixture
def history(session: Any) -> Callable[[], list[Any]]:
    def history() -> list[Any]:
        session.rollback()
        return session.execute(text("SELECT * FROM schedule_ticks ORDER BY tick_at")).all()

    return history


@pytest.fixture
def events(session: Any) -> Callable[..., list[str]]:
    def events(name: str = "nightly") -> list[str]:
        session.rollback()
        return [f"{event.actor} {event.action}" for event in audit.events_of(session, name)]

    return events


def hourly(name: str = "nightly", **columns: Any) -> Definition:
    return Definition(**{"name": name, "type": "report", "cron": "0 * * * *", **columns})


def every(seconds: int, **columns: Any) -> Definition:
    return hourly(**{"cron": None, "every_seconds": seconds, **columns})


# ------------------------------------------------------------------------------------ create, change


def test_a_new_schedule_ticks_at_its_next_time(
    session: Any, row: Any, events: Any, redis: Redis
) -> None:
    definition = hourly(payload={"of": "orders"}, zone="Europe/Berlin", tags=("a", "b"), priority=2)
    assert store.put(session, definition, by="ada")
    assert not redis.exists(Keys().pace)
    session.commit()

    stored = row()
    assert definition_of(stored) == Definition(
        **{
            **{c: getattr(definition, c) for c in store.COLUMNS},
            "tags": ["a", "b"],
            "starts_at": stored.starts_at,
        }
    )
    assert (stored.source, stored.created_by, stored.zone_version) == ("api", "ada", zones.VERSION)
    assert stored.next_run_at == stored.now.replace(minute=0, second=0, microsecond=0) + 60 * MINUTE
    assert events() == ["ada schedule.create"]
    assert redis.zrange(Keys().pace, 0, -1) == [b"schedules"]


def test_an_interval_counts_from_now(session: Any, row: Any) -> None:
    store.create(session, every(90), by="ada")
    session.commit()

    stored = row()
    assert stored.starts_at.microsecond == 0
    assert stored.next_run_at - stored.starts_at == 1.5 * MINUTE


def test_an_interval_counts_from_its_start(session: Any, row: Any) -> None:
    start = datetime.now(UTC) + timedelta(days=3)
    store.create(session, every(90, starts_at=start), by="ada")
    session.commit()
    assert row().next_run_at == start


def test_a_rollback_leaves_nothing(session: Any, row: Any, events: Any, redis: Redis) -> None:
    store.put(session, hourly(), by="ada")
    session.rollback()
    assert row() is None
    assert events() == []
    assert not redis.exists(Keys().pace)


def test_putting_the_same_again_changes_nothing(session: Any, row: Any, events: Any) -> None:
    store.put(session, every(90), by="ada")
    session.commit()
    before = row()

    assert not store.put(session, every(90), by="deploy")
    session.commit()

    after = row()
    assert (after.next_run_at, after.starts_at, after.updated_at) == (
        before.next_run_at, before.starts_at, before.updated_at,
    )  # fmt: skip
    assert events() == ["ada schedule.create"]


def test_a_changed_rule_counts_from_now(session: Any, row: Any, events: Any) -> None:
    schedule(next_in=5, type="report", cron="*/5 * * * *")

    assert not store.put(session, every(3600), by="ada")
    session.commit()

    stored = row()
    assert stored.cron is None
    assert stored.next_run_at - stored.starts_at == 60 * MINUTE
    assert timedelta(0) <= stored.now - stored.starts_at < MINUTE
    assert events() == ["ada schedule.edit"]


def test_the_audit_log_has_no_payload(session: Any) -> None:
    schedule(next_in=5, type="report", cron="*/5 * * * *")

    store.put(session, every(3600, payload={"password": "hunter2"}), by="ada")

    [event] = audit.events_of(session, "nightly")
    assert event.details["payload"] == "changed"
    assert event.details["every_seconds"] == 3600


def test_another_field_keeps_the_next_tick(session: Any, row: Any) -> None:
    schedule(next_in=5, type="report", cron="*/5 * * * *")
    before = row()

    store.patch(session, "nightly", {"payload": {"of": "eu"}, "queue": "mail"}, by="ada")
    session.commit()

    after = row()
    assert (after.payload, after.queue) == ({"of": "eu"}, "mail")
    assert (after.next_run_at, after.starts_at) == (before.next_run_at, before.starts_at)
    assert after.updated_at > before.updated_at


def test_a_start_in_the_future_moves_the_next_tick(session: Any, row: Any) -> None:
    schedule(type="report", every_seconds=60)
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    store.patch(session, "nightly", {"starts_at": start}, by="ada")
    session.commit()
    assert row().next_run_at == start


def test_an_ended_schedule_can_be_edited_and_goes_on_when_its_end_moves(
    session: Any, row: Any
) -> None:
    schedule(
        type="report",
        every_seconds=60,
        next_in=None,
        starts_at=text("now() - interval '2 days'"),
        ends_at=text("now() - interval '1 day'"),
    )

    store.patch(session, "nightly", {"queue": "mail"}, by="ada")
    session.commit()
    assert row().next_run_at is None
    with pytest.raises(ValidationFailed) as refusal:
        store.patch(
            session, "nightly", {"ends_at": datetime.now(UTC) - timedelta(hours=1)}, by="ada"
        )
    assert refusal.value.errors == {"endsAt": ["must be in the future."]}
    session.rollback()

    store.patch(session, "nightly", {"ends_at": None}, by="ada")
    session.commit()
    assert row().next_run_at is not None


def test_what_is_invalid_is_refused(session: Any, row: Any) -> None:
    with pytest.raises(ValidationFailed):
        store.put(session, hourly(cron="what"), by="ada")
    with pytest.raises(UnknownJobType):
        store.put(session, hourly(type="of-tomorrow"), by="ada")
    with pytest.raises(ValidationFailed) as refusal:
        store.put(session, hourly(type="strict"), by="ada")
    assert refusal.value.errors == {"payload.n": ["Missing data for required field."]}
    with pytest.raises(ScheduleNotFound):
        store.patch(session, "nightly", {"queue": "mail"}, by="ada")
    session.commit()
    assert row() is None


def test_a_name_is_created_once(session: Any) -> None:
    store.create(session, hourly(), by="ada")
    with pytest.raises(ScheduleExists):
        store.create(session, hourly(), by="bob")


@pytest.mark.parametrize("round_", range(3))
def test_of_many_puts_at_once_one_creates(round_: int, app: Any, session: Any) -> None:
    def put() -> bool:
        with app.app_context():
            is_new = store.put(db.session, hourly(), by="ada")
            db.session.commit()
            db.session.remove()
            return is_new

    assert sorted(race(*[put] * 5)) == [False] * 4 + [True]


def test_a_deleted_schedule_leaves_its_jobs(session: Any, row: Any, events: Any) -> None:
    store.put(session, hourly(), by="ada")
    store.run_now(session, "nightly", by="ada")
    store.delete(session, "nightly", by="bob")
    session.commit()

    assert row() is None
    assert session.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 1
    assert session.execute(text("SELECT count(*) FROM schedule_ticks")).scalar_one() == 0
    assert events()[-1] == "bob schedule.delete"


def test_one_of_the_code_is_paused_resumed_and_run_only(session: Any, row: Any) -> None:
    schedule(source="code", type="report")
    with pytest.raises(ScheduleDefinedInCode):
        store.put(session, hourly(), by="ada")
    with pytest.raises(ScheduleDefinedInCode):
        store.patch(session, "nightly", {"queue": "mail"}, by="ada")
    with pytest.raises(ScheduleDefinedInCode):
        store.delete(session, "nightly", by="ada")
    with pytest.raises(ScheduleExists):
        store.create(session, hourly(), by="ada")
    store.run_now(session, "nightly", by="ada")
    store.pause(session, "nightly", by="ada")
    store.resume(session, "nightly", by="ada")
    session.commit()
    assert row().next_run_at is not None


def test_a_retired_one_can_be_deleted(session: Any, row: Any) -> None:
    retired_schedule("nightly")
    store.delete(session, "nightly", by="ada")
    session.commit()
    assert row() is None


# ------------------------------------------------------------------------------------ pause, resume


def test_a_pause_is_one_row_of_the_history(
    session: Any, row: Any, history: Any, events: Any
) -> None:
    schedule(type="report", every_seconds=60, starts_at=text("now() - interval '86430 s'"))
    store.pause(session, "nightly", by="ada")
    session.commit()
    stored = row()
    assert (stored.paused_by, stored.next_run_at) == ("ada", None)
    # As if half an hour had passed.
    session.execute(text("UPDATE schedules SET paused_at = paused_at - interval '30 minutes'"))
    session.commit()

    store.resume(session, "nightly", by="bob")
    session.commit()

    [tick] = history()
    assert (tick.outcome, tick.n, tick.job_id) == ("paused", 30, None)
    assert tick.last_at - tick.tick_at == 29 * MINUTE
    stored = row()
    assert (stored.paused_at, stored.paused_by) == (None, None)
    assert stored.now < stored.next_run_at <= stored.now + MINUTE
    assert stored.next_run_at - tick.last_at == MINUTE
    assert events() == ["ada schedule.pause", "bob schedule.resume"]


def test_a_short_pause_leaves_no_row(session: Any, history: Any, redis: Redis) -> None:
    schedule(type="report", every_seconds=3600)
    store.pause(session, "nightly", by="ada")
    session.commit()
    store.resume(session, "nightly", by="ada")
    session.commit()
    assert history() == []
    assert redis.zrange(Keys().pace, 0, -1) == [b"schedules"]


def test_pausing_and_resuming_twice_changes_nothing(session: Any, row: Any, events: Any) -> None:
    schedule(type="report")
    store.pause(session, "nightly", by="ada")
    session.commit()
    before = row()
    store.pause(session, "nightly", by="bob")
    session.commit()
    assert (row().paused_at, row().paused_by) == (before.paused_at, "ada")
    store.resume(session, "nightly", by="ada")
    store.resume(session, "nightly", by="ada")
    session.commit()
    assert events() == ["ada schedule.pause", "ada schedule.resume"]


def test_what_was_due_at_the_pause_is_recorded(session: Any, history: Any) -> None:
    schedule(type="report", every_seconds=60, next_in=-100)
    store.pause(session, "nightly", by="ada")
    session.commit()
    assert [(tick.outcome, tick.n) for tick in history()] == [("paused", 2)]


def test_resuming_a_retired_one_does_not_start_it(session: Any, row: Any) -> None:
    retired_schedule("nightly", paused_at=text("now() - interval '1 day'"), paused_by="ada")
    store.resume(session, "nightly", by="ada")
    session.commit()
    assert row().next_run_at is None


def test_a_changed_rule_does_not_start_a_paused_one(session: Any, row: Any) -> None:
    paused_schedule("nightly", type="report")
    store.put(session, every(60), by="ada")
    session.commit()
    assert row().next_run_at is None


# ------------------------------------------------------------------------------------ run now


def test_run_now_makes_a_job_and_leaves_the_plan(
    session: Any, row: Any, history: Any, events: Any
) -> None:
    schedule(type="report", payload={"of": "eu"}, tick_field="for", queue="mail")
    before = row()

    job_id = store.run_now(session, "nightly", by="ada")
    session.commit()

    [tick] = history()
    assert (tick.outcome, tick.job_id, tick.note) == ("manual", job_id, "by ada")
    job = session.execute(text("SELECT * FROM jobs")).one()
    assert (job.id, job.queue, job.created_by) == (job_id, "mail", "ada")
    assert job.unique_key == "schedule:nightly"
    assert set(job.payload) == {"of", "for"}
    assert (row().next_run_at, row().last_tick_at) == (before.next_run_at, before.last_tick_at)
    assert events() == ["ada schedule.run"]


def test_run_now_works_while_paused(session: Any, history: Any) -> None:
    paused_schedule("nightly", type="report")
    store.run_now(session, "nightly", by="ada")
    session.commit()
    assert [row.outcome for row in history()] == ["manual"]


def test_run_now_is_refused_while_a_job_lives(session: Any, history: Any) -> None:
    schedule(type="report")
    job_id = store.run_now(session, "nightly", by="ada")
    session.commit()

    with pytest.raises(StillRunning) as refusal:
        store.run_now(session, "nightly", by="ada")
    assert str(refusal.value) == (
        f"Job {job_id} of schedule nightly is still pending; wait for it, cancel it, or send force."
    )
    session.rollback()

    store.run_now(session, "nightly", by="ada", force=True)
    session.commit()
    assert len(history()) == 2


def test_overlap_allow_is_never_in_the_way(session: Any, history: Any) -> None:
    schedule(type="report", overlap="allow")
    for _ in range(3):
        store.run_now(session, "nightly", by="ada")
    session.commit()
    assert len({tick.job_id for tick in history()}) == 3


def test_a_manual_run_makes_the_next_tick_skip(session: Any, history: Any, app: Any) -> None:
    schedule(type="report", next_in=-0.1)
    job_id = store.run_now(session, "nightly", by="ada")
    session.commit()
    with Session(db.engine) as own:
        tick(own, grace_seconds=60)

    assert {(tick.outcome, tick.job_id) for tick in history()} == {
        ("manual", job_id), ("skipped", job_id),
    }  # fmt: skip


def test_a_live_job_of_someone_else_is_named(session: Any) -> None:
    [live] = lifecycle.enqueue(session, [NewJob("report", unique_key="mine")])
    schedule(type="report", overlap="allow", unique_key="mine")
    with pytest.raises(StillRunning) as refusal:
        store.run_now(session, "nightly", by="ada", force=True)
    assert str(live.id) in str(refusal.value)


def test_what_does_not_exist_is_not_found(session: Any) -> None:
    for verb in (store.delete, store.pause, store.resume, store.run_now):
        with pytest.raises(ScheduleNotFound):
            verb(session, "nightly", by="ada")
