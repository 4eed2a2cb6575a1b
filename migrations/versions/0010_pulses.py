"""When the database was last observed by a rescuer, and since when without a gap.

Revision: 0010, after 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"

UP = """
SET LOCAL lock_timeout = '5s';
CREATE TABLE job_pulses (
    name text PRIMARY KEY,
    seen_at timestamptz NOT NULL,
    since timestamptz NOT NULL
) WITH (fillfactor = 50);
"""
DOWN = """
SET LOCAL lock_timeout = '5s';
DROP TABLE job_pulses;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
