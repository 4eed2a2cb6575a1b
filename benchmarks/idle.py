"""What workers with nothing to do cost: transactions, Redis commands, CPU, memory.

One job is scheduled for tomorrow, as a quiet system usually has one. Transactions are counted by PostgreSQL
(pg_stat_database, commits and rollbacks) and Redis commands by Redis (INFO commandstats): a script counts as one
command, and each command inside it as one more. What the measurement itself does is subtracted.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
from redis import Redis

from app import create_app
from app.extensions import db
from app.jobs import lifecycle
from app.jobs.lifecycle import NewJob
from benchmarks import programs

#: For the start of the last worker to pass; PostgreSQL counts what a session did up to 10 s later.
SETTLE_SECONDS = 12.0
SECONDS = 20.0
_TRANSACTIONS = """
SELECT (xact_commit + xact_rollback)::float8 FROM pg_stat_database WHERE datname = current_database()
"""


@contextmanager
def workers(count: int) -> Iterator[Sequence[psutil.Process]]:
    """``count`` idle workers, started one after the other, and settled."""
    programs.empty()
    _schedule_for_tomorrow()
    with ExitStack() as stack:
        running = [stack.enter_context(programs.worker()) for _ in range(count)]
        time.sleep(SETTLE_SECONDS)
        yield running


def traffic(processes: Sequence[psutil.Process], seconds: float = SECONDS) -> dict[str, float]:
    """Per second: transactions and commands of all of them, milliseconds of CPU of each."""
    with programs.redis() as client:
        client.ping()
        before, started = _counts(processes, client), time.perf_counter()
        time.sleep(seconds)
        after, took = _counts(processes, client), time.perf_counter() - started
    # The first reading itself was a transaction and a command.
    own = {"transactions": 1, "Redis commands": 1}
    return {name: (after[name] - before[name] - own.get(name, 0)) / took for name in before}


def lateness(jobs: int = 40, within: float = 4.0) -> dict[str, float]:
    """Milliseconds from run_at to the start, of jobs delayed by up to ``within`` seconds and enqueued at once."""
    delays = [0.3 + within * n / jobs for n in range(jobs)]
    random.Random(7).shuffle(delays)
    with create_app().app_context():
        for delay in delays:
            _enqueue(delay)
        db.session.remove()
        db.engine.dispose()
    done = "SELECT count(*) FROM jobs WHERE status = 'completed'"
    programs.wait(lambda: programs.scalar(done) == jobs)
    late = programs.scalar(
        "SELECT json_agg(1000 * extract(epoch FROM started_at - run_at)::float8) FROM jobs"
        " WHERE status = 'completed'"
    )
    programs.scalar("DELETE FROM jobs WHERE status = 'completed'")
    return {"p50": statistics.median(late), "max": max(late)}


def memory(processes: Sequence[psutil.Process]) -> float:
    """Mean resident MiB of the programs, with their children."""
    sizes = [
        sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])
        for process in processes
    ]
    return sum(sizes) / len(sizes) / 2**20


def web_memory() -> float:
    """Resident MiB of the Procfile's web at rest, all its processes."""
    with programs.web() as (process, _):
        time.sleep(2)
        return memory([process])


def _counts(processes: Sequence[psutil.Process], client: Redis) -> dict[str, float]:
    cpu = [sum(process.cpu_times()[:2]) for process in processes]
    stats: Any = client.info("commandstats")
    return {
        "transactions": programs.scalar(_TRANSACTIONS),
        "Redis commands": sum(command["calls"] for command in stats.values()),
        "CPU ms": 1000 * sum(cpu) / len(cpu),
    }


def _schedule_for_tomorrow() -> None:
    with create_app().app_context():
        _enqueue(86_400)
        db.session.remove()
        db.engine.dispose()


def _enqueue(delay_seconds: float) -> None:
    lifecycle.enqueue(db.session, [NewJob("echo", {}, delay_seconds=delay_seconds)])
    db.session.commit()
