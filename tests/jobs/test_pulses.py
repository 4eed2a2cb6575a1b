"""An expired lease counts only where the database was observed, without a gap, for a whole lease."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, text

from app.database import autocommit
from app.extensions import db
from app.jobs import lifecycle, pulses
from tests import factories
from tests.support.waiting import wait_until


@pytest.fixture
def engine(session: Any) -> Engine:
    return db.engine


@pytest.fixture
def settings(app: Any) -> Any:
    return replace(app.extensions["settings"], lease_seconds=30.0, heartbeat_seconds=10.0)


@pytest.fixture
def other(engine: Engine) -> Iterator[Connection]:
    """Another session, whose transaction is open until the test ends it."""
    with engine.connect() as connection:
        yield connection


def beat(engine: Engine, settings: Any) -> bool:
    with engine.begin() as connection:
        return pulses.beat(connection, settings)


def age(engine: Engine, column: str, seconds: float) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(f"UPDATE job_pulses SET {column} = {column} - make_interval(secs => :s)"),
            {"s": seconds},
        )


def blocked_for(engine: Engine, seconds: float) -> bool:
    with engine.connect() as connection:
        return bool(
            connection.scalar(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND datname = current_database()"
                    " AND clock_timestamp() - query_start > make_interval(secs => :s)"
                ),
                {"s": seconds},
            )
        )


def test_a_whole_lease_of_observation_is_needed(engine: Engine, settings: Any) -> None:
    assert not beat(engine, settings)
    age(engine, "since", 29)
    assert not beat(engine, settings)
    age(engine, "since", 2)
    assert beat(engine, settings)
    assert beat(engine, settings)


def test_a_gap_starts_a_new_period(engine: Engine, settings: Any) -> None:
    factories.watched_database()
    assert beat(engine, settings)
    age(engine, "seen_at", pulses.gap_seconds(settings) + 1)
    assert not beat(engine, settings)
    assert not beat(engine, settings)


def test_a_clock_that_was_set_back_starts_a_new_period(engine: Engine, settings: Any) -> None:
    factories.watched_database()
    age(engine, "seen_at", -60)
    assert not beat(engine, settings)


@pytest.mark.parametrize("lease", [1.0, 2.0, 3.0, 30.0, 3600.0])
@pytest.mark.parametrize("heartbeat", [0.1, 0.5])
def test_an_outage_too_short_to_be_a_gap_leaves_time_for_a_heartbeat(
    settings: Any, lease: float, heartbeat: float
) -> None:
    changed = replace(settings, lease_seconds=lease, heartbeat_seconds=heartbeat * lease)
    longest_unseen = pulses.gap_seconds(changed) + pulses.extend_seconds(changed)
    assert longest_unseen < lease
    assert 2 * pulses.beat_seconds(changed) < pulses.gap_seconds(changed)


@pytest.mark.parametrize("mode", ["SHARE", "EXCLUSIVE", "ACCESS EXCLUSIVE"])
def test_a_lock_that_blocks_heartbeats_is_a_gap(
    engine: Engine, settings: Any, other: Connection, mode: str
) -> None:
    factories.watched_database()
    other.execute(text(f"LOCK TABLE jobs IN {mode} MODE"))
    answers: list[bool] = []
    thread = Thread(target=lambda: answers.append(beat(engine, settings)))
    thread.start()
    wait_until(lambda: blocked_for(engine, 0))
    age(engine, "seen_at", pulses.gap_seconds(settings) + 1)  # as if that long had passed
    other.rollback()
    thread.join(10)
    assert answers == [False]


@pytest.fixture
def held(engine: Engine) -> list[tuple[UUID, UUID]]:
    """Three processing jobs, as (id, lease token)."""
    jobs = [factories.processing_job() for _ in range(3)]
    return [(job.id, job.lease_token) for job in jobs]  # type: ignore[misc]


def extend(engine: Engine, held: list[tuple[UUID, UUID]]) -> set[UUID]:
    with autocommit(engine) as connection:
        return set(lifecycle.extend(connection, held, lease_seconds=30))


def remaining(engine: Engine, job_id: UUID) -> float:
    with autocommit(engine) as connection:
        value = connection.execute(
            text(
                "SELECT extract(epoch FROM leased_until - clock_timestamp())::float8"
                " FROM jobs WHERE id = :id"
            ),
            {"id": job_id},
        ).scalar_one()
        return float(value)


def test_a_heartbeat_that_waited_gives_a_whole_lease(
    engine: Engine, held: Any, other: Connection
) -> None:
    other.execute(text("LOCK TABLE jobs IN SHARE MODE"))
    thread = Thread(target=extend, args=[engine, held])
    thread.start()
    wait_until(lambda: blocked_for(engine, 2.5), timeout=15)
    other.rollback()
    thread.join(10)
    assert remaining(engine, held[0][0]) > 29


def test_a_claim_that_waited_gives_a_whole_lease(
    app: Any, engine: Engine, other: Connection
) -> None:
    job_id = factories.pending_job().id

    def claim() -> None:
        with app.app_context(), autocommit(engine) as connection:
            lifecycle.claim(
                connection, [job_id.hex], token=uuid4(), worker_id=uuid4(), lease_seconds=30
            )

    other.execute(text("LOCK TABLE jobs IN SHARE MODE"))
    thread = Thread(target=claim)
    thread.start()
    wait_until(lambda: blocked_for(engine, 2.5), timeout=15)
    other.rollback()
    thread.join(10)
    assert remaining(engine, job_id) > 28.9


def test_a_locked_row_delays_no_other_lease(engine: Engine, held: Any, other: Connection) -> None:
    ids = sorted(job_id for job_id, _ in held)
    other.execute(text("SELECT 1 FROM jobs WHERE id = :id FOR UPDATE"), {"id": ids[0]})
    assert extend(engine, held) == set(ids[1:])
    other.rollback()
    assert extend(engine, held) == set(ids)


def test_rescue_waits_for_no_locked_row(session: Any, other: Connection) -> None:
    locked = factories.processing_job(lease_expired_by=60).id
    free = factories.processing_job(lease_expired_by=60).id
    other.execute(text("SELECT 1 FROM jobs WHERE id = :id FOR UPDATE"), {"id": locked})
    assert [row.id for row in lifecycle.rescue(session)] == [free]
