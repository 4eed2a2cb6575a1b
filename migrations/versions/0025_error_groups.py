"""Error groups have a state and remember the version that first failed; failures are counted by group and hour.

A trigger notes the groups of new attempts, of whichever release wrote them: a row per new group, and a delta per
statement and group, which a worker folds. Groups from before are stored as known, or as new if they are younger than a
day. Writers are blocked only while the trigger is created.

A run that was interrupted can be repeated.

Revision: 0025, after 0024
"""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import op
from sqlalchemy import Connection, text

revision = "0025"
down_revision = "0024"

# error_groups.former_*: what a reopened group was before, who set that, and when.
# The type is read by a subquery and the plan avoids scans: the trigger is on the path of every failed attempt.
UP = """
SET LOCAL lock_timeout = '5s';
CREATE TABLE IF NOT EXISTS error_groups (
    fingerprint text PRIMARY KEY,
    type text NOT NULL,
    error_class text,
    outcome text NOT NULL,
    first_seen_at timestamptz NOT NULL,
    first_version text,
    last_seen_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'new'
        CONSTRAINT ck_error_groups_state CHECK (state IN ('new', 'known', 'muted', 'resolved', 'reopened')),
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text,
    muted_per_hour float8,
    former_state text,
    former_by text,
    former_at timestamptz,
    reopened_version text,
    CONSTRAINT ck_error_groups_muted CHECK ((state = 'muted') = (muted_per_hour IS NOT NULL)),
    CONSTRAINT ck_error_groups_former CHECK ((state = 'reopened') = (former_state IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS ix_error_groups_last_seen ON error_groups (last_seen_at, fingerprint);
CREATE TABLE IF NOT EXISTS error_group_hours (
    fingerprint text NOT NULL,
    hour timestamptz NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (fingerprint, hour)
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS ix_error_group_hours_hour ON error_group_hours (hour);
CREATE TABLE IF NOT EXISTS error_group_deltas (
    fingerprint text NOT NULL,
    hour timestamptz NOT NULL,
    n bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE OR REPLACE FUNCTION error_groups_note() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off AS $$
DECLARE
    unknown text[];
BEGIN
    IF NOT EXISTS (SELECT FROM new_rows WHERE fingerprint IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    WITH noted AS (
        INSERT INTO error_group_deltas (fingerprint, hour, n)
        SELECT fingerprint, date_trunc('hour', now(), 'UTC'), count(*)
        FROM new_rows WHERE fingerprint IS NOT NULL GROUP BY 1
        RETURNING fingerprint)
    SELECT array_agg(fingerprint) INTO unknown FROM noted
    WHERE (SELECT true FROM error_groups g WHERE g.fingerprint = noted.fingerprint) IS NULL;
    IF unknown IS NOT NULL THEN
        INSERT INTO error_groups (fingerprint, type, error_class, outcome, first_seen_at, first_version, last_seen_at)
        SELECT DISTINCT ON (n.fingerprint) n.fingerprint, (SELECT type FROM jobs WHERE id = n.job_id),
               n.error_class, n.outcome, n.ended_at, (SELECT version FROM workers WHERE id = n.worker_id), n.ended_at
        FROM new_rows n WHERE n.fingerprint = ANY(unknown)
        ORDER BY n.fingerprint, n.ended_at
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS tr_job_attempts_groups ON job_attempts;
CREATE TRIGGER tr_job_attempts_groups AFTER INSERT ON job_attempts
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION error_groups_note();
"""
# Index reads alone: from one group to the next, then its first and its last attempt.
GROUPS = """
SET LOCAL statement_timeout = 0;
WITH RECURSIVE known AS (
    (SELECT fingerprint FROM job_attempts WHERE fingerprint IS NOT NULL ORDER BY fingerprint LIMIT 1)
    UNION ALL
    SELECT (SELECT a.fingerprint FROM job_attempts a WHERE a.fingerprint > known.fingerprint
            ORDER BY a.fingerprint LIMIT 1)
    FROM known WHERE known.fingerprint IS NOT NULL)
INSERT INTO error_groups AS g (fingerprint, type, error_class, outcome, first_seen_at, first_version, last_seen_at,
                               state, changed_at)
SELECT known.fingerprint, j.type, first.error_class, first.outcome, first.ended_at, w.version, last.ended_at,
       CASE WHEN first.ended_at > now() - interval '1 day' THEN 'new' ELSE 'known' END, first.ended_at
FROM known
CROSS JOIN LATERAL (SELECT * FROM job_attempts a WHERE a.fingerprint = known.fingerprint
                    ORDER BY a.ended_at LIMIT 1) AS first
CROSS JOIN LATERAL (SELECT ended_at FROM job_attempts a WHERE a.fingerprint = known.fingerprint
                    ORDER BY a.ended_at DESC LIMIT 1) AS last
JOIN jobs j ON j.id = first.job_id LEFT JOIN workers w ON w.id = first.worker_id
ON CONFLICT (fingerprint) DO UPDATE
SET first_seen_at = excluded.first_seen_at, first_version = excluded.first_version, state = excluded.state,
    changed_at = excluded.changed_at
WHERE g.first_seen_at > excluded.first_seen_at AND g.state = 'new';
"""
# Those that the trigger counted are among the deltas.
HOURS = """
SET LOCAL statement_timeout = 0;
INSERT INTO error_group_hours (fingerprint, hour, n)
SELECT a.fingerprint, date_trunc('hour', a.ended_at, 'UTC'), count(*)
FROM error_groups g JOIN job_attempts a ON a.fingerprint = g.fingerprint
WHERE a.ended_at > now() - interval '1 day' AND a.ended_at < '{since}'
GROUP BY 1, 2
ON CONFLICT DO NOTHING;
"""
DISCARDED = (
    "ix_dead_letters_discarded ON dead_letters (closed_at, job_id) WHERE closed_how = 'discarded'"
)
IS_INVALID = text(
    "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('ix_dead_letters_discarded')"
    " AND NOT indisvalid)"
)
DOWN = """
SET LOCAL lock_timeout = '5s';
DROP TRIGGER tr_job_attempts_groups ON job_attempts;
DROP FUNCTION error_groups_note();
DROP TABLE error_group_deltas, error_group_hours, error_groups;
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


def upgrade() -> None:
    connection = op.get_bind()
    connection.commit()
    connection.exec_driver_sql(UP)
    since = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    connection.commit()
    connection.exec_driver_sql(GROUPS)
    connection.commit()
    connection.exec_driver_sql(HOURS.format(since=since.isoformat()))
    with _no_transaction(connection):
        if connection.execute(IS_INVALID).scalar():
            connection.execute(text("DROP INDEX CONCURRENTLY ix_dead_letters_discarded"))
        connection.execute(text(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {DISCARDED}"))


def downgrade() -> None:
    connection = op.get_bind()
    with _no_transaction(connection):
        connection.execute(text("DROP INDEX CONCURRENTLY IF EXISTS ix_dead_letters_discarded"))
    connection.exec_driver_sql(DOWN)
