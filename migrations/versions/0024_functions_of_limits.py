"""Functions that know limits: insert, claim and end of the next number, tokens of rates, and a pass of admission.

The text is that of app/jobs/lifecycle and app/jobs/limits, where a test compares it with the database. The former
functions stay for processes of the previous release. limit_keys.wake_at was never used.

Revision: 0024, after 0023
"""

from alembic import op

revision = "0024"
down_revision = "0023"

FUNCTIONS = r"""
CREATE OR REPLACE FUNCTION take_tokens_1(p_names text[], p_keys text[]) RETURNS int LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $take_tokens_1$
BEGIN
WITH rated AS MATERIALIZED (SELECT l.name, make_interval(secs => (CASE WHEN l.override ? 'rate_seconds' THEN (l.override ->> 'rate_seconds')::float8 ELSE l.rate_seconds END) / (CASE WHEN l.override ? 'rate_count' THEN (l.override ->> 'rate_count')::int ELSE l.rate_count END)) AS t FROM limits l WHERE l.name = ANY(p_names) AND (CASE WHEN l.override ? 'rate_count' THEN (l.override ->> 'rate_count')::int ELSE l.rate_count END) IS NOT NULL ORDER BY l.name FOR NO KEY UPDATE)
UPDATE limits l SET tat = greatest(l.tat, now()) + r.t * (SELECT count(*) FROM unnest(p_names) AS n WHERE n = l.name)
FROM rated r WHERE l.name = r.name;
INSERT INTO limit_keys (limit_name, key, tat)
SELECT l.name, n.key, now() + make_interval(secs => (CASE WHEN l.override ? 'key_rate_seconds' THEN (l.override ->> 'key_rate_seconds')::float8 ELSE l.key_rate_seconds END) / (CASE WHEN l.override ? 'key_rate_count' THEN (l.override ->> 'key_rate_count')::int ELSE l.key_rate_count END)) * n.n
FROM (SELECT name, key, count(*) AS n FROM unnest(p_names, p_keys) AS j(name, key)
      WHERE name IS NOT NULL GROUP BY 1, 2) AS n
JOIN limits l ON l.name = n.name AND (CASE WHEN l.override ? 'key_rate_count' THEN (l.override ->> 'key_rate_count')::int ELSE l.key_rate_count END) IS NOT NULL
ORDER BY l.name, n.key
ON CONFLICT (limit_name, key) DO UPDATE
SET tat = greatest(limit_keys.tat, now()) + (excluded.tat - now());
RETURN 0;
END $take_tokens_1$;

CREATE OR REPLACE FUNCTION end_limited_1(p_names text[], p_keys text[], p_unstarted timestamptz[], p_throttles text[], p_delays float8[]) RETURNS int LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $end_limited_1$
BEGIN
WITH rated AS MATERIALIZED (SELECT l.name, make_interval(secs => (CASE WHEN l.override ? 'rate_seconds' THEN (l.override ->> 'rate_seconds')::float8 ELSE l.rate_seconds END) / (CASE WHEN l.override ? 'rate_count' THEN (l.override ->> 'rate_count')::int ELSE l.rate_count END)) AS t FROM limits l WHERE l.name = ANY(p_names) AND true ORDER BY l.name FOR NO KEY UPDATE),
ended AS (
    SELECT e.name, max(r.t) AS t, count(*) FILTER (WHERE e.unstarted + r.t > now()) AS n,
           max(e.delay) FILTER (WHERE e.throttle = 'limit') AS delay
    FROM unnest(p_names, p_unstarted, p_throttles, p_delays) AS e(name, unstarted, throttle, delay)
    JOIN rated r ON r.name = e.name GROUP BY 1)
UPDATE limits l SET tat = l.tat - COALESCE(e.t * e.n, interval '0'),
    blocked_until = greatest(l.blocked_until, now() + make_interval(secs => e.delay))
FROM ended e WHERE l.name = e.name AND (e.n > 0 OR e.delay IS NOT NULL);
WITH given AS (
    SELECT e.name, e.key, count(*) AS n, make_interval(secs => (CASE WHEN l.override ? 'key_rate_seconds' THEN (l.override ->> 'key_rate_seconds')::float8 ELSE l.key_rate_seconds END) / (CASE WHEN l.override ? 'key_rate_count' THEN (l.override ->> 'key_rate_count')::int ELSE l.key_rate_count END)) AS t
    FROM unnest(p_names, p_keys, p_unstarted) AS e(name, key, unstarted) JOIN limits l ON l.name = e.name
    WHERE e.unstarted + make_interval(secs => (CASE WHEN l.override ? 'key_rate_seconds' THEN (l.override ->> 'key_rate_seconds')::float8 ELSE l.key_rate_seconds END) / (CASE WHEN l.override ? 'key_rate_count' THEN (l.override ->> 'key_rate_count')::int ELSE l.key_rate_count END)) > now() GROUP BY 1, 2, 4),
taken AS MATERIALIZED (
    SELECT k.limit_name, k.key, g.n * g.t AS back
    FROM limit_keys k JOIN given g ON g.name = k.limit_name AND g.key = k.key
    ORDER BY k.limit_name, k.key FOR NO KEY UPDATE OF k)
UPDATE limit_keys k SET tat = k.tat - t.back FROM taken t WHERE k.limit_name = t.limit_name AND k.key = t.key;
INSERT INTO limit_keys (limit_name, key, blocked_until)
SELECT e.name, e.key, now() + make_interval(secs => max(e.delay))
FROM unnest(p_names, p_keys, p_throttles, p_delays) AS e(name, key, throttle, delay) JOIN limits l ON l.name = e.name
WHERE e.throttle = 'key' GROUP BY 1, 2 ORDER BY 1, 2
ON CONFLICT (limit_name, key) DO UPDATE
SET blocked_until = greatest(limit_keys.blocked_until, excluded.blocked_until);
RETURN 0;
END $end_limited_1$;

CREATE OR REPLACE FUNCTION insert_jobs_2(p_rows json, p_lock_timeout text, p_is_limited boolean)
RETURNS TABLE (id uuid, type text, queue text, priority int, is_due boolean, run_at_ms bigint, held_by text, run_at timestamptz, created_at timestamptz, limit_name text, limit_key text) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $insert_jobs_2$
#variable_conflict use_column
BEGIN
IF p_is_limited OR EXISTS (SELECT FROM limit_attachments) THEN
RETURN QUERY
INSERT INTO jobs (id, queue, type, payload, priority, max_attempts, run_at, timeout_seconds,
                  expires_at, unique_key, tags, created_by, limit_name, limit_key, hold)
SELECT id, queue, type, payload, priority, max_attempts, COALESCE(run_at, now() + make_interval(secs => COALESCE(delay, 0))), timeout_seconds,
       expires_at, unique_key, COALESCE(tags, '{}'), created_by, l.name,
       CASE WHEN l.name IS NOT NULL THEN left(COALESCE(r.limit_key, r.payload #>> string_to_array(l.by_field, '.'), ''), 200) END, CASE WHEN l.name IS NULL THEN 0 WHEN COALESCE(run_at, now() + make_interval(secs => COALESCE(delay, 0))) > now() THEN 3 ELSE 1 END
FROM json_to_recordset(p_rows) AS r(
    id uuid, queue text, type text, payload jsonb, priority int, max_attempts int,
    run_at timestamptz, delay float8, timeout_seconds float8, expires_at timestamptz,
    unique_key text, tags text[], created_by text, limit_name text, limit_key text)
LEFT JOIN limits l ON l.name = CASE WHEN r.limit_name IS NOT NULL THEN r.limit_name
                                    WHEN ARRAY['type ' || r.type, 'queue ' || r.queue] && ARRAY(SELECT kind || ' ' || name FROM limit_attachments) THEN (SELECT limit_name FROM limit_attachments
        WHERE kind IN ('type', 'queue') AND name IN (r.type, r.queue)
          AND name = CASE kind WHEN 'type' THEN r.type ELSE r.queue END ORDER BY kind DESC LIMIT 1) END
-- Set inside the statement: it needs no transaction and no further round trip.
WHERE p_lock_timeout IS NULL OR (SELECT set_config('lock_timeout', p_lock_timeout, true)) IS NOT NULL
ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL AND status IN ('pending', 'processing')
DO NOTHING
RETURNING id, type, queue, priority, run_at <= now() AS is_due,
    (extract(epoch FROM run_at) * 1000)::bigint AS run_at_ms,
    CASE WHEN hold <> 0 THEN limit_name END AS held_by, run_at, created_at, limit_name, limit_key;
RETURN;
END IF;
RETURN QUERY
INSERT INTO jobs (id, queue, type, payload, priority, max_attempts, run_at, timeout_seconds,
                  expires_at, unique_key, tags, created_by)
SELECT id, queue, type, payload, priority, max_attempts, COALESCE(run_at, now() + make_interval(secs => COALESCE(delay, 0))), timeout_seconds,
       expires_at, unique_key, COALESCE(tags, '{}'), created_by
FROM json_to_recordset(p_rows) AS r(
    id uuid, queue text, type text, payload jsonb, priority int, max_attempts int,
    run_at timestamptz, delay float8, timeout_seconds float8, expires_at timestamptz,
    unique_key text, tags text[], created_by text, limit_name text, limit_key text)
-- Set inside the statement: it needs no transaction and no further round trip.
WHERE p_lock_timeout IS NULL OR (SELECT set_config('lock_timeout', p_lock_timeout, true)) IS NOT NULL
ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL AND status IN ('pending', 'processing')
DO NOTHING
RETURNING id, type, queue, priority, run_at <= now() AS is_due,
    (extract(epoch FROM run_at) * 1000)::bigint AS run_at_ms,
    CASE WHEN hold <> 0 THEN limit_name END AS held_by, run_at, created_at, limit_name, limit_key;
END $insert_jobs_2$;

CREATE OR REPLACE FUNCTION claim_jobs_2(p_ids uuid[], p_token uuid, p_worker_id uuid, p_lease_seconds float8, p_is_any_queue boolean, p_queues text[], p_is_any_type boolean, p_types text[], p_once text[])
RETURNS TABLE (id uuid, queue text, type text, payload jsonb, attempts int, max_attempts int, timeout_seconds float8, crashes int, tags text[], priority int, run_at_ms bigint, limit_name text, claimed_at float8) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $claim_jobs_2$
#variable_conflict use_column
BEGIN
RETURN QUERY
WITH locked AS MATERIALIZED (
    SELECT j.id, j.type, j.limit_name, j.limit_key FROM jobs j
    WHERE j.id = ANY(CAST(p_ids AS uuid[])) AND j.status || '' = 'pending' AND j.hold = 0
      AND j.run_at <= now() AND (j.expires_at IS NULL OR j.expires_at > now())
      AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.kind = 'queue' AND p.name = j.queue)
      AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.kind = 'type' AND p.name = j.type)
      AND (p_is_any_queue OR j.queue = ANY(CAST(p_queues AS text[])))
      AND (p_is_any_type OR j.type = ANY(CAST(p_types AS text[])))
      AND (j.limit_name IS NOT NULL OR NOT ARRAY['type ' || j.type, 'queue ' || j.queue] && ARRAY(SELECT kind || ' ' || name FROM limit_attachments))
    ORDER BY j.id FOR UPDATE OF j SKIP LOCKED)
UPDATE jobs SET status = 'processing', attempts = attempts + 1, lease_token = p_token,
    worker_id = p_worker_id, started_at = now(), updated_at = now(), progress = NULL,
    leased_until = greatest(now(), clock_timestamp() - interval '1 second')
                   + make_interval(secs => p_lease_seconds)
WHERE id = ANY(ARRAY(SELECT id FROM locked)) AND (
    SELECT CASE WHEN bool_or(type = ANY(p_once)) THEN 0
                ELSE length(set_config('synchronous_commit', 'off', true)) END
         + CASE WHEN count(limit_name) > 0
                THEN take_tokens_1(array_agg(limit_name), array_agg(limit_key)) ELSE 0 END
    FROM locked) >= 0
RETURNING id, queue, type, payload, attempts, max_attempts, timeout_seconds, crashes, tags,
    priority, (extract(epoch FROM run_at) * 1000)::bigint AS run_at_ms, limit_name,
    extract(epoch FROM now())::float8 AS claimed_at;
END $claim_jobs_2$;

CREATE OR REPLACE FUNCTION end_attempts_2(p_outcomes jsonb, p_ids uuid[])
RETURNS TABLE (id uuid, type text, queue text, priority int, is_due boolean, run_at_ms bigint, held_by text, status text, attempts int, limit_name text) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_nestloop = off
AS $end_attempts_2$
#variable_conflict use_column
BEGIN
RETURN QUERY
WITH given AS MATERIALIZED (SELECT CAST(p_outcomes AS jsonb) AS outcomes),
locked AS MATERIALIZED (
    SELECT j.id, j.lease_token, j.worker_id, j.started_at, j.attempts AS attempt, o.outcome,
           o.error, o.error_class, o.traceback, o.progress, earlier.lease_token AS counted_in,
           CASE WHEN o.verb = 'refuse'
                THEN least(60, 2 ^ least(COALESCE(earlier.times, 0), 10))
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
        jsonb_to_record((SELECT outcomes FROM given) -> encode(uuid_send(j.id), 'hex')) AS o(
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
               OR a.ended_at > now() - interval '3600 seconds')
        ORDER BY a.ended_at DESC LIMIT 1) AS earlier ON true
    WHERE j.id = ANY(CAST(p_ids AS uuid[])) AND j.status || '' = 'processing'
      AND j.lease_token = o.token
      AND (NOT COALESCE(o.only_expired, false) OR j.leased_until < now())
    ORDER BY j.id FOR UPDATE OF j),
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
        hold = CASE WHEN j.limit_name IS NULL OR l.next_status <> 'pending' THEN 0
                    WHEN l.delay IS NOT NULL AND l.delay > 0 THEN 3 ELSE 1 END,
        finished_at = CASE WHEN l.next_status = 'pending' THEN NULL ELSE now() END,
        updated_at = now()
    FROM locked l WHERE j.id = l.id AND j.id = ANY(CAST(p_ids AS uuid[]))
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
SELECT id, type, queue, priority, run_at <= now() AS is_due,
    (extract(epoch FROM run_at) * 1000)::bigint AS run_at_ms,
    CASE WHEN hold <> 0 THEN limit_name END AS held_by, status, attempts, limit_name FROM ended
WHERE COALESCE((
    SELECT end_limited_1(array_agg(limit_name), array_agg(limit_key), array_agg(CASE WHEN is_unstarted THEN started_at END),
                              array_agg(throttles), array_agg(delay))
    FROM ended WHERE limit_name IS NOT NULL AND (is_unstarted OR throttles IS NOT NULL) HAVING count(*) > 0), 0) >= 0;
END $end_attempts_2$;

CREATE OR REPLACE FUNCTION limit_state_1(p_name text, p_timer timestamptz, p_alive_seconds float8)
RETURNS TABLE (concurrency int, rate_count int, rate_seconds float8, burst int, key_concurrency int, key_rate_count int, key_rate_seconds float8, key_burst int, tat float8, turn text, closed_until float8, is_paused boolean, now float8, slots json, stale bigint, threads bigint, is_any_queue boolean, queues text[], is_any_type boolean, types text[]) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $limit_state_1$
#variable_conflict use_column
BEGIN
PERFORM set_config('synchronous_commit', 'off', true);
IF p_timer IS NOT NULL AND NOT EXISTS (SELECT FROM limits l WHERE l.name = p_name AND l.wake_at = p_timer)
    OR NOT pg_try_advisory_xact_lock(7061424, hashtext(p_name)) THEN RETURN; END IF;
RETURN QUERY
WITH slots AS MATERIALIZED (
    SELECT limit_key, count(*) AS used, count(*) FILTER (WHERE status = 'pending') AS unstarted,
           count(*) FILTER (WHERE status = 'pending'
                            AND admitted_at < now() - interval '10.0 s') AS stale
    FROM jobs WHERE limit_name = p_name AND hold = 0 AND status IN ('pending', 'processing') GROUP BY 1),
alive AS MATERIALIZED (
    SELECT threads, queues, types FROM workers WHERE stopped_at IS NULL AND stopping_at IS NULL
      AND heartbeat_at > now() - make_interval(secs => p_alive_seconds))
SELECT CASE WHEN l.override ? 'concurrency' THEN (l.override ->> 'concurrency')::int ELSE l.concurrency END, CASE WHEN l.override ? 'rate_count' THEN (l.override ->> 'rate_count')::int ELSE l.rate_count END, CASE WHEN l.override ? 'rate_seconds' THEN (l.override ->> 'rate_seconds')::float8 ELSE l.rate_seconds END, CASE WHEN l.override ? 'burst' THEN (l.override ->> 'burst')::int ELSE l.burst END, CASE WHEN l.override ? 'key_concurrency' THEN (l.override ->> 'key_concurrency')::int ELSE l.key_concurrency END, CASE WHEN l.override ? 'key_rate_count' THEN (l.override ->> 'key_rate_count')::int ELSE l.key_rate_count END, CASE WHEN l.override ? 'key_rate_seconds' THEN (l.override ->> 'key_rate_seconds')::float8 ELSE l.key_rate_seconds END, CASE WHEN l.override ? 'key_burst' THEN (l.override ->> 'key_burst')::int ELSE l.key_burst END, extract(epoch FROM l.tat)::float8, l.turn,
       extract(epoch FROM l.blocked_until)::float8, l.paused_at IS NOT NULL, extract(epoch FROM now())::float8,
       (SELECT json_object_agg(limit_key, json_build_array(used, unstarted)) FROM slots),
       (SELECT sum(stale)::bigint FROM slots), (SELECT sum(threads)::bigint FROM alive),
       COALESCE((SELECT bool_or(queues = '{}') FROM alive), false),
       ARRAY(SELECT DISTINCT unnest(queues) FROM alive),
       COALESCE((SELECT bool_or(types IS NULL) FROM alive), false),
       ARRAY(SELECT DISTINCT unnest(types) FROM alive)
FROM limits l WHERE l.name = p_name;
END $limit_state_1$;

CREATE OR REPLACE FUNCTION limit_waiting_keys_1(p_name text, p_after text, p_upto text, p_is_second_lap boolean, p_keys int)
RETURNS TABLE (key text, is_second_lap boolean, concurrency int, tat float8, closed_until float8, is_paused boolean) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $limit_waiting_keys_1$
#variable_conflict use_column
BEGIN
RETURN QUERY
WITH RECURSIVE k AS (
    SELECT p_after AS key, p_is_second_lap AS is_second, 0 AS n
    UNION ALL
    SELECT following.key, following.is_second, k.n + 1 FROM k CROSS JOIN LATERAL (
        SELECT key, is_second FROM (
            SELECT limit_key AS key, k.is_second FROM (
    SELECT limit_key FROM jobs WHERE hold = 1 AND limit_name = p_name AND limit_key > k.key ORDER BY limit_key LIMIT 1) AS a
            UNION ALL
            SELECT limit_key, true FROM (
    SELECT limit_key FROM jobs WHERE hold = 1 AND limit_name = p_name AND NOT k.is_second ORDER BY limit_key LIMIT 1) AS b
            LIMIT 1) AS first
        WHERE NOT is_second OR key <= p_upto) AS following
    WHERE k.n < p_keys)
SELECT k.key, k.is_second, f.concurrency, extract(epoch FROM f.tat)::float8, extract(epoch FROM f.blocked_until)::float8,
       f.paused_at IS NOT NULL
FROM k LEFT JOIN limit_keys f ON f.limit_name = p_name AND f.key = k.key WHERE k.n > 0 ORDER BY k.n;
END $limit_waiting_keys_1$;

CREATE OR REPLACE FUNCTION limit_admit_1(p_name text, p_keys text[], p_counts int[], p_is_any_queue boolean, p_queues text[], p_is_any_type boolean, p_types text[])
RETURNS TABLE (id uuid, type text, queue text, priority int, is_due boolean, run_at_ms bigint, held_by text, limit_key text) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_sort = off SET enable_bitmapscan = off
AS $limit_admit_1$
#variable_conflict use_column
BEGIN
RETURN QUERY
WITH picked AS MATERIALIZED (
    SELECT j.id FROM unnest(p_keys, p_counts) AS d(key, n) CROSS JOIN LATERAL (
        SELECT j.id FROM (
            SELECT * FROM jobs WHERE hold = 1 AND limit_name = p_name AND limit_key = d.key
            ORDER BY priority DESC, run_at, id LIMIT 1000) AS j
        WHERE j.run_at <= now() AND (j.expires_at IS NULL OR j.expires_at > now())
      AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.kind = 'queue' AND p.name = j.queue)
      AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.kind = 'type' AND p.name = j.type)
      AND (p_is_any_queue OR j.queue = ANY(CAST(p_queues AS text[])))
      AND (p_is_any_type OR j.type = ANY(CAST(p_types AS text[])))
        LIMIT d.n) AS j), locked AS MATERIALIZED (
    SELECT j.id FROM jobs j WHERE j.id = ANY(ARRAY(SELECT id FROM picked)) AND j.hold = 1
    ORDER BY j.id FOR UPDATE OF j SKIP LOCKED)
UPDATE jobs SET hold = 0, admitted_at = now() WHERE id = ANY(ARRAY(SELECT id FROM locked))
RETURNING id, type, queue, priority, run_at <= now() AS is_due,
    (extract(epoch FROM run_at) * 1000)::bigint AS run_at_ms,
    CASE WHEN hold <> 0 THEN limit_name END AS held_by, limit_key;
END $limit_admit_1$;
"""


def upgrade() -> None:
    # A literal: ":" in it is no parameter.
    op.get_bind().exec_driver_sql(FUNCTIONS.replace("%", "%%"))
    op.execute("ALTER TABLE limit_keys DROP COLUMN IF EXISTS wake_at")


def downgrade() -> None:
    op.execute(
        "DROP FUNCTION limit_admit_1, limit_waiting_keys_1, limit_state_1, end_attempts_2, claim_jobs_2, insert_jobs_2, end_limited_1, take_tokens_1"
    )
    op.execute("ALTER TABLE limit_keys ADD COLUMN wake_at timestamptz")
    op.execute(
        "CREATE INDEX ix_limit_keys_wake ON limit_keys (limit_name, wake_at) WHERE wake_at IS NOT NULL"
    )
