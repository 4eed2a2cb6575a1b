"""/health: responds within a second, even if a dependency is down or hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app import database, database_errors, schema
from app.api.http.operation import operation
from app.api.schemas.health import HEALTH
from app.errors import RETRY_AFTER_SECONDS, DatabaseUnavailable, JobQueueError
from app.extensions import db
from app.jobs.publication import current_publisher
from app.security.roles import PUBLIC

ANSWER_WITHIN_SECONDS = 0.8


@dataclass(frozen=True)
class Dependency:
    status: str  # ok, down
    error: str | None
    latency_ms: float | None


@dataclass(frozen=True)
class Health:
    status: str  # ok, degraded, down
    database: Dependency
    redis: Dependency


class Probe:
    """The check of one dependency, in its own thread: requests share a check that hangs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Future[Dependency] | None = None

    def start(self, check: Callable[[], None]) -> Future[Dependency]:
        """The check under way, or a new one. ``check`` raises when something is wrong."""
        with self._lock:
            if self._running is None or self._running.done():
                self._running = Future()
                threading.Thread(target=_run, args=(check, self._running), daemon=True).start()
            return self._running


def _run(check: Callable[[], None], future: Future[Dependency]) -> None:
    started = time.perf_counter()
    try:
        check()
    except JobQueueError as error:
        future.set_result(Dependency("down", str(error), None))
    except Exception as error:
        # The class only: messages of drivers hold addresses and user names.
        future.set_result(Dependency("down", type(error).__name__, None))
    else:
        took = round((time.perf_counter() - started) * 1000, 1)
        future.set_result(Dependency("ok", None, took))


_database, _redis = Probe(), Probe()
_SILENT = Dependency("down", f"no response within {ANSWER_WITHIN_SECONDS:g} s", None)


@operation(
    "GET", "/health", query=None, responses={200: HEALTH, 503: HEALTH}, role=PUBLIC, tag="Health"
)
def health() -> tuple[Health, int, dict[str, str]]:
    """Check the health.

    200 with `ok`, or `degraded` while Redis is unavailable (jobs are stored and published later). 503 with
    `down` while PostgreSQL is unavailable, read-only or not migrated; `error` says what to do. It responds within a second.
    """
    engine = db.engine
    checks = [
        _database.start(lambda: _check_database(engine)),
        _redis.start(current_publisher().probe),
    ]
    wait(checks, ANSWER_WITHIN_SECONDS)
    database, redis = (check.result() if check.done() else _SILENT for check in checks)
    if database.status == "down":
        return Health("down", database, redis), 503, {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return Health(redis.status.replace("down", "degraded"), database, redis), 200, {}


def _check_database(engine: Engine) -> None:
    """Raises if jobs can't be stored."""
    try:
        database.require_writable(engine)
        schema.check(engine)
    except SQLAlchemyError as error:
        meaning = database_errors.meaning(error)
        if meaning is None or isinstance(meaning, DatabaseUnavailable):
            raise
        raise meaning from error
