"""One verb for many jobs: previewed, then carried out in chunks that survive a restart.

The ids of the jobs are stored when a person confirms the action: those of the preview that have not changed since
(scope.py). Later arrivals are counted and left unchanged, and a job that changes between the confirmation and its
chunk is skipped. A chunk is one transaction (the jobs' change and the progress together), so a
crash repeats nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, literal, select, text, true

from app import statement_timeouts
from app.database import IDLE_SECONDS, DbSession
from app.errors import BulkActionNotFound, PreviewOutdated, TooManyMatches
from app.jobs import audit, lifecycle
from app.jobs.bulk.scope import Scope, fits, matching
from app.jobs.listing.filters import JobFilter
from app.jobs.models import STATUSES, BulkAction, BulkItem, Job
from app.jobs.verbs import VERBS

#: Jobs in one transaction: about a second of work, so that no lock is held for longer.
CHUNK = 500
MAX_JOBS = 1_000_000
#: An action on at most this many jobs is completed in the request that confirms it.
AT_ONCE = 100
KEPT_DAYS = 30


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
) -> int:
    """Store the action and its jobs, for workers to carry out; returns the action's number.

    ``scope``: the preview's, else all jobs that match now. ``expected``: how many the preview counted; more
    are refused. ``newest``: only that many, the newest. ``args`` are the changes of edit: {"priority": 5}.
    ``link``: the filter as the query string of the list. Raises TooManyMatches, PreviewOutdated.
    """
    if verb not in VERBS:
        raise ValueError(f"verb is one of {', '.join(VERBS)}")
    statement_timeouts.allow_bulk(db)
    action = BulkAction(
        verb=verb, args=args or {}, description=description, created_by=by, scope=link or {}
    )
    db.add(action)
    db.flush()
    action.total, action.late = _store_jobs(db, action.id, verb, filter, scope, newest)
    if action.total > MAX_JOBS:
        raise TooManyMatches(limit=MAX_JOBS)
    if expected is not None and action.total > expected:
        raise PreviewOutdated(matches=action.total, expected=expected)
    if not action.total:
        action.finished_at = func.now()
    details = {"bulk": action.id, "filter": description, **({"changes": args} if args else {})}
    audit.record(
        db, by, f"bulk.{verb}", f"{action.total} job{'' if action.total == 1 else 's'}", details
    )
    db.flush()
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


_IS_OPEN = "finished_at IS NULL AND paused_at IS NULL"
#: Whether step() has anything to do.
HAS_OPEN = f"EXISTS (SELECT FROM bulk_actions WHERE {_IS_OPEN})"
# If a worker loses the network here, PostgreSQL ends its transaction after this idle time.
_NEXT = text(f"""
SELECT id, verb, args, created_by, created_at, set_config('idle_in_transaction_session_timeout', '{IDLE_SECONDS}s', true)
FROM bulk_actions
WHERE {_IS_OPEN} ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
""")
# ix_bulk_items_open
_TAKE = text("""
SELECT job_id FROM bulk_items WHERE bulk_id = :id AND result IS NULL ORDER BY job_id LIMIT :limit
""")
# Locked until the chunk is committed: PostgreSQL checks the condition again after waiting for a lock.
_UNCHANGED = text("""
SELECT j.id FROM jobs j JOIN bulk_items i ON i.bulk_id = :id AND i.job_id = j.id
WHERE j.id = ANY(:ids) AND CASE WHEN i.job_updated_at IS NULL THEN j.updated_at <= :confirmed_at
                                ELSE j.updated_at = i.job_updated_at END
ORDER BY j.id FOR UPDATE OF j
""")
_RECORD = text("""
WITH recorded AS (
    UPDATE bulk_items SET result = CASE WHEN job_id = ANY(:done) THEN 'done' ELSE 'skipped' END
    WHERE bulk_id = :id AND job_id = ANY(:ids))
UPDATE bulk_actions SET done = done + :n_done, refused = refused + :n_skipped,
    finished_at = CASE WHEN NOT EXISTS (
        SELECT 1 FROM bulk_items WHERE bulk_id = :id AND result IS NULL AND job_id <> ALL(:ids)
    ) THEN now() END
WHERE id = :id
""")


def step(db: DbSession) -> int:
    """Process and commit one chunk of the oldest running action; returns how many jobs it examined."""
    action = db.execute(_NEXT).first()
    if action is None:
        db.rollback()
        return 0
    looked_at = _chunk(db, action)
    db.commit()
    return looked_at


def finish_at_once(db: DbSession, number: int) -> int:
    """Carry out a small action in the caller's transaction; returns how many jobs it changed."""
    action = find(db, number)
    while _chunk(db, action):
        pass
    db.expire(action)
    return action.done


def _chunk(db: DbSession, action: Any) -> int:
    ids = list(db.scalars(_TAKE, {"id": action.id, "limit": CHUNK}).all())
    done: list[UUID] = []
    if unchanged := _unchanged(db, action, ids):
        by, args = action.created_by, action.args
        done = act(db, action.verb, unchanged, by=by, args=args, is_audited=False).done
    db.execute(
        _RECORD,
        {"id": action.id, "ids": ids, "done": done, "n_done": len(done), "n_skipped": len(ids) - len(done)},
    )  # fmt: skip
    return len(ids)


def _unchanged(db: DbSession, action: Any, ids: list[UUID]) -> list[UUID]:
    """The jobs that have not changed since the action was confirmed; locks them."""
    values = {"id": action.id, "ids": ids, "confirmed_at": action.created_at}
    return list(db.scalars(_UNCHANGED, values).all()) if ids else []


def find(db: DbSession, number: int) -> BulkAction:
    """The action of that number. Raises BulkActionNotFound."""
    action = db.get(BulkAction, number, populate_existing=True)
    if action is None:
        raise BulkActionNotFound(number=number)
    return action


def latest(db: DbSession, limit: int = 50) -> list[BulkAction]:
    """The latest actions, newest first."""
    return list(db.scalars(select(BulkAction).order_by(BulkAction.id.desc()).limit(limit)).all())


def pause(db: DbSession, number: int, *, by: str) -> None:
    """Start no further chunk."""
    action = find(db, number)
    action.paused_at = func.coalesce(BulkAction.paused_at, func.now())
    audit.record(db, by, "bulk.pause", str(number), {"bulk": number})


def resume(db: DbSession, number: int, *, by: str) -> None:
    action = find(db, number)
    action.paused_at = None
    audit.record(db, by, "bulk.resume", str(number), {"bulk": number})


_LEAVE = text("DELETE FROM bulk_items WHERE bulk_id = :id AND result IS NULL")


def stop(db: DbSession, number: int, *, by: str) -> None:
    """End the action: jobs not reached yet stay unchanged, and nothing is undone."""
    action = find(db, number)
    if action.finished_at is None:
        statement_timeouts.allow_bulk(db)
        action.cancelled_by, action.finished_at = by, func.now()
        db.execute(_LEAVE, {"id": number})
        audit.record(db, by, "bulk.stop", str(number), {"bulk": number})


@dataclass(frozen=True)
class Outcome:
    """What the jobs that an action changed are doing now."""

    by_status: dict[str, int]  # every status → jobs
    gone: int  # deleted since, by a person or by retention


_OUTCOME = text("""
SELECT j.status, count(*) AS n FROM bulk_items i JOIN jobs j ON j.id = i.job_id
WHERE i.bulk_id = :id AND i.result = 'done' GROUP BY 1
""")


def outcome(db: DbSession, action: BulkAction) -> Outcome:
    """What became of the jobs of an action; reads all of them, a second for a million."""
    counts = {row.status: row.n for row in db.execute(_OUTCOME, {"id": action.id})}
    by_status = {status: counts.get(status, 0) for status in STATUSES}
    return Outcome(by_status, max(action.done - sum(counts.values()), 0))


# The latest retry of some of an error group, within the last day. bulk_actions_pkey, newest first. Links that the
# previous release stored name the parameter failure.
_CANARIES = text("""
SELECT DISTINCT ON (fingerprint) fingerprint, id FROM (
    SELECT COALESCE(scope ->> 'fingerprint', scope ->> 'failure') AS fingerprint, id FROM bulk_actions
    WHERE verb = 'retry' AND created_at > now() - interval '1 day' AND id > (
        SELECT coalesce(max(id), 0) - 1000 FROM bulk_actions)) AS recent
WHERE fingerprint = ANY(:fingerprints) ORDER BY fingerprint, id DESC
""")


def latest_retries(db: DbSession, fingerprints: list[str]) -> dict[str, tuple[BulkAction, Outcome]]:
    """Fingerprint → the latest retry of its error group in the last day, and its outcome."""
    retries = {}
    for row in db.execute(_CANARIES, {"fingerprints": fingerprints}).all():
        action = find(db, row.id)
        retries[row.fingerprint] = (action, outcome(db, action))
    return retries


_OLD_ITEMS = text("""
WITH old AS (
    SELECT bulk_id, job_id FROM bulk_items JOIN bulk_actions a ON a.id = bulk_id
    WHERE a.finished_at < now() - make_interval(days => :days) LIMIT :limit)
DELETE FROM bulk_items i USING old WHERE i.bulk_id = old.bulk_id AND i.job_id = old.job_id
""")


def prune(db: Any, limit: int = 10_000) -> int:
    """Delete the lists of jobs of actions that ended more than KEPT_DAYS ago; returns how many rows."""
    return int(db.execute(_OLD_ITEMS, {"days": KEPT_DAYS, "limit": limit}).rowcount)
