"""enqueue_job(…) puts the job under the limit of its type or queue, and takes limit_key.

Revision: 0026, after 0025
"""

from alembic import op

revision = "0026"
down_revision = "0025"

OLD = "enqueue_job(text, jsonb, text, integer, timestamptz, integer, text, text[])"
NEW = "enqueue_job(text, jsonb, text, integer, timestamptz, integer, text, text[], text)"
# An operator's numbers may ask for a key as well; without one, such a job has none.
ENQUEUE_JOB = r"""
CREATE FUNCTION enqueue_job(
    type text,
    payload jsonb DEFAULT '{}',
    queue text DEFAULT 'default',
    priority integer DEFAULT 0,
    run_at timestamptz DEFAULT NULL,
    max_attempts integer DEFAULT 5,
    unique_key text DEFAULT NULL,
    tags text[] DEFAULT '{}',
    limit_key text DEFAULT NULL
) RETURNS uuid LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    at_ms CONSTANT numeric := extract(epoch FROM clock_timestamp()) * 1000;
    fraction CONSTANT integer := floor((at_ms - floor(at_ms)) * 4096);
    name CONSTANT text := '^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$';
    bytes bytea := uuid_send(gen_random_uuid());
    found uuid;
    its_limit text;
    by_field text;
    is_per_key boolean;
    key jsonb;
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
    ELSIF starts_with(enqueue_job.unique_key, 'schedule:') THEN
        RAISE EXCEPTION 'unique_key must not start with schedule:, which is reserved for schedules'
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF cardinality(enqueue_job.tags) > 20
        OR EXISTS (SELECT FROM unnest(enqueue_job.tags) AS tag
                   WHERE tag IS NULL OR length(tag) NOT BETWEEN 1 AND 64) THEN
        RAISE EXCEPTION 'tags must be at most 20 strings of 1 to 64 characters'
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF length(enqueue_job.limit_key) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'limit_key must be 1 to 200 characters long'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT l.name, l.by_field, COALESCE(l.key_concurrency, l.key_rate_count) IS NOT NULL
    INTO its_limit, by_field, is_per_key
    FROM limits l WHERE l.name = COALESCE(
        (SELECT a.limit_name FROM limit_attachments a WHERE a.kind = 'type' AND a.name = enqueue_job.type),
        (SELECT a.limit_name FROM limit_attachments a WHERE a.kind = 'queue' AND a.name = enqueue_job.queue));
    IF its_limit IS NULL AND enqueue_job.limit_key IS NOT NULL THEN
        RAISE EXCEPTION 'limit_key has no use: neither type % nor queue % is under a limit',
            enqueue_job.type, enqueue_job.queue USING ERRCODE = 'invalid_parameter_value';
    ELSIF its_limit IS NOT NULL AND enqueue_job.limit_key IS NULL AND by_field IS NOT NULL THEN
        key := enqueue_job.payload #> string_to_array(by_field, '.');
        IF COALESCE(jsonb_typeof(key), 'null') = 'null' THEN
            RAISE EXCEPTION 'payload.% is required: limit % takes its key from it', by_field, its_limit
                USING ERRCODE = 'invalid_parameter_value';
        ELSIF jsonb_typeof(key) NOT IN ('string', 'number') THEN
            RAISE EXCEPTION 'payload.% must be text or a number: limit % takes its key from it', by_field, its_limit
                USING ERRCODE = 'invalid_parameter_value';
        ELSIF length(key #>> '{}') NOT BETWEEN 1 AND 200 THEN
            RAISE EXCEPTION 'payload.% must be 1 to 200 characters long: limit % takes its key from it', by_field, its_limit
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
    ELSIF is_per_key AND enqueue_job.limit_key IS NULL THEN
        RAISE EXCEPTION 'limit_key is required: limit % works by key and type % names no field for it',
            its_limit, enqueue_job.type USING ERRCODE = 'invalid_parameter_value';
    END IF;
    bytes := overlay(bytes PLACING substring(int8send(floor(at_ms)::bigint) FROM 3) FROM 1 FOR 6);
    bytes := set_byte(bytes, 6, 112 | (fraction >> 8));
    bytes := set_byte(bytes, 7, fraction & 255);
    FOR attempt IN 1..10 LOOP
        INSERT INTO jobs (id, queue, type, payload, priority, run_at, max_attempts, unique_key, tags,
                          limit_name, limit_key, hold)
        VALUES (encode(bytes, 'hex')::uuid, enqueue_job.queue, enqueue_job.type,
                enqueue_job.payload, enqueue_job.priority, COALESCE(enqueue_job.run_at, now()),
                enqueue_job.max_attempts, enqueue_job.unique_key,
                COALESCE(enqueue_job.tags, '{}'), its_limit,
                CASE WHEN its_limit IS NOT NULL THEN COALESCE(enqueue_job.limit_key, key #>> '{}', '') END,
                CASE WHEN its_limit IS NULL THEN 0 WHEN enqueue_job.run_at > now() THEN 3 ELSE 1 END)
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
FORMER = r"""
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
    op.execute(f"DROP FUNCTION {OLD}")
    op.execute(ENQUEUE_JOB)


def downgrade() -> None:
    op.execute(f"DROP FUNCTION {NEW}")
    op.execute(FORMER)
