"""enqueue_job(…): a job in any transaction, from any language that speaks SQL.

Revision: 0005, after 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"

# The id is a UUIDv7 as app/jobs/ids.py makes it. Redis hears of the job from the next comparison of
# Redis with this table, a few seconds after the commit.
ENQUEUE_JOB = r"""
CREATE FUNCTION enqueue_job(
    type text,
    payload jsonb DEFAULT '{}',
    queue text DEFAULT 'default',
    priority integer DEFAULT 0,
    run_at timestamptz DEFAULT NULL,
    max_attempts integer DEFAULT 5,
    unique_key text DEFAULT NULL,
    tags text[] DEFAULT '{}'
) RETURNS uuid LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    at_ms CONSTANT numeric := extract(epoch FROM clock_timestamp()) * 1000;
    fraction CONSTANT integer := floor((at_ms - floor(at_ms)) * 4096);
    name CONSTANT text := '^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$';
    bytes bytea := uuid_send(gen_random_uuid());
    found uuid;
BEGIN
    IF enqueue_job.type IS NULL OR enqueue_job.type !~ name THEN
        RAISE EXCEPTION 'type must be the name of a job type, such as send-email'
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF enqueue_job.queue IS NULL OR enqueue_job.queue !~ name THEN
        RAISE EXCEPTION 'queue must be 1 to 100 letters, digits, ''.'', ''_'', '':'' or ''-'', '
            'the first a letter or digit' USING ERRCODE = 'invalid_parameter_value';
    ELSIF enqueue_job.payload IS NULL OR jsonb_typeof(enqueue_job.payload) <> 'object' THEN
        RAISE EXCEPTION 'payload must be a JSON object' USING ERRCODE = 'invalid_parameter_value';
    ELSIF enqueue_job.priority IS NULL OR enqueue_job.priority NOT BETWEEN -100 AND 100 THEN
        RAISE EXCEPTION 'priority must be a whole number from -100 to 100'
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF enqueue_job.max_attempts IS NULL OR enqueue_job.max_attempts NOT BETWEEN 1 AND 100 THEN
        RAISE EXCEPTION 'max_attempts must be a whole number from 1 to 100'
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF length(enqueue_job.unique_key) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'unique_key must be 1 to 200 characters long'
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF cardinality(enqueue_job.tags) > 20
        OR EXISTS (SELECT FROM unnest(enqueue_job.tags) AS tag
                   WHERE tag IS NULL OR length(tag) NOT BETWEEN 1 AND 64) THEN
        RAISE EXCEPTION 'tags must be at most 20 strings of 1 to 64 characters'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    bytes := overlay(bytes PLACING substring(int8send(floor(at_ms)::bigint) FROM 3) FROM 1 FOR 6);
    bytes := set_byte(bytes, 6, 112 | (fraction >> 8));
    bytes := set_byte(bytes, 7, fraction & 255);
    FOR attempt IN 1..10 LOOP
        INSERT INTO jobs (id, queue, type, payload, priority, run_at, max_attempts, unique_key, tags)
        VALUES (encode(bytes, 'hex')::uuid, enqueue_job.queue, enqueue_job.type,
                enqueue_job.payload, enqueue_job.priority, COALESCE(enqueue_job.run_at, now()),
                enqueue_job.max_attempts, enqueue_job.unique_key,
                COALESCE(enqueue_job.tags, '{}'))
        ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL AND status IN ('pending', 'processing')
        DO NOTHING RETURNING id INTO found;
        IF found IS NULL THEN
            SELECT id INTO found FROM jobs WHERE unique_key = enqueue_job.unique_key
            AND status IN ('pending', 'processing');
        END IF;
        -- The live job may end between the two statements; then the key is free again.
        EXIT WHEN found IS NOT NULL;
    END LOOP;
    RETURN found;
END $$;
"""


def upgrade() -> None:
    op.execute(ENQUEUE_JOB)


def downgrade() -> None:
    op.execute("DROP FUNCTION enqueue_job")
