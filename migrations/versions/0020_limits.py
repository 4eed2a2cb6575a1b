"""Limits: jobs that wait in PostgreSQL until theirs admits them.

jobs.hold: 0 free, 1 due and waiting at its limit, 3 under a limit and not due yet. A held job is pending and in no set
of Redis. Writers are not blocked for long: constant defaults rewrite nothing, the CHECK is validated afterwards, indexes
are built concurrently. Processes of the previous release write jobs without a limit; until the last one has ended, its
reads in the order of claims use no index.

A run that was interrupted can be repeated.

Revision: 0020, after 0019
"""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import op
from sqlalchemy import Connection, text

revision = "0020"
down_revision = "0019"

COLUMNS = """
SET LOCAL lock_timeout = '5s';
ALTER TABLE jobs
    ADD COLUMN IF NOT EXISTS hold smallint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS limit_name text,
    ADD COLUMN IF NOT EXISTS limit_key text,
    ADD COLUMN IF NOT EXISTS admitted_at timestamptz,
    DROP CONSTRAINT IF EXISTS ck_jobs_hold,
    ADD CONSTRAINT ck_jobs_hold CHECK (
        (hold = 0 OR hold IN (1, 3) AND status = 'pending' AND limit_name IS NOT NULL)
        AND (limit_name IS NULL) = (limit_key IS NULL)) NOT VALID;
"""
# Reads all jobs, and lets others write meanwhile.
VALIDATE = "SET LOCAL statement_timeout = 0; ALTER TABLE jobs VALIDATE CONSTRAINT ck_jobs_hold"

# override: the numbers that an operator set, by the name of their column; kept through deploys.
TABLES = """
SET LOCAL lock_timeout = '5s';
CREATE TABLE IF NOT EXISTS limits (
    name text PRIMARY KEY,
    source text NOT NULL CONSTRAINT ck_limits_source CHECK (source IN ('code', 'api')),
    by_field text,
    concurrency int CONSTRAINT ck_limits_concurrency CHECK (concurrency >= 0),
    rate_count int,
    rate_seconds float8,
    burst int,
    key_concurrency int CONSTRAINT ck_limits_key_concurrency CHECK (key_concurrency >= 1),
    key_rate_count int,
    key_rate_seconds float8,
    key_burst int,
    override jsonb NOT NULL DEFAULT '{}',
    overridden_by text,
    overridden_at timestamptz,
    tat timestamptz,
    turn text NOT NULL DEFAULT '',
    wake_at timestamptz,
    blocked_until timestamptz,
    paused_at timestamptz,
    paused_by text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ck_limits_rate CHECK (rate_count >= 1 AND rate_seconds > 0 AND burst >= 1
        OR num_nulls(rate_count, rate_seconds, burst) = 3),
    CONSTRAINT ck_limits_key_rate CHECK (key_rate_count >= 1 AND key_rate_seconds > 0 AND key_burst >= 1
        OR num_nulls(key_rate_count, key_rate_seconds, key_burst) = 3)
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS limit_keys (
    limit_name text NOT NULL REFERENCES limits ON DELETE CASCADE,
    key text NOT NULL CONSTRAINT ck_limit_keys_key CHECK (length(key) <= 200),
    concurrency int CONSTRAINT ck_limit_keys_concurrency CHECK (concurrency >= 0),
    tat timestamptz,
    wake_at timestamptz,
    blocked_until timestamptz,
    paused_at timestamptz,
    paused_by text,
    PRIMARY KEY (limit_name, key)
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS ix_limit_keys_wake ON limit_keys (limit_name, wake_at) WHERE wake_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS limit_attachments (
    kind text NOT NULL CONSTRAINT ck_limit_attachments_kind CHECK (kind IN ('queue', 'type')),
    name text NOT NULL,
    limit_name text NOT NULL REFERENCES limits,
    attached_at timestamptz NOT NULL DEFAULT now(),
    attached_by text,
    PRIMARY KEY (kind, name)
);
CREATE INDEX IF NOT EXISTS ix_limit_attachments_limit ON limit_attachments (limit_name);
INSERT INTO limits (name, source, key_concurrency) VALUES ('schedule', 'code', 1) ON CONFLICT DO NOTHING;
"""

INDEXES = {
    "ix_jobs_at_limit": "jobs (limit_name, limit_key, priority DESC, run_at, id) WHERE hold = 1",
    "ix_jobs_limited_later": "jobs (run_at, id) WHERE hold = 3",
    "ix_jobs_admitted": "jobs (limit_name, limit_key) INCLUDE (status)"
    " WHERE limit_name IS NOT NULL AND hold = 0 AND status IN ('pending', 'processing')",
}
CLAIM_ORDER = "ix_jobs_claim_order"
ALL_PENDING = "jobs (queue, priority DESC, run_at, id) WHERE status = 'pending'"
FREE_PENDING = f"{ALL_PENDING} AND hold = 0"
IS_INVALID = text(
    "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid)"
)

DOWN = """
SET LOCAL lock_timeout = '5s';
DROP TABLE limit_attachments, limit_keys, limits;
ALTER TABLE jobs DROP COLUMN hold, DROP COLUMN limit_name, DROP COLUMN limit_key, DROP COLUMN admitted_at;
"""


@contextmanager
def _no_transaction(connection: Connection) -> Iterator[None]:
    """CONCURRENTLY refuses to be part of a transaction."""
    connection.commit()
    former = connection.get_isolation_level()
    connection.execution_options(isolation_level="AUTOCOMMIT")
    try:
        # A build waits for the transactions that were there before it, and blocks none meanwhile.
        connection.execute(text("SET lock_timeout = 0"))
        connection.execute(text("SET statement_timeout = 0"))
        yield
        connection.execute(text("RESET lock_timeout"))
        connection.execute(text("RESET statement_timeout"))
    finally:
        connection.commit()
        connection.execution_options(isolation_level=former)


def _replace_claim_order(connection: Connection, what: str) -> None:
    connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {CLAIM_ORDER}_new"))
    connection.execute(text(f"CREATE INDEX CONCURRENTLY {CLAIM_ORDER}_new ON {what}"))
    connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {CLAIM_ORDER}"))
    connection.execute(text(f"ALTER INDEX {CLAIM_ORDER}_new RENAME TO {CLAIM_ORDER}"))


def upgrade() -> None:
    connection = op.get_bind()
    for statements in (COLUMNS, VALIDATE, TABLES):
        connection.commit()
        connection.exec_driver_sql(statements)
    with _no_transaction(connection):
        for name, what in INDEXES.items():
            if connection.execute(IS_INVALID, {"name": name}).scalar():
                connection.execute(text(f"DROP INDEX CONCURRENTLY {name}"))
            connection.execute(text(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {what}"))
        _replace_claim_order(connection, FREE_PENDING)


def downgrade() -> None:
    connection = op.get_bind()
    with _no_transaction(connection):
        _replace_claim_order(connection, ALL_PENDING)
        for name in INDEXES:
            connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
    connection.exec_driver_sql(DOWN)
