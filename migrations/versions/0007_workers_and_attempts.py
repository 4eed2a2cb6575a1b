"""Given-back attempts are counted, workers say which types they know.

``times`` and ``since`` let one row stand for a job that snoozes every second. ``types`` is NULL for workers of an older
version, which claim every type. ``unknown_since`` is when a type with waiting jobs was first seen without a worker that
knows it, ``unknown_seen_at`` when that was last confirmed.

Revision: 0007, after 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"

UP = """
SET LOCAL lock_timeout = '5s';
ALTER TABLE job_attempts ADD COLUMN times integer NOT NULL DEFAULT 1, ADD COLUMN since timestamptz;
ALTER TABLE workers ADD COLUMN types text[];
ALTER TABLE type_switches ADD COLUMN unknown_since timestamptz, ADD COLUMN unknown_seen_at timestamptz;
"""
DOWN = """
SET LOCAL lock_timeout = '5s';
ALTER TABLE type_switches DROP COLUMN unknown_since, DROP COLUMN unknown_seen_at;
ALTER TABLE workers DROP COLUMN types;
ALTER TABLE job_attempts DROP COLUMN times, DROP COLUMN since;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
