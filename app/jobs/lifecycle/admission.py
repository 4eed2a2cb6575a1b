"""The statements of admission. Those of a pass are functions, planned once per session."""

from __future__ import annotations

from sqlalchemy import text

from app.jobs.holds import AT_LIMIT, FREE, none_applies
from app.jobs.lifecycle.functions import Function
from app.jobs.lifecycle.sql import locked
from app.jobs.lifecycle.tokens import number
from app.jobs.publication import REF

#: Jobs that a pass admits, and keys that it looks at.
JOBS = KEYS = 500
#: Jobs of a key that are passed over in one pass because something else holds them, a paused queue for example.
PASSED_OVER = 1000
#: An admitted job that has not started after this time leaves its slot to the next.
UNSTARTED_SECONDS = 10.0
#: Advisory locks of two numbers: this one, and the hash of the limit's name.
LOCK = 7061424

_NUMBERS = ("concurrency", "rate_count", "rate_seconds", "burst",
            "key_concurrency", "key_rate_count", "key_rate_seconds", "key_burst")  # fmt: skip
_TAT = "extract(epoch FROM {}.tat)::float8"
_SLOTS = f"""
    SELECT limit_key, count(*) AS used, count(*) FILTER (WHERE status = 'pending') AS unstarted,
           count(*) FILTER (WHERE status = 'pending'
                            AND admitted_at < now() - interval '{UNSTARTED_SECONDS} s') AS stale
    FROM jobs WHERE limit_name = :name AND hold = {FREE} AND status IN ('pending', 'processing') GROUP BY 1"""
# An admission that PostgreSQL loses in a crash leaves the job waiting, so its commit need not wait for the disk.
# The lock is a statement of its own: the snapshot of the next one must be taken after it. A timed pass that another one
# has overtaken (wake_at is not its own any more) has nothing to do.
STATE = Function(
    "limit_state_1",
    "name text, timer timestamptz, alive_seconds float8",
    "concurrency int, rate_count int, rate_seconds float8, burst int, key_concurrency int, key_rate_count int,"
    " key_rate_seconds float8, key_burst int, tat float8, turn text, closed_until float8, is_paused boolean, now float8,"
    " slots json, stale bigint, threads bigint, is_any_queue boolean, queues text[], is_any_type boolean, types text[]",
    f"""
WITH slots AS MATERIALIZED ({_SLOTS}),
alive AS MATERIALIZED (
    SELECT threads, queues, types FROM workers WHERE stopped_at IS NULL AND stopping_at IS NULL
      AND heartbeat_at > now() - make_interval(secs => :alive_seconds))
SELECT {", ".join(number(column) for column in _NUMBERS)}, {_TAT.format("l")}, l.turn,
       extract(epoch FROM l.blocked_until)::float8, l.paused_at IS NOT NULL, extract(epoch FROM now())::float8,
       (SELECT json_object_agg(limit_key, json_build_array(used, unstarted)) FROM slots),
       (SELECT sum(stale)::bigint FROM slots), (SELECT sum(threads)::bigint FROM alive),
       COALESCE((SELECT bool_or(queues = '{{}}') FROM alive), false),
       ARRAY(SELECT DISTINCT unnest(queues) FROM alive),
       COALESCE((SELECT bool_or(types IS NULL) FROM alive), false),
       ARRAY(SELECT DISTINCT unnest(types) FROM alive)
FROM limits l WHERE l.name = :name
""",
    before=f"""PERFORM set_config('synchronous_commit', 'off', true);
IF :timer IS NOT NULL AND NOT EXISTS (SELECT FROM limits l WHERE l.name = :name AND l.wake_at = :timer)
    OR NOT pg_try_advisory_xact_lock({LOCK}, hashtext(:name)) THEN RETURN; END IF;
""",
)

# ix_jobs_at_limit, from one key to the next: from the last turn to the last key, then from the first key to that turn.
_NEXT_KEY = f"""
    SELECT limit_key FROM jobs WHERE hold = {AT_LIMIT} AND limit_name = :name"""
WAITING_KEYS = Function(
    "limit_waiting_keys_1",
    "name text, after text, upto text, is_second_lap boolean, keys int",
    "key text, is_second_lap boolean, concurrency int, tat float8, closed_until float8, is_paused boolean",
    f"""
WITH RECURSIVE k AS (
    SELECT :after AS key, :is_second_lap AS is_second, 0 AS n
    UNION ALL
    SELECT following.key, following.is_second, k.n + 1 FROM k CROSS JOIN LATERAL (
        SELECT key, is_second FROM (
            SELECT limit_key AS key, k.is_second FROM ({_NEXT_KEY} AND limit_key > k.key ORDER BY limit_key LIMIT 1) AS a
            UNION ALL
            SELECT limit_key, true FROM ({_NEXT_KEY} AND NOT k.is_second ORDER BY limit_key LIMIT 1) AS b
            LIMIT 1) AS first
        WHERE NOT is_second OR key <= :upto) AS following
    WHERE k.n < :keys)
SELECT k.key, k.is_second, f.concurrency, {_TAT.format("f")}, extract(epoch FROM f.blocked_until)::float8,
       f.paused_at IS NOT NULL
FROM k LEFT JOIN limit_keys f ON f.limit_name = :name AND f.key = k.key WHERE k.n > 0 ORDER BY k.n
""",
)

# By priority and time within a key. Locked in order of id like every statement; what a person has locked is left to
# the next pass.
_ADMISSIBLE = f"""\
picked AS MATERIALIZED (
    SELECT j.id FROM unnest(:keys, :counts) AS d(key, n) CROSS JOIN LATERAL (
        SELECT j.id FROM (
            SELECT * FROM jobs WHERE hold = {AT_LIMIT} AND limit_name = :name AND limit_key = d.key
            ORDER BY priority DESC, run_at, id LIMIT {PASSED_OVER}) AS j
        WHERE j.run_at <= now() AND {none_applies()}
        LIMIT d.n) AS j)"""
_PICKED = locked(
    f"SELECT j.id FROM jobs j WHERE j.id = ANY(ARRAY(SELECT id FROM picked)) AND j.hold = {AT_LIMIT}",
    order="j.id",
    of="j",
    skip_locked=True,
)
ADMIT = Function(
    "limit_admit_1",
    "name text, keys text[], counts int[], is_any_queue boolean, queues text[], is_any_type boolean, types text[]",
    "id uuid, type text, queue text, priority int, is_due boolean, run_at_ms bigint, held_by text, limit_key text",
    f"""
WITH {_ADMISSIBLE}, {_PICKED}
UPDATE jobs SET hold = {FREE}, admitted_at = now() WHERE id = ANY(ARRAY(SELECT id FROM locked))
RETURNING {REF}, limit_key
""",
    # In the index's order: a sort would read all that a key has.
    " SET enable_sort = off SET enable_bitmapscan = off",
)

_STALE = locked(
    f"""SELECT j.id FROM jobs j WHERE j.limit_name = :name AND j.hold = {FREE} AND j.status = 'pending'
        AND j.status IN ('pending', 'processing')
        AND j.admitted_at < now() - interval '{UNSTARTED_SECONDS} s'""",
    order="j.id",
    of="j",
    skip_locked=True,
    limit=str(JOBS),
)
TAKE_BACK = text(f"""
WITH {_STALE}
UPDATE jobs SET hold = {AT_LIMIT} WHERE id = ANY(ARRAY(SELECT id FROM locked)) RETURNING limit_key
""")
SET_TURN = text("""
UPDATE limits SET turn = :turn, wake_at = now() + make_interval(secs => :wake_in)
WHERE name = :name AND (CAST(:wake_in AS float8) IS NOT NULL OR (turn, wake_at) IS DISTINCT FROM (:turn, NULL))
RETURNING wake_at
""")
