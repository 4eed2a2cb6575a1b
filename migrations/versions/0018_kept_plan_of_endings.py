"""A function for the ends of attempts that did not complete, as 0016 has them for insert, claim and complete.

Planning took 1 ms of each statement; and with statistics of a quiet moment 500 endings were joined with 500 jobs row by
row.

Revision: 0018, after 0017
"""

from alembic import op

revision = "0018"
down_revision = "0017"

FUNCTION = r"""
CREATE OR REPLACE FUNCTION end_attempts_1(p_outcomes jsonb, p_ids uuid[])
RETURNS TABLE (id uuid, type text, queue text, priority int, is_due boolean, run_at_ms bigint, status text, attempts int) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_nestloop = off
AS $end_attempts_1$
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
           o.verb = 'crash' AS is_crash,
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
        give_up_after float8)
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
        finished_at = CASE WHEN l.next_status = 'pending' THEN NULL ELSE now() END,
        updated_at = now()
    FROM locked l WHERE j.id = l.id AND j.id = ANY(CAST(p_ids AS uuid[]))
    RETURNING j.id, j.status, j.type, j.queue, j.payload, j.priority, j.run_at, j.attempts,
              j.crashes, j.last_error, CASE WHEN j.status = 'pending' THEN j.run_at END AS retry_at,
              l.lease_token, l.worker_id, l.started_at, l.attempt, l.outcome, l.error,
              l.error_class, l.traceback, l.fingerprint, l.counted_in, l.is_crash),
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
    (extract(epoch FROM run_at) * 1000)::bigint AS run_at_ms, status, attempts FROM ended;
END $end_attempts_1$;
"""


def upgrade() -> None:
    op.execute(FUNCTION)


def downgrade() -> None:
    op.execute("DROP FUNCTION end_attempts_1")
