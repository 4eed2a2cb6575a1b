"""Jobs that wait, counted by queue and minute, so that scheduled, retrying and due are exact at any size.

A pending job counts here while it was tried before or lay ahead when it was written (run_at > updated_at): both can be
read off the row, so triggers keep the counts right whatever statement makes the change. The lock lasts for one pass over
the pending jobs.

Revision: 0009, after 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"

COUNTS = "(status = 'pending' AND (attempts > 0 OR run_at > updated_at))"
KEY = """queue, attempts > 0,
        CASE WHEN run_at > updated_at THEN date_trunc('minute', run_at, 'UTC') ELSE '-infinity' END"""

UP = f"""
SET LOCAL lock_timeout = '5s';
CREATE TABLE job_waiting (
    queue text NOT NULL,
    is_retry boolean NOT NULL,
    minute timestamptz NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (queue, is_retry, minute)
) WITH (fillfactor = 70);
CREATE TABLE job_waiting_deltas (
    queue text NOT NULL, is_retry boolean NOT NULL, minute timestamptz NOT NULL, n bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE FUNCTION jobs_wait_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM new_rows WHERE {COUNTS}) THEN
        INSERT INTO job_waiting_deltas (queue, is_retry, minute, n)
        SELECT {KEY}, count(*) FROM new_rows WHERE {COUNTS} GROUP BY 1, 2, 3;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION jobs_wait_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM old_rows WHERE {COUNTS}) OR EXISTS (SELECT FROM new_rows WHERE {COUNTS}) THEN
        INSERT INTO job_waiting_deltas (queue, is_retry, minute, n)
        SELECT queue, is_retry, minute, sum(d) FROM (
            SELECT {KEY}, -1 FROM old_rows WHERE {COUNTS}
            UNION ALL
            SELECT {KEY}, 1 FROM new_rows WHERE {COUNTS}) AS moved (queue, is_retry, minute, d)
        GROUP BY 1, 2, 3 HAVING sum(d) <> 0;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION jobs_wait_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM old_rows WHERE {COUNTS}) THEN
        INSERT INTO job_waiting_deltas (queue, is_retry, minute, n)
        SELECT {KEY}, -count(*) FROM old_rows WHERE {COUNTS} GROUP BY 1, 2, 3;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER tr_jobs_wait_insert AFTER INSERT ON jobs
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION jobs_wait_insert();
CREATE TRIGGER tr_jobs_wait_update AFTER UPDATE ON jobs
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION jobs_wait_update();
CREATE TRIGGER tr_jobs_wait_delete AFTER DELETE ON jobs
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION jobs_wait_delete();

INSERT INTO job_waiting (queue, is_retry, minute, n)
SELECT {KEY}, count(*) FROM jobs WHERE {COUNTS} GROUP BY 1, 2, 3;
"""
DOWN = """
SET LOCAL lock_timeout = '5s';
DROP TRIGGER tr_jobs_wait_insert ON jobs;
DROP TRIGGER tr_jobs_wait_update ON jobs;
DROP TRIGGER tr_jobs_wait_delete ON jobs;
DROP FUNCTION jobs_wait_insert(), jobs_wait_update(), jobs_wait_delete();
DROP TABLE job_waiting, job_waiting_deltas;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
