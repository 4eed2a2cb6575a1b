"""The port to Redis as the web and the domain use it: quick, and never in the way of a commit."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from flask import Flask
from redis.exceptions import RedisError, ResponseError

from app.broker.client import brief, connect
from app.broker.ready_set import ReadySet
from app.config import Settings
from app.extensions import db
from app.jobs.deployment import identity
from app.jobs.publication import Contents, Ref

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 0.25
#: After a failure Redis is left alone for a moment, so that a dead one costs one timeout a second.
REST_SECONDS = 1.0
PROBE_SECONDS = 60
#: How many ids of each set a report looks at.
SAMPLE = 1000


class RedisTrigger:
    """Publishes after commits; remembers what it missed."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = app
        self._client = connect(settings.redis_url, timeout_seconds=TIMEOUT_SECONDS)
        self.ready = ReadySet(self._client, settings.redis_prefix)
        self._lock = threading.Lock()
        self._resting_until = 0.0
        self._has_missed = False

    def publish(self, refs: Sequence[Ref]) -> bool:
        """True when Redis took them. False: the rows are safe, the epoch makes up for it."""
        if not refs:
            return True
        if time.monotonic() < self._resting_until:
            self._has_missed = True
            return False
        try:
            self._confess()
            self.ready.publish(refs)
        except Exception as error:  # the job is stored: no class of error may reach the caller
            self._failed(error)
            return False
        return True

    def _confess(self) -> None:
        # Whoever missed a publication clears the epoch with its first working command: a sweeper
        # then publishes every pending job again.
        if self._has_missed:
            self.ready.forget_epoch()
            self._has_missed = False

    def _failed(self, error: Exception) -> None:
        with self._lock:
            is_news = time.monotonic() > self._resting_until + 60 or not self._has_missed
            self._resting_until = time.monotonic() + REST_SECONDS
            self._has_missed = True
        if is_news:
            is_expected = isinstance(error, RedisError | OSError)
            log.warning(
                "Redis did not take a publication (%s); the sweeper will repeat it", brief(error),
                exc_info=None if is_expected else error,
            )  # fmt: skip

    def ping(self) -> None:
        # A full Redis answers PING, and takes no id.
        self._client.set(self.ready.keys.probe, 1, ex=PROBE_SECONDS)
        self._confess()

    def depths(self) -> dict[str, int] | None:
        if time.monotonic() < self._resting_until:
            return None
        try:
            return self.ready.depths()
        except Exception as error:  # whatever the client of Redis raises
            self._failed(error)
            return None

    def mirror_dead_letters(self, *, rebuild: bool = False) -> int:
        """See app.jobs.dead_letter_mirror; raises RedisError when Redis is away."""
        from app.jobs import dead_letter_mirror

        with self._app.app_context():
            if rebuild:
                return dead_letter_mirror.rebuild(self.ready)
            with db.engine.connect() as connection:
                own = identity(connection)
            return dead_letter_mirror.run_once(self.ready, own)

    def facts(self) -> dict[str, str]:
        found: Any = self._info("server")
        memory: Any = self._info("memory")
        facts = {
            "redis_version": str(
                found.get("valkey_version") or found.get("redis_version", "unknown")
            ),
            "maxmemory_policy": str(memory.get("maxmemory_policy", "noeviction")),
        }
        if not found:
            self._client.ping()
        return facts

    def _info(self, section: str) -> Any:
        try:
            return self._client.info(section)
        except ResponseError:  # not permitted, or not there: some providers hide it
            return {}

    def missing(self, refs: Sequence[Ref]) -> list[Ref]:
        return self.ready.absent(refs)

    def mirrored_dead_letters(self) -> list[bytes] | None:
        client, key = self.ready.client, self.ready.keys.dead_letters
        if client.type(key) not in (b"list", b"none"):
            return None
        return list(client.lrange(key, 0, -1))

    def contents(self) -> Contents:
        return self.ready.contents(SAMPLE)

    def mend(self) -> int:
        return self.ready.clean()
