"""Completing jobs returns those that were not held any more, which are nearly always none, instead of all others.

Reading 200 ids of a batch took a fifth of the time that a worker needs to complete them.

Revision: 0023, after 0022
"""

from alembic import op

revision = "0023"
down_revision = "0022"

# complete_jobs_1 stays for the processes of the previous release.
FUNCTION = r"""
CREATE OR REPLACE FUNCTION complete_jobs_2(p_outcomes jsonb, p_ids uuid[])
RETURNS TABLE (id uuid) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $complete_jobs_2$
#variable_conflict use_column
BEGIN
RETURN QUERY
WITH given AS MATERIALIZED (SELECT CAST(p_outcomes AS jsonb) AS outcomes),
locked AS MATERIALIZED (
    SELECT j.id FROM jobs j
    WHERE j.id = ANY(CAST(p_ids AS uuid[])) AND j.status || '' = 'processing'
      AND j.lease_token = CAST((SELECT outcomes FROM given) -> encode(uuid_send(j.id), 'hex') ->> 'token' AS uuid)
    ORDER BY j.id FOR UPDATE OF j),
completed AS (
    UPDATE jobs j SET status = 'completed',
        result = NULLIF((SELECT outcomes FROM given) -> encode(uuid_send(j.id), 'hex') -> 'result', 'null'),
        progress = COALESCE((SELECT outcomes FROM given) -> encode(uuid_send(j.id), 'hex') -> 'progress', j.progress),
        last_error = NULL, fingerprint = NULL, lease_token = NULL, leased_until = NULL,
        cancel_requested_at = NULL, finished_at = now(), updated_at = now()
    WHERE j.id = ANY(ARRAY(SELECT id FROM locked)))
SELECT unnest(p_ids) EXCEPT SELECT id FROM locked;
END $complete_jobs_2$;
"""


def upgrade() -> None:
    op.execute(FUNCTION)


def downgrade() -> None:
    op.execute("DROP FUNCTION complete_jobs_2")
