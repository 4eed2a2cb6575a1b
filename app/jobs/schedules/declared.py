"""The schedules of the code: each worker stores those that it declares when it starts.

If two releases define a schedule differently, the worker that started last decides. One that no live worker declares is
retired after a minute, and goes on when a worker declares it again; so during a rolling deploy neither release stops
the schedules of the other.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Row, text

from app.database import DbSession
from app.errors import JobQueueError
from app.jobs import audit
from app.jobs.publication import hint_after_commit
from app.jobs.schedules import definition, overlap, store, times
from app.jobs.schedules.definition import Definition
from app.jobs.schedules.tick import HINT

log = logging.getLogger(__name__)

ACTOR = "code"
#: How long no live worker must declare a schedule before it is retired.
RETIRE_SECONDS = 60

_STORED = text("SELECT * FROM schedules WHERE name = ANY(CAST(:names AS text[]))")
_DECLARED = text("""
UPDATE schedules SET declared_at = clock_timestamp(), retired_at = NULL, next_run_at = :next_run_at
WHERE id = :id
""")
_SEEN = """
SELECT FROM workers w WHERE s.name = ANY(w.schedules)
  AND COALESCE(w.stopped_at, w.heartbeat_at) > now() - make_interval(secs => :seconds)
"""
_RETIRE = text(f"""
UPDATE schedules s SET retired_at = now(), next_run_at = NULL
WHERE s.source = 'code' AND s.retired_at IS NULL
  AND COALESCE(s.declared_at, s.created_at) < now() - make_interval(secs => :seconds)
  AND NOT EXISTS ({_SEEN})
RETURNING s.name
""")
_TO_REVIVE = text(f"""
SELECT s.*, clock_timestamp() AS now FROM schedules s
WHERE s.source = 'code' AND s.retired_at IS NOT NULL AND EXISTS ({_SEEN} AND w.stopped_at IS NULL)
ORDER BY s.name FOR UPDATE
""")


def names() -> list[str]:
    """What this process declares, as in workers.schedules."""
    return [each.name for each in definition.declared()]


def declare(db: DbSession) -> bool:
    """Store the schedules of this process's code; the caller commits. What is stored like that is not written again.

    False if some could not be stored yet, because a worker that knows no limits is alive, or at all, because their jobs
    are under another limit: the log says so.
    """
    wanted, is_done = definition.declared(), True
    stored = {row.name: row for row in db.execute(_STORED, {"names": [d.name for d in wanted]})}
    for each in wanted:
        if not _is_stored(each, stored.get(each.name)):
            try:
                overlap.check_limit(db, each)
            except JobQueueError as error:
                log.warning("Schedule %s can't be stored: %s", each.name, error)
                is_done = False
            else:
                _store(db, each)
    return is_done


def retire(db: DbSession) -> list[str]:
    """Stop the schedules that no live worker has declared for RETIRE_SECONDS; the caller commits. Returns their names."""
    names = sorted(db.scalars(_RETIRE, {"seconds": RETIRE_SECONDS}))
    for name in names:
        log.warning("Schedule %s is retired: no live worker's code declares it", name)
        audit.record(db, ACTOR, "schedule.retire", name)
    return names


def revive(db: DbSession) -> list[str]:
    """Start the retired schedules that a live worker declares; the caller commits. Returns their names."""
    rows = db.execute(_TO_REVIVE, {"seconds": RETIRE_SECONDS}).all()
    for row in rows:
        _start(db, row)
    return [row.name for row in rows]


def _is_stored(wanted: Definition, row: Row[Any] | None) -> bool:
    if row is None or row.source != "code" or row.retired_at is not None:
        return False
    return not store.differences(store.anchored(wanted, row.updated_at, row), row)


def _store(db: DbSession, wanted: Definition) -> None:
    row = store.find_locked(db, wanted.name)
    if row is None:
        if store.insert(db, wanted, source="code", by=ACTOR):
            audit.record(db, ACTOR, "schedule.create", wanted.name, store.summary(wanted))
            return
        row = store.find_locked(db, wanted.name)  # another worker was first
        assert row is not None
    if row.source != "code":
        log.warning(
            "Schedule %s was created by %s; now the code defines it", row.name, row.created_by
        )
    store.update(db, row, wanted, source="code", by=ACTOR)
    if row.retired_at is not None:
        row = store.find_locked(db, wanted.name)
        assert row is not None
        _start(db, row)


def _start(db: DbSession, row: Row[Any]) -> None:
    next_run_at = None if row.paused_at else times.next_tick(row, row.now)
    db.execute(_DECLARED, {"id": row.id, "next_run_at": next_run_at})
    audit.record(db, ACTOR, "schedule.revive", row.name)
    hint_after_commit(db, HINT)
