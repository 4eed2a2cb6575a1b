"""The port to Redis as the web and the domain use it: quick, and never in the way of a commit."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from flask import Flask
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.config import Settings
from app.jobs.publishing import Ref
from app.worker.queue import ReadySet

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 0.25
#: After a failure Redis is left alone for a moment, so that a dead one costs one timeout a second.
REST_SECONDS = 1.0


def connect(settings: Settings, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Redis:
    """A client without redis-py's ten hidden retries (3.5 s for one refused ping)."""
    return Redis.from_url(
        settings.redis_url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_seconds,
        socket_connect_timeout=TIMEOUT_SECONDS,
        socket_keepalive=True,
    )


class RedisTrigger:
    """Publishes after commits; remembers what it missed."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = app
        self._client = connect(settings)
        self.ready = ReadySet(self._client)
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
        except (RedisError, OSError) as error:
            self._failed(error)
            return False
        return True

    def _confess(self) -> None:
        # Whoever missed a publication deletes the epoch with its first working command: a sweeper
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
            log.warning("Redis did not take a publication (%s); the sweeper will repeat it", error)

    def ping(self) -> None:
        self._client.ping()
        self._confess()

    def depths(self) -> dict[str, int] | None:
        if time.monotonic() < self._resting_until:
            return None
        try:
            return self.ready.depths()
        except (RedisError, OSError) as error:
            self._failed(error)
            return None

    def mirror_dead_letters(self, *, rebuild: bool = False) -> int:
        """See app.worker.mirror; raises RedisError when Redis is away."""
        from app.worker import mirror

        with self._app.app_context():
            return mirror.rebuild(self._client) if rebuild else mirror.run_once(self._client)

    def facts(self) -> dict[str, str]:
        found: Any = self._client.info("server")
        memory: Any = self._client.info("memory")
        return {
            "redis_version": str(
                found.get("valkey_version") or found.get("redis_version", "unknown")
            ),
            "maxmemory_policy": str(memory.get("maxmemory_policy", "noeviction")),
        }

    def missing(self, refs: Sequence[Ref]) -> list[Ref]:
        return self.ready.absent(refs)

    def mirrored_dead_letters(self) -> list[bytes]:
        from app.worker import mirror

        client: Any = self._client
        return list(client.lrange(mirror.KEY, 0, -1))
