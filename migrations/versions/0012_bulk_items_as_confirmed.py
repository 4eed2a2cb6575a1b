"""Bulk actions remember how each job was when they were confirmed, and skip those that changed since.

A release that does not know the column leaves it NULL; such jobs are judged by the moment of the confirmation.

Revision: 0012, after 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"

UP = """
SET LOCAL lock_timeout = '5s';
ALTER TABLE bulk_items ADD COLUMN job_updated_at timestamptz;
"""
DOWN = """
SET LOCAL lock_timeout = '5s';
ALTER TABLE bulk_items DROP COLUMN job_updated_at;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
