"""Moving the jobs of a type or queue under a limit, from one to another, or out of it: in chunks, by the sweeper.

The attachment counts for new jobs at once, and no job of the type or queue is claimed without its limit. A move is a walk
over the pending jobs that were there before. Its state is in its row, so any worker goes on with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.database import Db, rows_in_order
from app.jobs import lifecycle
from app.jobs.publication import after_commit, ref

#: Jobs that one step looks at, and those that it changes.
WINDOW, CHUNK = 10_000, 1_000

# Again for one that goes on: it starts from the first job.
_START = text("""
INSERT INTO limit_moves (kind, name, started_by) VALUES (:kind, :name, :by)
ON CONFLICT (kind, name) DO UPDATE SET started_by = excluded.started_by, after_id = NULL, done = 0,
    started_at = now()
""")
#: Whether a step has something to do, for the check of the sweeper.
HAS_MOVES = "EXISTS (SELECT FROM limit_moves)"
_NEXT = text("""
SELECT kind, name, after_id, done FROM limit_moves
ORDER BY started_at, kind, name LIMIT 1 FOR UPDATE SKIP LOCKED
""")
# ix_jobs_pending
_WINDOW = text("""
SELECT id, CASE :kind WHEN 'type' THEN type WHEN 'queue' THEN queue ELSE limit_name END = :name AS is_its
FROM jobs WHERE status = 'pending' AND id > :after ORDER BY id LIMIT :window
""")
# ix_jobs_processing: as many as workers have threads. Their slots count from now on.
_RUNNING = text("""
SELECT id FROM jobs WHERE status = 'processing'
  AND CASE :kind WHEN 'type' THEN type WHEN 'queue' THEN queue ELSE limit_name END = :name
""")
_FIRST = UUID(int=0)

_GO_ON = text("""
UPDATE limit_moves SET after_id = :after, done = :done WHERE kind = :kind AND name = :name
""")
_END = text("DELETE FROM limit_moves WHERE kind = :kind AND name = :name")


def start_move(db: Db, kind: str, name: str, *, by: str | None) -> None:
    """Have the pending jobs of the type, queue or limit (``kind``) moved to where they belong now."""
    db.execute(_START, {"kind": kind, "name": name, "by": by})


def step(session: Session) -> int:
    """One chunk of the oldest move, committed; returns how many jobs it looked at, plus 1 if a move goes on."""
    move = session.execute(_NEXT).first()
    if move is None:
        return 0
    of = {"kind": move.kind, "name": move.name}
    moved = 0
    if move.after_id is None:
        moved = _apply(session, list(session.scalars(_RUNNING, of)))
    after = move.after_id or _FIRST
    rows = rows_in_order(session, _WINDOW, {**of, "after": after, "window": WINDOW})
    its = [row.id for row in rows if row.is_its][:CHUNK]
    moved += _apply(session, its)
    done = move.done + moved
    if len(its) == CHUNK:
        session.execute(_GO_ON, {**of, "after": its[-1], "done": done})
    elif len(rows) == WINDOW:
        session.execute(_GO_ON, {**of, "after": rows[-1].id, "done": done})
    else:
        session.execute(_END, of)
    session.commit()
    return len(rows) + 1


def _apply(db: Session, ids: Sequence[UUID]) -> int:
    if not ids:
        return 0
    rows = lifecycle.assign(db, ids)
    after_commit(db, [ref(row) for row in rows if row.status == "pending"])
    return len(rows)
