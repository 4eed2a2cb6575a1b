"""What became of the jobs that bulk actions changed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app import cache
from app.database import DbSession
from app.jobs.bulk.actions import AT_ONCE, find
from app.jobs.lifecycle import IS_UNDOABLE
from app.jobs.models import STATUSES, BulkAction

#: Counting takes a second for a million jobs. Above this number, readers get the previous figures meanwhile.
MANY_JOBS = 10_000
SECONDS, SECONDS_OF_MANY = 1.0, 5.0
#: Retries of error groups are looked up among this many actions, the newest.
MANY_ACTIONS = 1000


@dataclass(frozen=True)
class Outcome:
    """What the jobs that an action changed are doing now; ``total`` is the sum."""

    by_status: dict[str, int]  # every status → jobs
    gone: int = 0  # deleted since, by a person or by retention
    undoable: int = 0  # unchanged since, so that an undo restores them

    @property
    def total(self) -> int:
        return sum(self.by_status.values()) + self.gone


_OUTCOME = text(f"""
SELECT j.status, count(*) AS n, count(*) FILTER (WHERE {IS_UNDOABLE}) AS undoable
FROM bulk_items i LEFT JOIN jobs j ON j.id = i.job_id
WHERE i.bulk_id = :id AND i.result = 'done' GROUP BY 1
""")


def count_outcome(db: DbSession, number: int) -> Outcome:
    """Counts now: reads all jobs of the action, a second for a million."""
    rows = db.execute(_OUTCOME, {"id": number}).all()
    counts = {row.status: row.n for row in rows}
    by_status = {status: counts.get(status, 0) for status in STATUSES}
    return Outcome(by_status, counts.get(None, 0), sum(row.undoable for row in rows))


def outcome(db: DbSession, action: BulkAction) -> Outcome:
    """What became of the jobs, counted within the last second; for many of them, the previous figures."""
    if not action.done:
        return Outcome(dict.fromkeys(STATUSES, 0))
    name, number = f"bulk.outcome.{action.id}", action.id
    if action.total < MANY_JOBS:
        return cache.cached(f"{name}.{action.done}", SECONDS, lambda: count_outcome(db, number))
    engine = db.get_bind()
    assert isinstance(engine, Engine)
    return cache.kept(name, SECONDS_OF_MANY, lambda: _count_apart(engine, number))


def _count_apart(engine: Engine, number: int) -> Outcome:
    with Session(engine) as db:
        return count_outcome(db, number)


def undo_of(db: DbSession, number: int) -> int | None:
    """The latest action that undoes this one, if any."""
    latest: int | None = db.scalar(_UNDO_OF, {"id": number})
    return latest


# ix_bulk_actions_undo_of
_UNDO_OF = text("SELECT max(id) FROM bulk_actions WHERE undo_of = :id")

# The latest retry of some of an error group, within the last day. bulk_actions_pkey, newest first. Links that the
# previous release stored name the parameter failure.
_CANARIES = text(f"""
SELECT DISTINCT ON (fingerprint) fingerprint, id FROM (
    SELECT COALESCE(scope ->> 'fingerprint', scope ->> 'failure') AS fingerprint, id FROM bulk_actions
    WHERE verb = 'retry' AND created_at > now() - interval '1 day' AND id > (
        SELECT coalesce(max(id), 0) - {MANY_ACTIONS} FROM bulk_actions)) AS recent
WHERE fingerprint = ANY(:fingerprints) ORDER BY fingerprint, id DESC
""")


def latest_retries(db: DbSession, fingerprints: list[str]) -> dict[str, tuple[BulkAction, Outcome]]:
    """Fingerprint → the latest retry of its error group in the last day, and its outcome."""
    retries = {}
    for row in db.execute(_CANARIES, {"fingerprints": fingerprints}).all():
        action = find(db, row.id)
        # Those of a canary are counted now: its verdict is awaited.
        is_small = action.done > 0 and action.total <= AT_ONCE
        counted = count_outcome(db, row.id) if is_small else outcome(db, action)
        retries[row.fingerprint] = (action, counted)
    return retries


# bulk_actions_pkey, newest first.
_RETRIED = text(f"""
SELECT DISTINCT COALESCE(scope ->> 'fingerprint', scope ->> 'failure') AS fingerprint
FROM (SELECT verb, scope, created_at FROM bulk_actions ORDER BY id DESC LIMIT {MANY_ACTIONS}) AS recent
WHERE verb = 'retry' AND created_at > now() - make_interval(secs => :seconds)
""")


def retried_groups(db: DbSession, *, seconds: float) -> list[str]:
    """Fingerprints of the error groups that were retried within that time."""
    return [
        fingerprint for fingerprint in db.scalars(_RETRIED, {"seconds": seconds}) if fingerprint
    ]
