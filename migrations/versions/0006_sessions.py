"""Sessions that can be ended, and an audit that can only grow.

Revision: 0006, after 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"

# The audit's retention opens the guard for its own transaction; even then events of the last day can't be deleted.
UP = """
SET LOCAL lock_timeout = '5s';
CREATE TABLE sessions (
    hash text PRIMARY KEY,
    user_name text NOT NULL,
    address text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX ix_sessions_user_name ON sessions (user_name);
CREATE INDEX ix_sessions_expires_at ON sessions (expires_at);

CREATE FUNCTION guard_audit_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('jobqueue.audit_retention', true) = 'on' THEN
        IF TG_OP = 'TRUNCATE' THEN
            RETURN NULL;
        ELSIF TG_OP = 'DELETE' AND OLD.at < now() - interval '1 day' THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'audit_events is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION guard_audit_events();
CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION guard_audit_events();
"""
DOWN = """
SET LOCAL lock_timeout = '5s';
DROP TRIGGER audit_events_no_truncate ON audit_events;
DROP TRIGGER audit_events_append_only ON audit_events;
DROP FUNCTION guard_audit_events();
DROP TABLE sessions;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
