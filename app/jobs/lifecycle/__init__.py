"""The whole life of a job, readable top to bottom.

            enqueue            claim                complete
   ∅ ─────────────▶ pending ─────────▶ processing ───────────▶ completed
                     ▲ ▲  │              │ │ │ │
                     │ │  │ cancel       │ │ │ └─ cancel ─────▶ cancelled
                     │ │  └──────────────┼─┼─┼───────────────▶ cancelled
        retry (by a  │ └── retry_later ──┘ │ └─ bury ─────────▶ failed  + dead letter
        person, from │     release, snooze │                      │
        failed,      └──── rescue ─────────┘                      │
        cancelled) ◀──────────────────────────────────────────────┘

Each verb takes a list and is one guarded UPDATE: id + from-status, and the lease token where a
worker acts. Losing a race is an ordinary outcome: the row is simply not among those returned.
Every statement locks in id order, so that two of them can never deadlock, and judges time by the
database clock. Nothing here commits: the caller's transaction (or autocommit) does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import current_app
from sqlalchemy import Row, text
from sqlalchemy.exc import IntegrityError

from app.config import Settings
from app.errors import InvalidName, InvalidTransition, JobNotFound, JobQueueError, UniqueConflict
from app.jobs import registry
from app.jobs.error_groups import place_of
from app.jobs.ids import new_id
from app.jobs.models import ALLOWED
from app.jobs.publication import Db, Ref, after_commit
from app.names import NAME, NAME_RULE

_REF = """id, queue, priority, run_at <= now() AS is_due,
    (extract(epoch FROM run_at) * 1000)::bigint AS run_at_ms"""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be enqueued; None means: as the type's policy says."""

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


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of a NewJob: the id of its row, or of the live job that holds its unique key."""

    id: UUID
    is_new: bool
    columns: dict[str, Any] | None  # of the new row, where they were asked for


@dataclass(frozen=True, slots=True)
class Changes:
    """Which jobs a verb changed and why it refused the others."""

    done: list[UUID]
    refused: dict[UUID, JobQueueError]

    def one(self) -> UUID:
        """The id of a list of one; raises the refusal."""
        for error in self.refused.values():
            raise error
        return self.done[0]


# ------------------------------------------------------------------------------- ∅ → pending


_INSERT_SQL = (
    """
INSERT INTO jobs (id, queue, type, payload, priority, max_attempts, run_at, timeout_seconds,
                  expires_at, unique_key, tags, created_by)
SELECT id, queue, type, payload, priority, max_attempts,
       COALESCE(run_at, now() + make_interval(secs => COALESCE(delay, 0))), timeout_seconds,
       expires_at, unique_key, COALESCE(tags, '{}'), created_by
FROM json_to_recordset(CAST(:rows AS json)) AS r(
    id uuid, queue text, type text, payload jsonb, priority int, max_attempts int,
    run_at timestamptz, delay float8, timeout_seconds float8, expires_at timestamptz,
    unique_key text, tags text[], created_by text)
ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL AND status IN ('pending', 'processing')
DO NOTHING
RETURNING """
    + _REF
)
_INSERT = text(_INSERT_SQL)
# Only what the database decides: reading thirty columns back takes longer than inserting them.
_INSERT_TELLING = text(f"{_INSERT_SQL}, run_at, created_at")
_OF_A_NEW_ROW: dict[str, Any] = {
    "status": "pending",
    "attempts": 0,
    "crashes": 0,
    **dict.fromkeys(
        ("lease_token", "worker_id", "leased_until", "cancel_requested_at", "result", "progress",
         "last_error", "failure", "started_at", "finished_at")
    ),
}  # fmt: skip


def enqueue(db: Db, new_jobs: Sequence[NewJob], *, with_columns: bool = False) -> list[Enqueued]:
    """∅ → pending, all or none, in one statement; published after the commit.

    Answers in the order given. A job whose unique key is live is not inserted: its answer names
    the live job. ``with_columns`` also tells the stored columns of the new ones.
    """
    specs = [_spec(new) for new in new_jobs]
    insert = _INSERT_TELLING if with_columns else _INSERT
    rows = db.execute(insert, {"rows": json.dumps(specs)}).all()
    after_commit(db, [_ref(row) for row in rows])
    if len(rows) == len(specs) == 1:
        return [_enqueued(specs[0], new_jobs[0], rows[0], with_columns)]
    inserted = {row.id: row for row in rows}
    return [
        _enqueued(spec, new, inserted[id], with_columns)
        if (id := UUID(spec["id"])) in inserted
        else _live_or_new(db, spec, new, with_columns)
        for spec, new in zip(specs, new_jobs, strict=True)
    ]


def _enqueued(spec: dict[str, Any], new: NewJob, row: Row[Any], with_columns: bool) -> Enqueued:
    if not with_columns:
        return Enqueued(row.id, True, None)
    timeout = new.timeout_seconds
    return Enqueued(
        row.id,
        True,
        {
            **spec,
            **_OF_A_NEW_ROW,
            "id": row.id,
            "tags": list(new.tags),
            "timeout_seconds": None if timeout is None else float(timeout),
            "expires_at": new.expires_at,
            "run_at": row.run_at,
            "is_due": row.is_due,
            "created_at": row.created_at,
            "updated_at": row.created_at,
        },
    )


def _spec(new: NewJob) -> dict[str, Any]:
    policy = registry.get(new.type)
    return {
        "id": new_id().hex,
        "queue": new.queue or policy.queue,
        "type": new.type,
        "payload": new.payload,
        "priority": policy.priority if new.priority is None else new.priority,
        "max_attempts": new.max_attempts or policy.max_attempts or _settings().max_attempts,
        "run_at": new.run_at.isoformat() if new.run_at else None,
        "delay": new.delay_seconds,
        "timeout_seconds": new.timeout_seconds,
        "expires_at": new.expires_at.isoformat() if new.expires_at else None,
        "unique_key": new.unique_key,
        "tags": list(new.tags) or None,
        "created_by": new.by,
    }


def _live_or_new(db: Db, spec: dict[str, Any], new: NewJob, with_columns: bool) -> Enqueued:
    # The live job may end between the two statements; then the key is free again.
    for _ in range(10):
        live = db.execute(
            text(
                "SELECT id FROM jobs WHERE unique_key = :key AND unique_key IS NOT NULL"
                " AND status IN ('pending', 'processing')"
            ),
            {"key": spec["unique_key"]},
        ).scalar()
        if live is not None:
            return Enqueued(live, False, None)
        insert = _INSERT_TELLING if with_columns else _INSERT
        row = db.execute(insert, {"rows": json.dumps([spec])}).first()
        if row is not None:
            after_commit(db, [_ref(row)])
            return _enqueued(spec, new, row, with_columns)
    raise UniqueConflict(job_id=spec["id"], live_id="unknown", unique_key=spec["unique_key"])


# --------------------------------------------------------------------- pending → processing


# `status || ''` hides the partial indexes from the planner: with statistics taken while nothing
# was pending it would walk all of ix_jobs_pending to claim 100 rows. The lease is of the moment of
# writing: now() may be from long before, where the statement waited for a lock on the table.
_CLAIM_SQL = """
WITH picked AS MATERIALIZED (
    SELECT j.id, j.type FROM jobs j
    WHERE j.id = ANY(CAST(:ids AS uuid[])) AND j.status || '' = 'pending'
      AND j.run_at <= now() AND (j.expires_at IS NULL OR j.expires_at > now())
      AND NOT EXISTS (SELECT 1 FROM queues q WHERE q.name = j.queue AND q.paused_at IS NOT NULL)
      AND NOT EXISTS (SELECT 1 FROM type_switches t
                      WHERE t.type = j.type AND t.paused_at IS NOT NULL)
      AND (:is_any_queue OR j.queue = ANY(CAST(:queues AS text[])))
      AND (:is_any_type OR j.type = ANY(CAST(:types AS text[])))
      AND {relaxed_at_once}
    ORDER BY j.id FOR UPDATE OF j SKIP LOCKED)
UPDATE jobs SET status = 'processing', attempts = attempts + 1, lease_token = :token,
    worker_id = :worker_id, started_at = now(), updated_at = now(), progress = NULL,
    leased_until = greatest(now(), clock_timestamp() - interval '1 second')
                   + make_interval(secs => :lease_seconds)
WHERE id = ANY(ARRAY(SELECT id FROM picked)) AND {relaxed_after_all}
RETURNING id, queue, type, payload, attempts, max_attempts, timeout_seconds, crashes, tags,
    priority, (extract(epoch FROM run_at) * 1000)::bigint AS run_at_ms,
    extract(epoch FROM now())::float8 AS claimed_at
"""
# The claim may commit asynchronously: if PostgreSQL forgets it in a crash, the outcome is refused and the
# job runs again. Not so a batch with a job that must run at most once.
_RELAX = "SELECT set_config('synchronous_commit', 'off', true)"
_CLAIM = text(
    _CLAIM_SQL.format(relaxed_at_once=f"({_RELAX}) IS NOT NULL", relaxed_after_all="true")
)
_CLAIM_DURABLY = text(
    _CLAIM_SQL.format(
        relaxed_at_once="true",
        relaxed_after_all=f"(SELECT count(*) FROM ({_RELAX} WHERE NOT EXISTS"
        " (SELECT FROM picked WHERE type = ANY(CAST(:once AS text[])))) AS relaxed) >= 0",
    )
)


def claim(
    db: Db,
    ids: Iterable[str],
    *,
    token: UUID,
    worker_id: UUID,
    lease_seconds: float,
    queues: Sequence[str] = (),
    types: Sequence[str] | None = None,
    once: Sequence[str] = (),
) -> Sequence[Row[Any]]:
    """pending → processing for those of ``ids`` (32 hex digits) that are due and not held back.

    One fresh token serves the batch. The rows come in no particular order. With ``queues``, a job
    that was moved out of them is left to the workers of its new queue; with ``types``, a job of another
    type is left to workers that know it. A batch with a job of a type in ``once`` (see
    registry.once_types) is on disk before it is answered.
    """
    values = {
        "ids": _array(ids),
        "token": token,
        "worker_id": worker_id,
        "lease_seconds": lease_seconds,
        "is_any_queue": not queues,
        "queues": list(queues),
        "is_any_type": types is None,
        "types": list(types or ()),
    }
    if once:
        return db.execute(_CLAIM_DURABLY, {**values, "once": list(once)}).all()
    return db.execute(_CLAIM, values).all()


# ---------------------------------------------------------------- processing → where it ends


# The outcomes are one object keyed by id, looked up row by row. Joining a list of them to the rows
# was measured: its plan is a nested loop (500 × 500) whenever statistics say that few rows are
# processing, and took two thirds of the statement's time.
_COMPLETE = text("""
WITH given AS MATERIALIZED (SELECT CAST(:outcomes AS jsonb) AS outcomes),
held AS MATERIALIZED (
    SELECT j.id FROM jobs j
    WHERE j.id = ANY(CAST(:ids AS uuid[])) AND j.status || '' = 'processing'
      AND j.lease_token =
          CAST((SELECT outcomes FROM given) -> encode(uuid_send(j.id), 'hex') ->> 'token' AS uuid)
    ORDER BY j.id FOR UPDATE OF j)
UPDATE jobs j SET status = 'completed',
    result = NULLIF((SELECT outcomes FROM given) -> encode(uuid_send(j.id), 'hex') -> 'result', 'null'),
    progress = COALESCE((SELECT outcomes FROM given) -> encode(uuid_send(j.id), 'hex') -> 'progress', j.progress),
    last_error = NULL, failure = NULL, lease_token = NULL, leased_until = NULL,
    cancel_requested_at = NULL, finished_at = now(), updated_at = now()
WHERE j.id = ANY(ARRAY(SELECT id FROM held))
RETURNING j.id
""")


def complete(
    db: Db, outcomes: Sequence[tuple[str, str, str, Mapping[str, Any] | None]]
) -> set[UUID]:
    """processing → completed for each (id, token, result, progress) still held.

    id and token are 32 hex digits, the result is JSON text already. Answers the ids that were
    held; the others are fenced: rescued meanwhile, or already written.
    """
    rows = [
        f'"{job_id}":{{"token":"{token}","result":{result}'
        + (f',"progress":{json.dumps(progress)}}}' if progress else "}")
        for job_id, token, result, progress in outcomes
    ]
    values = {"outcomes": f"{{{','.join(rows)}}}", "ids": _array(o[0] for o in outcomes)}
    return set(db.scalars(_COMPLETE, values))


#: How an attempt that did not complete ends. ``crash`` is what rescue writes, ``refuse`` the end of one that this
#: worker can't run (its code is older or newer than the job): given back, and failed after ``give_up_after`` seconds.
RETRY_LATER, BURY, CANCEL, RELEASE, SNOOZE, CRASH, REFUSE = END_VERBS = (
    "retry_later",
    "bury",
    "cancel",
    "release",
    "snooze",
    "crash",
    "refuse",
)

#: A refused job waits 1, 2, 4 … seconds and at most this long before a worker tries it again.
REFUSED_WAIT_SECONDS = 60
#: Refusals this far apart are different episodes; the time after which the job fails starts again.
REFUSED_APART_SECONDS = 3600

_END = text(f"""
WITH given AS MATERIALIZED (SELECT CAST(:outcomes AS jsonb) AS outcomes),
held AS MATERIALIZED (
    SELECT j.id, j.lease_token, j.worker_id, j.started_at, j.attempts AS attempt, o.outcome,
           o.error, o.error_class, o.traceback, o.progress, earlier.lease_token AS counted_in,
           CASE WHEN o.verb = 'refuse'
                THEN least({REFUSED_WAIT_SECONDS}, 2 ^ least(COALESCE(earlier.times, 0), 10))
                ELSE o.delay END AS delay,
           o.verb IN ('release', 'snooze', 'crash', 'refuse') AS is_given_back,
           o.verb = 'crash' AS is_crash,
           CASE WHEN o.place IS NOT NULL THEN
               left(md5(concat_ws(chr(10), j.type, COALESCE(o.error_class, ''), o.place)), 12)
           END AS failure,
           CASE WHEN o.verb = 'bury' THEN 'failed'
                WHEN o.verb = 'cancel' OR j.cancel_requested_at IS NOT NULL THEN 'cancelled'
                WHEN o.verb = 'crash' AND j.crashes + 1 >= o.max_crashes THEN 'failed'
                WHEN o.verb = 'refuse'
                     AND earlier.since < now() - make_interval(secs => o.give_up_after) THEN 'failed'
                ELSE 'pending' END AS next_status
    FROM jobs j CROSS JOIN
        jsonb_to_record((SELECT outcomes FROM given) -> encode(uuid_send(j.id), 'hex')) AS o(
        token uuid, verb text, outcome text, error text, error_class text, traceback text,
        place text, delay float8, max_crashes int, only_expired boolean, progress jsonb,
        give_up_after float8)
    LEFT JOIN LATERAL (
        -- Attempts given back for one reason are counted in one row, however many there are.
        SELECT a.lease_token, a.times, COALESCE(a.since, a.ended_at) AS since FROM job_attempts a
        WHERE o.verb IN ('release', 'snooze', 'refuse') AND a.job_id = j.id
          AND a.attempt = j.attempts AND a.outcome = o.outcome
          AND a.error_class IS NOT DISTINCT FROM o.error_class
          AND (o.verb <> 'refuse'
               OR a.ended_at > now() - interval '{REFUSED_APART_SECONDS} seconds')
        ORDER BY a.ended_at DESC LIMIT 1) AS earlier ON true
    WHERE j.id = ANY(CAST(:ids AS uuid[])) AND j.status || '' = 'processing'
      AND j.lease_token = o.token
      AND (NOT COALESCE(o.only_expired, false) OR j.leased_until < now())
    ORDER BY j.id FOR UPDATE OF j),
ended AS (
    UPDATE jobs j SET status = h.next_status,
        attempts = j.attempts - CASE WHEN h.is_given_back THEN 1 ELSE 0 END,
        crashes = j.crashes + CASE WHEN h.is_crash THEN 1 ELSE 0 END,
        run_at = CASE WHEN h.next_status = 'pending' AND h.delay IS NOT NULL
                      THEN now() + make_interval(secs => h.delay) ELSE j.run_at END,
        last_error = COALESCE(h.error, j.last_error),
        failure = CASE WHEN h.next_status <> 'cancelled' THEN COALESCE(h.failure, j.failure) END,
        progress = COALESCE(h.progress, j.progress),
        lease_token = NULL, leased_until = NULL, cancel_requested_at = NULL,
        finished_at = CASE WHEN h.next_status = 'pending' THEN NULL ELSE now() END,
        updated_at = now()
    FROM held h WHERE j.id = h.id AND j.id = ANY(CAST(:ids AS uuid[]))
    RETURNING j.id, j.status, j.type, j.queue, j.payload, j.priority, j.run_at, j.attempts,
              j.crashes, j.last_error),
attempt_rows AS (
    INSERT INTO job_attempts (job_id, lease_token, attempt, outcome, error, error_class,
                              traceback, failure, worker_id, started_at, retry_at)
    SELECT h.id, h.lease_token, h.attempt, h.outcome, h.error, h.error_class, h.traceback,
           h.failure, h.worker_id, h.started_at, CASE WHEN e.status = 'pending' THEN e.run_at END
    FROM held h JOIN ended e ON e.id = h.id
    WHERE h.outcome IS NOT NULL AND h.counted_in IS NULL
    ON CONFLICT DO NOTHING),
counted AS (
    UPDATE job_attempts a SET times = a.times + 1, since = COALESCE(a.since, a.ended_at),
        started_at = h.started_at, ended_at = now(), error = h.error, worker_id = h.worker_id,
        failure = h.failure, retry_at = CASE WHEN e.status = 'pending' THEN e.run_at END
    FROM held h JOIN ended e ON e.id = h.id
    WHERE a.job_id = h.id AND a.lease_token = h.counted_in),
letters AS (
    INSERT INTO dead_letters (job_id, queue, type, payload, reason, attempts)
    SELECT id, queue, type, payload,
           CASE WHEN h.is_crash THEN format('crashed its worker %s times', e.crashes)
                ELSE COALESCE(e.last_error, 'no reason given') END,
           h.attempt
    FROM ended e JOIN held h USING (id) WHERE e.status = 'failed')
SELECT {_REF}, status, type, attempts FROM ended
""")


def end_attempts(db: Db, outcomes: Sequence[Mapping[str, Any]]) -> Sequence[Row[Any]]:
    """processing → pending, failed (+ dead letter) or cancelled, for each outcome still held.

    An outcome is {"id", "token", "verb", "outcome", "error", "error_class", "traceback", "delay",
    "max_crashes", "progress", "give_up_after"}; see END_VERBS and JobAttempt.OUTCOMES. A requested
    cancel turns every way back to pending into cancelled. release, snooze, crash and refuse give the
    attempt back.
    Answers the rows that ended (with ``status``); the caller publishes the pending ones.
    """
    by_id = {outcome["id"]: _with_place(outcome) for outcome in outcomes}
    return db.execute(_END, {"outcomes": json.dumps(by_id), "ids": _array(by_id)}).all()


def _with_place(outcome: Mapping[str, Any]) -> Mapping[str, Any]:
    how = outcome.get("outcome")
    if how not in ("failed", "crashed", "timed_out") and outcome["verb"] != REFUSE:
        return outcome
    return {**outcome, "place": place_of(str(how), outcome.get("traceback"), outcome.get("error"))}


_EXPIRED_LEASES = text("""
SELECT j.id, j.lease_token, j.type, j.attempts, w.stopping_at IS NOT NULL AS was_stopping
FROM jobs j LEFT JOIN workers w ON w.id = j.worker_id
WHERE j.status = 'processing' AND j.leased_until < now() ORDER BY j.id LIMIT :limit
FOR UPDATE OF j SKIP LOCKED
""")


def rescue(db: Db, *, limit: int = 500) -> Sequence[Row[Any]]:
    """processing with an expired lease → pending, or failed at the type's last crash.

    The attempt is given back, the crash counted; a worker that had announced its shutdown did not
    crash. Answers as end_attempts does.
    """
    expired = db.execute(_EXPIRED_LEASES, {"limit": limit}).all()
    if not expired:
        return []
    ends = [stopped(row.type) if row.was_stopping else _crashed(row.type) for row in expired]
    return end_attempts(
        db,
        [
            {"id": row.id.hex, "token": row.lease_token.hex, "only_expired": True, **end}
            for row, end in zip(expired, ends, strict=True)
        ],
    )


def _crashed(type_name: str) -> dict[str, Any]:
    return {
        "verb": CRASH,
        "outcome": "crashed",
        "error": "The worker stopped sending heartbeats while it ran this job.",
        "max_crashes": max_crashes(type_name),
    }


def stopped(type_name: str) -> dict[str, Any]:
    """How an attempt ends whose worker shut down before it: verb, outcome and error for end_attempts.

    Given back, unless the type runs at most once: an attempt that may have had its effect is buried.
    """
    if not _crash_limit(type_name):
        error = "The worker was stopped while it ran this job, which runs at most once."
        return {"verb": BURY, "outcome": "released", "error": error}
    error = "The worker was stopped before this attempt ended."
    return {"verb": RELEASE, "outcome": "released", "error": error}


def max_crashes(type_name: str) -> int:
    """How many crashes bury a job of the type (its own policy, else MAX_CRASHES); at least 1."""
    # 0 means "at most once": the first crash buries.
    return max(1, _crash_limit(type_name))


def _crash_limit(type_name: str) -> int:
    policy = registry.find(type_name)
    own = policy.max_crashes if policy else None
    return _settings().max_crashes if own is None else own


_LOCK = text("SELECT id FROM jobs WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE")


def lock(db: Db, ids: Iterable[str]) -> None:
    """Lock these jobs (32 hex digits each) in id order, for a transaction that ends them by several statements."""
    db.execute(_LOCK, {"ids": _array(ids)})


# By the clock at the moment of writing: now() is from before a wait for a lock. A row that somebody else
# has locked is left for the next heartbeat and must not keep the others from theirs.
_EXTEND = text("""
WITH held AS MATERIALIZED (
    SELECT j.id FROM jobs j
    JOIN json_to_recordset(CAST(:leases AS json)) AS l(id uuid, token uuid)
      ON l.id = j.id AND l.token = j.lease_token
    WHERE j.id = ANY(CAST(:ids AS uuid[])) AND j.status || '' = 'processing'
    ORDER BY j.id FOR UPDATE OF j SKIP LOCKED)
UPDATE jobs SET leased_until = clock_timestamp() + make_interval(secs => :lease_seconds)
WHERE id = ANY(ARRAY(SELECT id FROM held))
RETURNING id, cancel_requested_at IS NOT NULL AS is_cancel_requested
""")


def extend(
    db: Db, leases: Sequence[tuple[UUID, UUID]], *, lease_seconds: float
) -> dict[UUID, bool]:
    """Heartbeat: prolong each (job id, token) still held → {id: is a cancel requested}.

    A job that another transaction has locked at the moment is missing in the answer as well.
    """
    rows = db.execute(
        _EXTEND,
        {
            "leases": json.dumps([{"id": i.hex, "token": t.hex} for i, t in leases]),
            "ids": _array(i.hex for i, _ in leases),
            "lease_seconds": lease_seconds,
        },
    )
    return {row.id: row.is_cancel_requested for row in rows}


# ------------------------------------------------------------------------- what a person does
# is_audited False: done for a bulk action, which is in the audit as a whole.


_CANCEL = text("""
WITH picked AS MATERIALIZED (
    SELECT id FROM jobs WHERE id = ANY(CAST(:ids AS uuid[]))
      AND status IN ('pending', 'processing') ORDER BY id FOR UPDATE)
UPDATE jobs SET
    status = CASE status WHEN 'pending' THEN 'cancelled' ELSE status END,
    finished_at = CASE status WHEN 'pending' THEN now() END,
    cancel_requested_at = CASE status WHEN 'processing'
                               THEN COALESCE(cancel_requested_at, now()) END,
    failure = CASE status WHEN 'processing' THEN failure END,
    updated_at = now()
WHERE id = ANY(ARRAY(SELECT id FROM picked))
RETURNING id
""")


def cancel(db: Db, ids: Sequence[UUID], *, by: str, is_audited: bool = True) -> Changes:
    """pending → cancelled; a processing job is asked to stop; a cancelled one stays so."""
    done = set(db.scalars(_CANCEL, {"ids": _array(i.hex for i in ids)}))
    if is_audited:
        _audit(db, by, "job.cancel", list(done))
    changes = _changes(db, ids, done, "cancel")
    already = [
        job_id
        for job_id, error in changes.refused.items()
        if error.facts.get("status") == "cancelled"
    ]
    for job_id in already:
        del changes.refused[job_id]
    return Changes([*changes.done, *already], changes.refused)


_RETRY = text(f"""
WITH picked AS MATERIALIZED (
    SELECT j.id, j.unique_key FROM jobs j
    WHERE j.id = ANY(CAST(:ids AS uuid[])) AND j.status IN ('failed', 'cancelled')
      AND NOT EXISTS (SELECT 1 FROM jobs live WHERE live.unique_key = j.unique_key
                      AND live.unique_key IS NOT NULL
                      AND live.status IN ('pending', 'processing'))
    ORDER BY j.id FOR UPDATE OF j),
chosen AS (
    SELECT DISTINCT ON (COALESCE(unique_key, id::text)) id FROM picked
    ORDER BY COALESCE(unique_key, id::text), id),
closed AS (
    UPDATE dead_letters SET closed_at = now(), closed_by = :by, closed_how = 'retried'
    WHERE closed_at IS NULL AND job_id IN (SELECT id FROM chosen))
UPDATE jobs SET status = 'pending', attempts = 0, crashes = 0, run_at = greatest(run_at, now()),
    lease_token = NULL, leased_until = NULL, cancel_requested_at = NULL, started_at = NULL,
    finished_at = NULL, last_error = NULL, failure = NULL, result = NULL, progress = NULL,
    expires_at = CASE WHEN expires_at > now() THEN expires_at END, updated_at = now()
WHERE id = ANY(ARRAY(SELECT id FROM chosen))
RETURNING {_REF}
""")


def retry(db: Db, ids: Sequence[UUID], *, by: str, is_audited: bool = True) -> Changes:
    """failed, cancelled → pending with attempts and crashes 0; closes the open dead letter.

    A job whose run_at lies ahead keeps it: undoing the cancel of a schedule restores the schedule.
    A job whose unique key is live elsewhere is refused with UniqueConflict.
    """
    try:
        rows = _in_savepoint(db, _RETRY, {"ids": _array(i.hex for i in ids), "by": by})
    except IntegrityError:
        # Another transaction took a unique key meanwhile; one by one, only that job is refused.
        if len(ids) == 1:
            return Changes([], _why_not(db, ids, "retry"))
        each = [retry(db, [job_id], by=by, is_audited=is_audited) for job_id in ids]
        return Changes(
            [i for changes in each for i in changes.done],
            {i: e for changes in each for i, e in changes.refused.items()},
        )
    after_commit(db, [_ref(row) for row in rows])
    if is_audited:
        _audit(db, by, "job.retry", [row.id for row in rows])
    return _changes(db, ids, {row.id for row in rows}, "retry")


_RUN_NOW = text(f"""
WITH picked AS MATERIALIZED (
    SELECT id FROM jobs WHERE id = ANY(CAST(:ids AS uuid[]))
      AND status = 'pending' ORDER BY id FOR UPDATE)
UPDATE jobs SET run_at = now(), updated_at = now()
WHERE id = ANY(ARRAY(SELECT id FROM picked)) AND run_at > now()
RETURNING {_REF}
""")
_PENDING_OF = text(
    "SELECT id FROM jobs WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'pending'"
)


def run_now(db: Db, ids: Sequence[UUID], *, by: str, is_audited: bool = True) -> Changes:
    """pending with run_at ahead (scheduled, retrying) → due now; one that is due already stays so."""
    rows = db.execute(_RUN_NOW, {"ids": _array(i.hex for i in ids)}).all()
    after_commit(db, [_ref(row) for row in rows])
    if is_audited:
        _audit(db, by, "job.run", [row.id for row in rows])
    done = {row.id for row in rows}
    if len(done) < len(ids):
        done |= set(db.scalars(_PENDING_OF, {"ids": _array(i.hex for i in ids)}))
    return _changes(db, ids, done, "run")


#: Column → SQL for the new value; the keys are what a person may edit.
_EDITABLE = {
    "payload": "CAST(:payload AS jsonb)",
    "priority": ":priority",
    "queue": ":queue",
    "run_at": "COALESCE(CAST(:run_at AS timestamptz), now())",
    "max_attempts": ":max_attempts",
    "tags": "CAST(:tags AS text[])",
}


def edit(
    db: Db,
    ids: Sequence[UUID],
    changes: Mapping[str, Any],
    *,
    by: str,
    is_audited: bool = True,
) -> Changes:
    """Change fields (the keys of _EDITABLE) of jobs that are pending, failed or cancelled.

    ``run_at`` None means now.
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
            WITH picked AS MATERIALIZED (
                SELECT id FROM jobs WHERE id = ANY(CAST(:ids AS uuid[]))
                  AND status IN ('pending', 'failed', 'cancelled') ORDER BY id FOR UPDATE)
            UPDATE jobs SET {assignments}updated_at = now()
            WHERE id = ANY(ARRAY(SELECT id FROM picked)) RETURNING {_REF}, status
        """),
        {**values, "ids": _array(i.hex for i in ids)},
    ).all()
    after_commit(db, [_ref(row) for row in rows if row.status == "pending"])
    if is_audited:
        _audit(db, by, "job.edit", [row.id for row in rows], {"fields": sorted(changes)})
    return _changes(db, ids, {row.id for row in rows}, "edit")


_DELETE = text("""
WITH picked AS MATERIALIZED (
    SELECT id FROM jobs WHERE id = ANY(CAST(:ids AS uuid[])) AND status <> 'processing'
    ORDER BY id FOR UPDATE)
DELETE FROM jobs WHERE id = ANY(ARRAY(SELECT id FROM picked)) RETURNING id
""")


def delete(db: Db, ids: Sequence[UUID], *, by: str, is_audited: bool = True) -> Changes:
    """Any status but processing → ∅, with its attempts, log lines and dead letter."""
    done = set(db.scalars(_DELETE, {"ids": _array(i.hex for i in ids)}))
    if is_audited:
        _audit(db, by, "job.delete", list(done))
    return _changes(db, ids, done, "delete")


_DISCARD = text("""
WITH picked AS MATERIALIZED (
    SELECT l.id, l.job_id FROM dead_letters l JOIN jobs j ON j.id = l.job_id
    WHERE l.job_id = ANY(CAST(:ids AS uuid[])) AND l.closed_at IS NULL
    ORDER BY j.id FOR UPDATE OF j),
dealt_with AS (
    UPDATE jobs SET failure = NULL, updated_at = now() WHERE id IN (SELECT job_id FROM picked))
UPDATE dead_letters SET closed_at = now(), closed_by = :by, closed_how = 'discarded'
WHERE id = ANY(ARRAY(SELECT id FROM picked)) AND closed_at IS NULL
RETURNING job_id
""")


def discard(db: Db, job_ids: Sequence[UUID], *, by: str, is_audited: bool = True) -> Changes:
    """Close the open dead letter for good; the job stays failed."""
    ids = _array(i.hex for i in job_ids)
    done = set(db.scalars(_DISCARD, {"ids": ids, "by": by}))
    if is_audited:
        _audit(db, by, "job.discard", list(done))
    return _changes(db, job_ids, done, "discard")


def pause_queue(db: Db, name: str, *, by: str) -> None:
    """No job of the queue is claimed until it is resumed; running ones go on. Raises InvalidName."""
    _check_name(db, "queue", name)
    _switch(db, "queues", "name", name, by)
    _audit_one(db, by, "queue.pause", name)


def resume_queue(db: Db, name: str, *, by: str) -> None:
    """Claim from the queue again; the audit publishes what was dropped meanwhile. Raises InvalidName."""
    _check_name(db, "queue", name)
    _switch(db, "queues", "name", name, None)
    after_commit(db, _due_refs(db, "queue", name))
    _audit_one(db, by, "queue.resume", name)


def pause_type(db: Db, type_name: str, *, by: str) -> None:
    """No job of the type is claimed until it is resumed; running ones go on. Raises InvalidName."""
    _check_name(db, "type", type_name)
    _switch(db, "type_switches", "type", type_name, by)
    _audit_one(db, by, "type.pause", type_name)


def resume_type(db: Db, type_name: str, *, by: str) -> None:
    """Claim jobs of the type again. Raises InvalidName."""
    _check_name(db, "type", type_name)
    _switch(db, "type_switches", "type", type_name, None)
    after_commit(db, _due_refs(db, "type", type_name))
    _audit_one(db, by, "type.resume", type_name)


def _check_name(db: Db, column: str, name: str) -> None:
    # The tables of switches keep what they are given: only names that jobs can have, or have.
    if NAME.fullmatch(name):
        return
    exists = text(
        f"SELECT 1 FROM jobs WHERE {column} = :name LIMIT 1"
    )  # ix_jobs_queue, ix_jobs_type
    if not name.isprintable() or db.execute(exists, {"name": name}).first() is None:
        raise InvalidName(noun=column, rule=NAME_RULE)


# ------------------------------------------------------------------------- what time does


_EXPIRE = text("""
WITH picked AS MATERIALIZED (
    SELECT id FROM jobs WHERE status = 'pending' AND expires_at IS NOT NULL
      AND expires_at <= now() ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED)
UPDATE jobs SET status = 'cancelled', finished_at = now(), updated_at = now(),
    failure = NULL, last_error = 'Expired before it could start.'
WHERE id = ANY(ARRAY(SELECT id FROM picked)) AND status || '' = 'pending'
RETURNING id
""")


def expire(db: Db, *, limit: int = 500) -> int:
    """pending past its expires_at → cancelled."""
    return len(db.scalars(_EXPIRE, {"limit": limit}).all())


_GIVE_UP = text("""
WITH picked AS MATERIALIZED (
    SELECT id FROM jobs WHERE type = :type AND status = 'pending'
      AND run_at <= now() - make_interval(secs => :seconds)
    ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED),
ended AS (
    UPDATE jobs SET status = 'failed', finished_at = now(), updated_at = now(),
        last_error = CAST(:error AS text),
        failure = left(md5(concat_ws(chr(10), type, 'UnknownJobType', '')), 12)
    WHERE id = ANY(ARRAY(SELECT id FROM picked)) AND status || '' = 'pending'
    RETURNING id, queue, type, payload, attempts, failure, last_error),
attempt_rows AS (
    INSERT INTO job_attempts (job_id, lease_token, attempt, outcome, error, error_class, failure, started_at)
    SELECT id, gen_random_uuid(), attempts + 1, 'failed', last_error, 'UnknownJobType', failure, now()
    FROM ended)
INSERT INTO dead_letters (job_id, queue, type, payload, reason, attempts)
SELECT id, queue, type, payload, last_error, attempts FROM ended
RETURNING job_id
""")


def give_up(db: Db, type_name: str, *, seconds: float, limit: int = 500) -> int:
    """pending for ``seconds`` since it was due, of a type that no worker knows → failed + dead letter."""
    error = (
        f"No worker knew the type {type_name} for {seconds / 3600:g} hours (UNKNOWN_TYPE_HOURS)."
    )
    values = {"type": type_name, "seconds": seconds, "limit": limit, "error": error}
    return len(db.scalars(_GIVE_UP, values).all())


_PRUNE = text("""
WITH picked AS MATERIALIZED (
    SELECT id FROM jobs j WHERE id > :after AND id < :before
      AND (status IN ('completed', 'cancelled')
           OR status = 'failed' AND NOT EXISTS (
               SELECT 1 FROM dead_letters l WHERE l.job_id = j.id AND l.closed_at IS NULL))
      AND finished_at < now() - make_interval(secs => :seconds)
    ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED)
DELETE FROM jobs WHERE id = ANY(ARRAY(SELECT id FROM picked)) RETURNING id
""")


def prune(db: Db, *, after: UUID, before: UUID, seconds: float, limit: int = 1000) -> list[UUID]:
    """completed, cancelled, failed and discarded, longer than ``seconds`` ago → ∅.

    Only ids between the two bounds. A failed job with an open dead letter waits for a person.
    Ids are in order of time: the bounds keep the scan from passing retained rows again and again.
    """
    rows = db.scalars(
        _PRUNE, {"after": after, "before": before, "seconds": seconds, "limit": limit}
    )
    return sorted(rows)


def record(
    db: Db, by: str, action: str, subject: str, details: dict[str, Any] | None = None
) -> None:
    """An audit event of something that changed no job: a sign-in, a setting."""
    _audit_one(db, by, action, subject, details)


# ------------------------------------------------------------------------------------- helpers


def _changes(db: Db, ids: Sequence[UUID], done: set[UUID], verb: str) -> Changes:
    refused = [i for i in ids if i not in done]
    return Changes([i for i in ids if i in done], _why_not(db, refused, verb) if refused else {})


_STANDING = text("""
SELECT id, status, unique_key,
       (SELECT live.id FROM jobs live WHERE live.unique_key = j.unique_key
        AND live.unique_key IS NOT NULL AND live.status IN ('pending', 'processing')) AS live_id
FROM jobs j WHERE id = ANY(CAST(:ids AS uuid[]))
""")


def _why_not(db: Db, ids: Sequence[UUID], verb: str) -> dict[UUID, JobQueueError]:
    rows = {row.id: row for row in db.execute(_STANDING, {"ids": _array(i.hex for i in ids)})}
    return {i: _refusal(i, rows.get(i), verb) for i in ids}


def _refusal(job_id: UUID, row: Row[Any] | None, verb: str) -> JobQueueError:
    if row is None:
        return JobNotFound(job_id=job_id)
    if verb == "retry" and row.status in ALLOWED["retry"] and row.unique_key:
        return UniqueConflict(job_id=job_id, live_id=row.live_id, unique_key=row.unique_key)
    *most, last = ALLOWED[verb]
    allowed = f"{', '.join(most)} or {last}" if most else last
    if verb == "discard":
        allowed = "failed with an open dead letter"
    return InvalidTransition(job_id=job_id, status=row.status, verb=verb, allowed=allowed)


def _in_savepoint(db: Db, statement: Any, values: dict[str, Any]) -> Sequence[Row[Any]]:
    # So that a violated unique index costs this statement only, not the caller's transaction.
    with db.begin_nested():
        return db.execute(statement, values).all()


def _switch(db: Db, table: str, key: str, name: str, by: str | None) -> None:
    db.execute(
        text(
            f"INSERT INTO {table} ({key}, paused_at, paused_by)"
            f" VALUES (:name, CASE WHEN CAST(:by AS text) IS NOT NULL THEN now() END, :by)"
            f" ON CONFLICT ({key}) DO UPDATE"
            f" SET paused_at = CASE WHEN excluded.paused_at IS NOT NULL"
            f"     THEN COALESCE({table}.paused_at, excluded.paused_at) END,"
            f" paused_by = excluded.paused_by"
        ),
        {"name": name, "by": by},
    )


def _due_refs(db: Db, column: str, name: str) -> list[Ref]:
    # The first thousand start at once; the audit finds the rest.
    rows = db.execute(
        text(
            f"SELECT {_REF} FROM jobs WHERE {column} = :name AND status = 'pending'"
            f" AND run_at <= now() ORDER BY priority DESC, run_at, id LIMIT 1000"
        ),
        {"name": name},
    )
    return [_ref(row) for row in rows]


def _audit(
    db: Db, by: str, action: str, ids: Sequence[UUID], details: dict[str, Any] | None = None
) -> None:
    if len(ids) == 1:
        _audit_one(db, by, action, str(ids[0]), details)
    elif ids:
        sample = {"count": len(ids), "ids": [str(i) for i in ids[:100]]}
        _audit_one(db, by, action, f"{len(ids)} jobs", {**sample, **(details or {})})


def _audit_one(
    db: Db, by: str, action: str, subject: str, details: dict[str, Any] | None = None
) -> None:
    db.execute(
        text(
            "INSERT INTO audit_events (actor, action, subject, details)"
            " VALUES (:actor, :action, :subject, CAST(:details AS jsonb))"
        ),
        {"actor": by, "action": action, "subject": subject, "details": json.dumps(details or {})},
    )


def _settings() -> Settings:
    settings: Settings = current_app.extensions["settings"]
    return settings


def _array(ids: Iterable[str]) -> str:
    # One literal '{…}' instead of an array of a thousand quoted uuids: cheaper to send and parse.
    return "{" + ",".join(ids) + "}"


def _ref(row: Row[Any]) -> Ref:
    return Ref(row.id, row.queue, row.priority, row.run_at_ms, row.is_due)
