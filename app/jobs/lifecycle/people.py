"""What a person does to jobs: cancel, retry, run now, edit, discard, delete.

Each verb returns Changes: the jobs it changed and, for each of the others, why it was refused.
``by`` is the actor in the audit log; ``is_audited`` is False for a bulk action, which has one entry
for all its jobs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.database import Db, id_array
from app.jobs import audit
from app.jobs.holds import AT_LIMIT, LIMITED_LATER
from app.jobs.lifecycle.changes import IS_LIVE, Changes, outcome, why_not
from app.jobs.lifecycle.limited import assign, held
from app.jobs.lifecycle.sql import GIVEN, IS_LOCKED, locked
from app.jobs.publication import REF, after_commit, ref
from app.jobs.verbs import CANCEL, DELETE, EDIT, RETRY, RUN

_CANCELABLE = locked(f"SELECT id FROM jobs WHERE {GIVEN} AND {CANCEL.starts_from()}")
_CANCEL = text(f"""
WITH {_CANCELABLE}
UPDATE jobs SET
    status = CASE status WHEN 'pending' THEN 'cancelled' ELSE status END, hold = 0,
    finished_at = CASE status WHEN 'pending' THEN now() END,
    cancel_requested_at = CASE status WHEN 'processing'
                               THEN COALESCE(cancel_requested_at, now()) END,
    fingerprint = CASE status WHEN 'processing' THEN fingerprint END,
    updated_at = now()
WHERE {IS_LOCKED}
RETURNING id
""")


def cancel(db: Db, ids: Sequence[UUID], *, by: str, is_audited: bool = True) -> Changes:
    """pending → cancelled; asks a processing job to stop; a cancelled job counts as done."""
    done = set(db.scalars(_CANCEL, {"ids": id_array(ids)}))
    if is_audited:
        audit.record_jobs(db, by, "job.cancel", list(done))
    changes = outcome(db, ids, done, "cancel")
    already = [
        job_id
        for job_id, error in changes.refused.items()
        if error.facts.get("status") == "cancelled"
    ]
    for job_id in already:
        del changes.refused[job_id]
    return Changes([*changes.done, *already], changes.refused)


_RETRYABLE = locked(
    f"""
    SELECT j.id, j.unique_key FROM jobs j
    WHERE j.{GIVEN} AND {RETRY.starts_from("j.status")}
      AND NOT EXISTS (SELECT 1 FROM jobs live WHERE live.unique_key = j.unique_key
                      AND live.unique_key IS NOT NULL
                      AND {IS_LIVE})
    """,
    order="j.id",
    of="j",
)
_RETRY = text(f"""
WITH {_RETRYABLE},
chosen AS (
    SELECT DISTINCT ON (COALESCE(unique_key, id::text)) id FROM locked
    ORDER BY COALESCE(unique_key, id::text), id),
closed AS (
    UPDATE dead_letters SET closed_at = now(), closed_by = :by, closed_how = 'retried'
    WHERE closed_at IS NULL AND job_id IN (SELECT id FROM chosen))
UPDATE jobs SET status = 'pending', hold = {held("limit_name", "run_at")}, attempts = 0, crashes = 0, run_at = greatest(run_at, now()),
    lease_token = NULL, leased_until = NULL, cancel_requested_at = NULL, started_at = NULL,
    finished_at = NULL, last_error = NULL, fingerprint = NULL, result = NULL, progress = NULL,
    expires_at = CASE WHEN expires_at > now() THEN expires_at END, updated_at = now()
WHERE id = ANY(ARRAY(SELECT id FROM chosen))
RETURNING id
""")


def retry(db: Db, ids: Sequence[UUID], *, by: str, is_audited: bool = True) -> Changes:
    """failed, cancelled → pending with attempts and crashes 0; closes the open dead letter.

    A run_at in the future is kept, so retrying a cancelled scheduled job schedules it again.
    A job is refused with UniqueConflict if another live job has its unique key.
    """
    try:
        done = _in_savepoint(db, _RETRY, {"ids": id_array(ids), "by": by})
    except IntegrityError:
        # Another transaction took a unique key meanwhile. Retried one at a time, only its job fails.
        if len(ids) == 1:
            return Changes([], why_not(db, ids, "retry"))
        each = [retry(db, [job_id], by=by, is_audited=is_audited) for job_id in ids]
        return Changes(
            [i for changes in each for i in changes.done],
            {i: e for changes in each for i, e in changes.refused.items()},
        )
    _publish(db, done)
    if is_audited:
        audit.record_jobs(db, by, "job.retry", done)
    return outcome(db, ids, set(done), "retry")


_PENDING = f"SELECT id FROM jobs WHERE {GIVEN} AND {RUN.starts_from()}"
_RUN_NOW = text(f"""
WITH {locked(_PENDING)}
UPDATE jobs SET run_at = now(), updated_at = now(),
    hold = CASE hold WHEN {LIMITED_LATER} THEN {AT_LIMIT} ELSE hold END
WHERE {IS_LOCKED} AND run_at > now()
RETURNING {REF}
""")
_SELECT_PENDING = text(_PENDING)


def run_now(db: Db, ids: Sequence[UUID], *, by: str, is_audited: bool = True) -> Changes:
    """pending with run_at ahead (scheduled, retrying) → due now; a due job stays as it is."""
    rows = db.execute(_RUN_NOW, {"ids": id_array(ids)}).all()
    after_commit(db, [ref(row) for row in rows])
    if is_audited:
        audit.record_jobs(db, by, "job.run", [row.id for row in rows])
    done = {row.id for row in rows}
    if len(done) < len(ids):
        done |= set(db.scalars(_SELECT_PENDING, {"ids": id_array(ids)}))
    return outcome(db, ids, done, "run")


#: Column → SQL for the new value; the keys are what a person may edit.
_EDITABLE = {
    "payload": "CAST(:payload AS jsonb)",
    "priority": ":priority",
    "queue": ":queue",
    "run_at": "COALESCE(CAST(:run_at AS timestamptz), now())",
    "max_attempts": ":max_attempts",
    "tags": "CAST(:tags AS text[])",
}

_LOCK_EDITABLE = locked(f"SELECT id FROM jobs WHERE {GIVEN} AND {EDIT.starts_from()}")


def edit(
    db: Db,
    ids: Sequence[UUID],
    changes: Mapping[str, Any],
    *,
    by: str,
    is_audited: bool = True,
) -> Changes:
    """Change the fields in ``changes`` of jobs that are pending, failed or cancelled.

    The fields are the keys of _EDITABLE; raises KeyError for others. A ``run_at`` of None is now.
    """
    unknown = set(changes) - set(_EDITABLE)
    if unknown:
        raise KeyError(f"not editable: {sorted(unknown)}")
    values: dict[str, Any] = dict(changes)
    if "payload" in values:
        values["payload"] = json.dumps(values["payload"])
    if "tags" in values:
        values["tags"] = list(values["tags"])
    assignments = "".join(f"{column} = {_EDITABLE[column]}, " for column in changes)
    rows = db.execute(
        text(f"""
            WITH {_LOCK_EDITABLE}
            UPDATE jobs SET {assignments}updated_at = now()
            WHERE {IS_LOCKED} RETURNING id, status
        """),
        {**values, "ids": id_array(ids)},
    ).all()
    _publish(db, [row.id for row in rows if row.status == "pending"])
    if is_audited:
        audit.record_jobs(db, by, "job.edit", [row.id for row in rows], {"fields": sorted(changes)})
    return outcome(db, ids, {row.id for row in rows}, "edit")


_DELETABLE = locked(f"SELECT id FROM jobs WHERE {GIVEN} AND {DELETE.starts_from()}")
_DELETE = text(f"""
WITH {_DELETABLE}
DELETE FROM jobs WHERE {IS_LOCKED} RETURNING id
""")


def delete(db: Db, ids: Sequence[UUID], *, by: str, is_audited: bool = True) -> Changes:
    """Any status but processing → ∅, with its attempts, log lines and dead letter."""
    done = set(db.scalars(_DELETE, {"ids": id_array(ids)}))
    if is_audited:
        audit.record_jobs(db, by, "job.delete", list(done))
    return outcome(db, ids, done, "delete")


_DISCARDABLE = locked(
    """
    SELECT l.id, l.job_id FROM dead_letters l JOIN jobs j ON j.id = l.job_id
    WHERE l.job_id = ANY(CAST(:ids AS uuid[])) AND l.closed_at IS NULL
    """,
    order="j.id",
    of="j",
)
_DISCARD = text(f"""
WITH {_DISCARDABLE},
resolved AS (
    UPDATE jobs SET fingerprint = NULL, updated_at = now() WHERE id IN (SELECT job_id FROM locked))
UPDATE dead_letters SET closed_at = now(), closed_by = :by, closed_how = 'discarded'
WHERE {IS_LOCKED} AND closed_at IS NULL
RETURNING job_id
""")


def discard(db: Db, job_ids: Sequence[UUID], *, by: str, is_audited: bool = True) -> Changes:
    """Close the open dead letter; the job stays failed."""
    ids = id_array(job_ids)
    done = set(db.scalars(_DISCARD, {"ids": ids, "by": by}))
    if is_audited:
        audit.record_jobs(db, by, "job.discard", list(done))
    return outcome(db, job_ids, done, "discard")


#: The functions of the verbs that take no arguments of their own.
_FUNCTIONS = {
    "retry": retry,
    "run": run_now,
    "cancel": cancel,
    "delete": delete,
    "discard": discard,
}


def act(
    db: Db,
    verb: str,
    ids: Sequence[UUID],
    *,
    by: str,
    changes: Mapping[str, Any] | None = None,
    is_audited: bool = True,
) -> Changes:
    """Do ``verb`` (a key of verbs.VERBS) to these jobs; ``changes`` are those of edit."""
    if verb == EDIT.name:
        return edit(db, ids, changes or {}, by=by, is_audited=is_audited)
    return _FUNCTIONS[verb](db, ids, by=by, is_audited=is_audited)


def _publish(db: Db, ids: Sequence[UUID]) -> None:
    """After the commit, publish jobs that are pending now; their queue, payload or time may give them another limit."""
    if ids:
        after_commit(db, [ref(row) for row in assign(db, ids)])


def _in_savepoint(db: Db, statement: Any, values: dict[str, Any]) -> list[UUID]:
    # A violation of the unique index must not abort the caller's transaction.
    with db.begin_nested():
        return list(db.scalars(statement, values))
