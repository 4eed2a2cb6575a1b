"""Ticks that are due get one job each, whatever else happens at the same time."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from marshmallow import Schema, fields
from redis import Redis
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.broker.keys import Keys
from app.extensions import db
from app.jobs import lifecycle, registry
from app.jobs.lifecycle import NewJob
from app.jobs.schedules import tick as ticks
from app.jobs.schedules.tick import tick, upcoming
from app.jobs.testing import temporary_types
from app.json_values import iso
from tests.support.racing import in_thread, race
from tests.support.waiting import wait_until


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
def add(session: Any, redis: Redis) -> Callable[..., int]:
    """A schedule whose tick was due ``ago`` seconds ago; its id."""

    def add(name: str = "nightly", *, ago: float = 0.01, **columns: Any) -> int:
        values = {
            "name": name, "source": "api", "type": "report", "payload": json.dumps({}),
            "every_seconds": None if "cron" in columns else 60, **columns,
        }  # fmt: skip
        names = ", ".join(values)
        places = ", ".join(f":{column}" for column in values)
        schedule_id = session.execute(
            text(
                f"INSERT INTO schedules ({names}, starts_at, next_run_at) VALUES ({places},"
                " now() - make_interval(secs => :ago + 86400), now() - make_interval(secs => :ago)) RETURNING id"
            ),
            {**values, "ago": ago},
        ).scalar_one()
        session.commit()
        return int(schedule_id)

    return add


@pytest.fixture
def rows(session: Any) -> Callable[..., list[Any]]:
    def rows(statement: str, **values: Any) -> list[Any]:
        session.rollback()
        result = list(session.execute(text(statement), values))
        session.commit()
        return result

    return rows


def run(**options: Any) -> int:
    """One pass, as a worker does it."""
    with Session(db.engine) as own:
        return tick(own, **{"grace_seconds": 60, **options})


HISTORY = "SELECT * FROM schedule_ticks ORDER BY schedule_id, tick_at"
JOBS = "SELECT * FROM jobs ORDER BY id"


def test_a_due_tick_gets_its_job(add: Any, rows: Any, redis: Redis) -> None:
    add(payload=json.dumps({"of": "orders"}), queue="mail", priority=3, max_attempts=2,
        timeout_seconds=1.5, tags=["daily"], tick_field="for")  # fmt: skip

    assert run() == 1

    [job], [row] = rows(JOBS), rows(HISTORY)
    assert (job.type, job.queue, job.priority, job.max_attempts) == ("report", "mail", 3, 2)
    assert (job.timeout_seconds, job.tags, job.status) == (1.5, ["daily"], "pending")
    assert (job.unique_key, job.created_by) == ("schedule:nightly", "schedule:nightly")
    assert job.payload == {"of": "orders", "for": iso(row.tick_at)}
    assert (row.outcome, row.job_id, row.n, row.note) == ("enqueued", job.id, 1, None)
    [schedule] = rows("SELECT * FROM schedules")
    assert schedule.last_tick_at == row.tick_at
    assert schedule.next_run_at - row.tick_at == timedelta(seconds=60)
    assert redis.zrange(Keys().ready("mail"), 0, -1) == [job.id.hex.encode()]


def test_nothing_is_due(add: Any, rows: Any) -> None:
    add(ago=-5)
    assert run() == 0
    assert rows(HISTORY) == []


def test_a_pass_leaves_the_rest_for_the_next(add: Any, rows: Any) -> None:
    for n in range(5):
        add(f"s{n}")

    assert [run(limit=3), run(limit=3), run(limit=3)] == [3, 2, 0]
    assert len(rows(JOBS)) == 5


@pytest.mark.parametrize("round_", range(3))
def test_many_processes_make_one_job_of_each_tick(
    round_: int, app: Any, add: Any, rows: Any
) -> None:
    for n in range(40):
        add(f"s{n}", overlap="allow")

    def work() -> int:
        with app.app_context():
            return sum(run(limit=7) for _ in range(8))

    assert sum(race(*[work] * 4)) == 40
    assert len(rows(JOBS)) == len(rows(HISTORY)) == 40
    assert Counter(row.job_id for row in rows(HISTORY)).most_common(1)[0][1] == 1


def test_a_tick_of_the_history_is_never_made_again(add: Any, rows: Any, session: Any) -> None:
    schedule_id = add(overlap="allow")
    session.execute(
        text(
            "INSERT INTO schedule_ticks (schedule_id, tick_at, outcome)"
            " SELECT id, next_run_at, 'enqueued' FROM schedules WHERE id = :id"
        ),
        {"id": schedule_id},
    )
    session.commit()

    assert run() == 1
    assert rows(JOBS) == []
    assert run() == 0


def test_skip_makes_no_job_while_one_lives(add: Any, rows: Any, session: Any) -> None:
    [live] = lifecycle.enqueue(session, [NewJob("report", unique_key="schedule:nightly")])
    session.commit()
    add()

    assert run() == 1

    [row] = rows(HISTORY)
    assert (row.outcome, row.job_id) == ("skipped", live.id)
    assert [job.id for job in rows(JOBS)] == [live.id]


def test_of_several_late_ticks_one_gets_a_job(add: Any, rows: Any) -> None:
    add(every_seconds=1, ago=3.5)

    run()

    [job], history = rows(JOBS), rows(HISTORY)
    assert [row.outcome for row in history] == ["enqueued", "skipped", "skipped", "skipped"]
    assert {row.job_id for row in history} == {job.id}


def test_a_job_that_becomes_live_meanwhile_is_skipped(
    add: Any, rows: Any, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add()
    skip_live = ticks._skip_live

    def then_another(own: Session, batch: Any) -> None:
        skip_live(own, batch)
        lifecycle.enqueue(session, [NewJob("report", unique_key="schedule:nightly")])
        session.commit()

    monkeypatch.setattr(ticks, "_skip_live", then_another)
    run()

    [job], [row] = rows(JOBS), rows(HISTORY)
    assert (row.outcome, row.job_id) == ("skipped", job.id)


def test_a_unique_key_held_by_an_open_transaction_postpones_only_its_schedule(
    app: Any, add: Any, rows: Any, session: Any
) -> None:
    add("held")
    add("free")
    lifecycle.enqueue(session, [NewJob("report", unique_key="schedule:held")])
    session.flush()

    def other_process() -> int:
        with app.app_context():
            return run()

    assert in_thread(other_process) == 1
    session.rollback()
    assert [job.created_by for job in rows(JOBS)] == ["schedule:free"]
    assert run() == 1
    assert [row.outcome for row in rows(HISTORY)] == ["enqueued", "enqueued"]


def test_a_payload_that_no_longer_fits_fails_its_tick_only(add: Any, rows: Any) -> None:
    add("bad", type="strict")
    add("good", type="strict", payload=json.dumps({"n": 1}))

    assert run() == 2

    bad, good = rows(HISTORY)
    assert (bad.outcome, bad.job_id) == ("failed", None)
    assert bad.note == "payload.n: Missing data for required field."
    assert good.outcome == "enqueued"
    assert len(rows("SELECT 1 FROM schedules WHERE next_run_at > now()")) == 2


def test_a_value_that_the_database_refuses_fails_its_tick_only(add: Any, rows: Any) -> None:
    add("bad", priority=1000)
    add("good")

    assert run() == 2

    bad, good = rows(HISTORY)
    assert (bad.outcome, good.outcome) == ("failed", "enqueued")
    assert "ck_jobs_priority" in bad.note


def test_a_schema_that_raises_anything_fails_its_tick_only(types: Any, add: Any, rows: Any) -> None:
    class Broken(Schema):
        def load(self, *args: Any, **options: Any) -> Any:
            raise RuntimeError("no")

    types("broken", schema=Broken)(lambda payload: None)
    add("bad", type="broken")
    add("good")

    assert run() == 2
    assert [(row.outcome, row.note) for row in rows(HISTORY)] == [
        ("failed", "no"),
        ("enqueued", None),
    ]


@pytest.mark.parametrize("columns", [{"cron": "what"}, {"cron": "0 0 * * *", "zone": "Mars/Base"}])
def test_what_this_release_cannot_read_is_tried_again_later(
    columns: Any, add: Any, rows: Any
) -> None:
    add("bad", **columns)
    add("good")

    assert run() == 2

    assert [row.outcome for row in rows(HISTORY)] == ["failed", "enqueued"]
    [left] = rows(
        "SELECT extract(epoch FROM next_run_at - now()) AS s FROM schedules WHERE name = 'bad'"
    )
    assert 3500 < left.s < 3600


def test_a_type_that_this_process_does_not_know_is_left_to_others(add: Any, rows: Any) -> None:
    add(type="of-tomorrow")

    assert run() == 0
    assert upcoming(db.session) == (None, True)

    registry._add(registry.JobType("of-tomorrow", lambda payload: None))
    assert run() == 1


def test_missed_ticks_share_a_row(add: Any, rows: Any) -> None:
    add(ago=600.5, missed="one")

    run(grace_seconds=5)

    missed, enqueued = rows(HISTORY)
    assert (missed.outcome, missed.n, missed.job_id) == ("missed", 10, None)
    assert missed.last_at - missed.tick_at == timedelta(seconds=540)
    assert enqueued.outcome == "enqueued"
    assert enqueued.tick_at - missed.last_at == timedelta(seconds=60)


def test_jitter_delays_the_job_and_not_the_tick(add: Any, rows: Any) -> None:
    for n in range(10):
        add(f"s{n}", jitter_seconds=50)

    run()

    delays = rows("SELECT run_at - created_at AS late FROM jobs ORDER BY 1")
    assert timedelta(seconds=5) < delays[-1].late < timedelta(seconds=50)
    assert {row.outcome for row in rows(HISTORY)} == {"enqueued"}


def test_the_last_tick_ends_the_schedule(add: Any, rows: Any, session: Any) -> None:
    add()
    session.execute(text("UPDATE schedules SET ends_at = now() + interval '1 s'"))
    session.commit()

    run()

    [schedule] = rows("SELECT next_run_at FROM schedules")
    assert schedule.next_run_at is None
    assert upcoming(db.session) == (None, False)


def test_a_crash_in_the_middle_leaves_nothing(
    add: Any, rows: Any, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    add()

    def crash(*args: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("app.jobs.schedules.turn.Turn.advanced", crash)
        with pytest.raises(MemoryError):
            run()

    assert rows(JOBS) == rows(HISTORY) == []
    assert redis.keys() == []
    assert run() == 1


def test_a_batch_whose_planning_takes_long_ends_early(
    add: Any, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("a")
    add("b")
    monkeypatch.setattr("app.jobs.schedules.turn.PLANNING_SECONDS", -1)

    assert run() == 1
    assert run() == 1
    assert run() == 0


def test_a_batch_with_many_ticks_ends_early(
    add: Any, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        add(f"s{n}", every_seconds=1, ago=20.5)
    monkeypatch.setattr("app.jobs.schedules.turn.MAX_TICKS", 30)

    assert run() == 2
    assert run() == 1
    assert len(rows(HISTORY)) >= 63


def test_a_process_that_freezes_in_the_middle_frees_its_schedules(
    app: Any, add: Any, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticks, "_DUE", text(str(ticks._DUE).replace("10s", "1s")))
    add("a")
    add("b")
    frozen, goes_on = threading.Event(), threading.Event()
    turns = ticks.turns

    def freeze(batch: Any, **options: Any) -> Any:
        if not frozen.is_set() and batch:
            frozen.set()
            assert goes_on.wait(20)
        return turns(batch, **options)

    monkeypatch.setattr(ticks, "turns", freeze)
    errors: list[BaseException] = []

    def work() -> None:
        with app.app_context():
            try:
                run(limit=1)
            except Exception as error:
                errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert frozen.wait(20)

    assert run() == 1  # the rest at once
    wait_until(lambda: run() == 1)  # the frozen one when PostgreSQL has ended its transaction
    goes_on.set()
    thread.join(20)

    assert len(errors) == 1
    assert len(rows(JOBS)) == len(rows(HISTORY)) == 2
