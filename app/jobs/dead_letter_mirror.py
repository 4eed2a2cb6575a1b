"""Keeps the Redis list job-dlq equal to the table of open dead letters.

One elected process at a time applies the log of changes that a database trigger writes. With more than
MAX_CHANGES of them, or where the list is not what it should be, it writes a new list beside the old one
and renames it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, text

from app.broker.dead_letter_list import DeadLetterList
from app.broker.ready_set import ReadySet
from app.database import elected
from app.extensions import db
from app.jobs import deployment
from app.jobs.dead_letters import dead_letter_entry

MAX_CHANGES = 300
CHUNK = 500
#: The advisory lock of the one process that writes the list.
LOCK_KEY = 7061422

#: Whether the list is behind the table.
HAS_CHANGES = "EXISTS (SELECT FROM dead_letter_changes)"
_CHANGES = text(
    "SELECT id, is_open, letter AS dead_letter FROM dead_letter_changes ORDER BY id LIMIT :limit"
)
_FORGET = text("DELETE FROM dead_letter_changes WHERE id = ANY(:ids)")
_FORGET_ALL = text("DELETE FROM dead_letter_changes")
_OPEN = text("""
SELECT job_id, queue, type, payload, reason, attempts, failed_at FROM dead_letters
WHERE closed_at IS NULL ORDER BY failed_at DESC, job_id DESC
""")
_NEXT_OLDER = text("""
SELECT job_id, type, payload, reason, attempts, failed_at FROM dead_letters
WHERE closed_at IS NULL AND (failed_at, job_id) < (CAST(:failed_at AS timestamptz), CAST(:job_id AS uuid))
ORDER BY failed_at DESC, job_id DESC LIMIT 1
""")


class ListOfOthers(Exception):
    """Another deployment keeps the list of dead letters; the message says what to do."""


def run_once(ready: ReadySet, identity: str, engine: Engine | None = None) -> int:
    """Bring the list up to date; returns how many changes were applied, 0 if another process is doing it.

    ``identity`` names our database: a list that a live deployment of another database keeps is not
    changed. Raises RedisError; the changes then stay in the log for the next run. ``engine`` is the
    kernel's own in a worker, else the application's.
    """
    with elected(engine or db.engine, LOCK_KEY) as connection:
        if connection is None:
            return 0
        if owner(ready, identity) is not None:
            # A deployment that takes over the list writes it from its table.
            connection.execute(_FORGET_ALL)
            return 0
        changes = connection.execute(_CHANGES, {"limit": MAX_CHANGES + 1}).all()
        is_whole = _is_whole(ready, identity)
        if is_whole and not changes:
            return 0
        dead_letters = ready.dead_letters
        if is_whole and len(changes) <= MAX_CHANGES and _apply(connection, dead_letters, changes):
            connection.execute(_FORGET, {"ids": [change.id for change in changes]})
            return len(changes)
        count = _rewrite(connection, dead_letters)
        if not is_whole:
            dead_letters.mark(identity)
        return count


def rebuild(ready: ReadySet) -> int:
    """Write the whole list from the table, after waiting for another writer; returns its length.

    Raises RedisError, and ListOfOthers where another deployment keeps the list.
    """
    with elected(db.engine, LOCK_KEY, waits=True) as connection:
        assert connection is not None
        ours = deployment.identity(connection)
        if other := owner(ready, ours):
            raise ListOfOthers(
                f"The list {ready.dead_letters.name} on this Redis is kept by the deployment of"
                f" database {other}; set REDIS_PREFIX to have a list of your own."
            )
        count = _rewrite(connection, ready.dead_letters)
        ready.dead_letters.mark(ours)
        return count


def owner(ready: ReadySet, identity: str) -> str | None:
    """The other live deployment that keeps the list; None if we may write it."""
    kept_by = ready.dead_letters.kept_by()
    if kept_by in (None, identity):
        return None
    return kept_by if kept_by in ready.deployments() else None


def _is_whole(ready: ReadySet, identity: str) -> bool:
    """False if the list was lost, replaced, or last written for another database."""
    # A missing key is an empty list only while the mark exists; a flush removes both.
    return ready.dead_letters.is_list() and ready.dead_letters.kept_by() == identity


def _apply(connection: Connection, dead_letters: DeadLetterList, changes: Sequence[Any]) -> bool:
    """Apply the changes; False if the list is not as the log implies, and must be written again."""
    removed = {change.dead_letter["id"] for change in changes if not change.is_open}
    added = {change.dead_letter["id"] for change in changes if change.is_open}
    for change in changes:
        if not change.is_open:
            was_listed = dead_letters.remove(dead_letter_entry(change.dead_letter))
            if not was_listed and change.dead_letter["id"] not in added:
                return False
    opened = [c.dead_letter for c in changes if c.is_open and c.dead_letter["id"] not in removed]
    opened.sort(key=lambda dead_letter: (dead_letter["failed_at"], dead_letter["job_id"]))
    return all(_insert(connection, dead_letters, dead_letter) for dead_letter in opened)


def _insert(
    connection: Connection, dead_letters: DeadLetterList, dead_letter: dict[str, Any]
) -> bool:
    # Before the next older entry, which is almost always the head: then this is a push.
    older = connection.execute(
        _NEXT_OLDER, {"failed_at": dead_letter["failed_at"], "job_id": dead_letter["job_id"]}
    ).first()
    before = None if older is None else dead_letter_entry(older._mapping)
    return dead_letters.insert(dead_letter_entry(dead_letter), before=before)


def _rewrite(connection: Connection, dead_letters: DeadLetterList) -> int:
    """Write a new list; within the caller's lock and transaction. Returns its length."""
    # Deleted before the dead letters are read: a change that commits in between stays in the log.
    connection.execute(_FORGET_ALL)
    rows = connection.execution_options(stream_results=True).execute(_OPEN)

    def chunks() -> Iterator[list[str]]:
        for chunk in rows.mappings().partitions(CHUNK):
            yield [dead_letter_entry(row) for row in chunk]
        # Raises if PostgreSQL has ended this transaction: another process may have written a newer list.
        connection.execute(text("SELECT 1"))

    return dead_letters.replace(chunks())
