"""Workers count the endings of attempts that PostgreSQL refused.

A release that does not know the column leaves it at 0.

Revision: 0014, after 0013
"""

from alembic import op

revision = "0014"
down_revision = "0013"

UP = """
SET LOCAL lock_timeout = '5s';
ALTER TABLE workers ADD COLUMN refused bigint NOT NULL DEFAULT 0;
"""
DOWN = """
SET LOCAL lock_timeout = '5s';
ALTER TABLE workers DROP COLUMN refused;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
