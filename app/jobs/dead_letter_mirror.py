"""The Redis list job-dlq: the open dead letters, newest first, one canonical JSON object each.

One elected writer follows the log of changes that a trigger keeps; past some hundred changes, or
where order would be at risk, it writes a new list beside the old one and renames it.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Connection, Engine, text

from app.broker.ready_set import ReadySet
from app.extensions import db
from app.jobs.dead_letters import dead_letter_entry
from app.jobs.deployment import identity as identity_of
from app.jobs.publication import ListOfOthers

log = logging.getLogger(__name__)

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


def run_once(ready: ReadySet, identity: str, engine: Engine | None = None) -> int:
    """Bring the list up to date; returns how many changes it took, 0 when another process does it.

    ``identity`` names our database: a list that a living deployment of another database keeps is
    left alone. Raises RedisError; the changes then stay in the log for the next run. ``engine`` is
    the kernel's own, in a worker.
    """
    with (engine or db.engine).connect() as connection, connection.begin():
        if not _elected(connection):
            return 0
        if owner(ready, identity) is not None:
            # Whoever takes the list over writes it from the table.
            connection.execute(text("DELETE FROM dead_letter_changes"))
            return 0
        changes = connection.execute(_CHANGES, {"limit": MAX_CHANGES + 1}).all()
        is_whole = _is_whole(ready, identity)
        if is_whole and not changes:
            return 0
        if not is_whole or len(changes) > MAX_CHANGES or not _apply(connection, ready, changes):
            count = _rebuild(connection, ready)
        else:
            count = len(changes)
            connection.execute(
                text("DELETE FROM dead_letter_changes WHERE id = ANY(:ids)"),
                {"ids": [change.id for change in changes]},
            )
        if not is_whole:
            ready.client.set(ready.keys.mirrored, identity)
        return count


def rebuild(ready: ReadySet) -> int:
    """Write the whole list from the table; returns its length.

    Raises RedisError, and ListOfOthers where the list is kept by another deployment.
    """
    with db.engine.connect() as connection, connection.begin():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
        ours = identity_of(connection)
        if other := owner(ready, ours):
            raise ListOfOthers(
                f"The list {ready.keys.dead_letters} on this Redis is kept by the deployment of"
                f" database {other}; set REDIS_PREFIX to have a list of our own."
            )
        count = _rebuild(connection, ready)
        ready.client.set(ready.keys.mirrored, ours)
        return count


def owner(ready: ReadySet, identity: str) -> str | None:
    """The other deployment that keeps the list and is alive; None where it is ours to write."""
    kept_by = _mirrored(ready)
    if kept_by in (None, identity):
        return None
    return kept_by if kept_by in ready.deployments() else None


def _mirrored(ready: ReadySet) -> str | None:
    client, key = ready.client, ready.keys.mirrored
    value = client.get(key) if client.type(key) == b"string" else None
    return value[:200].decode("utf-8", "replace") if value else None


def _is_whole(ready: ReadySet, identity: str) -> bool:
    """False when the list was lost, was replaced, or was last written for another database."""
    # An absent list is an empty one only while the mark stands; a flush takes both.
    kept = ready.client.type(ready.keys.dead_letters)
    return kept in (b"list", b"none") and _mirrored(ready) == identity


def _elected(connection: Connection) -> bool:
    lock = text("SELECT pg_try_advisory_xact_lock(:key)")
    return bool(connection.execute(lock, {"key": LOCK_KEY}).scalar())


def _apply(connection: Connection, ready: ReadySet, changes: Any) -> bool:
    """False when the list is not what the log says it should be: it is then written anew."""
    removed = {c.letter["id"] for c in changes if not c.is_open}
    opened = [c.letter for c in changes if c.is_open and c.letter["id"] not in removed]
    known = {c.letter["id"] for c in changes if c.is_open}
    for change in changes:
        if not change.is_open:
            found = ready.client.lrem(ready.keys.dead_letters, 1, dead_letter_entry(change.letter))
            if not found and change.letter["id"] not in known:
                return False
    opened.sort(key=lambda letter: (letter["failed_at"], letter["job_id"]))
    return all(_insert(connection, ready, letter) for letter in opened)


def _insert(connection: Connection, ready: ReadySet, letter: dict[str, Any]) -> bool:
    redis, key = ready.client, ready.keys.dead_letters
    # Before the next older one: almost always that is the head, and then this is a push.
    older = connection.execute(
        _NEXT_OLDER, {"failed_at": letter["failed_at"], "job_id": letter["job_id"]}
    ).first()
    entry = dead_letter_entry(letter)
    redis.lrem(key, 1, entry)  # a run that lost its connection may have pushed it already
    if older is None:
        return bool(redis.rpush(key, entry))
    head = redis.lindex(key, 0)
    before = dead_letter_entry(older._mapping)
    if head is not None and head.decode() == before:
        return bool(redis.lpush(key, entry))
    return int(redis.linsert(key, "BEFORE", before, entry)) > 0


def _rebuild(connection: Connection, ready: ReadySet) -> int:
    """Within the caller's lock and transaction."""
    redis, keys = ready.client, ready.keys
    # Deleted before the letters are read: a change that commits in between stays in the log.
    connection.execute(text("DELETE FROM dead_letter_changes"))
    redis.delete(keys.new_dead_letters)
    count = 0
    rows = connection.execution_options(stream_results=True).execute(_OPEN)
    for chunk in rows.mappings().partitions(CHUNK):
        redis.rpush(keys.new_dead_letters, *[dead_letter_entry(row) for row in chunk])
        count += len(chunk)
    if count:
        redis.rename(keys.new_dead_letters, keys.dead_letters)
    else:
        redis.delete(keys.dead_letters)
    return count
