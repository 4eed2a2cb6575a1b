"""Bulk actions keep the jobs they touched, so that their page can say what became of them.

The rows of bulk_items stay until retention removes them; a worker of the release before deletes those it
handles, which costs the outcome of these jobs and nothing else.

Revision: 0008, after 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"

UP = """
SET LOCAL lock_timeout = '5s';
ALTER TABLE bulk_items ADD COLUMN result text
    CONSTRAINT ck_bulk_items_result CHECK (result IN ('done', 'skipped'));
CREATE INDEX ix_bulk_items_open ON bulk_items (bulk_id, job_id) WHERE result IS NULL;
ALTER TABLE bulk_actions
    ADD COLUMN scope jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN late bigint NOT NULL DEFAULT 0,
    DROP CONSTRAINT ck_bulk_actions_verb,
    ADD CONSTRAINT ck_bulk_actions_verb
        CHECK (verb IN ('retry', 'run', 'cancel', 'delete', 'discard', 'edit'));
"""
DOWN = """
DELETE FROM bulk_actions WHERE verb = 'run';
DELETE FROM bulk_items WHERE result IS NOT NULL;
DROP INDEX ix_bulk_items_open;
ALTER TABLE bulk_items DROP COLUMN result;
ALTER TABLE bulk_actions DROP COLUMN scope, DROP COLUMN late,
    DROP CONSTRAINT ck_bulk_actions_verb,
    ADD CONSTRAINT ck_bulk_actions_verb
        CHECK (verb IN ('retry', 'cancel', 'delete', 'discard', 'edit'));
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
