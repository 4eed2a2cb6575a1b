"""Hints for the pacers of workers: which of their sources of work has news.

A hint is a member of a sorted set, so adding it again changes nothing, and one waiting process takes it. Like everything
in Redis it is a hint: a source also looks by itself, so a lost one delays work, at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from redis.exceptions import TimeoutError as RedisTimeout

from app.broker.keys import NAME
from app.broker.keyspace import KeySpace

#: ``schedules`` or ``limit:stripe``: a source, and what of it has news.
_HINT = re.compile(rf"[a-z]{{1,20}}(?::{NAME.pattern})?")
#: Hints that one call takes.
MAX_HINTS = 100


#: The source of work that admits jobs at limits.
LIMIT = "limit"


def limit_hint(limit: str) -> str:
    """The hint that the limit of this name may admit jobs."""
    return f"{LIMIT}:{limit}"


class Pace:
    """Commands on the set of hints; each may raise RedisError."""

    def __init__(self, keyspace: KeySpace) -> None:
        self._keyspace = keyspace
        self._key = keyspace.keys.pace

    def add(self, hints: Iterable[str]) -> None:
        """Give the hints to one waiting process each."""
        if members := dict.fromkeys(hints, 0):
            self._keyspace.execute(lambda: self._keyspace.client.zadd(self._key, members))

    def wait(self, seconds: float) -> set[str]:
        """Remove and return hints, waiting up to ``seconds`` for one; empty without one.

        The wait may last 0.1 s longer: a server without traffic looks at its clock ten times a second.
        """
        client = self._keyspace.client
        try:
            first = self._keyspace.execute(lambda: client.bzpopmin(self._key, timeout=seconds))
        except RedisTimeout:
            return set()
        if first is None:
            return set()
        rest = self._keyspace.execute(lambda: client.zpopmin(self._key, MAX_HINTS))
        members = [first[1], *(member for member, _ in rest)]
        texts = {member.decode("ascii", "replace") for member in members}
        return {text for text in texts if _HINT.fullmatch(text)}
