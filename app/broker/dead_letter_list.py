"""The Redis list job-dlq: the open dead letters, newest first, and a key with the deployment they belong to.

Only commands; app.jobs.dead_letter_mirror decides what the list contains.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from redis import Redis

from app.broker.keys import Keys

#: The length limit of a deployment's name read from Redis.
MAX_NAME = 200


class DeadLetterList:
    """Commands on the list; an entry is the canonical JSON of a dead letter. Each raises RedisError."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client: Any = client
        self._keys = keys

    @property
    def name(self) -> str:
        """The key of the list."""
        return self._keys.dead_letters

    def entries(self) -> list[bytes] | None:
        """All entries, newest first; None if the key has another type."""
        return list(self._client.lrange(self.name, 0, -1)) if self.is_list() else None

    def is_list(self) -> bool:
        """Whether the key is a list, or absent (an empty list)."""
        return self._client.type(self.name) in (b"list", b"none")

    def kept_by(self) -> str | None:
        """The deployment whose dead letters the list contains; None if it was lost or never written."""
        key = self._keys.mirrored
        value = self._client.get(key) if self._client.type(key) == b"string" else None
        return value[:MAX_NAME].decode("utf-8", "replace") if value else None

    def mark(self, deployment: str) -> None:
        """Store that the list contains the dead letters of ``deployment``."""
        self._client.set(self._keys.mirrored, deployment)

    def remove(self, entry: str) -> bool:
        """Remove ``entry``; False if the list did not contain it."""
        return bool(self._client.lrem(self.name, 1, entry))

    def insert(self, entry: str, *, before: str | None) -> bool:
        """Insert ``entry`` before another entry, or at the end for None. False if that other entry is absent.

        An entry that is already in the list moves: an earlier run may have lost its connection after the push.
        """
        self._client.lrem(self.name, 1, entry)
        if before is None:
            return bool(self._client.rpush(self.name, entry))
        head = self._client.lindex(self.name, 0)
        if head is not None and head.decode() == before:
            return bool(self._client.lpush(self.name, entry))
        return int(self._client.linsert(self.name, "BEFORE", before, entry)) > 0

    def replace(self, chunks: Iterable[Sequence[str]]) -> int:
        """Replace the list with the entries in ``chunks``, at once; returns the new length."""
        self._client.delete(self._keys.new_dead_letters)
        count = 0
        for chunk in chunks:
            self._client.rpush(self._keys.new_dead_letters, *chunk)
            count += len(chunk)
        if count:
            self._client.rename(self._keys.new_dead_letters, self.name)
        else:
            self._client.delete(self.name)
        return count
