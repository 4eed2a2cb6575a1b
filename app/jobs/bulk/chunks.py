"""Carrying out bulk actions, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text

from app import statement_timeouts
from app.database import IDLE_SECONDS, DbSession
from app.jobs import lifecycle
from app.jobs.bulk.actions import UNDO, find

#: Jobs in one transaction: about a second of work, so that no lock is held for longer.
CHUNK = 500
KEPT_DAYS = 30
#: A slowed action that was held up catches up with at most this many seconds.
CATCH_UP_SECONDS = 2

# Actions without next_at were created by the previous release.
_IS_OPEN = """
finished_at IS NULL AND CASE WHEN next_at IS NULL THEN paused_at IS NULL
                             ELSE held_at IS NULL AND next_at <= now() END
"""
#: Whether step() has anything to do.
HAS_OPEN = f"EXISTS (SELECT FROM bulk_actions WHERE {_IS_OPEN})"
# If a worker loses the network here, PostgreSQL ends its transaction after this idle time.
_NEXT = text(f"""
SELECT id, verb, args, created_by, created_at, undo_of, per_second,
       set_config('idle_in_transaction_session_timeout', '{IDLE_SECONDS}s', true)
FROM bulk_actions
WHERE {_IS_OPEN} ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
""")


def _take(verb: str, columns: Iterable[str]) -> TextClause:
    """Locks the next jobs that have not changed since the confirmation, and writes the result of all of them.

    The rows stay locked until the chunk is committed: PostgreSQL checks the condition again after waiting for
    a lock. ix_bulk_items_open, bulk_items_pkey
    """
    return text(f"""
    WITH taken AS MATERIALIZED (
        SELECT job_id FROM bulk_items WHERE bulk_id = :id AND result IS NULL ORDER BY job_id LIMIT :limit),
    unchanged AS MATERIALIZED (
        SELECT j.id, {lifecycle.before(verb, columns)} AS before
        FROM jobs j JOIN bulk_items i ON i.bulk_id = :id AND i.job_id = j.id
        WHERE j.id = ANY(ARRAY(SELECT job_id FROM taken))
          AND CASE WHEN i.job_updated_at IS NULL THEN j.updated_at <= :confirmed_at
                   ELSE j.updated_at = i.job_updated_at END
        ORDER BY j.id FOR UPDATE OF j)
    UPDATE bulk_items i SET result = CASE WHEN u.id IS NULL THEN 'skipped' ELSE 'done' END,
        done_at = now(), before = u.before
    FROM taken t LEFT JOIN unchanged u ON u.id = t.job_id
    WHERE i.bulk_id = :id AND i.job_id = t.job_id AND i.job_id = ANY(ARRAY(SELECT job_id FROM taken))
    RETURNING i.job_id, i.result = 'done' AS is_unchanged
    """)


_REFUSED = text("""
UPDATE bulk_items SET result = 'skipped', before = NULL WHERE bulk_id = :id AND job_id = ANY(:ids)
""")
_RECORD = text(f"""
UPDATE bulk_actions SET done = done + :n_done, refused = refused + :n_skipped,
    started_at = COALESCE(started_at, now()),
    next_at = CASE WHEN per_second IS NULL THEN next_at
        ELSE greatest(next_at, now() - interval '{CATCH_UP_SECONDS} s')
             + make_interval(secs => (:n_done + :n_skipped) / per_second::float8) END,
    finished_at = CASE WHEN NOT EXISTS (
        SELECT 1 FROM bulk_items WHERE bulk_id = :id AND result IS NULL) THEN now() END
WHERE id = :id
""")


def act(
    db: DbSession,
    verb: str,
    ids: list[UUID],
    *,
    by: str,
    args: dict[str, Any] | None = None,
    is_audited: bool = True,
) -> lifecycle.Changes:
    """Do ``verb`` to these jobs now, in the caller's transaction.

    ``is_audited`` False: the bulk action that they belong to is in the audit log already.
    """
    statement_timeouts.allow_bulk(db)
    return lifecycle.act(db, verb, ids, by=by, changes=args, is_audited=is_audited)


def step(db: DbSession) -> int:
    """Process and commit one chunk of the oldest running action; returns how many jobs it examined."""
    action = db.execute(_NEXT).first()
    if action is None:
        db.rollback()
        return 0
    examined = _chunk(db, action)
    db.commit()
    return examined


def finish_at_once(db: DbSession, number: int) -> int:
    """Carry out a small action in the caller's transaction; returns how many jobs it changed."""
    action = find(db, number)
    while _chunk(db, action):
        pass
    db.expire(action)
    return action.done


def _chunk(db: DbSession, action: Any) -> int:
    limit = min(CHUNK, action.per_second or CHUNK)
    columns = action.args if action.verb == "edit" else ()
    values = {"id": action.id, "limit": limit, "confirmed_at": action.created_at}
    rows = db.execute(_take(action.verb, columns), values).all()
    unchanged = sorted(row.job_id for row in rows if row.is_unchanged)
    done = _carry_out(db, action, unchanged) if unchanged else set()
    if refused := [job_id for job_id in unchanged if job_id not in done]:
        db.execute(_REFUSED, {"id": action.id, "ids": refused})
    db.execute(_RECORD, {"id": action.id, "n_done": len(done), "n_skipped": len(rows) - len(done)})
    return len(rows)


def _carry_out(db: DbSession, action: Any, ids: list[UUID]) -> set[UUID]:
    """The jobs that were changed."""
    if action.verb != UNDO:
        changes = act(
            db, action.verb, ids, by=action.created_by, args=action.args, is_audited=False
        )
        return set(changes.done)
    statement_timeouts.allow_bulk(db)
    source = find(db, action.undo_of)
    columns = source.args if source.verb == "edit" else ()
    return lifecycle.undo(db, source.verb, ids, source=source.id, columns=columns)


_OLD_ITEMS = text("""
WITH old AS (
    SELECT bulk_id, job_id FROM bulk_items JOIN bulk_actions a ON a.id = bulk_id
    WHERE a.finished_at < now() - make_interval(days => :days) LIMIT :limit)
DELETE FROM bulk_items i USING old WHERE i.bulk_id = old.bulk_id AND i.job_id = old.job_id
""")


def prune(db: Any, limit: int = 10_000) -> int:
    """Delete the lists of jobs of actions that ended more than KEPT_DAYS ago; returns how many rows."""
    return int(db.execute(_OLD_ITEMS, {"days": KEPT_DAYS, "limit": limit}).rowcount)
