"""A private PostgreSQL and Redis, and the Procfile's web and workers on them."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from redis import Redis

from app.dev import postgres, redis_server
from app.dev.home import Home
from app.dev.instance import free_port, fresh_instance
from app.dev.process import kill_group, stop
from app.dev.programs import procfile, start
from benchmarks import programs

ROOT = programs.ROOT
LEASE_SECONDS = 4.0
QUICK = {
    "LEASE_SECONDS": f"{LEASE_SECONDS:g}",
    "HEARTBEAT_SECONDS": "1",
    "SWEEP_SECONDS": "0.5",
    "BACKOFF_BASE": "0.3",
    "JOB_MODULES": "benchmarks.chaos.handlers",
    "LOG_LEVEL": "INFO",
    "APP_ENV": "test",
    "WEB_CONCURRENCY": "2",
}


class Program:
    """A program of the Procfile, restarted when it is gone."""

    def __init__(self, name: str, number: int, env: dict[str, str], folder: Path) -> None:
        self.name = f"{name}-{number}"
        self.log = folder / f"{self.name}.log"
        self._command = procfile()[name]
        self._env = env
        self.starts = 0
        self.process: Any = None
        self.start()

    def start(self) -> None:
        self.starts += 1
        with open(self.log, "ab") as output:
            self.process = start(self._command, env=self._env, output=output)

    def kill(self) -> None:
        kill_group(self.process.pid)
        self.process.wait()

    def restart(self, number: signal.Signals, grace_seconds: float = 30) -> None:
        """As a platform does on a deploy."""
        stop(self.process, polite=number, grace_seconds=grace_seconds)
        self.start()

    def revive(self) -> None:
        """Start it if it has ended."""
        if self.process.poll() is not None:
            self.start()


class System:
    """Services and programs, for the faults to act on."""

    def __init__(self, instance: Any, folder: Path, stack: ExitStack) -> None:
        self._instance = instance
        self.folder = folder
        self.crashed_at: list[float] = []  # when PostgreSQL crashed
        self.start_postgres()
        self.start_redis()
        stack.callback(lambda: postgres.end(self.postgres))
        stack.callback(lambda: redis_server.end(self.redis))
        self.database_url = instance.state.database_url
        self.redis_url = instance.state.redis_url
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        path = f"{programs.BIN}:{os.environ['PATH']}"
        self.env = {
            **os.environ, **QUICK, "PATH": path, "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url, "HOST": "127.0.0.1", "PORT": str(port),
            "CHAOS_LEDGER": str(folder / "handlers.ledger"),
        }  # fmt: skip
        os.environ.update({"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url})
        programs.migrate()
        self.web = Program("web", 1, self.env, folder)
        self.workers = [Program("worker", n, self.env, folder) for n in (1, 2)]
        for program in (self.web, *self.workers):
            stack.callback(program.kill)
        self.is_over = threading.Event()
        stack.callback(self.is_over.set)
        # Like a platform, restarts programs that exited; a fault that stops a program holds this lock.
        self.hands_off = threading.Lock()
        threading.Thread(target=self._revive_until_the_end, daemon=True).start()

    def start_postgres(self) -> None:
        self.postgres = postgres.start(self._instance)

    def start_redis(self) -> None:
        self.redis = redis_server.start(self._instance)

    def _revive_until_the_end(self) -> None:
        while not self.is_over.wait(0.5):
            with self.hands_off:
                for program in (self.web, *self.workers):
                    program.revive()

    def sql(self, statement: str) -> list[Any]:
        connection = psycopg2.connect(self.database_url)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def redis_client(self) -> Redis:
        return Redis.from_url(self.redis_url, socket_timeout=5)


@contextmanager
def private_system() -> Iterator[System]:
    """A running system, ended and removed at the end of the block."""
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as name,
        fresh_instance(Home(ROOT / "var")) as instance,
        ExitStack() as stack,
    ):
        yield System(instance, Path(name), stack)
