"""Publishes for the web and the domain: quickly, and never with an error for a job that is already stored."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from app.broker.client import RedisError, ResponseError, brief, connect
from app.broker.pace import Pace
from app.broker.ready_set import ReadySet
from app.broker.refs import Ref

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 0.25
#: After a failure, nothing is sent to Redis for this long, so that an outage costs a single timeout per second.
REST_SECONDS = 1.0
PROBE_SECONDS = 60
#: A failure is logged again if publishing has worked, or nothing was published, for this long.
LOG_AGAIN_SECONDS = 60


class Publisher:
    """Publishes references after a commit, and remembers whether it missed any. One per process."""

    def __init__(self, url: str, prefix: str = "") -> None:
        """``prefix`` is empty or ends with a colon. Connects with the first command."""
        self._client = connect(url, timeout_seconds=TIMEOUT_SECONDS)
        self.ready = ReadySet(self._client, prefix)
        self.pace = Pace(self.ready)
        self._lock = threading.Lock()
        self._resting_until = 0.0
        self._has_missed = False

    def publish(self, refs: Sequence[Ref]) -> bool:
        """Put each id into the ready or the delayed set. Raises nothing.

        False if Redis did not accept them: the rows are safe, and a sweeper publishes them again.
        """
        return not refs or self._send(lambda: self.ready.publish(refs))

    def hint(self, hints: Collection[str]) -> bool:
        """Wake a worker's pacer for each hint (see app.broker.pace). Raises nothing.

        False if Redis did not accept them: the pacers find the work within a second or so.
        """
        return not hints or self._send(lambda: self.pace.add(hints))

    def _send(self, command: Callable[[], None]) -> bool:
        if time.monotonic() < self._resting_until:
            self._has_missed = True
            return False
        try:
            self._report_missed()
            command()
        except Exception as error:  # the job is stored, so no error may reach the caller
            self._rest(error)
            return False
        return True

    def probe(self) -> None:
        """Check that Redis responds and accepts writes, by writing a key; raises an error within 250 ms."""
        # A Redis that is out of memory responds to PING, but accepts no ids.
        self._client.set(self.ready.keys.probe, 1, ex=PROBE_SECONDS)
        self._report_missed()

    def facts(self) -> dict[str, str]:
        """``redis_version`` and ``maxmemory_policy``, with defaults if INFO is forbidden. Raises RedisError."""
        server: Any = self._info("server")
        memory: Any = self._info("memory")
        if not server:
            self._client.ping()
        version = server.get("valkey_version") or server.get("redis_version", "unknown")
        return {
            "redis_version": str(version),
            "maxmemory_policy": str(memory.get("maxmemory_policy", "noeviction")),
        }

    def _report_missed(self) -> None:
        # The first command that works after a missed publication clears the epoch, so that a sweeper publishes
        # all pending jobs again.
        if self._has_missed:
            self.ready.forget_epoch()
            self._has_missed = False

    def _rest(self, error: Exception) -> None:
        with self._lock:
            now = time.monotonic()
            is_logged = now > self._resting_until + LOG_AGAIN_SECONDS or not self._has_missed
            self._resting_until = now + REST_SECONDS
            self._has_missed = True
        if is_logged:
            is_expected = isinstance(error, RedisError | OSError)
            log.warning(
                "Redis did not accept a publication (%s); the sweeper will repeat it", brief(error),
                exc_info=None if is_expected else error,
            )  # fmt: skip

    def _info(self, section: str) -> Any:
        try:
            return self._client.info(section)
        except ResponseError:  # some providers forbid or remove INFO
            return {}
