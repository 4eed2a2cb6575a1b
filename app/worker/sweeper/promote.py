"""Delayed jobs become ready when they are due."""

from __future__ import annotations

from sqlalchemy import Engine

from app.broker.ready_set import ReadySet
from app.database import autocommit, id_array
from app.jobs import lifecycle
from app.jobs.holds import LIMITED_LATER
from app.jobs.publication import ref
from app.worker.clock import Clock
from app.worker.sweeper.sharing import KNOWN

#: How often a process looks that does not know when the next job is due.
LOOK_SECONDS = 0.1
#: How long the others give the leader to promote a job, so that they need not do it all at once.
FOLLOW_SECONDS = 0.05
#: The leader looks at most this often.
LEAD_SECONDS = 0.02
NEVER = float("-inf")


def next_look(none_due_until: float, *, looked_at: float, leads: bool) -> float:
    """When a process looks for due jobs again (all monotonic seconds).

    ``none_due_until``: until when it knows that none is due, because one of its threads waits in Redis and has
    read when the first one is; NEVER if none does. ``looked_at``: when the process looked last.
    """
    if none_due_until == NEVER:
        return looked_at + LOOK_SECONDS
    if leads:
        return max(none_due_until, looked_at + LEAD_SECONDS)
    return max(none_due_until + FOLLOW_SECONDS, looked_at + LOOK_SECONDS)


def promote_due_jobs(engine: Engine, ready: ReadySet, clock: Clock) -> int:
    """Move due ids from the delayed to the ready set, those under a limit to their limit; returns how many.

    An id is removed from the delayed set only after it is in the ready set.
    """
    now_ms = clock.now_ms()
    ids = ready.due(now_ms)
    if not ids:
        return 0
    with autocommit(engine) as db:
        rows = db.execute(KNOWN, {"ids": id_array(ids)}).all()
        if later := [row.id for row in rows if row.hold == LIMITED_LATER and row.is_due]:
            lifecycle.come_due(db, later)
    pending = [row for row in rows if row.is_pending]
    ready.publish([ref(row) for row in pending])
    # Those under a limit are in no set while they wait for it.
    gone = {row.id for row in rows if not row.is_pending or (row.held_by and row.is_due)}
    ready.forget_delayed(gone, due_at_ms=now_ms)
    ready.pass_on(set(ids) - {row.id for row in rows})
    return len(pending)
