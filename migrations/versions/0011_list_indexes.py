"""Indexes for lists in their own order, and for the end of an id. Built without blocking writers.

A build that was interrupted leaves an invalid index behind: running the migration again replaces it.

Revision: 0011, after 0010
"""

from alembic import op
from sqlalchemy import text

revision = "0011"
down_revision = "0010"

INDEXES = {
    "ix_jobs_id_end": "jobs (right(id::text, 8))",
    "ix_jobs_finished": "jobs (status, finished_at, id) WHERE finished_at IS NOT NULL",
    "ix_jobs_run_at": "jobs (run_at, id) WHERE status = 'pending'",
    "ix_jobs_retrying_run_at": "jobs (run_at, id) WHERE status = 'pending' AND attempts > 0",
    "ix_dead_letters_id_end": "dead_letters (right(job_id::text, 8)) WHERE closed_at IS NULL",
}
#: (run_at) alone; ix_jobs_run_at does its work.
FORMER = {"ix_jobs_due": "jobs (run_at) WHERE status = 'pending'"}

_IS_INVALID = text(
    "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid)"
)


def _replace(wanted: dict[str, str], unwanted: dict[str, str]) -> None:
    connection = op.get_bind()
    # CONCURRENTLY refuses to be part of a transaction; the migrations before this one are committed here.
    connection.commit()
    former = connection.get_isolation_level()
    connection.execution_options(isolation_level="AUTOCOMMIT")
    try:
        # A build waits for the transactions that were there before it, blocking nobody meanwhile.
        connection.execute(text("SET lock_timeout = 0"))
        connection.execute(text("SET statement_timeout = 0"))
        for name, what in wanted.items():
            if connection.execute(_IS_INVALID, {"name": name}).scalar():
                connection.execute(text(f"DROP INDEX CONCURRENTLY {name}"))
            # A literal: "::" is no parameter.
            connection.exec_driver_sql(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {what}")
        for name in unwanted:
            connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
        connection.execute(text("RESET lock_timeout"))
        connection.execute(text("RESET statement_timeout"))
    finally:
        connection.commit()
        connection.execution_options(isolation_level=former)


def upgrade() -> None:
    _replace(INDEXES, FORMER)


def downgrade() -> None:
    _replace(FORMER, INDEXES)
