"""One verb for many jobs: previewed, then done in chunks that survive a restart.

What matched when a person said yes is written down, id by id: exactly that is touched, whatever matches later.
A chunk is one transaction (the jobs' change and the progress together), so a crash repeats nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, literal, select, text
from sqlalchemy.orm import Session, scoped_session

from app.errors import JobQueueError
from app.jobs import lifecycle
from app.jobs.models import ALLOWED, BulkAction, BulkItem, DeadLetter, Job
from app.jobs.queries.filters import JobFilter, conditions

Sessions = Session | scoped_session[Any]
VERBS = ("retry", "run", "cancel", "delete", "discard", "edit")
#: So many jobs in one transaction: a second of work, and no lock held for longer.
CHUNK = 500
MOST = 1_000_000
#: So many are done at once, in the request that asks for it.
AT_ONCE = 50
SAMPLE = 10


class TooMany(JobQueueError):
    """More than {most} jobs match; narrow the filter and do it in parts."""

    http_status, code = 422, "too_many"


class NoSuchBulk(JobQueueError):
    """No bulk action has the number {number}."""

    http_status, code = 404, "bulk_not_found"


@dataclass(frozen=True)
class Preview:
    """What a verb would touch now."""

    counts: dict[str, int]  # verb → how many it applies to; up to MOST
    sample: list[Job]


def preview(db: Sessions, filter: JobFilter) -> Preview:
    """Counts by verb and the newest matches; bounded by the caller's statement timeout."""
    matching = _matching(filter)
    by_status = select(Job.status, func.count()).where(*matching).group_by(Job.status)
    found: dict[str, int] = {row.status: row[1] for row in db.execute(by_status)}
    counts = {
        verb: sum(found.get(s, 0) for s in ALLOWED[verb]) for verb in VERBS if verb != "discard"
    }
    letters = select(func.count()).select_from(Job).where(*matching, _has_letter())
    counts["discard"] = db.execute(letters).scalar_one() if found.get("failed") else 0
    sample = db.scalars(select(Job).where(*matching).order_by(Job.id.desc()).limit(SAMPLE)).all()
    return Preview(counts, list(sample))


def create(
    db: Sessions,
    verb: str,
    filter: JobFilter,
    *,
    told: str,
    by: str,
    args: dict[str, Any] | None = None,
) -> int:
    """Write down what matches now; a worker does the rest. Its number. Raises TooMany.

    ``args`` are the changes of edit: {"priority": 5}, {"queue": "slow"}.
    """
    if verb not in VERBS:
        raise ValueError(f"verb is one of {', '.join(VERBS)}")
    action = BulkAction(verb=verb, args=args or {}, told=told, created_by=by)
    db.add(action)
    db.flush()
    rows = select(literal(action.id), Job.id).where(*_matching(filter), _fits(verb)).limit(MOST + 1)
    db.execute(insert(BulkItem).from_select(["bulk_id", "job_id"], rows))
    total = db.execute(
        select(func.count()).select_from(BulkItem).where(BulkItem.bulk_id == action.id)
    ).scalar_one()
    if total > MOST:
        raise TooMany(most=MOST)
    action.total = total
    if not total:
        action.finished_at = func.now()
    details = {"bulk": action.id, "filter": told, **({"changes": args} if args else {})}
    lifecycle.record(db, by, f"bulk.{verb}", f"{total} jobs", details)
    db.flush()
    return action.id


def newest(db: Sessions, verb: str, filter: JobFilter, limit: int) -> list[UUID]:
    """The ids of the newest matches that ``verb`` applies to: a canary before all of them."""
    rows = select(Job.id).where(*_matching(filter), _fits(verb)).order_by(Job.id.desc())
    return list(db.scalars(rows.limit(limit)).all())


def act(
    db: Sessions, verb: str, ids: list[UUID], *, by: str, args: dict[str, Any] | None = None
) -> lifecycle.Changes:
    """``verb`` for these jobs now, in the caller's transaction."""
    if verb == "edit":
        return lifecycle.edit(db, ids, args or {}, by=by)
    acts = {
        "retry": lifecycle.retry, "run": lifecycle.run_now, "cancel": lifecycle.cancel,
        "delete": lifecycle.delete, "discard": lifecycle.discard,
    }  # fmt: skip
    return acts[verb](db, ids, by=by)


def _fits(verb: str) -> Any:
    return _has_letter() if verb == "discard" else Job.status.in_(ALLOWED[verb])


def _matching(filter: JobFilter) -> list[Any]:
    filter = filter.normalized()
    if not filter.can_match:
        return [text("false")]
    low, high = filter.id_range()
    return [Job.id >= low, Job.id <= high, *conditions(filter).values()]


def _has_letter() -> Any:
    return (
        select(literal(1))
        .where(DeadLetter.job_id == Job.id, DeadLetter.closed_at.is_(None))
        .exists()
    )


# Of a worker that the network cuts off here PostgreSQL lets go after some seconds, not hours.
_NEXT = text("""
SELECT id, verb, args, created_by, set_config('idle_in_transaction_session_timeout', '10s', true)
FROM bulk_actions
WHERE finished_at IS NULL AND paused_at IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
""")
_TAKE = text("""
DELETE FROM bulk_items WHERE (bulk_id, job_id) IN (
    SELECT bulk_id, job_id FROM bulk_items WHERE bulk_id = :id ORDER BY job_id LIMIT :limit)
RETURNING job_id
""")
_TELL = text("""
UPDATE bulk_actions SET done = done + :done, refused = refused + :refused,
    finished_at = CASE WHEN NOT EXISTS (SELECT 1 FROM bulk_items WHERE bulk_id = :id) THEN now() END
WHERE id = :id
""")


def step(db: Sessions) -> int:
    """One chunk of the oldest running action, committed; how many jobs it looked at."""
    action = db.execute(_NEXT).first()
    if action is None:
        db.rollback()
        return 0
    ids = sorted(db.scalars(_TAKE, {"id": action.id, "limit": CHUNK}).all())
    changes = act(db, action.verb, ids, by=action.created_by, args=action.args) if ids else None
    done = len(changes.done) if changes else 0
    db.execute(_TELL, {"id": action.id, "done": done, "refused": len(ids) - done})
    db.commit()
    return len(ids)


def find(db: Sessions, number: int) -> BulkAction:
    """Raises NoSuchBulk."""
    action = db.get(BulkAction, number, populate_existing=True)
    if action is None:
        raise NoSuchBulk(number=number)
    return action


def latest(db: Sessions, limit: int = 50) -> list[BulkAction]:
    """Newest first."""
    return list(db.scalars(select(BulkAction).order_by(BulkAction.id.desc()).limit(limit)).all())


def pause(db: Sessions, number: int, *, by: str) -> None:
    """No further chunk begins."""
    action = find(db, number)
    action.paused_at = func.coalesce(BulkAction.paused_at, func.now())
    lifecycle.record(db, by, "bulk.pause", str(number))


def resume(db: Sessions, number: int, *, by: str) -> None:
    action = find(db, number)
    action.paused_at = None
    lifecycle.record(db, by, "bulk.resume", str(number))


def cancel(db: Sessions, number: int, *, by: str) -> None:
    """What was not touched yet stays as it is; what was done stays done."""
    action = find(db, number)
    if action.finished_at is None:
        action.cancelled_by, action.finished_at = by, func.now()
        db.execute(text("DELETE FROM bulk_items WHERE bulk_id = :id"), {"id": number})
        lifecycle.record(db, by, "bulk.cancel", str(number))
