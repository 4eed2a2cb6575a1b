"""Bulk actions start after a grace period, may be slowed down, and keep what an undo needs.

Workers of the previous release know neither the grace period nor the verb undo. They leave alone every action with
paused_at set, so all actions with next_at have it, and ck_bulk_actions_former keeps the previous release from resuming
them; held_at says whether a person paused one. A reopened dead letter is recorded for the list in Redis.

Revision: 0021, after 0020
"""

from alembic import op

revision = "0021"
down_revision = "0020"

UP = """
SET LOCAL lock_timeout = '5s';
ALTER TABLE bulk_actions
    ADD COLUMN next_at timestamptz,
    ADD COLUMN started_at timestamptz,
    ADD COLUMN held_at timestamptz,
    ADD COLUMN per_second integer,
    ADD COLUMN undo_of bigint CONSTRAINT fk_bulk_actions_undo_of REFERENCES bulk_actions (id),
    ADD COLUMN preview_key text,
    DROP CONSTRAINT ck_bulk_actions_verb,
    ADD CONSTRAINT ck_bulk_actions_verb
        CHECK (verb IN ('retry', 'run', 'cancel', 'delete', 'discard', 'edit', 'undo')),
    ADD CONSTRAINT ck_bulk_actions_per_second CHECK (per_second >= 1),
    ADD CONSTRAINT ck_bulk_actions_undo CHECK ((verb = 'undo') = (undo_of IS NOT NULL)),
    ADD CONSTRAINT ck_bulk_actions_former CHECK (next_at IS NULL OR paused_at IS NOT NULL);
CREATE INDEX ix_bulk_actions_undo_of ON bulk_actions (undo_of) WHERE undo_of IS NOT NULL;
CREATE INDEX ix_bulk_actions_preview_key ON bulk_actions (preview_key) WHERE preview_key IS NOT NULL;
ALTER TABLE bulk_items ADD COLUMN done_at timestamptz, ADD COLUMN before jsonb;
CREATE OR REPLACE FUNCTION dead_letters_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO dead_letter_changes (is_open, letter) VALUES (true, to_jsonb(NEW));
    ELSIF TG_OP = 'DELETE' THEN
        IF OLD.closed_at IS NULL THEN
            INSERT INTO dead_letter_changes (is_open, letter) VALUES (false, to_jsonb(OLD));
        END IF;
    ELSIF OLD.closed_at IS NULL AND NEW.closed_at IS NOT NULL THEN
        INSERT INTO dead_letter_changes (is_open, letter) VALUES (false, to_jsonb(OLD));
    ELSIF OLD.closed_at IS NOT NULL AND NEW.closed_at IS NULL THEN
        INSERT INTO dead_letter_changes (is_open, letter) VALUES (true, to_jsonb(NEW));
    END IF;
    RETURN NULL;
END $$;
"""
DOWN = """
SET LOCAL lock_timeout = '5s';
DELETE FROM bulk_actions WHERE verb = 'undo';
ALTER TABLE bulk_actions DROP CONSTRAINT ck_bulk_actions_former;
UPDATE bulk_actions SET paused_at = held_at WHERE next_at IS NOT NULL;
ALTER TABLE bulk_actions DROP COLUMN undo_of, DROP COLUMN next_at, DROP COLUMN started_at, DROP COLUMN held_at,
    DROP COLUMN per_second, DROP COLUMN preview_key,
    DROP CONSTRAINT ck_bulk_actions_verb,
    ADD CONSTRAINT ck_bulk_actions_verb
        CHECK (verb IN ('retry', 'run', 'cancel', 'delete', 'discard', 'edit'));
ALTER TABLE bulk_items DROP COLUMN done_at, DROP COLUMN before;
CREATE OR REPLACE FUNCTION dead_letters_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO dead_letter_changes (is_open, letter) VALUES (true, to_jsonb(NEW));
    ELSIF TG_OP = 'DELETE' THEN
        IF OLD.closed_at IS NULL THEN
            INSERT INTO dead_letter_changes (is_open, letter) VALUES (false, to_jsonb(OLD));
        END IF;
    ELSIF OLD.closed_at IS NULL AND NEW.closed_at IS NOT NULL THEN
        INSERT INTO dead_letter_changes (is_open, letter) VALUES (false, to_jsonb(OLD));
    END IF;
    RETURN NULL;
END $$;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
