"""Delayed jobs become ready when they are due."""

from __future__ import annotations

from sqlalchemy import Engine

from app.broker.ready_set import ReadySet
from app.database import autocommit, id_array
from app.jobs.publication import ref
from app.worker.clock import Clock
from app.worker.sweeper.sharing import KNOWN


def promote_due_jobs(engine: Engine, ready: ReadySet, clock: Clock) -> int:
    """Move due ids from the delayed to the ready set; returns how many.

    An id is removed from the delayed set only after it is in the ready set.
    """
    now_ms = clock.now_ms()
    ids = ready.due(now_ms)
    if not ids:
        return 0
    with autocommit(engine) as db:
        rows = db.execute(KNOWN, {"ids": id_array(ids)}).all()
    pending = [row for row in rows if row.is_pending]
    ready.publish([ref(row) for row in pending])
    ready.forget_delayed({row.id for row in rows if not row.is_pending}, due_at_ms=now_ms)
    ready.pass_on(set(ids) - {row.id for row in rows})
    return len(pending)
