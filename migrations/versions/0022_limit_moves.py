"""Attaching limits: who attached them, which backlogs are being moved, and which limits a worker's code declares.

workers.limits: NULL is a process of a release that doesn't know limits.

Revision: 0022, after 0021
"""

from alembic import op

revision = "0022"
down_revision = "0021"

UP = """
SET LOCAL lock_timeout = '5s';
ALTER TABLE limit_attachments ADD COLUMN source text NOT NULL DEFAULT 'api'
    CONSTRAINT ck_limit_attachments_source CHECK (source IN ('code', 'api'));
ALTER TABLE workers ADD COLUMN limits text[];
CREATE TABLE limit_moves (
    kind text NOT NULL CONSTRAINT ck_limit_moves_kind CHECK (kind IN ('queue', 'type', 'limit')),
    name text NOT NULL,
    after_id uuid,
    done bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT now(),
    started_by text,
    PRIMARY KEY (kind, name)
);
"""
DOWN = """
SET LOCAL lock_timeout = '5s';
DROP TABLE limit_moves;
ALTER TABLE workers DROP COLUMN limits;
ALTER TABLE limit_attachments DROP COLUMN source;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
