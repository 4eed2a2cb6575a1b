"""∅ → pending: inserting jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from app.database import Db
from app.errors import UniqueConflict
from app.extensions import current_settings
from app.jobs import registry
from app.jobs.ids import new_id
from app.jobs.lifecycle.functions import Function
from app.jobs.lifecycle.limited import attached, held, is_attached, key_of
from app.jobs.models import UNIQUE_KEY_IS_LIVE
from app.jobs.publication import REF, after_commit, ref


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to enqueue; None means the default of its type."""

    type: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    queue: str | None = None
    priority: int | None = None
    run_at: datetime | None = None
    delay_seconds: float | None = None
    max_attempts: int | None = None
    timeout_seconds: float | None = None
    expires_at: datetime | None = None
    unique_key: str | None = None
    tags: Sequence[str] = ()
    by: str | None = None
    limit_key: str | None = (
        None  # the key at its limit, where the limit takes none from the payload
    )
    limit_name: str | None = None  # only SCHEDULE_LIMIT, instead of the limit of its type or queue


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The result for one NewJob: the id of its row, or of the live job that holds its unique key."""

    id: UUID
    is_new: bool
    columns: dict[str, Any] | None  # of the new row, if requested


@dataclass(frozen=True, slots=True)
class Prepared:
    """A NewJob with its id and the defaults of its type: a row to insert."""

    new: NewJob
    spec: dict[str, Any]
    row: str  # the spec as JSON

    @property
    def id(self) -> UUID:
        """The id of the job, if it is inserted."""
        return UUID(self.spec["id"])


#: Jobs of several callers wait this long for another transaction that holds a unique key of theirs.
LOCK_TIMEOUT_MS = 50

_RUN_AT = "COALESCE(run_at, now() + make_interval(secs => COALESCE(delay, 0)))"


def _insert(columns: str = "", values: str = "", join: str = "") -> str:
    return f"""
INSERT INTO jobs (id, queue, type, payload, priority, max_attempts, run_at, timeout_seconds,
                  expires_at, unique_key, tags, created_by{columns})
SELECT id, queue, type, payload, priority, max_attempts, {_RUN_AT}, timeout_seconds,
       expires_at, unique_key, COALESCE(tags, '{{}}'), created_by{values}
FROM json_to_recordset(:rows) AS r(
    id uuid, queue text, type text, payload jsonb, priority int, max_attempts int,
    run_at timestamptz, delay float8, timeout_seconds float8, expires_at timestamptz,
    unique_key text, tags text[], created_by text, limit_name text, limit_key text)
{join}-- Set inside the statement: it needs no transaction and no further round trip.
WHERE :lock_timeout IS NULL OR (SELECT set_config('lock_timeout', :lock_timeout, true)) IS NOT NULL
ON CONFLICT (unique_key) WHERE {UNIQUE_KEY_IS_LIVE}
DO NOTHING
RETURNING {REF}, run_at, created_at, limit_name, limit_key
"""


_INSERT_UNDER_LIMITS = _insert(
    ", limit_name, limit_key, hold",
    f""", l.name,
       CASE WHEN l.name IS NOT NULL THEN {key_of("r", is_new=True)} END, {held("l.name", _RUN_AT)}""",
    f"""LEFT JOIN limits l ON l.name = CASE WHEN r.limit_name IS NOT NULL THEN r.limit_name
                                    WHEN {is_attached("r")} THEN {attached("r")} END
""",
)
INSERT = Function(
    "insert_jobs_2",
    "rows json, lock_timeout text, is_limited boolean",
    "id uuid, type text, queue text, priority int, is_due boolean, run_at_ms bigint, held_by text,"
    " run_at timestamptz, created_at timestamptz, limit_name text, limit_key text",
    _insert(),
    # The nodes of its plan would cost a single job a tenth of its insert, also where nothing is under a limit.
    instead=(":is_limited OR EXISTS (SELECT FROM limit_attachments)", _INSERT_UNDER_LIMITS),
)
_INSERT = INSERT.call("id, type, queue, priority, is_due, run_at_ms, held_by")
# Only what the database decides: returning thirty columns takes longer than inserting them.
_INSERT_WITH_COLUMNS = INSERT.call()
_OF_A_NEW_ROW: dict[str, Any] = {
    "status": "pending",
    "attempts": 0,
    "crashes": 0,
    **dict.fromkeys(
        ("lease_token", "worker_id", "leased_until", "cancel_requested_at", "result", "progress",
         "last_error", "fingerprint", "started_at", "finished_at")
    ),
}  # fmt: skip


def enqueue(
    db: Db, new_jobs: Sequence[NewJob | Prepared], *, with_columns: bool = False
) -> list[Enqueued]:
    """∅ → pending, all or none, in one statement; published after the commit.

    The results are in the order given. A job whose unique key is live is not inserted: its result
    names the live job. With ``with_columns``, the result of a new job has its stored columns.
    """
    jobs = [new if isinstance(new, Prepared) else prepare(new) for new in new_jobs]
    insert = _INSERT_WITH_COLUMNS if with_columns else _INSERT
    rows = insert.rows(db, _values(jobs))
    after_commit(db, [ref(row) for row in rows])
    if len(rows) == len(jobs) == 1:
        return [_enqueued(jobs[0], rows[0], with_columns)]
    inserted = {row.id: row for row in rows}
    return [
        _enqueued(job, inserted[id], with_columns)
        if (id := UUID(job.spec["id"])) in inserted
        else live_or_new(db, job, with_columns=with_columns)
        for job in jobs
    ]


def insert_together(db: Connection, jobs: Sequence[Prepared]) -> dict[str, Row[Any]]:
    """∅ → pending for jobs of several callers, in one statement; the caller publishes them.

    Returns the new rows by id (32 hex digits), for ``as_enqueued``; a job whose unique key is live has none. A
    transaction that holds one of their unique keys makes it fail after LOCK_TIMEOUT_MS (SQLSTATE 55P03).
    """
    keyed = [job for job in jobs if job.new.unique_key is not None]
    if keyed:
        # Statements that insert the same keys in a different order would deadlock.
        jobs = sorted(jobs, key=lambda job: job.new.unique_key or "")
    values = _values(jobs, lock_timeout=f"{LOCK_TIMEOUT_MS}ms" if keyed else None)
    return {row.id.hex: row for row in _INSERT_WITH_COLUMNS.rows(db, values)}


def as_enqueued(job: Prepared, row: Row[Any]) -> Enqueued:
    """The result for ``job``, whose row ``insert_together`` returned."""
    return _enqueued(job, row, with_columns=True)


def prepare(new: NewJob) -> Prepared:
    """The row that ``new`` becomes. Raises UnknownJobType."""
    spec = _spec(new)
    return Prepared(new, spec, json.dumps(spec))


def _values(jobs: Sequence[Prepared], *, lock_timeout: str | None = None) -> dict[str, Any]:
    return {
        "rows": f"[{','.join(job.row for job in jobs)}]",
        "lock_timeout": lock_timeout,
        "is_limited": any(job.new.limit_name is not None for job in jobs),
    }


def _enqueued(job: Prepared, row: Row[Any], with_columns: bool) -> Enqueued:
    if not with_columns:
        return Enqueued(row.id, True, None)
    new = job.new
    timeout = new.timeout_seconds
    return Enqueued(
        row.id,
        True,
        {
            **job.spec,
            **_OF_A_NEW_ROW,
            "id": row.id,
            "tags": list(new.tags),
            "timeout_seconds": None if timeout is None else float(timeout),
            "expires_at": new.expires_at,
            "run_at": row.run_at,
            "is_due": row.is_due,
            "created_at": row.created_at,
            "updated_at": row.created_at,
            "limit_name": row.limit_name,
            "limit_key": row.limit_key,
        },
    )


def _spec(new: NewJob) -> dict[str, Any]:
    policy = registry.get(new.type)
    spec = {
        "id": new_id().hex,
        "queue": new.queue or policy.queue,
        "type": new.type,
        "payload": new.payload,
        "priority": policy.priority if new.priority is None else new.priority,
        "max_attempts": new.max_attempts or policy.max_attempts or current_settings().max_attempts,
        "run_at": new.run_at.isoformat() if new.run_at else None,
        "delay": new.delay_seconds,
        "timeout_seconds": new.timeout_seconds,
        "expires_at": new.expires_at.isoformat() if new.expires_at else None,
        "unique_key": new.unique_key,
        "tags": list(new.tags) or None,
        "created_by": new.by,
    }
    if new.limit_key is not None or new.limit_name is not None:
        spec |= {"limit_name": new.limit_name, "limit_key": new.limit_key}
    return spec


def live_or_new(db: Db, job: Prepared, *, with_columns: bool) -> Enqueued:
    """The live job with the unique key of ``job``, or ``job`` in a statement of its own; published after the commit."""
    key = job.new.unique_key
    # The live job may end between the two statements, which frees the key.
    for _ in range(10):
        live = db.execute(
            text(f"SELECT id FROM jobs WHERE unique_key = :key AND {UNIQUE_KEY_IS_LIVE}"),
            {"key": key},
        ).scalar()
        if live is not None:
            return Enqueued(live, False, None)
        insert = _INSERT_WITH_COLUMNS if with_columns else _INSERT
        for row in insert.rows(db, _values([job])):
            after_commit(db, [ref(row)])
            return _enqueued(job, row, with_columns)
    raise UniqueConflict(job_id=job.spec["id"], live_id="unknown", unique_key=key)
