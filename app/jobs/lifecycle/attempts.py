"""pending → processing → where the attempt ends: claim, complete, end.

These statements are the hot path: benchmarks/drain.py runs claim and complete for every job.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from app.database import Db, id_array
from app.jobs.ending import Ending
from app.jobs.holds import AT_LIMIT, FREE, LIMITED_LATER, none_applies
from app.jobs.lifecycle.functions import Function
from app.jobs.lifecycle.limited import has_its_limit
from app.jobs.lifecycle.sql import (
    GIVEN,
    IS_LOCKED,
    LEASE_IS_OVER,
    has_status,
    is_fenced_by,
    locked,
)
from app.jobs.lifecycle.tokens import END_LIMITED, TAKE_TOKENS
from app.jobs.publication import REF

_CLAIMABLE = f"""
    SELECT j.id, j.type, j.limit_name, j.limit_key FROM jobs j
    WHERE j.{GIVEN} AND {has_status("pending")} AND j.hold = {FREE}
      AND j.run_at <= now() AND {none_applies()}
      AND {has_its_limit()}
"""


_CLAIMABLE_LOCKED = locked(_CLAIMABLE, order="j.id", of="j", skip_locked=True)
# The claim may commit asynchronously: if PostgreSQL loses it in a crash, the outcome is refused and
# the job runs again. A batch with a job that must run at most once has to be on disk first.
# Tokens of limits with a rate are taken in the transaction of the claim, so that nobody sees one without the other.
_ON_THE_WAY = f"""
    SELECT CASE WHEN bool_or(type = ANY(:once)) THEN 0
                ELSE length(set_config('synchronous_commit', 'off', true)) END
         + CASE WHEN count(limit_name) > 0
                THEN {TAKE_TOKENS.name}(array_agg(limit_name), array_agg(limit_key)) ELSE 0 END
    FROM locked"""
# The lease starts at the moment of writing: now() is from before a wait for a table lock.
CLAIM = Function(
    "claim_jobs_2",
    "ids uuid[], token uuid, worker_id uuid, lease_seconds float8, is_any_queue boolean, queues text[],"
    " is_any_type boolean, types text[], once text[]",
    "id uuid, queue text, type text, payload jsonb, attempts int, max_attempts int,"
    " timeout_seconds float8, crashes int, tags text[], priority int, run_at_ms bigint,"
    " limit_name text, claimed_at float8",
    f"""
WITH {_CLAIMABLE_LOCKED}
UPDATE jobs SET status = 'processing', attempts = attempts + 1, lease_token = :token,
    worker_id = :worker_id, started_at = now(), updated_at = now(), progress = NULL,
    leased_until = greatest(now(), clock_timestamp() - interval '1 second')
                   + make_interval(secs => :lease_seconds)
WHERE {IS_LOCKED} AND ({_ON_THE_WAY}) >= 0
RETURNING id, queue, type, payload, attempts, max_attempts, timeout_seconds, crashes, tags,
    priority, (extract(epoch FROM run_at) * 1000)::bigint AS run_at_ms, limit_name,
    extract(epoch FROM now())::float8 AS claimed_at
""",
)
_CLAIM = CLAIM.call()


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

    ``token`` is new and serves the whole batch. The rows are in no particular order; each has id, queue,
    type, payload, attempts, max_attempts, timeout_seconds, crashes, tags, priority, run_at_ms, limit_name and
    claimed_at (seconds since 1970), in this order. With
    ``queues``, a job of another queue is left to the workers of that queue; with ``types``, a job
    of another type is left to workers that know it. A job that its limit has not admitted is not claimed. A batch with a job of a type in ``once`` (see
    registry.once_types) is on disk when this returns.
    """
    values = {
        "ids": id_array(ids),
        "token": token,
        "worker_id": worker_id,
        "lease_seconds": lease_seconds,
        "is_any_queue": not queues,
        "queues": list(queues),
        "is_any_type": types is None,
        "types": list(types or ()),
        "once": list(once),
    }
    return _CLAIM.rows(db, values)


# The outcomes are one object keyed by id, looked up row by row. A join with a list of them becomes
# a nested loop (500 × 500) whenever statistics say that few rows are processing, which took two
# thirds of the statement's time.
_OUTCOMES = "given AS MATERIALIZED (SELECT CAST(:outcomes AS jsonb) AS outcomes)"
_OUTCOME = "(SELECT outcomes FROM given) -> encode(uuid_send(j.id), 'hex')"

_COMPLETABLE = locked(
    f"""
    SELECT j.id FROM jobs j
    WHERE j.{GIVEN} AND {is_fenced_by(f"CAST({_OUTCOME} ->> 'token' AS uuid)")}
    """,
    order="j.id",
    of="j",
)
COMPLETE = Function(
    "complete_jobs_2",
    "outcomes jsonb, ids uuid[]",
    "id uuid",
    f"""
WITH {_OUTCOMES},
{_COMPLETABLE},
completed AS (
    UPDATE jobs j SET status = 'completed',
        result = NULLIF({_OUTCOME} -> 'result', 'null'),
        progress = COALESCE({_OUTCOME} -> 'progress', j.progress),
        last_error = NULL, fingerprint = NULL, lease_token = NULL, leased_until = NULL,
        cancel_requested_at = NULL, finished_at = now(), updated_at = now()
    WHERE j.{IS_LOCKED})
SELECT unnest(:ids) EXCEPT SELECT id FROM locked
""",
)
_COMPLETE = COMPLETE.call()


def complete(db: Db, endings: Sequence[Ending]) -> set[UUID]:
    """processing → completed, for each ending still held; ``result`` is JSON text.

    Returns the ids that were not held, which are fenced off: rescued meanwhile, or already written. Nearly
    always there are none: returning those that were held took a fifth of the time of a batch.
    """
    by_id = {ending.job.id.hex: _completion(ending) for ending in endings}
    rows = ",".join(f'"{job_id}":{completion}' for job_id, completion in by_id.items())
    values = {"outcomes": f"{{{rows}}}", "ids": id_array(by_id)}
    return {row.id for row in _COMPLETE.rows(db, values)}


def _completion(ending: Ending) -> str:
    # The result is JSON already; json.dumps would encode it twice.
    progress = f',"progress":{json.dumps(ending.progress)}' if ending.progress else ""
    return f'{{"token":"{ending.job.token.hex}","result":{ending.result}{progress}}}'


#: A refused job waits 1, 2, 4 … seconds and at most this long before a worker tries it again.
REFUSED_WAIT_SECONDS = 60
#: Refusals further apart than this are unrelated: the time until the job fails starts again.
REFUSED_APART_SECONDS = 3600

_ENDING = f"""
    SELECT j.id, j.lease_token, j.worker_id, j.started_at, j.attempts AS attempt, o.outcome,
           o.error, o.error_class, o.traceback, o.progress, earlier.lease_token AS counted_in,
           CASE WHEN o.verb = 'refuse'
                THEN least({REFUSED_WAIT_SECONDS}, 2 ^ least(COALESCE(earlier.times, 0), 10))
                ELSE o.delay END AS delay,
           o.verb IN ('release', 'snooze', 'crash', 'refuse') AS is_given_back,
           o.verb = 'crash' AS is_crash, o.throttles,
           o.verb = 'release' AND o.outcome IS NULL AS is_unstarted,
           CASE WHEN o.place IS NOT NULL THEN
               left(md5(concat_ws(chr(10), j.type, COALESCE(o.error_class, ''), o.place)), 12)
           END AS fingerprint,
           CASE WHEN o.verb = 'bury' THEN 'failed'
                WHEN o.verb = 'cancel' OR j.cancel_requested_at IS NOT NULL THEN 'cancelled'
                WHEN o.verb = 'crash' AND j.crashes + 1 >= o.max_crashes THEN 'failed'
                WHEN o.verb = 'refuse'
                     AND earlier.since < now() - make_interval(secs => o.give_up_after) THEN 'failed'
                ELSE 'pending' END AS next_status
    FROM jobs j CROSS JOIN
        jsonb_to_record({_OUTCOME}) AS o(
        token uuid, verb text, outcome text, error text, error_class text, traceback text,
        place text, delay float8, max_crashes int, only_expired boolean, progress jsonb,
        give_up_after float8, throttles text)
    LEFT JOIN LATERAL (
        -- Attempts given back for the same reason share one row, which counts them.
        SELECT a.lease_token, a.times, COALESCE(a.since, a.ended_at) AS since FROM job_attempts a
        WHERE o.verb IN ('release', 'snooze', 'refuse') AND a.job_id = j.id
          AND a.attempt = j.attempts AND a.outcome = o.outcome
          AND a.error_class IS NOT DISTINCT FROM o.error_class
          AND (o.verb <> 'refuse'
               OR a.ended_at > now() - interval '{REFUSED_APART_SECONDS} seconds')
        ORDER BY a.ended_at DESC LIMIT 1) AS earlier ON true
    WHERE j.{GIVEN} AND {is_fenced_by("o.token")}
      AND (NOT COALESCE(o.only_expired, false) OR {LEASE_IS_OVER})
"""
# enable_nestloop: with statistics of a quiet moment the join of jobs with locked would be one of
# 500 × 500. The joins that can only be nested loops still are.
END = Function(
    "end_attempts_2",
    "outcomes jsonb, ids uuid[]",
    "id uuid, type text, queue text, priority int, is_due boolean, run_at_ms bigint, held_by text,"
    " status text, attempts int, limit_name text",
    f"""
WITH {_OUTCOMES},
{locked(_ENDING, order="j.id", of="j")},
ended AS (
    UPDATE jobs j SET status = l.next_status,
        attempts = j.attempts - CASE WHEN l.is_given_back THEN 1 ELSE 0 END,
        crashes = j.crashes + CASE WHEN l.is_crash THEN 1 ELSE 0 END,
        run_at = CASE WHEN l.next_status = 'pending' AND l.delay IS NOT NULL
                      THEN now() + make_interval(secs => l.delay) ELSE j.run_at END,
        last_error = COALESCE(l.error, j.last_error),
        fingerprint = CASE WHEN l.next_status <> 'cancelled' THEN COALESCE(l.fingerprint, j.fingerprint) END,
        progress = COALESCE(l.progress, j.progress),
        lease_token = NULL, leased_until = NULL, cancel_requested_at = NULL,
        hold = CASE WHEN j.limit_name IS NULL OR l.next_status <> 'pending' THEN {FREE}
                    WHEN l.delay IS NOT NULL AND l.delay > 0 THEN {LIMITED_LATER} ELSE {AT_LIMIT} END,
        finished_at = CASE WHEN l.next_status = 'pending' THEN NULL ELSE now() END,
        updated_at = now()
    FROM locked l WHERE j.id = l.id AND j.{GIVEN}
    RETURNING j.id, j.status, j.type, j.queue, j.payload, j.priority, j.run_at, j.attempts,
              j.crashes, j.last_error, CASE WHEN j.status = 'pending' THEN j.run_at END AS retry_at,
              l.lease_token, l.worker_id, l.started_at, l.attempt, l.outcome, l.error,
              l.error_class, l.traceback, l.fingerprint, l.counted_in, l.is_crash,
              j.hold, j.limit_name, j.limit_key, l.is_unstarted, l.throttles, l.delay),
-- All from ended: a join of it with locked becomes a nested loop, 500 × 500.
attempt_rows AS (
    INSERT INTO job_attempts (job_id, lease_token, attempt, outcome, error, error_class,
                              traceback, fingerprint, worker_id, started_at, retry_at)
    SELECT id, lease_token, attempt, outcome, error, error_class, traceback, fingerprint,
           worker_id, started_at, retry_at
    FROM ended WHERE outcome IS NOT NULL AND counted_in IS NULL
    ON CONFLICT DO NOTHING),
counted AS (
    UPDATE job_attempts a SET times = a.times + 1, since = COALESCE(a.since, a.ended_at),
        started_at = e.started_at, ended_at = now(), error = e.error, worker_id = e.worker_id,
        fingerprint = e.fingerprint, retry_at = e.retry_at
    FROM ended e WHERE a.job_id = e.id AND a.lease_token = e.counted_in),
new_dead_letters AS (
    INSERT INTO dead_letters (job_id, queue, type, payload, reason, attempts)
    SELECT id, queue, type, payload,
           CASE WHEN is_crash THEN format('crashed its worker %s times', crashes)
                ELSE COALESCE(last_error, 'no reason given') END,
           attempt
    FROM ended WHERE status = 'failed')
SELECT {REF}, status, attempts, limit_name FROM ended
WHERE COALESCE((
    SELECT {END_LIMITED.name}(array_agg(limit_name), array_agg(limit_key), array_agg(CASE WHEN is_unstarted THEN started_at END),
                              array_agg(throttles), array_agg(delay))
    FROM ended WHERE limit_name IS NOT NULL AND (is_unstarted OR throttles IS NOT NULL) HAVING count(*) > 0), 0) >= 0
""",
    " SET enable_nestloop = off",
)
_END = END.call()


def end_attempts(db: Db, endings: Sequence[Ending]) -> Sequence[Row[Any]]:
    """processing → pending, failed (+ dead letter) or cancelled, for each ending still held.

    If a cancel was requested, the job is cancelled instead of going back to pending. release,
    snooze, crash and refuse don't use up an attempt.
    A job under a limit leaves its slot. Returns the rows that ended, with the columns of REF, status, attempts and
    limit_name; the caller publishes the pending ones, and hints the limits.
    """
    by_id = {ending.job.id.hex: _as_json(ending) for ending in endings}
    return _END.rows(db, {"outcomes": json.dumps(by_id), "ids": id_array(by_id)})


def _as_json(ending: Ending) -> dict[str, Any]:
    error = ending.error
    return {
        "token": ending.job.token.hex,
        "verb": ending.verb,
        "outcome": ending.outcome,
        "error": error and error.line,
        "error_class": error and error.class_name,
        "traceback": error and error.traceback,
        "place": error and error.place,
        "delay": ending.delay,
        "progress": ending.progress,
        "max_crashes": ending.max_crashes,
        "give_up_after": ending.give_up_after,
        "only_expired": ending.only_expired,
        "throttles": ending.throttles,
    }
