"""Failures by group, changes in bulk, workers asked to stop, a week by the minute.

Jobs that failed before are in no group until they fail again; the dead letters list them all the same.

Revision: 0004, after 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"

UP = """
ALTER TABLE jobs ADD COLUMN failure text;
CREATE INDEX ix_jobs_failure ON jobs (failure, id) INCLUDE (status) WHERE failure IS NOT NULL;
ALTER TABLE job_attempts ADD COLUMN failure text;
CREATE INDEX ix_job_attempts_failure ON job_attempts (failure, ended_at) WHERE failure IS NOT NULL;
ALTER TABLE bulk_actions ADD COLUMN args jsonb NOT NULL DEFAULT '{}',
    DROP CONSTRAINT ck_bulk_actions_verb,
    ADD CONSTRAINT ck_bulk_actions_verb CHECK (verb IN ('retry', 'cancel', 'delete', 'discard', 'edit'));
ALTER TABLE workers ADD COLUMN stop_requested_at timestamptz;
CREATE TABLE job_minutes (
    minute timestamptz NOT NULL,
    outcome text NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (minute, outcome)
) WITH (fillfactor = 70);
INSERT INTO job_minutes SELECT minute, outcome, sum(n) FROM job_series GROUP BY 1, 2;
"""
DOWN = """
DELETE FROM bulk_actions WHERE verb = 'edit';
ALTER TABLE bulk_actions DROP COLUMN args,
    DROP CONSTRAINT ck_bulk_actions_verb,
    ADD CONSTRAINT ck_bulk_actions_verb CHECK (verb IN ('retry', 'cancel', 'delete', 'discard'));
ALTER TABLE job_attempts DROP COLUMN failure;
ALTER TABLE jobs DROP COLUMN failure;
DROP TABLE job_minutes;
ALTER TABLE workers DROP COLUMN stop_requested_at;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
