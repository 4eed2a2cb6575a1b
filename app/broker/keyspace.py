"""Our keys in one Redis, whoever else writes there: foreign members and types are dropped.

Redis decides when a job runs, never whether: what stands in our keys and is not ours goes, and
everything pending is published again.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from redis import Redis
from redis.exceptions import ResponseError

from app.broker.keys import Keys
from app.jobs.publication import Contents
from app.names import NAME

T = TypeVar("T")

log = logging.getLogger(__name__)

#: What the epoch says where the server does not tell its run id (INFO is often forbidden).
NO_RUNID = b"server without run id"
SCAN = 1000
#: A deployment whose workers said nothing for this long uses our keys no more.
DEPLOYMENT_SECONDS = 60

ID = re.compile(rb"[0-9a-f]{32}")


class KeySpace:
    """What every command on our keys shares; methods raise RedisError."""

    def __init__(self, client: Redis, prefix: str = "") -> None:
        self.client: Any = client
        self.keys = Keys(prefix)

    def queues(self) -> list[str]:
        """Every queue that anything was ever published to, by name; what is no name is dropped."""
        names = self.mended(self._names)
        if foreign := [member for member, name in names.items() if not name]:
            self._dropped(len(foreign), self.keys.queues)
            self.client.srem(self.keys.queues, *foreign)
        return sorted(name for name in names.values() if name)

    # The epoch says: everything pending in PostgreSQL was published to this very server.

    def is_epoch_current(self) -> bool:
        try:
            return bool(self.client.get(self.keys.epoch) == self._run_id())
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            return False

    def set_epoch(self) -> None:
        self.client.set(self.keys.epoch, self._run_id())

    def forget_epoch(self) -> None:
        """Let a sweeper publish every pending job again."""
        # SET, not DEL: it needs no right that publishing and set_epoch() do not need.
        self.client.set(self.keys.epoch, "")

    def _run_id(self) -> bytes:
        """The server's own name for this run of it; where INFO is refused, the epoch is our own."""
        try:
            run_id = self.client.info("server").get("run_id")
        except ResponseError:
            return NO_RUNID
        return str(run_id).encode() if run_id else NO_RUNID

    # Whose keys these are.

    def sign_in(self, deployment: str) -> list[str]:
        """Say that ``deployment`` uses these keys; answers with the others that do."""
        now_ms = time.time() * 1000
        self.mended(lambda: self.client.zadd(self.keys.deployments, {deployment: now_ms}))
        self.client.zremrangebyscore(
            self.keys.deployments, "-inf", now_ms - DEPLOYMENT_SECONDS * 1000
        )
        return [name for name in self.deployments() if name != deployment]

    def deployments(self) -> list[str]:
        """The databases whose workers used these keys within the last minute."""
        since = (time.time() - DEPLOYMENT_SECONDS) * 1000
        found = self.mended(lambda: self.client.zrangebyscore(self.keys.deployments, since, "+inf"))
        return [member[:200].decode("utf-8", "replace") for member in found]

    # What others put into our keys.

    def mend(self, queues: Iterable[str] = ()) -> list[str]:
        """Delete keys of another type than ours and let everything be published again; their names."""
        wrong = self.wrong_types(queues)
        for key in wrong:
            self.client.delete(key)
        if wrong:
            self.forget_epoch()
            log.warning(
                "Redis keys of a foreign type were deleted: %s. Pending jobs are published again.",
                ", ".join(wrong),
            )
        return wrong

    def wrong_types(self, queues: Iterable[str] = ()) -> list[str]:
        """The names of our keys, with the ready sets of ``queues``, that hold another type."""
        expected = self.keys.types() | {self.keys.ready(queue): "zset" for queue in queues}
        with self.client.pipeline(transaction=False) as pipe:
            for key in expected:
                pipe.type(key)
            found = pipe.execute()
        return [
            key
            for (key, type), is_type in zip(expected.items(), found, strict=True)
            if is_type.decode() not in (type, "none")
        ]

    def contents(self, limit: int) -> Contents:
        """What stands in our keys; the first ``limit`` members of each set are looked at."""
        has_queues = self.keys.queues not in self.wrong_types()
        names = self._names() if has_queues else {}
        queues = [name for name in names.values() if name]
        wrong = self.wrong_types(queues)
        sets = [self.keys.delayed, *map(self.keys.ready, queues)]
        found = [m for key in sets if key not in wrong for m in self.client.zrange(key, 0, limit)]
        ids = [UUID(member.decode()) for member in found if ID.fullmatch(member)]
        foreign = len(found) - len(ids) + sum(not name for name in names.values())
        deployments = [] if self.keys.deployments in wrong else self.deployments()
        return Contents(wrong, foreign, ids, deployments)

    def clean(self) -> int:
        """Delete keys of a foreign type, and members that are not ours, however many; how many."""
        count = len(self.mend()) + sum(not name for name in self._names().values())
        queues = self.queues()
        count += len(self.mend(queues))
        for key in [self.keys.delayed, *map(self.keys.ready, queues)]:
            foreign = [m for m, _ in self.client.zscan_iter(key, count=SCAN) if not ID.fullmatch(m)]
            if foreign:
                self.client.zrem(key, *foreign)
            count += len(foreign)
        return count

    def _names(self) -> dict[bytes, str]:
        """Members of the set of queues → their names; empty for what is no name."""
        names = {m: m.decode("ascii", "replace") for m in self.client.smembers(self.keys.queues)}
        return {m: name if NAME.fullmatch(name) else "" for m, name in names.items()}

    def mended(self, command: Callable[[], T], queues: Iterable[str] = ()) -> T:
        """``command``; once more after deleting keys of a foreign type, where these were in its way."""
        try:
            return command()
        except ResponseError as error:
            # Within scripts the code stands in the middle of the text.
            if "WRONGTYPE" not in str(error) or not self.mend(queues):
                raise
            return command()

    def ids_of(self, members: Sequence[bytes], place: str) -> list[str]:
        ids = [member.decode() for member in members if ID.fullmatch(member)]
        if len(ids) < len(members):
            self._dropped(len(members) - len(ids), place)
        return ids

    def _dropped(self, count: int, place: str) -> None:
        log.warning("Dropped %s members of %s in Redis that are not ours", count, place)
