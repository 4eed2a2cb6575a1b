"""The counting trigger of updates pairs old and new rows by GROUP BY instead of a join.

PL/pgSQL keeps the plan of a session's first call. Made for one row, the plan of the join was a nested loop, which
compared each of 500 finished jobs with each of 500: 48 µs of PostgreSQL a job instead of 22. GROUP BY is hashed or
sorted, whatever the first call was.

Workers run on throughout: no lock on the table, and a session takes the new text at its next call.

Revision: 0015, after 0014
"""

from alembic import op

revision = "0015"
down_revision = "0014"

FUNCTION = """
CREATE OR REPLACE FUNCTION jobs_count_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_counter_deltas
        SELECT queue, type, status, sum(d) FROM (
            SELECT queue, type, status, -1 AS d FROM old_rows
            UNION ALL
            SELECT queue, type, status, 1 FROM new_rows) AS moved
        GROUP BY 1, 2, 3 HAVING sum(d) <> 0;
{series}
    RETURN NULL;
END $$;
"""
PAIRED = """
    IF EXISTS (SELECT FROM old_rows WHERE status = 'processing') THEN
        -- A join would be a nested loop for the life of the session if its first statement had one row.
        -- An id with both sides ended an attempt. The attempt of a pending row was given back (release, rescue)
        -- if it is no longer counted.
        INSERT INTO job_series_deltas
            SELECT date_trunc('minute', now()), type,
                   CASE status WHEN 'pending' THEN 'retried' ELSE status END,
                   jobs_bucket(now() - started_at), jobs_bucket(started_at - run_at), count(*)
            FROM (
                SELECT max(type) AS type, max(status) AS status,
                       max(started_at) AS started_at, max(run_at) AS run_at
                FROM (
                    SELECT id, NULL AS type, NULL AS status, attempts, started_at, run_at
                    FROM old_rows WHERE status = 'processing'
                    UNION ALL
                    SELECT id, type, status, attempts, NULL, NULL
                    FROM new_rows WHERE status <> 'processing') AS sides
                GROUP BY id
                HAVING count(*) = 2 AND (max(status) <> 'pending' OR min(attempts) = max(attempts))) AS ended
            GROUP BY 2, 3, 4, 5;
    END IF;"""
JOINED = """    -- A pending row whose attempt was given back (release, rescue) ended no attempt.
    INSERT INTO job_series_deltas
        SELECT date_trunc('minute', now()), n.type,
               CASE n.status WHEN 'pending' THEN 'retried' ELSE n.status END,
               jobs_bucket(now() - o.started_at), jobs_bucket(o.started_at - o.run_at), count(*)
        FROM old_rows o JOIN new_rows n ON n.id = o.id
        WHERE o.status = 'processing' AND n.status <> 'processing'
          AND (n.status <> 'pending' OR n.attempts = o.attempts)
        GROUP BY 2, 3, 4, 5;"""


def upgrade() -> None:
    op.execute(FUNCTION.format(series=PAIRED.strip("\n")))


def downgrade() -> None:
    op.execute(FUNCTION.format(series=JOINED))
