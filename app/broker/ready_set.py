"""A ready set for each queue, and a delayed set; they contain only job ids.

Sets, not logs: publishing an id twice changes nothing, so that any component may publish any pending job
at any time, and recovery needs no bookkeeping.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby
from uuid import UUID

from redis import Redis
from redis.exceptions import TimeoutError as RedisTimeout

from app.broker.keyspace import ID, KeySpace
from app.broker.pace import Pace, limit_hint
from app.broker.refs import Ref

CHUNK = 1000
#: What pop_blocking returns instead of an id when there is a new queue or lane, or an earlier delayed id.
WOKEN = "woken"
#: Ids that a worker's database does not have are offered to other workers for this long, at most MAX_UNKNOWN of them.
UNKNOWN_SECONDS = 5
MAX_UNKNOWN = 1000
#: Scores stay exact in a double: 201 priorities × 2^42 ms since 2023-11-14 (until 2163).
_EPOCH_MS = 1_700_000_000_000
_SPAN_MS = 2**42

# KEYS: ready sets in order of preference, then the delayed set. ARGV: the number of ids.
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

# A single id in a single command, because every POST waits for it. Workers wait until the first delayed id is
# due: an earlier one wakes a worker. KEYS: the queue's ready set, delayed, queues, wake. ARGV: 1 if the job is due,
# its score, id, queue.
_PUBLISH_ONE = """
local place, other = KEYS[1], KEYS[2]
if ARGV[1] == '0' then place, other = other, place end
redis.call('ZADD', place, ARGV[2], ARGV[3])
redis.call('ZREM', other, ARGV[3])
if redis.call('SADD', KEYS[3], ARGV[4]) == 1 then redis.call('ZADD', KEYS[4], 0, 'new queue') end
if ARGV[1] == '0' and redis.call('ZRANK', KEYS[2], ARGV[3]) == 0 then
  redis.call('ZADD', KEYS[4], 0, 'earlier')
end
"""

# KEYS: the delayed set. ARGV: a time, then ids.
_FORGET = """
for i = 2, #ARGV do
  local at = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if at and tonumber(at) <= tonumber(ARGV[1]) then redis.call('ZREM', KEYS[1], ARGV[i]) end
end
"""


def score(priority: int, run_at_ms: int) -> int:
    """The score in a ready set; lower is sooner: by priority (higher first), then due time. Redis breaks ties by id."""
    since = min(max(run_at_ms - _EPOCH_MS, 0), _SPAN_MS - 1)
    return (100 - priority) * _SPAN_MS + since


class ReadySet(KeySpace):
    """Commands on the ready and delayed sets over one Redis client; each may raise RedisError."""

    def __init__(self, client: Redis, prefix: str = "") -> None:
        super().__init__(client, prefix)
        self._publish_one = self.client.register_script(_PUBLISH_ONE)
        self._pop = self.client.register_script(_POP)
        self._forget = self.client.register_script(_FORGET)

    def publish(self, refs: Sequence[Ref], *, only_if_missing: bool = False) -> None:
        """Put each id into the ready set if it is due, otherwise into the delayed set, and remove it from the other.

        Of those that are due and held by a limit, the pacers get a hint for the limit instead.
        """
        if any(ref.limit is not None for ref in refs):
            refs = self._hint_limits(refs)
        for start in range(0, len(refs), CHUNK):
            chunk = refs[start : start + CHUNK]
            queues = {ref.queue for ref in chunk}
            if len(refs) == 1 and not only_if_missing:
                self.execute(partial(self._publish_single, chunk[0]), queues)
            else:
                self.execute(partial(self._publish_chunk, chunk, only_if_missing), queues)

    def _hint_limits(self, refs: Sequence[Ref]) -> list[Ref]:
        """Hint the limits that hold some of these; returns the others."""
        limits = {ref.limit for ref in refs if ref.is_due and ref.limit is not None}
        Pace(self).add(limit_hint(limit) for limit in limits)
        return [ref for ref in refs if ref.limit is None or not ref.is_due]

    def _publish_single(self, ref: Ref) -> None:
        keys = self.keys
        at = score(ref.priority, ref.run_at_ms) if ref.is_due else ref.run_at_ms
        self._publish_one(
            keys=[keys.ready(ref.queue), keys.delayed, keys.queues, keys.wake],
            args=[int(ref.is_due), at, ref.id.hex, ref.queue],
        )

    def _publish_chunk(self, refs: Sequence[Ref], only_if_missing: bool) -> None:
        keys = self.keys
        delayed = {ref.id.hex.encode() for ref in refs if not ref.is_due}
        # MULTI: at no time is an id in both sets or in neither.
        with self.client.pipeline(transaction=True) as pipe:
            for (queue, is_due), group in groupby(
                sorted(refs, key=lambda ref: (ref.queue, ref.is_due)),
                key=lambda ref: (ref.queue, ref.is_due),
            ):
                batch = list(group)
                ids = [ref.id.hex for ref in batch]
                if is_due:
                    scores = {ref.id.hex: score(ref.priority, ref.run_at_ms) for ref in batch}
                    pipe.zadd(keys.ready(queue), scores, nx=only_if_missing)
                    pipe.zrem(keys.delayed, *ids)
                else:
                    pipe.zadd(keys.delayed, {ref.id.hex: ref.run_at_ms for ref in batch})
                    pipe.zrem(keys.ready(queue), *ids)
            if delayed:
                pipe.zrange(keys.delayed, 0, 0)
            # Every time, because Redis may have been flushed in the meantime.
            pipe.sadd(keys.queues, *{ref.queue for ref in refs})
            results = pipe.execute()
        self._wake_if(results[-1])
        if delayed:
            self._wake_if(not delayed.isdisjoint(results[-2]), "earlier")

    def announce(self, queues: Iterable[str]) -> None:
        """Make these queues known to workers that serve all queues."""
        if names := set(queues):
            self._wake_if(self.execute(lambda: self.client.sadd(self.keys.queues, *names)))

    def _wake_if(self, has_news: int, news: str = "new queue") -> None:
        if has_news:
            # Workers block on what they know: wake a worker, which then reads it again.
            self.client.zadd(self.keys.wake, {news: 0})

    def pop(self, queues: Sequence[str], count: int) -> tuple[list[str], float | None]:
        """Remove and return up to ``count`` ids, first queue first, and the due time of the next delayed id (ms)."""
        keys = [*map(self.keys.ready, queues), self.keys.delayed]
        ids, next_due = self.execute(lambda: self._pop(keys=keys, args=[count]), queues)
        return self.parse_ids(ids, "a ready set"), float(next_due) if next_due else None

    def pop_blocking(self, queues: Sequence[str], timeout: float) -> str | None:
        """Remove and return an id, waiting up to ``timeout`` seconds; None without an id, WOKEN to look again."""
        keys = [*map(self.keys.ready, queues), self.keys.wake]
        try:
            popped = self.execute(lambda: self.client.bzpopmin(keys, timeout=timeout), queues)
        except RedisTimeout:
            return None
        if popped is None:
            return None
        if popped[0] == self.keys.wake.encode():
            return WOKEN
        return next(iter(self.parse_ids([popped[1]], "a ready set")), None)

    def next_due_ms(self) -> float | None:
        """When the first delayed id is due (ms); None when there is none."""
        first = self.execute(lambda: self.client.zrange(self.keys.delayed, 0, 0, withscores=True))
        return float(first[0][1]) if first else None

    def due(self, now_ms: float, limit: int = 500) -> list[UUID]:
        """Delayed ids that are due now; they stay in the set until they are promoted."""
        members = self.execute(
            lambda: self.client.zrangebyscore(self.keys.delayed, "-inf", now_ms, start=0, num=limit)
        )
        ids = self.parse_ids(members, self.keys.delayed)
        if len(ids) < len(members):
            self.client.zrem(self.keys.delayed, *[m for m in members if not ID.fullmatch(m)])
        return [UUID(i) for i in ids]

    def forget_delayed(self, ids: Iterable[UUID], *, due_at_ms: float) -> None:
        """Remove ids that are no longer pending from the delayed set, except those delayed again since ``due_at_ms``."""
        members = [i.hex for i in ids]
        if members:
            self.execute(lambda: self._forget(keys=[self.keys.delayed], args=[due_at_ms, *members]))

    def not_ready(self, queue: str, ids: Sequence[UUID]) -> set[UUID]:
        """Those of ``ids`` that are not in the queue's ready set."""
        if not ids:
            return set()
        key, members = self.keys.ready(queue), [i.hex for i in ids]
        scores = self.execute(lambda: self.client.zmscore(key, members), [queue])
        return {i for i, its_score in zip(ids, scores, strict=True) if its_score is None}

    def absent(self, refs: Sequence[Ref]) -> list[Ref]:
        """Those of ``refs`` that are neither in their ready set, nor in the lane of their type, nor delayed."""
        if not refs:
            return []
        scores = self.execute(lambda: self._scores(refs), {ref.queue for ref in refs})
        return [
            ref
            for n, ref in enumerate(refs)
            if all(place is None for place in scores[3 * n : 3 * n + 3])
        ]

    def _scores(self, refs: Sequence[Ref]) -> list[float | None]:
        with self.client.pipeline(transaction=False) as pipe:
            for ref in refs:
                pipe.zscore(self.keys.ready(ref.queue), ref.id.hex)
                pipe.zscore(self.keys.ready(f"{ref.queue}|{ref.type}"), ref.id.hex)
                pipe.zscore(self.keys.delayed, ref.id.hex)
            scores: list[float | None] = pipe.execute()
        return scores

    # Ids that our database does not have may belong to another deployment with the same keys.

    def pass_on(self, ids: Iterable[UUID | str]) -> None:
        """Offer ids that our database does not have to other deployments' workers, for UNKNOWN_SECONDS."""
        now_ms = time.time() * 1000
        members = {UUID(str(i)).hex: now_ms for i in ids}
        if members:
            self.execute(lambda: self._pass_on(members))

    def _pass_on(self, members: dict[str, float]) -> None:
        with self.client.pipeline(transaction=True) as pipe:
            pipe.zadd(self.keys.unknown, members)
            pipe.zremrangebyrank(self.keys.unknown, 0, -MAX_UNKNOWN - 1)
            pipe.zrem(self.keys.delayed, *members)
            pipe.execute()

    def passed_on(self) -> dict[str, float]:
        """Ids that were passed on and not taken over → when (ms); old ones are removed."""
        offers = self.execute(lambda: self.client.zrange(self.keys.unknown, 0, -1, withscores=True))
        if not offers:
            return {}
        too_old = (time.time() - UNKNOWN_SECONDS) * 1000
        self.client.zremrangebyscore(self.keys.unknown, "-inf", too_old)
        return {m.decode(): float(at) for m, at in offers if ID.fullmatch(m) and at > too_old}

    def take_over(self, ids: Iterable[UUID]) -> None:
        """Withdraw offered ids that belong to us, so that no other worker looks them up."""
        if members := [i.hex for i in ids]:
            self.client.zrem(self.keys.unknown, *members)
