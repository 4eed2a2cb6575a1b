"""Undoing what a bulk action did to jobs, with the former values that its items keep.

A job is restored only if nothing has changed it since: its updated_at is still the moment of the action. So a retried
job can be undone until it starts, and a job that somebody edited, retried or cancelled again is left unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.database import Db, id_array
from app.jobs.lifecycle.sql import locked
from app.jobs.publication import REF, after_commit, ref
from app.jobs.statuses import LIVE, has_one_of

_IS_LIVE = has_one_of(LIVE, "live.status")
# progress and result are any JSON, whose own nulls stay.
_BEFORE_RETRY = """
jsonb_strip_nulls(jsonb_build_object(
    'status', j.status, 'attempts', j.attempts, 'crashes', j.crashes, 'run_at', j.run_at,
    'started_at', j.started_at, 'finished_at', j.finished_at, 'last_error', j.last_error,
    'fingerprint', j.fingerprint, 'expires_at', j.expires_at))
|| CASE WHEN j.progress IS NULL THEN '{}' ELSE jsonb_build_object('progress', j.progress) END
|| CASE WHEN j.result IS NULL THEN '{}' ELSE jsonb_build_object('result', j.result) END
"""
_BEFORE = {
    "retry": _BEFORE_RETRY,
    "run": "CASE WHEN j.run_at > now() THEN jsonb_build_object('run_at', j.run_at) END",
    # A running job that was asked to stop can't be put back.
    "cancel": "CASE WHEN j.status = 'pending' THEN jsonb_build_object('fingerprint', j.fingerprint) END",
    "discard": "jsonb_build_object('fingerprint', j.fingerprint)",
}
#: Columns that follow the queue and the payload.
_FOLLOWING = ("limit_name", "limit_key")


def before(verb: str, columns: Iterable[str] = ()) -> str:
    """The SQL of the former values of job ``j`` that undoing ``verb`` needs; NULL where it can't be undone.

    ``columns`` are those that edit changes.
    """
    if verb == "edit":
        pairs = ", ".join(f"'{name}', j.{name}" for name in (*sorted(columns), *_FOLLOWING))
        return f"jsonb_build_object({pairs})"
    return _BEFORE.get(verb, "NULL::jsonb")


#: Whether job ``j`` is still as the action left it by its item ``i``, and can be undone.
IS_UNDOABLE = "(i.before IS NOT NULL AND j.updated_at = i.done_at)"

_LIVE_KEY = f"""
AND NOT EXISTS (SELECT 1 FROM jobs live WHERE live.unique_key = j.unique_key
                AND live.unique_key IS NOT NULL AND {_IS_LIVE})
"""


def _locked(more: str = "") -> str:
    return locked(
        f"""
        SELECT j.id, i.done_at, i.before FROM jobs j
        JOIN bulk_items i ON i.bulk_id = :source AND i.job_id = j.id
        WHERE j.id = ANY(CAST(:ids AS uuid[])) AND {IS_UNDOABLE} {more}
        """,
        order="j.id",
        of="j",
    )


def _reopened(how: str) -> str:
    """The dead letters that the action closed, open again."""
    return f"""
    reopened AS (
        UPDATE dead_letters d SET closed_at = NULL, closed_by = NULL, closed_how = NULL
        FROM locked l WHERE d.job_id = l.id AND d.closed_at = l.done_at AND d.closed_how = '{how}')
    """


def _restoring(assignments: str, ctes: Sequence[str]) -> str:
    return f"""
    WITH {", ".join(ctes)},
    restored AS (
        UPDATE jobs j SET {assignments}, updated_at = now()
        FROM locked l CROSS JOIN LATERAL jsonb_populate_record(NULL::jobs, l.before) AS b
        WHERE j.id = l.id
        RETURNING j.*)
    SELECT {REF}, status FROM restored
    """


def _hold(run_at: str, *, limit: str = "j.limit_name", is_pending: str = "true") -> str:
    """What keeps a pending job from being claimed: its limit, if it has one."""
    return (
        f"hold = CASE WHEN {limit} IS NULL OR NOT ({is_pending}) THEN 0"
        f" WHEN {run_at} > now() THEN 3 ELSE 1 END"
    )


_ASSIGNED = {
    "cancel": f"status = 'pending', finished_at = NULL, fingerprint = b.fingerprint, {_hold('j.run_at')}",
    "run": f"run_at = b.run_at, {_hold('b.run_at')}",
    "discard": "fingerprint = b.fingerprint",
    "retry": (
        "status = b.status, attempts = b.attempts, crashes = b.crashes, run_at = b.run_at, started_at = b.started_at,"
        " finished_at = b.finished_at, last_error = b.last_error, fingerprint = b.fingerprint,"
        " expires_at = b.expires_at, progress = b.progress, result = b.result, hold = 0"
    ),
}
_CTES = {
    "cancel": [_locked(_LIVE_KEY)],
    "run": [_locked()],
    "discard": [_locked(), _reopened("discarded")],
    "retry": [_locked(), _reopened("retried")],
    "edit": [_locked()],
}


def undo(
    db: Db, verb: str, ids: Sequence[UUID], *, source: int, columns: Iterable[str] = ()
) -> set[UUID]:
    """Put these jobs back as they were before the bulk action ``source`` did ``verb`` to them; returns which.

    ``columns`` are those that edit changed. A job is left out if it has changed since, and a cancelled one if
    another live job has its unique key.
    """
    assigned = _ASSIGNED.get(verb) or _edited(columns)
    values = {"ids": id_array(ids), "source": source}
    try:
        with db.begin_nested():
            rows = db.execute(text(_restoring(assigned, _CTES[verb])), values).all()
    except IntegrityError:
        # Another transaction took a unique key meanwhile. Undone one at a time, only its job fails.
        if len(ids) == 1:
            return set()
        each = [undo(db, verb, [job_id], source=source, columns=columns) for job_id in ids]
        return set().union(*each)
    after_commit(db, [ref(row) for row in rows if row.status == "pending"])
    return {row.id for row in rows}


def _edited(columns: Iterable[str]) -> str:
    names = (*sorted(columns), *_FOLLOWING)
    restored = [f"{name} = b.{name}" for name in names]
    run_at = "b.run_at" if "run_at" in names else "j.run_at"
    return ", ".join(
        [*restored, _hold(run_at, limit="b.limit_name", is_pending="j.status = 'pending'")]
    )
