"""Both services up, or neither."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from app.dev import postgres, redis_server
from app.dev.instance import Instance


@dataclass(frozen=True, slots=True)
class Services:
    """Where the running services listen, and their processes by name."""

    database_url: str
    redis_url: str
    processes: dict[str, subprocess.Popen[bytes]]


@contextmanager
def running(instance: Instance) -> Iterator[Services]:
    """The services of ``instance``, ended when the block is left. Raises DevError."""
    with ExitStack() as stack:
        database = postgres.start(instance)
        stack.callback(postgres.end, database)
        redis = redis_server.start(instance)
        stack.callback(redis_server.end, redis)
        processes = {"postgres": database, "redis": redis}
        yield Services(instance.state.database_url, instance.state.redis_url, processes)
