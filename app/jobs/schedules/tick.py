"""Carries out the ticks that are due: any process may, and each tick gets one job at most.

One transaction for a batch of schedules, whose rows are locked meanwhile; other processes take those that are not locked.
The primary key of schedule_ticks admits each tick once, whatever happens. After a crash nothing has happened, and the
next process does it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.database import IDLE_SECONDS, Db, is_about_data, sqlstate
from app.errors import JobQueueError
from app.jobs import lifecycle, registry
from app.jobs.lifecycle import LOCK_TIMEOUT_MS, Enqueued
from app.jobs.models import UNIQUE_KEY_IS_LIVE
from app.jobs.publication import savepoint
from app.jobs.schedules import overlap, zones
from app.jobs.schedules.definition import REPLACE, WAIT
from app.jobs.schedules.turn import Tick, Turn, turns

#: Wakes a pacer: a schedule has another next tick.
HINT = "schedules"
#: Schedules in a transaction. Their rows are locked while it is carried out.
BATCH = 200
#: Another transaction holds the unique key.
LOCK_NOT_AVAILABLE = "55P03"

_UPCOMING = text("""
SELECT (SELECT extract(epoch FROM min(next_run_at) - now())::float8 FROM schedules
        WHERE next_run_at IS NOT NULL AND type = ANY(CAST(:types AS text[]))) AS seconds,
       EXISTS (SELECT FROM schedules WHERE next_run_at IS NOT NULL) AS has_any
""")
#: Whether a tick that is due was not carried out: its hint may be lost.
HAS_OVERDUE = """
(SELECT next_run_at FROM schedules WHERE next_run_at IS NOT NULL ORDER BY next_run_at LIMIT 1)
    <= now() - interval '0.3 s'
"""
# The settings are local to the transaction, and set in the same round trip: a process that is frozen in the middle
# must not keep its schedules locked, and nothing here may wait for a lock.
_DUE = text(f"""
SELECT s.*, now() AS now FROM schedules s
WHERE s.next_run_at <= now() AND s.type = ANY(CAST(:types AS text[]))
  AND (SELECT set_config('idle_in_transaction_session_timeout', '{IDLE_SECONDS}s', true)
              || set_config('lock_timeout', '{LOCK_TIMEOUT_MS}ms', true)) IS NOT NULL
ORDER BY s.next_run_at, s.id LIMIT :limit FOR UPDATE SKIP LOCKED
""")
_LIVE = text(f"""
SELECT unique_key, id FROM jobs WHERE unique_key = ANY(CAST(:keys AS text[])) AND {UNIQUE_KEY_IS_LIVE}
""")
_RECORD = text("""
INSERT INTO schedule_ticks (schedule_id, tick_at, outcome, job_id, n, last_at, note)
SELECT schedule_id, tick_at, outcome, job_id, n, last_at, note FROM json_to_recordset(:ticks) AS t(
    schedule_id bigint, tick_at timestamptz, outcome text, job_id uuid, n int, last_at timestamptz, note text)
ON CONFLICT DO NOTHING
RETURNING schedule_id, tick_at
""")
_SKIP = text("""
UPDATE schedule_ticks t SET outcome = 'skipped', job_id = s.live_id
FROM json_to_recordset(:skipped) AS s(schedule_id bigint, tick_at timestamptz, live_id uuid)
WHERE t.schedule_id = s.schedule_id AND t.tick_at = s.tick_at
""")
_ADVANCE = text("""
UPDATE schedules s SET next_run_at = g.next_run_at, zone_version = :zone_version,
    last_tick_at = COALESCE(g.last_tick_at, s.last_tick_at)
FROM json_to_recordset(:given) AS g(id bigint, next_run_at timestamptz, last_tick_at timestamptz)
WHERE s.id = g.id
""")


class Upcoming(NamedTuple):
    """When this process has something to do."""

    seconds: float | None  # until the next tick of a type that it knows; None without one
    has_any: bool  # whether any schedule has a next tick


def upcoming(db: Db) -> Upcoming:
    """When the next tick is due that this process can carry out; a single read."""
    row = db.execute(_UPCOMING, {"types": registry.names()}).one()
    return Upcoming(row.seconds, row.has_any)


def tick(session: Session, *, grace_seconds: float, limit: int = BATCH) -> int:
    """Carry out the due ticks of up to ``limit`` schedules, and commit; returns how many schedules went on."""
    rows = session.execute(_DUE, {"types": registry.names(), "limit": limit}).all()
    batch = list(turns(rows, grace_seconds=grace_seconds))
    if batch:
        # In the order of the unique keys, like other statements that insert several.
        batch.sort(key=lambda turn: turn.schedule.name)
        _avoid_other_limits(session, batch)
        _skip_live(session, batch)
        _skip_waiting(session, batch)
        _carry_out_all(session, batch)
        done = [turn.advanced() for turn in batch if not turn.is_postponed]
        session.execute(_ADVANCE, {"given": json.dumps(done), "zone_version": zones.VERSION})
    session.commit()
    return sum(not turn.is_postponed for turn in batch)


def record(session: Db, ticks: Sequence[Tick]) -> set[tuple[int, datetime]]:
    """Write rows of the history; returns (schedule, tick) of those that were not there."""
    values = {"ticks": json.dumps([tick.values() for tick in ticks])}
    return {(row.schedule_id, row.tick_at) for row in session.execute(_RECORD, values)}


def _avoid_other_limits(session: Session, batch: Sequence[Turn]) -> None:
    skipping = overlap.like_skip(session, [turn.schedule for turn in batch])
    ticks = [tick for turn in batch if turn.schedule.id in skipping for tick in turn.ticks]
    for tick in ticks:
        if tick.job:
            tick.job = lifecycle.prepare(overlap.skipping(tick.schedule, tick.job.new))


def _skip_live(session: Session, batch: Iterable[Turn]) -> None:
    """Skip what would meet a live job: looking up all of them at once is cheaper than each that is refused."""
    ticks = [tick for turn in batch for tick in turn.ticks]
    keyed = [(tick, key) for tick in ticks if tick.job and (key := tick.job.new.unique_key)]
    if not keyed:
        return
    keys = sorted({key for _, key in keyed})
    live = {row.unique_key: row.id for row in session.execute(_LIVE, {"keys": keys})}
    for tick, key in keyed:
        if key in live:
            tick.skip(live[key])


def _skip_waiting(session: Session, batch: Iterable[Turn]) -> None:
    """With overlap "wait", skip what would be the second job that waits."""
    turns = {turn.schedule.id: turn for turn in batch if turn.schedule.overlap == WAIT}
    live = overlap.live_jobs(session, turns) if turns else {}
    for schedule_id, turn in turns.items():
        jobs = live.get(schedule_id, [])
        for tick in turn.ticks:
            if tick.job and len(jobs) >= overlap.MAX_LIVE:
                tick.skip(jobs[-1])
            elif tick.job:
                jobs.append(tick.job.id)


def _carry_out_all(session: Session, batch: Sequence[Turn]) -> None:
    """Together, or if that fails each schedule alone, so that one does not stop the others."""
    try:
        with savepoint(session):
            _carry_out(session, batch)
    except (DBAPIError, JobQueueError) as error:
        if not _concerns_one(error):
            raise
        for turn in batch:
            _carry_out_alone(session, turn)


def _carry_out_alone(session: Session, turn: Turn) -> None:
    try:
        with savepoint(session):
            _carry_out(session, [turn])
    except (DBAPIError, JobQueueError) as error:
        if not _concerns_one(error):
            raise
        if sqlstate(error) == LOCK_NOT_AVAILABLE:
            turn.is_postponed = True
            return
        for tick in turn.ticks:
            if tick.job:
                tick.fail(error)
        record(session, turn.ticks)


def _concerns_one(error: BaseException) -> bool:
    if isinstance(error, JobQueueError) or is_about_data(error):
        return True
    return sqlstate(error) == LOCK_NOT_AVAILABLE


def _carry_out(session: Session, batch: Sequence[Turn]) -> None:
    ticks = [tick for turn in batch for tick in turn.ticks]
    replacing = {turn.schedule.id: turn for turn in batch if turn.schedule.overlap == REPLACE}
    live = overlap.live_jobs(session, replacing) if replacing else {}
    new = record(session, ticks)
    created = [
        (tick, tick.job) for tick in ticks if tick.job and (tick.schedule.id, tick.at) in new
    ]
    if not created:
        return
    results = lifecycle.enqueue(session, [job for _, job in created])
    pairs = zip([tick for tick, _ in created], results, strict=True)
    _record_skipped(session, [(tick, result) for tick, result in pairs if not result.is_new])
    for schedule_id, turn in replacing.items():
        jobs = [job.id for tick, job in created if tick.schedule.id == schedule_id]
        if jobs:
            overlap.replace_jobs(session, turn.schedule, [*live.get(schedule_id, []), *jobs[:-1]])


def _record_skipped(session: Session, skipped: Sequence[tuple[Tick, Enqueued]]) -> None:
    if not skipped:
        return
    rows = [
        {
            "schedule_id": tick.schedule.id,
            "tick_at": tick.at.isoformat(),
            "live_id": str(result.id),
        }
        for tick, result in skipped
    ]
    session.execute(_SKIP, {"skipped": json.dumps(rows)})
