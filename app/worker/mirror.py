"""The Redis list job-dlq: the open dead letters, newest first, one canonical JSON object each.

One elected writer follows the log of changes that a trigger keeps; past some hundred changes, or
where order would be at risk, it writes the list anew beside the old one and renames it.
"""

from __future__ import annotations

import logging
from typing import Any

from redis import Redis
from sqlalchemy import Connection, text

from app.extensions import db
from app.jobs.deadletters import dead_letter_entry

log = logging.getLogger(__name__)

KEY = "job-dlq"
NEW_KEY = "{job-dlq}:new"  # same cluster slot as KEY, so that RENAME works
MAX_CHANGES = 300
CHUNK = 500
LOCK_KEY = 7061422

_CHANGES = text("SELECT id, is_open, letter FROM dead_letter_changes ORDER BY id LIMIT :limit")
_OPEN = text("""
SELECT job_id, queue, type, payload, reason, attempts, failed_at FROM dead_letters
WHERE closed_at IS NULL ORDER BY failed_at DESC, job_id DESC
""")
_NEXT_OLDER = text("""
SELECT job_id, type, payload, reason, attempts, failed_at FROM dead_letters
WHERE closed_at IS NULL AND (failed_at, job_id) < (CAST(:failed_at AS timestamptz), CAST(:job_id AS uuid))
ORDER BY failed_at DESC, job_id DESC LIMIT 1
""")


def run_once(redis: Redis, *, must_rebuild: bool = False) -> int:
    """Bring the list up to date; returns how many changes it took, 0 when another process does it.

    Raises RedisError; the changes then stay in the log for the next run.
    """
    with db.engine.connect() as connection, connection.begin():
        if not _elected(connection):
            return 0
        changes = connection.execute(_CHANGES, {"limit": MAX_CHANGES + 1}).all()
        if not changes and not must_rebuild:
            return 0
        if must_rebuild or len(changes) > MAX_CHANGES or not _apply(connection, redis, changes):
            return _rebuild(connection, redis)
        connection.execute(
            text("DELETE FROM dead_letter_changes WHERE id = ANY(:ids)"),
            {"ids": [change.id for change in changes]},
        )
        return len(changes)


def rebuild(redis: Redis) -> int:
    """Write the whole list anew from the table; returns its length. Raises RedisError."""
    with db.engine.connect() as connection, connection.begin():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
        return _rebuild(connection, redis)


def _elected(connection: Connection) -> bool:
    lock = text("SELECT pg_try_advisory_xact_lock(:key)")
    return bool(connection.execute(lock, {"key": LOCK_KEY}).scalar())


def _apply(connection: Connection, redis: Any, changes: Any) -> bool:
    """False when the list is not what the log says it should be: it is then written anew."""
    removed = {c.letter["id"] for c in changes if not c.is_open}
    opened = [c.letter for c in changes if c.is_open and c.letter["id"] not in removed]
    known = {c.letter["id"] for c in changes if c.is_open}
    for change in changes:
        if not change.is_open:
            found = redis.lrem(KEY, 1, dead_letter_entry(change.letter))
            if not found and change.letter["id"] not in known:
                return False
    opened.sort(key=lambda letter: (letter["failed_at"], letter["job_id"]))
    return all(_insert(connection, redis, letter) for letter in opened)


def _insert(connection: Connection, redis: Any, letter: dict[str, Any]) -> bool:
    # Before the next older one: almost always that is the head, and then this is a push.
    older = connection.execute(
        _NEXT_OLDER, {"failed_at": letter["failed_at"], "job_id": letter["job_id"]}
    ).first()
    entry = dead_letter_entry(letter)
    redis.lrem(KEY, 1, entry)  # a run that lost its connection may have pushed it already
    if older is None:
        return bool(redis.rpush(KEY, entry))
    head = redis.lindex(KEY, 0)
    before = dead_letter_entry(older._mapping)
    if head is not None and head.decode() == before:
        return bool(redis.lpush(KEY, entry))
    return int(redis.linsert(KEY, "BEFORE", before, entry)) > 0


def _rebuild(connection: Connection, redis: Any) -> int:
    """Within the caller's lock and transaction."""
    # Deleted before the letters are read: a change that commits in between stays in the log.
    connection.execute(text("DELETE FROM dead_letter_changes"))
    redis.delete(NEW_KEY)
    count = 0
    rows = connection.execution_options(stream_results=True).execute(_OPEN)
    for chunk in rows.mappings().partitions(CHUNK):
        redis.rpush(NEW_KEY, *[dead_letter_entry(row) for row in chunk])
        count += len(chunk)
    if count:
        redis.rename(NEW_KEY, KEY)
    else:
        redis.delete(KEY)
    return count
