"""The Procfile's programs and our tables, for measurements."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from redis import Redis

from app.broker.keys import Keys
from app.broker.ready_set import ReadySet
from app.dev.process import stop
from app.dev.programs import procfile, start

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


def environment(**more: str) -> dict[str, str]:
    return {
        "APP_ENV": "test",
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "LOG_LEVEL": "WARNING",
        **more,
    }


@contextmanager
def program(command: str, **env: str) -> Iterator[psutil.Process]:
    """A shell command as its own process group, ended at the end of the block."""
    process = start(command, env=environment(**env), output=subprocess.DEVNULL)
    try:
        yield psutil.Process(process.pid)
    finally:
        stop(process, polite=signal.SIGTERM, grace_seconds=30)


@contextmanager
def worker(**env: str) -> Iterator[psutil.Process]:
    """The Procfile's worker, started; it says so in ``workers``."""
    with program(procfile()["worker"], **env) as process:
        wait(lambda: scalar("SELECT count(*) FROM workers WHERE pid = %s", process.pid))
        yield process


@contextmanager
def web(command: str | None = None, **env: str) -> Iterator[tuple[psutil.Process, int]]:
    """The Procfile's web program, or another command for it, answering, and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = command or procfile()["web"]
    with program(command, PORT=str(port), HOST="127.0.0.1", **env) as process:
        wait(lambda: _answers(port))
        yield process, port


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def wait(predicate: Callable[[], Any], seconds: float = 120) -> Any:
    give_up_at = time.monotonic() + seconds
    while not (found := predicate()):
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.02)
    return found


_connection: Any = None


def scalar(sql: str, *values: Any) -> Any:
    """The first column of the first row; each statement is its own transaction."""
    global _connection
    if _connection is None:
        _connection = psycopg2.connect(os.environ["DATABASE_URL"])
        _connection.autocommit = True
    with _connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchone()[0] if cursor.description else None


# Each part looks at one row of an index. A count would read the whole table, again and again, beside
# what is measured: with a million finished jobs it took two thirds of the machine.
_IS_WORK_LEFT = """
SELECT EXISTS (SELECT FROM jobs WHERE status = 'processing')
    OR EXISTS (SELECT FROM jobs WHERE status = 'pending' AND run_at <= now())
"""


def wait_until_done() -> None:
    """Wait until no job runs and none is due."""
    wait(lambda: not scalar(_IS_WORK_LEFT))


def settle() -> None:
    """Wait until a running worker has written to Redis what it should hold of a table with jobs."""
    keys = Keys()
    wait(lambda: redis().exists(keys.epoch, keys.mirrored) == 2)


def redis() -> Redis:
    return Redis.from_url(os.environ["REDIS_URL"])


def migrate() -> None:
    command = [str(BIN / "flask"), "--app", "wsgi", "db", "upgrade"]
    subprocess.run(command, env=environment(), cwd=ROOT, check=True, capture_output=True)


def empty() -> None:
    """No jobs, no messages, settled tables: every round starts alike."""
    scalar("TRUNCATE error_groups, error_group_hours, error_group_deltas,"
           " jobs, workers, queues, job_counters, job_counter_deltas, job_series, job_minutes,"
           " job_waiting, job_waiting_deltas,"
           " job_series_deltas CASCADE")  # fmt: skip
    scalar("VACUUM ANALYZE jobs")
    scalar("CHECKPOINT")
    redis().flushdb()
    # Workers know this Redis: otherwise the first reconcile publishes all jobs again while they are drained.
    ReadySet(redis()).set_epoch()
