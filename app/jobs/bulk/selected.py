"""A verb for the jobs that a person selected: carried out at once, and kept as a bulk action so that it can be undone."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import func, text

from app import statement_timeouts
from app.database import DbSession, id_array
from app.jobs import audit
from app.jobs.bulk.chunks import act, finish_at_once
from app.jobs.lifecycle import Changes
from app.jobs.lifecycle.changes import outcome
from app.jobs.models import BulkAction
from app.jobs.verbs import VERBS

_ITEMS = text("""
INSERT INTO bulk_items (bulk_id, job_id, job_updated_at)
SELECT :id, id, updated_at FROM jobs WHERE id = ANY(CAST(:ids AS uuid[]))
""")
_DONE = text("SELECT job_id FROM bulk_items WHERE bulk_id = :id AND result = 'done'")


def act_on_selected(
    db: DbSession, verb: str, ids: list[UUID], *, by: str, args: dict[str, Any] | None = None
) -> tuple[Changes, int | None]:
    """Do ``verb`` to these jobs in the caller's transaction; the changes, and the number of the bulk action.

    The number is None where there is no use for one: for a single job, after a deletion, or if nothing was changed.
    """
    if len(ids) == 1 or not VERBS[verb].is_undoable:
        return act(db, verb, ids, by=by, args=args), None
    statement_timeouts.allow_bulk(db)
    with db.begin_nested() as savepoint:
        number = _store(db, verb, ids, by, args or {})
        finish_at_once(db, number)
        done = set(db.scalars(_DONE, {"id": number}))
        if not done:
            savepoint.rollback()
    changes = outcome(db, ids, done, verb)
    fields = {"fields": sorted(args)} if args else {}
    audit.record_jobs(db, by, f"job.{verb}", changes.done, {**fields, "bulk": number})
    return changes, number if done else None


def _store(db: DbSession, verb: str, ids: list[UUID], by: str, args: dict[str, Any]) -> int:
    action = BulkAction(
        verb=verb, args=args, description="Selected jobs", created_by=by, next_at=func.now(), paused_at=func.now()
    )  # fmt: skip
    db.add(action)
    db.flush()
    action.total = db.execute(_ITEMS, {"id": action.id, "ids": id_array(ids)}).rowcount  # type: ignore[attr-defined]
    db.flush()
    return action.id
