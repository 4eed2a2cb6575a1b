"""Our keys in a Redis database that others may write to as well: foreign members and types are deleted.

Redis decides when a job runs, never whether it runs. So anything foreign in our keys can be deleted, and all
pending jobs are published again.
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

from app.broker.dead_letter_list import MAX_NAME, DeadLetterList
from app.broker.keys import NAME, Keys
from app.broker.refs import Contents

T = TypeVar("T")

log = logging.getLogger(__name__)

#: The epoch if the server does not reveal its run id (INFO is often forbidden).
NO_RUNID = b"server without run id"
SCAN = 1000
#: A deployment whose workers have not registered for this long no longer uses our keys.
DEPLOYMENT_SECONDS = 60

ID = re.compile(rb"[0-9a-f]{32}")


class KeySpace:
    """Commands on our keys as a whole. Methods raise RedisError."""

    def __init__(self, client: Redis, prefix: str = "") -> None:
        self.client: Any = client
        self.keys = Keys(prefix)
        self.dead_letters = DeadLetterList(client, self.keys)

    def queues(self) -> list[str]:
        """All queues that jobs were published to, by name; members that are not a queue's name are deleted."""
        names = self.execute(self._names)
        if foreign := [member for member, name in names.items() if not name]:
            self._log_dropped(len(foreign), self.keys.queues)
            self.client.srem(self.keys.queues, *foreign)
        return sorted(name for name in names.values() if name)

    # The epoch says that all pending jobs in PostgreSQL were published to the current run of the server.

    def is_epoch_current(self) -> bool:
        """Whether all pending jobs were published to this run of the server."""
        try:
            return bool(self.client.get(self.keys.epoch) == self._run_id())
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            return False

    def set_epoch(self) -> None:
        """Store that all pending jobs were published."""
        self.client.set(self.keys.epoch, self._run_id())

    def forget_epoch(self) -> None:
        """Make a sweeper publish all pending jobs again."""
        # SET, not DEL: it needs no permission that publishing and set_epoch() don't need.
        self.client.set(self.keys.epoch, "")

    def _run_id(self) -> bytes:
        """The server's id for its current run; a constant if INFO is refused."""
        try:
            run_id = self.client.info("server").get("run_id")
        except ResponseError:
            return NO_RUNID
        return str(run_id).encode() if run_id else NO_RUNID

    # The deployments that use these keys.

    def register_deployment(self, deployment: str) -> list[str]:
        """Store that ``deployment`` uses these keys; returns the others that do."""
        now_ms = time.time() * 1000
        self.execute(lambda: self.client.zadd(self.keys.deployments, {deployment: now_ms}))
        self.client.zremrangebyscore(
            self.keys.deployments, "-inf", now_ms - DEPLOYMENT_SECONDS * 1000
        )
        return [name for name in self.deployments() if name != deployment]

    def deployments(self) -> list[str]:
        """The databases whose workers used these keys within the last minute."""
        since = (time.time() - DEPLOYMENT_SECONDS) * 1000
        members = self.execute(
            lambda: self.client.zrangebyscore(self.keys.deployments, since, "+inf")
        )
        return [member[:MAX_NAME].decode("utf-8", "replace") for member in members]

    # Foreign keys and members.

    def delete_wrong_types(self, queues: Iterable[str] = ()) -> list[str]:
        """Delete our keys that have a wrong type, and have all jobs published again; returns the keys."""
        wrong = self.wrong_types(queues)
        for key in wrong:
            self.client.delete(key)
        if wrong:
            self.forget_epoch()
            log.warning(
                "Deleted keys of a wrong type in Redis: %s. Pending jobs are published again.",
                ", ".join(wrong),
            )
        return wrong

    def wrong_types(self, queues: Iterable[str] = ()) -> list[str]:
        """Our keys, including the ready sets of ``queues``, that have a wrong type."""
        expected = self.keys.types() | {self.keys.ready(queue): "zset" for queue in queues}
        with self.client.pipeline(transaction=False) as pipe:
            for key in expected:
                pipe.type(key)
            types = pipe.execute()
        return [
            key
            for (key, wanted), actual in zip(expected.items(), types, strict=True)
            if actual.decode() not in (wanted, "none")
        ]

    def contents(self, limit: int) -> Contents:
        """The contents of our keys; the first ``limit`` members of each set."""
        has_queues = self.keys.queues not in self.wrong_types()
        names = self._names() if has_queues else {}
        queues = [name for name in names.values() if name]
        wrong = self.wrong_types(queues)
        sets = [self.keys.delayed, *map(self.keys.ready, queues)]
        members = [m for key in sets if key not in wrong for m in self.client.zrange(key, 0, limit)]
        ids = [UUID(member.decode()) for member in members if ID.fullmatch(member)]
        foreign = len(members) - len(ids) + sum(not name for name in names.values())
        deployments = [] if self.keys.deployments in wrong else self.deployments()
        return Contents(wrong, foreign, ids, deployments)

    def delete_foreign(self) -> int:
        """Delete all keys of a wrong type and all members that are not ours; returns their number."""
        count = len(self.delete_wrong_types()) + sum(not name for name in self._names().values())
        queues = self.queues()
        count += len(self.delete_wrong_types(queues))
        for key in [self.keys.delayed, *map(self.keys.ready, queues)]:
            foreign = [m for m, _ in self.client.zscan_iter(key, count=SCAN) if not ID.fullmatch(m)]
            if foreign:
                self.client.zrem(key, *foreign)
            count += len(foreign)
        return count

    def _names(self) -> dict[bytes, str]:
        """Members of the set of queues → their names; empty if a member is not a queue's name."""
        names = {m: m.decode("ascii", "replace") for m in self.client.smembers(self.keys.queues)}
        return {m: name if NAME.fullmatch(name) else "" for m, name in names.items()}

    def execute(self, command: Callable[[], T], queues: Iterable[str] = ()) -> T:
        """Run ``command``; if a key has a wrong type, delete such keys and run it again."""
        try:
            return command()
        except ResponseError as error:
            # With scripts the error code is in the middle of the text.
            if "WRONGTYPE" not in str(error) or not self.delete_wrong_types(queues):
                raise
            return command()

    def parse_ids(self, members: Sequence[bytes], place: str) -> list[str]:
        """The job ids among ``members``; the others are logged as dropped. ``place``: where they were."""
        ids = [member.decode() for member in members if ID.fullmatch(member)]
        if len(ids) < len(members):
            self._log_dropped(len(members) - len(ids), place)
        return ids

    def _log_dropped(self, count: int, place: str) -> None:
        log.warning("Dropped %s foreign members of %s in Redis", count, place)
