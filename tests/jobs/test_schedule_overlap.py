"""Overlap "wait" and "replace": one job of a schedule at a time, by the limit that is reserved for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from redis import Redis
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.errors import ValidationFailed
from app.extensions import db
from app.jobs import Schedule
from app.jobs.limits.errors import OldWorkers
from app.jobs.schedules import declared, definition, store
from app.jobs.schedules.definition import Definition
from app.jobs.schedules.tick import tick
from app.jobs.testing import temporary_types
from tests.factories import schedule, worker


@pytest.fixture(autouse=True)
def types() -> Iterator[Any]:
    with temporary_types() as job:

        @job("report")
        def report(payload: Any) -> None: ...

        yield job


@pytest.fixture
def run(session: Any, redis: Redis) -> Callable[[], str]:
    """The outcome of the next tick."""

    def run() -> str:
        session.execute(text("UPDATE schedules SET next_run_at = now() - interval '1 ms'"))
        session.commit()
        with Session(db.engine) as own:
            assert tick(own, grace_seconds=60) == 1
        outcomes = session.scalars(
            text("SELECT outcome FROM schedule_ticks ORDER BY tick_at")
        ).all()
        session.rollback()
        return str(outcomes[-1])

    return run


@pytest.fixture
def jobs(session: Any) -> Callable[[], list[Any]]:
    def jobs() -> list[Any]:
        session.rollback()
        return session.execute(text("SELECT * FROM jobs ORDER BY id")).all()

    return jobs


def start(job_id: UUID) -> None:
    """As a worker claims it."""
    db.session.execute(
        text(
            "UPDATE jobs SET hold = 0, status = 'processing', lease_token = gen_random_uuid(), attempts = 1,"
            " worker_id = gen_random_uuid(), leased_until = now() + interval '1 h', started_at = now() WHERE id = :id"
        ),
        {"id": job_id},
    )
    db.session.commit()


def end(job_id: UUID) -> None:
    db.session.execute(
        text(
            "UPDATE jobs SET status = 'completed', lease_token = NULL, worker_id = NULL, leased_until = NULL,"
            " finished_at = now() WHERE id = :id"
        ),
        {"id": job_id},
    )
    db.session.commit()


def test_with_wait_one_runs_and_one_waits(run: Any, jobs: Any, session: Any) -> None:
    schedule(type="report", overlap="wait")

    assert run() == "enqueued"
    [first] = jobs()
    assert (first.limit_name, first.limit_key, first.unique_key) == ("schedule", "nightly", None)
    start(first.id)
    assert [run(), run(), run()] == ["enqueued", "skipped", "skipped"]

    _, second = jobs()
    waiting = session.scalars(
        text("SELECT job_id FROM schedule_ticks WHERE outcome = 'skipped'")
    ).all()
    assert waiting == [second.id, second.id]
    end(first.id)
    assert [run(), run()] == ["enqueued", "skipped"]


def test_with_replace_the_live_jobs_are_cancelled(run: Any, jobs: Any) -> None:
    schedule(type="report", overlap="replace")

    run()
    run()
    first, second = jobs()
    assert (first.status, second.status) == ("cancelled", "pending")
    start(second.id)
    assert run() == "enqueued"

    _, second, third = jobs()
    assert (second.status, second.cancel_requested_at is not None) == ("processing", True)
    assert (third.status, third.limit_key) == ("pending", "nightly")


def test_late_ticks_that_replace_leave_one_job(run: Any, jobs: Any, session: Any) -> None:
    schedule(type="report", overlap="replace", every_seconds=1)
    session.execute(
        text("UPDATE schedules SET next_run_at = date_trunc('second', now()) - interval '3 s'")
    )
    session.commit()
    with Session(db.engine) as own:
        tick(own, grace_seconds=60)

    assert [job.status for job in jobs()].count("pending") == 1
    assert jobs()[-1].status == "pending"


def test_run_now_waits_or_replaces(jobs: Any, session: Any) -> None:
    schedule("waits", type="report", overlap="wait")
    schedule("replaces", type="report", overlap="replace")
    for name in ("waits", "waits", "replaces", "replaces"):
        store.run_now(session, name, by="ada")
    session.commit()
    assert [job.status for job in jobs()] == ["pending", "pending", "cancelled", "pending"]


@pytest.mark.parametrize("overlap", ["wait", "replace"])
def test_it_needs_the_limit_of_the_job(overlap: str, types: Any, session: Any) -> None:
    session.execute(
        text("INSERT INTO limits (name, source, concurrency) VALUES ('stripe', 'api', 1)")
    )
    session.execute(
        text(
            "INSERT INTO limit_attachments (kind, name, limit_name, source) VALUES ('type', 'report', 'stripe', 'api')"
        )
    )
    session.commit()
    with pytest.raises(ValidationFailed) as refusal:
        store.put(
            session, Definition(name="a", type="report", every_seconds=9, overlap=overlap), by="ada"
        )
    sentence = (
        f"'{overlap}' needs the job's limit, and type report is under limit stripe; use 'skip'."
    )
    assert refusal.value.errors == {"overlap": [sentence]}


def test_workers_that_know_no_limits_refuse_it(session: Any, caplog: Any) -> None:
    worker(limits=None)
    with pytest.raises(OldWorkers):
        store.put(
            session, Definition(name="a", type="report", every_seconds=9, overlap="wait"), by="ada"
        )
    session.rollback()

    definition.declare(Schedule(every=9, overlap="wait").definition("nightly", "report"))
    assert not declared.declare(session)
    assert "Schedule nightly can't be stored: Worker" in caplog.text
    session.execute(text("UPDATE workers SET limits = '{}'"))
    assert declared.declare(session)


def test_a_live_job_whose_tick_the_history_has_forgotten_still_counts(
    run: Any, jobs: Any, session: Any
) -> None:
    """A thousand skipped ticks are kept, and then the rows of the live jobs are gone."""
    schedule(every_seconds=60, overlap="wait", type="report")
    assert run() == "enqueued"
    start(jobs()[0].id)
    assert (run(), run()) == ("enqueued", "skipped")
    session.execute(text("DELETE FROM schedule_ticks WHERE outcome = 'enqueued'"))
    session.commit()

    assert {run() for _ in range(8)} == {"skipped"}
    assert len(jobs()) == 2


def test_a_running_job_is_asked_to_stop_once(run: Any, jobs: Any, session: Any) -> None:
    schedule(every_seconds=60, overlap="replace", type="report")
    run()
    first = jobs()[0].id
    start(first)

    assert [run() for _ in range(3)] == ["enqueued"] * 3

    asked = text("SELECT count(*) FROM audit_events WHERE action = 'job.cancel' AND subject = :id")
    assert session.scalar(asked, {"id": str(first)}) == 1


def test_a_type_that_was_put_under_a_limit_since_is_like_skip(
    run: Any, jobs: Any, session: Any
) -> None:
    schedule(every_seconds=60, overlap="wait", type="report")
    session.execute(text("INSERT INTO limits (name, source, concurrency) VALUES ('s', 'api', 1)"))
    session.execute(
        text("INSERT INTO limit_attachments (kind, name, limit_name) VALUES ('type', 'report', 's')")
    )  # fmt: skip
    session.commit()

    assert (run(), run()) == ("enqueued", "skipped")

    [job] = jobs()
    assert (job.limit_name, job.unique_key) == ("s", "schedule:nightly")


def test_beside_a_worker_that_knows_no_limits_it_is_like_skip(run: Any, jobs: Any) -> None:
    schedule(every_seconds=60, overlap="replace", type="report")
    worker(limits=None)

    assert (run(), run()) == ("enqueued", "skipped")

    [job] = jobs()
    assert (job.hold, job.limit_name, job.unique_key) == (0, None, "schedule:nightly")
