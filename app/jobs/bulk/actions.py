"""Bulk actions: creating, finding, pausing, stopping and undoing them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import func, insert, literal, select, text, true

from app import statement_timeouts
from app.database import DbSession
from app.errors import BulkActionNotFound, PreviewOutdated, TooManyMatches
from app.jobs import audit
from app.jobs.bulk.errors import BulkActionEnded, BulkActionUndone, NothingToUndo
from app.jobs.bulk.scope import Scope, fits, matching
from app.jobs.lifecycle import IS_UNDOABLE
from app.jobs.listing.filters import JobFilter
from app.jobs.models import BulkAction, BulkItem, Job
from app.jobs.verbs import VERBS

MAX_JOBS = 1_000_000
#: An action on at most this many jobs may be completed in the request that confirms it.
AT_ONCE = 100
#: An action starts this long after its confirmation: until then, an undo means that nothing happens.
GRACE_SECONDS = 5
MAX_PER_SECOND = 10_000
#: Of a bigint.
MAX_NUMBER = 2**63 - 1
UNDO = "undo"


def create(
    db: DbSession,
    verb: str,
    filter: JobFilter,
    *,
    description: str,
    by: str,
    scope: Scope | None = None,
    expected: int | None = None,
    newest: int | None = None,
    args: dict[str, Any] | None = None,
    link: dict[str, str] | None = None,
    grace_seconds: float = 0,
    per_second: int | None = None,
    preview_key: str | None = None,
) -> int:
    """Store the action and its jobs, for workers to carry out; returns the action's number.

    ``scope``: the preview's, else all jobs that match now. ``expected``: how many the preview counted; more
    are refused. ``newest``: at most this number of jobs, the newest. ``args`` are the changes of edit: {"priority": 5}.
    ``link``: the filter as the query string of the list. It starts after ``grace_seconds`` and changes at most
    ``per_second`` jobs a second. With the ``preview_key`` of an action that was not stopped, the number of that
    action is returned and nothing is stored. Raises TooManyMatches, PreviewOutdated.
    """
    if verb not in VERBS:
        raise ValueError(f"verb is one of {', '.join(VERBS)}")
    statement_timeouts.allow_bulk(db)
    if preview_key is not None:
        db.execute(_ONE_AT_A_TIME, {"key": preview_key})
        if (earlier := of_preview(db, preview_key)) is not None:
            return earlier.id
    action = BulkAction(
        verb=verb, args=args or {}, description=description, created_by=by, scope=link or {}, preview_key=preview_key,
        **_timing(grace_seconds, per_second),
    )  # fmt: skip
    db.add(action)
    db.flush()
    action.total, action.late = _store_jobs(db, action.id, verb, filter, scope, newest)
    if action.total > MAX_JOBS:
        raise TooManyMatches(limit=MAX_JOBS)
    if expected is not None and action.total > expected:
        raise PreviewOutdated(matches=action.total, expected=expected)
    details = {"filter": description, **({"changes": args} if args else {})}
    return _started(db, action, f"bulk.{verb}", details)


# Of two requests with the same preview, the second waits for the first one's transaction.
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtext('jobqueue.bulk.' || :key))")


def _timing(grace_seconds: float, per_second: int | None) -> dict[str, Any]:
    if per_second is not None and not 1 <= per_second <= MAX_PER_SECOND:
        raise ValueError(f"per_second is from 1 to {MAX_PER_SECOND}")
    return {
        "next_at": func.now() + timedelta(seconds=grace_seconds),
        "paused_at": func.now(),  # keeps workers of the previous release from it
        "per_second": per_second,
    }


def _started(db: DbSession, action: BulkAction, event: str, details: dict[str, Any]) -> int:
    if not action.total:
        action.finished_at = func.now()
    details = {"bulk": action.id, **details}
    if action.per_second:
        details["per_second"] = action.per_second
    subject = f"{action.total} job{'' if action.total == 1 else 's'}"
    audit.record(db, action.created_by, event, subject, details)
    db.flush()
    db.refresh(action)
    return action.id


def _store_jobs(
    db: DbSession,
    number: int,
    verb: str,
    filter: JobFilter,
    scope: Scope | None,
    newest: int | None,
) -> tuple[int, int]:
    """How many jobs belong to the action, and how many match but arrived or changed after its preview."""
    is_in = scope.holds() if scope else true()
    candidates = select(Job.id, Job.updated_at, is_in.label("is_in")).where(
        *matching(filter), fits(verb)
    )
    if newest is not None:
        candidates = candidates.order_by(Job.id.desc())
    matches = candidates.limit(newest or MAX_JOBS + 1).cte("matches")
    chosen = select(literal(number), matches.c.id, matches.c.updated_at).where(matches.c.is_in)
    columns = ["bulk_id", "job_id", "job_updated_at"]
    written = insert(BulkItem).from_select(columns, chosen).cte("written")
    counted = select(
        func.count().filter(matches.c.is_in), func.count().filter(~matches.c.is_in)
    ).select_from(matches)
    total, late = db.execute(counted.add_cte(written)).one()
    return total, late


def find(db: DbSession, number: int) -> BulkAction:
    """The action of that number. Raises BulkActionNotFound."""
    return _found(db, number, with_for_update=None)


def _locked(db: DbSession, number: int) -> BulkAction:
    """The action, once no chunk of it is in progress. Raises BulkActionNotFound."""
    return _found(db, number, with_for_update=True)


def _found(db: DbSession, number: int, *, with_for_update: Any) -> BulkAction:
    action = None
    if number <= MAX_NUMBER:
        action = db.get(BulkAction, number, populate_existing=True, with_for_update=with_for_update)
    if action is None:
        raise BulkActionNotFound(number=number)
    return action


def of_preview(db: DbSession, preview_key: str) -> BulkAction | None:
    """The action that was started from a preview and not stopped."""
    actions = select(BulkAction).where(  # ix_bulk_actions_preview_key
        BulkAction.preview_key == preview_key, BulkAction.cancelled_by.is_(None)
    )
    return db.scalars(actions.limit(1)).first()


def latest(db: DbSession, limit: int = 50, *, before: int | None = None) -> list[BulkAction]:
    """The latest actions, newest first; with ``before``, those with a smaller number."""
    actions = select(BulkAction).order_by(BulkAction.id.desc()).limit(limit)
    if before is not None:
        actions = actions.where(BulkAction.id < before)
    return list(db.scalars(actions).all())


def count_open(db: DbSession) -> int:
    """How many have not ended; from ix_bulk_actions_open."""
    return (
        db.scalar(
            select(func.count()).select_from(BulkAction).where(BulkAction.finished_at.is_(None))
        )
        or 0
    )


def pause(db: DbSession, number: int, *, by: str) -> None:
    """Start no further chunk. Raises BulkActionEnded."""
    action = _open(db, number, "paused")
    if action.is_paused:
        return
    if action.next_at is None:
        action.paused_at = func.now()
    else:
        action.held_at = func.now()
    audit.record(db, by, "bulk.pause", str(number), {"bulk": number})


def resume(db: DbSession, number: int, *, by: str) -> None:
    """Go on with a paused action. Raises BulkActionEnded."""
    action = _open(db, number, "resumed")
    if not action.is_paused:
        return
    if action.next_at is None:
        action.paused_at = None
    else:
        action.held_at = None
    audit.record(db, by, "bulk.resume", str(number), {"bulk": number})


def stop(db: DbSession, number: int, *, by: str) -> None:
    """End the action: jobs not reached yet stay unchanged, and nothing is undone. Ended ones stay as they are."""
    action = _locked(db, number)
    if action.finished_at is None:
        statement_timeouts.allow_bulk(db)
        action.cancelled_by, action.finished_at = by, func.now()
        db.execute(_LEAVE, {"id": number})
        audit.record(db, by, "bulk.stop", str(number), {"bulk": number})


_LEAVE = text("DELETE FROM bulk_items WHERE bulk_id = :id AND result IS NULL")


def _open(db: DbSession, number: int, wanted: str) -> BulkAction:
    action = _locked(db, number)
    if action.finished_at is not None:
        state = "been stopped" if action.cancelled_by else "finished"
        raise BulkActionEnded(number=number, state=state, wanted=wanted)
    return action


_UNDO_JOBS = text(f"""
INSERT INTO bulk_items (bulk_id, job_id, job_updated_at)
SELECT :id, i.job_id, i.done_at FROM bulk_items i JOIN jobs j ON j.id = i.job_id
WHERE i.bulk_id = :source AND i.result = 'done' AND {IS_UNDOABLE}
""")
_UNDONE_BY = text(
    "SELECT id FROM bulk_actions WHERE undo_of = :id AND cancelled_by IS NULL ORDER BY id LIMIT 1"
)


def undo(
    db: DbSession,
    number: int,
    *,
    by: str,
    grace_seconds: float = 0,
) -> int:
    """Undo an action: stop it, and restore the jobs that it changed and that have not changed since.

    Returns the number of the action that restores them, as slowly as the action; of ``number`` itself if that had not begun, so that
    nothing has to be restored. Raises BulkActionUndone if that was done before, NothingToUndo.
    """
    source = _locked(db, number)
    if source.verb == UNDO and source.has_begun:
        reason = "it is an undo itself; repeat the original action instead"
        raise NothingToUndo(number=number, reason=reason)
    if source.finished_at is None:
        stop(db, number, by=by)
        db.flush()
        if not source.has_begun:
            return number
    if VERBS[source.verb].is_undoable is False:
        raise NothingToUndo(number=number, reason="deleted jobs can't be restored")
    if (earlier := db.scalar(_UNDONE_BY, {"id": number})) is not None:
        raise BulkActionUndone(number=number, undo=earlier)
    return _undoing(db, source, by, _timing(grace_seconds, source.per_second))


def _undoing(db: DbSession, source: BulkAction, by: str, timing: dict[str, Any]) -> int:
    statement_timeouts.allow_bulk(db)
    action = BulkAction(
        verb=UNDO, args={"verb": source.verb, "total": source.total}, description=source.description, scope=source.scope, created_by=by,
        undo_of=source.id, **timing,
    )  # fmt: skip
    db.add(action)
    db.flush()
    action.total = db.execute(_UNDO_JOBS, {"id": action.id, "source": source.id}).rowcount  # type: ignore[attr-defined]
    action.late = source.done - action.total
    if not action.total:
        reason = "all its jobs have run or changed since, or were deleted"
        raise NothingToUndo(number=source.id, reason=reason)
    return _started(db, action, "bulk.undo", {"undo_of": source.id, "verb": source.verb})
