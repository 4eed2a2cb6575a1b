"""Functions for the three statements of the live path: insert, claim, complete.

Sent as text they are parsed and planned at every call; a session plans a function once. For one job that was 30 to 50 %
of PostgreSQL's time. The text is that of app/jobs/lifecycle, where a test compares it with the database.

Processes of the previous release send their own text and don't know the functions.

Revision: 0016, after 0015
"""

from alembic import op

revision = "0016"
down_revision = "0015"

FUNCTIONS = r"""
CREATE OR REPLACE FUNCTION insert_jobs_1(p_rows json, p_lock_timeout text)
RETURNS TABLE (id uuid, type text, queue text, priority int, is_due boolean, run_at_ms bigint, run_at timestamptz, created_at timestamptz) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $insert_jobs_1$
#variable_conflict use_column
BEGIN
RETURN QUERY
INSERT INTO jobs (id, queue, type, payload, priority, max_attempts, run_at, timeout_seconds,
                  expires_at, unique_key, tags, created_by)
SELECT id, queue, type, payload, priority, max_attempts,
       COALESCE(run_at, now() + make_interval(secs => COALESCE(delay, 0))), timeout_seconds,
       expires_at, unique_key, COALESCE(tags, '{}'), created_by
FROM json_to_recordset(p_rows) AS r(
    id uuid, queue text, type text, payload jsonb, priority int, max_attempts int,
    run_at timestamptz, delay float8, timeout_seconds float8, expires_at timestamptz,
    unique_key text, tags text[], created_by text)
-- Set inside the statement: it needs no transaction and no further round trip.
WHERE p_lock_timeout IS NULL OR (SELECT set_config('lock_timeout', p_lock_timeout, true)) IS NOT NULL
ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL AND status IN ('pending', 'processing')
DO NOTHING
RETURNING id, type, queue, priority, run_at <= now() AS is_due,
    (extract(epoch FROM run_at) * 1000)::bigint AS run_at_ms, run_at, created_at;
END $insert_jobs_1$;

CREATE OR REPLACE FUNCTION claim_jobs_1(p_ids uuid[], p_token uuid, p_worker_id uuid, p_lease_seconds float8, p_is_any_queue boolean, p_queues text[], p_is_any_type boolean, p_types text[], p_once text[])
RETURNS TABLE (id uuid, queue text, type text, payload jsonb, attempts int, max_attempts int, timeout_seconds float8, crashes int, tags text[], priority int, run_at_ms bigint, claimed_at float8) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $claim_jobs_1$
#variable_conflict use_column
BEGIN
RETURN QUERY
WITH locked AS MATERIALIZED (
    SELECT j.id, j.type FROM jobs j
    WHERE j.id = ANY(CAST(p_ids AS uuid[])) AND j.status || '' = 'pending'
      AND j.run_at <= now() AND (j.expires_at IS NULL OR j.expires_at > now())
      AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.kind = 'queue' AND p.name = j.queue)
      AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.kind = 'type' AND p.name = j.type)
      AND (p_is_any_queue OR j.queue = ANY(CAST(p_queues AS text[])))
      AND (p_is_any_type OR j.type = ANY(CAST(p_types AS text[])))
    ORDER BY j.id FOR UPDATE OF j SKIP LOCKED)
UPDATE jobs SET status = 'processing', attempts = attempts + 1, lease_token = p_token,
    worker_id = p_worker_id, started_at = now(), updated_at = now(), progress = NULL,
    leased_until = greatest(now(), clock_timestamp() - interval '1 second')
                   + make_interval(secs => p_lease_seconds)
WHERE id = ANY(ARRAY(SELECT id FROM locked)) AND (
    SELECT count(*) FROM (SELECT set_config('synchronous_commit', 'off', true) WHERE NOT EXISTS (
        SELECT FROM locked WHERE type = ANY(p_once))) AS relaxed) >= 0
RETURNING id, queue, type, payload, attempts, max_attempts, timeout_seconds, crashes, tags,
    priority, (extract(epoch FROM run_at) * 1000)::bigint AS run_at_ms,
    extract(epoch FROM now())::float8 AS claimed_at;
END $claim_jobs_1$;

CREATE OR REPLACE FUNCTION complete_jobs_1(p_outcomes jsonb, p_ids uuid[])
RETURNS TABLE (id uuid) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $complete_jobs_1$
#variable_conflict use_column
BEGIN
RETURN QUERY
WITH given AS MATERIALIZED (SELECT CAST(p_outcomes AS jsonb) AS outcomes),
locked AS MATERIALIZED (
    SELECT j.id FROM jobs j
    WHERE j.id = ANY(CAST(p_ids AS uuid[])) AND j.status || '' = 'processing'
      AND j.lease_token = CAST((SELECT outcomes FROM given) -> encode(uuid_send(j.id), 'hex') ->> 'token' AS uuid)
    ORDER BY j.id FOR UPDATE OF j)
UPDATE jobs j SET status = 'completed',
    result = NULLIF((SELECT outcomes FROM given) -> encode(uuid_send(j.id), 'hex') -> 'result', 'null'),
    progress = COALESCE((SELECT outcomes FROM given) -> encode(uuid_send(j.id), 'hex') -> 'progress', j.progress),
    last_error = NULL, fingerprint = NULL, lease_token = NULL, leased_until = NULL,
    cancel_requested_at = NULL, finished_at = now(), updated_at = now()
WHERE j.id = ANY(ARRAY(SELECT id FROM locked))
RETURNING j.id;
END $complete_jobs_1$;
"""


def upgrade() -> None:
    # A literal: ":" in it is no parameter.
    op.get_bind().exec_driver_sql(FUNCTIONS)


def downgrade() -> None:
    op.execute("DROP FUNCTION insert_jobs_1, claim_jobs_1, complete_jobs_1")
