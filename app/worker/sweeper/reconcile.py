"""Pending jobs that Redis lost are published again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from app.broker.lanes import lane
from app.broker.ready_set import ReadySet
from app.database import elected, id_array
from app.extensions import current_settings
from app.jobs import registry, unknown_types
from app.jobs.holds import LIMITED_LATER, MIN_AGE_SECONDS, QUEUE_PAUSED, TYPE_PAUSED
from app.jobs.publication import REF, ref

log = logging.getLogger(__name__)

#: Due jobs of each queue that are compared with its ready set.
WINDOW = 500
REPUBLISH_BATCH = 1000

_QUEUES = text(f"""
SELECT DISTINCT queue FROM (
    SELECT queue FROM job_counters WHERE status = 'pending' AND n <> 0
    UNION ALL SELECT queue FROM job_counter_deltas WHERE status = 'pending') AS q
WHERE {QUEUE_PAUSED.absent("q")}
""")
# Only types that a worker knows: jobs that no worker can run must not hide jobs that one can.
_WINDOW = text(f"""
SELECT {REF} FROM jobs
WHERE queue = :queue AND type = ANY(CAST(:types AS text[])) AND status = 'pending' AND hold = 0
  AND run_at <= now() - make_interval(secs => :age)
  AND {TYPE_PAUSED.absent("jobs")}
ORDER BY priority DESC, run_at, id LIMIT :limit
""")
# The expression keeps the planner on the primary key: the partial indexes of pending jobs are not by id.
_STILL_PENDING = text(f"""
SELECT {REF} FROM jobs WHERE id = ANY(CAST(:ids AS uuid[])) AND status || '' = 'pending' AND hold = 0
""")
_ALL_PENDING = text(f"""
SELECT {REF} FROM jobs WHERE status = 'pending' AND hold = 0 ORDER BY queue, priority DESC, run_at, id
""")
# Those that wait at a limit are in no set of Redis; those under a limit that are not due yet are in the delayed set.
_ALL_LATER = text(f"""
SELECT {REF} FROM jobs WHERE hold = {LIMITED_LATER} AND run_at > now() ORDER BY run_at, id
""")


def reconcile(engine: Engine, ready: ReadySet) -> int:
    """Publish again what Redis lost; returns how many ids.

    A server that does not hold the current epoch (flushed, restarted, failed over) gets every
    pending job. Otherwise the first due jobs of each queue, in claim order, are compared with its
    ready set: the cost is bounded for a backlog of any length.
    """
    with elected(engine, "reconcile") as db:
        if db is None:
            return 0
        queues = db.scalars(_QUEUES).all()
        ready.delete_wrong_types(queues)
        if not ready.is_epoch_current():
            return _publish_everything(db, ready)
        published = 0
        types = _known_types(db)
        for queue in queues:
            window = _due_jobs(db, queue, types)
            lost = _lost_ids(db, ready, queue, window)
            if lost and len(lost) == len(window) == WINDOW:
                return _publish_everything(db, ready)
            ready.publish([ref(row) for row in window if row.id in lost], only_if_missing=True)
            published += len(lost)
        return published


def _known_types(db: Connection) -> list[str]:
    alive_seconds = current_settings().lease_seconds
    return sorted({*registry.names(), *unknown_types.known_types(db, alive_seconds=alive_seconds)})


def _due_jobs(db: Connection, queue: str, types: list[str]) -> Sequence[Any]:
    values = {"queue": queue, "types": types, "age": MIN_AGE_SECONDS, "limit": WINDOW}
    return db.execute(_WINDOW, values).all()


def _lost_ids(db: Connection, ready: ReadySet, queue: str, window: Sequence[Any]) -> set[UUID]:
    if window:
        ready.announce([queue])  # the queue's name may be lost while its ready set is whole
    missing = _missing(ready, queue, window)
    if missing:
        # A busy fleet may pop and claim a whole window between the two reads: check again.
        missing &= {row.id for row in db.execute(_STILL_PENDING, {"ids": id_array(missing)})}
    return missing


def _missing(ready: ReadySet, queue: str, window: Sequence[Any]) -> set[UUID]:
    # A worker that does not know the type may have moved the job to the type's lane.
    missing = ready.not_ready(queue, [row.id for row in window])
    for type_name in {row.type for row in window if row.id in missing}:
        ids = [row.id for row in window if row.id in missing and row.type == type_name]
        missing -= set(ids) - ready.not_ready(lane(queue, type_name), ids)
    return missing


def _publish_everything(db: Connection, ready: ReadySet) -> int:
    count = 0
    for statement in (_ALL_PENDING, _ALL_LATER):
        rows = db.execution_options(stream_results=True).execute(statement)
        for batch in rows.partitions(REPUBLISH_BATCH):
            ready.publish([ref(row) for row in batch], only_if_missing=True)
            count += len(batch)
    ready.set_epoch()
    if count:
        log.warning(
            "Redis did not hold the pending jobs (new, flushed or failed over): "
            "published all %s again",
            count,
        )
    return count
