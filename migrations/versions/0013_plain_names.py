"""jobs.fingerprint, job_attempts.fingerprint, bulk_actions.description and the table pauses, beside the former names.

This is the first half of a rename ("expand"). Processes of the previous release keep working for the length of a
deploy: triggers copy every write of the former names (failure, told, queues.paused_*, type_switches.paused_*) to the
new ones and back. A later migration drops the former names and the triggers.

Writers are never blocked for long: each table is altered in a transaction of its own, with a lock time-out; rows are
copied in batches; indexes are built concurrently. A run that was interrupted can be repeated.

Revision: 0013, after 0012
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

from alembic import op
from sqlalchemy import Connection, text

revision = "0013"
down_revision = "0012"

#: Rows copied in one transaction.
BATCH = 1000
LOCK_TIMEOUT = "SET LOCAL lock_timeout = '5s'"

# The former column wins only where it changed and the new one did not. WHEN keeps ordinary updates from calling the
# function at all: two columns that agree need no copy.
FINGERPRINT = """
CREATE OR REPLACE FUNCTION fingerprint_sync() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.fingerprint := COALESCE(NEW.fingerprint, NEW.failure);
        NEW.failure := NEW.fingerprint;
    ELSIF NEW.fingerprint IS DISTINCT FROM OLD.fingerprint THEN
        NEW.failure := NEW.fingerprint;
    ELSE
        NEW.fingerprint := NEW.failure;
    END IF;
    RETURN NEW;
END $$;
"""
FINGERPRINT_COLUMN = """
ALTER TABLE {table} ADD COLUMN IF NOT EXISTS fingerprint text;
CREATE OR REPLACE TRIGGER tr_{table}_fingerprint_insert BEFORE INSERT ON {table}
    FOR EACH ROW WHEN (NEW.failure IS DISTINCT FROM NEW.fingerprint) EXECUTE FUNCTION fingerprint_sync();
CREATE OR REPLACE TRIGGER tr_{table}_fingerprint_update BEFORE UPDATE OF failure, fingerprint ON {table}
    FOR EACH ROW WHEN (NEW.failure IS DISTINCT FROM NEW.fingerprint) EXECUTE FUNCTION fingerprint_sync();
"""

# ix_jobs_failure: jobs that never failed are not read.
NEXT_JOBS = text("""
SELECT failure, id FROM jobs
WHERE failure IS NOT NULL AND (failure, id) > (:failure, CAST(:id AS uuid)) AND fingerprint IS DISTINCT FROM failure
ORDER BY failure, id LIMIT :batch
""")
# A statement that never waits for a row can't be part of a deadlock; what it skipped is left to the next pass.
COPY_JOBS = text("""
WITH picked AS MATERIALIZED (
    SELECT id FROM jobs WHERE id = ANY(CAST(:ids AS uuid[])) AND fingerprint IS DISTINCT FROM failure
    ORDER BY id FOR UPDATE SKIP LOCKED)
UPDATE jobs SET fingerprint = failure WHERE id = ANY(ARRAY(SELECT id FROM picked))
""")
# job_attempts_pkey
NEXT_ATTEMPTS = text("""
SELECT job_id, lease_token FROM job_attempts
WHERE (job_id, lease_token) > (CAST(:job_id AS uuid), CAST(:token AS uuid)) AND fingerprint IS DISTINCT FROM failure
ORDER BY job_id, lease_token LIMIT :batch
""")
COPY_ATTEMPTS = text("""
WITH picked AS MATERIALIZED (
    SELECT job_id, lease_token FROM job_attempts
    WHERE (job_id, lease_token) IN (SELECT * FROM unnest(CAST(:job_ids AS uuid[]), CAST(:tokens AS uuid[])))
      AND fingerprint IS DISTINCT FROM failure
    ORDER BY job_id, lease_token FOR UPDATE SKIP LOCKED)
UPDATE job_attempts a SET fingerprint = failure FROM picked p
WHERE a.job_id = p.job_id AND a.lease_token = p.lease_token
""")
NIL = "00000000-0000-0000-0000-000000000000"
#: Passes over the rows that were locked, PAUSE_SECONDS apart.
MAX_PASSES = 600
PAUSE_SECONDS = 0.5

INDEXES = {
    "ix_jobs_fingerprint": "jobs (fingerprint, id) INCLUDE (status) WHERE fingerprint IS NOT NULL",
    "ix_job_attempts_fingerprint": "job_attempts (fingerprint, ended_at) WHERE fingerprint IS NOT NULL",
}
IS_INVALID = text(
    "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid)"
)

DESCRIPTION = """
ALTER TABLE bulk_actions ADD COLUMN IF NOT EXISTS description text;
CREATE OR REPLACE FUNCTION description_sync() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.description := COALESCE(NEW.description, NEW.told);
        NEW.told := NEW.description;
    ELSIF NEW.description IS DISTINCT FROM OLD.description THEN
        NEW.told := NEW.description;
    ELSE
        NEW.description := NEW.told;
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER tr_bulk_actions_description_insert BEFORE INSERT ON bulk_actions
    FOR EACH ROW WHEN (NEW.told IS DISTINCT FROM NEW.description) EXECUTE FUNCTION description_sync();
CREATE OR REPLACE TRIGGER tr_bulk_actions_description_update BEFORE UPDATE OF told, description ON bulk_actions
    FOR EACH ROW WHEN (NEW.told IS DISTINCT FROM NEW.description) EXECUTE FUNCTION description_sync();
UPDATE bulk_actions SET description = told WHERE description IS DISTINCT FROM told;
ALTER TABLE bulk_actions ALTER COLUMN description SET NOT NULL;
"""

# Each trigger writes only what differs, which ends the exchange: the write that comes back changes nothing.
PAUSES = """
CREATE TABLE pauses (
    kind text NOT NULL CONSTRAINT ck_pauses_kind CHECK (kind IN ('queue', 'type')),
    name text NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT now(),
    paused_by text,
    PRIMARY KEY (kind, name)
);
CREATE FUNCTION pauses_from_former() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed_name text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        changed_name := to_jsonb(OLD) ->> TG_ARGV[1];
    ELSE
        changed_name := to_jsonb(NEW) ->> TG_ARGV[1];
        IF NEW.paused_at IS NOT NULL THEN
            INSERT INTO pauses AS p (kind, name, paused_at, paused_by)
            VALUES (TG_ARGV[0], changed_name, NEW.paused_at, NEW.paused_by)
            ON CONFLICT (kind, name) DO UPDATE
            SET paused_at = excluded.paused_at, paused_by = excluded.paused_by
            WHERE (p.paused_at, p.paused_by) IS DISTINCT FROM (excluded.paused_at, excluded.paused_by);
            RETURN NULL;
        END IF;
    END IF;
    DELETE FROM pauses WHERE kind = TG_ARGV[0] AND name = changed_name;
    RETURN NULL;
END $$;
CREATE FUNCTION pauses_to_former() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.kind = 'queue' THEN
            UPDATE queues SET paused_at = NULL, paused_by = NULL
            WHERE name = OLD.name AND paused_at IS NOT NULL;
        ELSE
            UPDATE type_switches SET paused_at = NULL, paused_by = NULL
            WHERE type = OLD.name AND paused_at IS NOT NULL;
        END IF;
    ELSIF NEW.kind = 'queue' THEN
        INSERT INTO queues AS f (name, paused_at, paused_by)
        VALUES (NEW.name, NEW.paused_at, NEW.paused_by)
        ON CONFLICT (name) DO UPDATE SET paused_at = excluded.paused_at, paused_by = excluded.paused_by
        WHERE (f.paused_at, f.paused_by) IS DISTINCT FROM (excluded.paused_at, excluded.paused_by);
    ELSE
        INSERT INTO type_switches AS f (type, paused_at, paused_by)
        VALUES (NEW.name, NEW.paused_at, NEW.paused_by)
        ON CONFLICT (type) DO UPDATE SET paused_at = excluded.paused_at, paused_by = excluded.paused_by
        WHERE (f.paused_at, f.paused_by) IS DISTINCT FROM (excluded.paused_at, excluded.paused_by);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER tr_pauses_write AFTER INSERT OR UPDATE OR DELETE ON pauses
    FOR EACH ROW EXECUTE FUNCTION pauses_to_former();
"""
# The sweeper writes type_switches for types that no worker knows (unknown_since): WHEN leaves those writes alone.
PAUSES_OF_FORMER = """
CREATE TRIGGER tr_{table}_pause_insert AFTER INSERT ON {table}
    FOR EACH ROW WHEN (NEW.paused_at IS NOT NULL) EXECUTE FUNCTION pauses_from_former('{kind}', '{key}');
CREATE TRIGGER tr_{table}_pause_update AFTER UPDATE OF paused_at, paused_by ON {table}
    FOR EACH ROW WHEN (NEW.paused_at IS DISTINCT FROM OLD.paused_at OR NEW.paused_by IS DISTINCT FROM OLD.paused_by)
    EXECUTE FUNCTION pauses_from_former('{kind}', '{key}');
CREATE TRIGGER tr_{table}_pause_delete AFTER DELETE ON {table}
    FOR EACH ROW WHEN (OLD.paused_at IS NOT NULL) EXECUTE FUNCTION pauses_from_former('{kind}', '{key}');
INSERT INTO pauses (kind, name, paused_at, paused_by)
SELECT '{kind}', {key}, paused_at, paused_by FROM {table} WHERE paused_at IS NOT NULL
ON CONFLICT DO NOTHING;
"""

# One statement list per table that workers write all the time, each in its own transaction. What was written under
# the new names stands under the former ones already.
DOWN = (
    """
DROP TRIGGER IF EXISTS tr_jobs_fingerprint_insert ON jobs;
DROP TRIGGER IF EXISTS tr_jobs_fingerprint_update ON jobs;
ALTER TABLE jobs DROP COLUMN IF EXISTS fingerprint;
""",
    """
DROP TRIGGER IF EXISTS tr_job_attempts_fingerprint_insert ON job_attempts;
DROP TRIGGER IF EXISTS tr_job_attempts_fingerprint_update ON job_attempts;
ALTER TABLE job_attempts DROP COLUMN IF EXISTS fingerprint;
DROP FUNCTION IF EXISTS fingerprint_sync();
""",
    """
DROP TRIGGER IF EXISTS tr_bulk_actions_description_insert ON bulk_actions;
DROP TRIGGER IF EXISTS tr_bulk_actions_description_update ON bulk_actions;
DROP FUNCTION IF EXISTS description_sync();
ALTER TABLE bulk_actions DROP COLUMN IF EXISTS description;
""",
    """
DROP TRIGGER tr_queues_pause_insert ON queues;
DROP TRIGGER tr_queues_pause_update ON queues;
DROP TRIGGER tr_queues_pause_delete ON queues;
DROP TRIGGER tr_type_switches_pause_insert ON type_switches;
DROP TRIGGER tr_type_switches_pause_update ON type_switches;
DROP TRIGGER tr_type_switches_pause_delete ON type_switches;
DROP TABLE pauses;
DROP FUNCTION pauses_from_former(), pauses_to_former();
""",
)


def _run(connection: Connection, statements: str) -> None:
    connection.execute(text(LOCK_TIMEOUT))
    # A literal: ":" in it is no parameter.
    connection.exec_driver_sql(statements)


def _copy_jobs(connection: Connection) -> int:
    """One pass over the rows that still differ; how many of them were locked and skipped."""
    skipped, after = 0, {"failure": "", "id": NIL}
    while rows := connection.execute(NEXT_JOBS, {**after, "batch": BATCH}).all():
        copied = connection.execute(COPY_JOBS, {"ids": _array(row.id for row in rows)}).rowcount
        connection.commit()
        skipped += len(rows) - copied
        after = {"failure": rows[-1].failure, "id": rows[-1].id}
    connection.commit()
    return skipped


def _copy_attempts(connection: Connection) -> int:
    """As _copy_jobs."""
    skipped, after = 0, {"job_id": NIL, "token": NIL}
    while rows := connection.execute(NEXT_ATTEMPTS, {**after, "batch": BATCH}).all():
        ids = {
            "job_ids": _array(row.job_id for row in rows),
            "tokens": _array(row.lease_token for row in rows),
        }
        copied = connection.execute(COPY_ATTEMPTS, ids).rowcount
        connection.commit()
        skipped += len(rows) - copied
        after = {"job_id": rows[-1].job_id, "token": rows[-1].lease_token}
    connection.commit()
    return skipped


def _copy_all(connection: Connection, copy: Callable[[Connection], int]) -> None:
    for _ in range(MAX_PASSES):
        if copy(connection) == 0:
            return
        time.sleep(PAUSE_SECONDS)
    raise TimeoutError(
        "Some rows stayed locked by a long transaction; end it and run the migration again."
    )


def _array(ids: Iterable[UUID]) -> str:
    return "{" + ",".join(map(str, ids)) + "}"


@contextmanager
def _no_transaction(connection: Connection) -> Iterator[None]:
    """CREATE INDEX CONCURRENTLY refuses to be part of a transaction."""
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


def upgrade() -> None:
    connection = op.get_bind()
    connection.commit()
    _run(connection, FINGERPRINT)
    for table in ("jobs", "job_attempts"):
        _run(connection, FINGERPRINT_COLUMN.format(table=table))
        connection.commit()
    for copy in (_copy_jobs, _copy_attempts):
        _copy_all(connection, copy)
    with _no_transaction(connection):
        for name, columns in INDEXES.items():
            if connection.execute(IS_INVALID, {"name": name}).scalar():
                connection.execute(text(f"DROP INDEX CONCURRENTLY {name}"))
            connection.execute(text(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {columns}"))
    _run(connection, DESCRIPTION)
    connection.commit()
    _run(connection, PAUSES)
    for table, kind, key in (("queues", "queue", "name"), ("type_switches", "type", "type")):
        connection.exec_driver_sql(PAUSES_OF_FORMER.format(table=table, kind=kind, key=key))


def downgrade() -> None:
    connection = op.get_bind()
    for statements in DOWN:
        connection.commit()
        _run(connection, statements)
