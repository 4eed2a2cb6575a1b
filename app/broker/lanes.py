"""Lanes: jobs whose type a worker does not know are set aside for workers that know it.

During a rolling deploy, an old worker pops ids of new types. If it put them back, it would pop them again and again. So
each goes into a lane, a sorted set for its queue and type, from which only workers that know the type pop. A lane is a
hint like the ready set: it expires, and the reconciliation of a worker that knows the type publishes missing ids.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from app.broker.keys import NAME
from app.broker.ready_set import ReadySet, score

#: A lane expires this long after its first id, so that the ids of cancelled jobs do not accumulate.
LANE_SECONDS = 600

_LANE = re.compile(rf"(?P<queue>{NAME.pattern})\|(?P<type>{NAME.pattern})".encode())

# KEYS: the lane, the set of lanes, wake. ARGV: seconds, the lane's name, then scores and ids.
_SET_ASIDE = """
for i = 3, #ARGV, 2 do redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1]) end
if redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[1])
if redis.call('ZADD', KEYS[2], now, ARGV[2]) == 1 then redis.call('ZADD', KEYS[3], 0, 'new lane') end
redis.call('EXPIRE', KEYS[2], 2 * ARGV[1])
"""


def lane(queue: str, type_name: str) -> str:
    """The name of a lane, which is used like a queue's name; no queue's name contains a bar."""
    return f"{queue}|{type_name}"


class Lanes:
    """Commands on the lanes; each may raise RedisError."""

    def __init__(self, ready: ReadySet) -> None:
        self._ready = ready
        self._set_aside = ready.client.register_script(_SET_ASIDE)

    def set_aside(self, rows: Sequence[Any]) -> None:
        """Put due jobs (id, queue, type, priority, run_at_ms) into the lanes of their types."""
        keys = self._ready.keys
        by_lane: dict[str, list[Any]] = {}
        for row in rows:
            by_lane.setdefault(lane(row.queue, row.type), []).append(row)
        for name, jobs in by_lane.items():
            members: list[Any] = []
            for row in jobs:
                members += [score(row.priority, row.run_at_ms), row.id.hex]
            self._ready.execute(
                lambda name=name, members=members: self._set_aside(  # type: ignore[misc]
                    keys=[keys.ready(name), keys.lanes, keys.wake],
                    args=[LANE_SECONDS, name, *members],
                ),
                [name],
            )

    def of_types(self, types: Collection[str]) -> list[str]:
        """The lanes of these types, by name."""
        members = self._ready.execute(
            lambda: self._ready.client.zrange(self._ready.keys.lanes, 0, -1)
        )
        matches = [_LANE.fullmatch(member) for member in members]
        return sorted(m[0].decode() for m in matches if m and m["type"].decode() in types)
