"""The Redis side: per queue one ready set, one delayed set, and nothing but job ids in them.

A set, not a log: publishing an id twice changes nothing, so any component may publish any pending
job at any time, and recovery needs no bookkeeping. All keys share the hash tag {jobs}.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

from redis import Redis

from app.jobs.publishing import Ref

QUEUES_KEY = "{jobs}:queues"
DELAYED_KEY = "{jobs}:delayed"
EPOCH_KEY = "{jobs}:epoch"
WAKE_KEY = "{jobs}:wake"

CHUNK = 1000
#: Scores stay exact in a double: 201 priorities × 2^42 ms since 2023-11-14 (until 2163).
_EPOCH_MS = 1_700_000_000_000
_SPAN_MS = 2**42

# KEYS: ready sets in order of preference, then the delayed set. ARGV: how many.
_POP = """
local ids, left = {}, tonumber(ARGV[1])
for i = 1, #KEYS - 1 do
  if left <= 0 then break end
  local got = redis.call('ZPOPMIN', KEYS[i], left)
  for j = 1, #got, 2 do ids[#ids + 1] = got[j] end
  left = left - #got / 2
end
local first = redis.call('ZRANGE', KEYS[#KEYS], 0, 0, 'WITHSCORES')
return {ids, first[2] or false}
"""

# One id, in one command: what every single POST waits for. KEYS: the ready set it may go to, delayed,
# queues, wake. ARGV: is it due, its score there, id, queue.
_PUBLISH_ONE = """
local place, other = KEYS[1], KEYS[2]
if ARGV[1] == '0' then place, other = other, place end
redis.call('ZADD', place, ARGV[2], ARGV[3])
redis.call('ZREM', other, ARGV[3])
if redis.call('SADD', KEYS[3], ARGV[4]) == 1 then redis.call('ZADD', KEYS[4], 0, 'new queue') end
"""

# KEYS: the delayed set. ARGV: a time, then ids.
_FORGET = """
for i = 2, #ARGV do
  local at = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if at and tonumber(at) <= tonumber(ARGV[1]) then redis.call('ZREM', KEYS[1], ARGV[i]) end
end
"""


def ready_key(queue: str) -> str:
    return "{jobs}:ready:" + queue


def score(priority: int, run_at_ms: int) -> int:
    """Lower is sooner: by priority (higher first), then by due time; Redis breaks ties by id."""
    since = min(max(run_at_ms - _EPOCH_MS, 0), _SPAN_MS - 1)
    return (100 - priority) * _SPAN_MS + since


class ReadySet:
    """Commands on the ready and delayed sets over one Redis client; each may raise RedisError."""

    def __init__(self, client: Redis) -> None:
        self.client: Any = client
        self._publish_one = self.client.register_script(_PUBLISH_ONE)
        self._pop = self.client.register_script(_POP)
        self._forget = self.client.register_script(_FORGET)

    def publish(self, refs: Sequence[Ref], *, only_if_missing: bool = False) -> None:
        """Put each id in exactly one place: the ready set when due, else the delayed set."""
        if len(refs) == 1 and not only_if_missing:
            [ref] = refs
            at = score(ref.priority, ref.run_at_ms) if ref.is_due else ref.run_at_ms
            self._publish_one(
                keys=[ready_key(ref.queue), DELAYED_KEY, QUEUES_KEY, WAKE_KEY],
                args=[int(ref.is_due), at, ref.id.hex, ref.queue],
            )
            return
        for start in range(0, len(refs), CHUNK):
            self._publish_chunk(refs[start : start + CHUNK], only_if_missing)

    def _publish_chunk(self, refs: Sequence[Ref], only_if_missing: bool) -> None:
        # MULTI: an id is never seen in both sets, nor in none.
        with self.client.pipeline(transaction=True) as pipe:
            for (queue, is_due), group in groupby(
                sorted(refs, key=lambda ref: (ref.queue, ref.is_due)),
                key=lambda ref: (ref.queue, ref.is_due),
            ):
                batch = list(group)
                ids = [ref.id.hex for ref in batch]
                if is_due:
                    scores = {ref.id.hex: score(ref.priority, ref.run_at_ms) for ref in batch}
                    pipe.zadd(ready_key(queue), scores, nx=only_if_missing)
                    pipe.zrem(DELAYED_KEY, *ids)
                else:
                    pipe.zadd(DELAYED_KEY, {ref.id.hex: ref.run_at_ms for ref in batch})
                    pipe.zrem(ready_key(queue), *ids)
            # Each time anew: who remembers what it announced forgets that Redis may have been flushed.
            pipe.sadd(QUEUES_KEY, *{ref.queue for ref in refs})
            is_new_queue = pipe.execute()[-1]
        if is_new_queue:
            # Poppers block on the queues they know: wake one, it looks at the new one.
            self.client.zadd(WAKE_KEY, {"new queue": 0})

    def queues(self) -> list[str]:
        """Every queue that anything was ever published to, by name."""
        return sorted(name.decode() for name in self.client.smembers(QUEUES_KEY))

    def pop(self, queues: Sequence[str], count: int) -> tuple[list[str], float | None]:
        """Up to ``count`` ids, first queue first, and when the next delayed one is due (ms)."""
        keys = [*map(ready_key, queues), DELAYED_KEY]
        ids, next_due = self._pop(keys=keys, args=[count])
        return [i.decode() for i in ids], float(next_due) if next_due else None

    def pop_blocking(self, queues: Sequence[str], timeout: float) -> str | None:
        """The first id, waiting up to ``timeout`` seconds; None when there is none, or a new queue."""
        found = self.client.bzpopmin([*map(ready_key, queues), WAKE_KEY], timeout=timeout)
        if found is None or found[0].decode() == WAKE_KEY:
            return None
        return str(found[1].decode())

    def due(self, now_ms: float, limit: int = 500) -> list[UUID]:
        """Delayed ids whose time has come; they stay until promoted."""
        ids = self.client.zrangebyscore(DELAYED_KEY, "-inf", now_ms, start=0, num=limit)
        return [UUID(i.decode()) for i in ids]

    def forget_delayed(self, ids: Iterable[UUID], *, due_at_ms: float) -> None:
        """Drop ids that are no longer pending from the delayed set, unless delayed anew meanwhile."""
        gone = [i.hex for i in ids]
        if gone:
            self._forget(keys=[DELAYED_KEY], args=[due_at_ms, *gone])

    def next_due_ms(self) -> float | None:
        first = self.client.zrange(DELAYED_KEY, 0, 0, withscores=True)
        return float(first[0][1]) if first else None

    def missing(self, queue: str, ids: Sequence[UUID]) -> set[UUID]:
        """Those of ``ids`` that the queue's ready set does not hold."""
        scores = self.client.zmscore(ready_key(queue), [i.hex for i in ids]) if ids else []
        return {i for i, found in zip(ids, scores, strict=True) if found is None}

    def absent(self, refs: Sequence[Ref]) -> list[Ref]:
        """Those of ``refs`` that neither their ready set nor the delayed set holds."""
        if not refs:
            return []
        with self.client.pipeline(transaction=False) as pipe:
            for ref in refs:
                pipe.zscore(ready_key(ref.queue), ref.id.hex)
                pipe.zscore(DELAYED_KEY, ref.id.hex)
            scores = pipe.execute()
        return [
            ref for n, ref in enumerate(refs) if scores[2 * n] is None and scores[2 * n + 1] is None
        ]

    def depths(self) -> dict[str, int]:
        """Ids ready by queue, and "delayed"."""
        queues = self.queues()
        with self.client.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.zcard(ready_key(queue))
            pipe.zcard(DELAYED_KEY)
            *ready, delayed = pipe.execute()
        return {**dict(zip(queues, ready, strict=True)), "delayed": delayed}

    # The epoch says: everything pending in PostgreSQL was published to this very server.

    def is_epoch_current(self) -> bool:
        return bool(self.client.get(EPOCH_KEY) == self._run_id())

    def set_epoch(self) -> None:
        self.client.set(EPOCH_KEY, self._run_id())

    def forget_epoch(self) -> None:
        self.client.delete(EPOCH_KEY)

    def _run_id(self) -> bytes:
        return str(self.client.info("server")["run_id"]).encode()
