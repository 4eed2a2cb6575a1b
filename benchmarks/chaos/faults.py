"""What goes wrong: each fault is a function of the system and a source of chance."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg2

from app.dev import postgres, redis_server
from app.dev.process import stop
from benchmarks.chaos.system import LEASE_SECONDS, System

Fault = Callable[[System, random.Random], None]
FAULTS: dict[str, Fault] = {}


def fault(name: str) -> Callable[[Fault], Fault]:
    def register(run: Fault) -> Fault:
        FAULTS[name] = run
        return run

    return register


@fault("kill -9 of a worker")
def _kill_worker(system: System, chance: random.Random) -> None:
    worker = chance.choice(system.workers)
    worker.kill()
    time.sleep(chance.uniform(0, 2))
    worker.start()


@fault("kill -9 of both workers")
def _kill_both(system: System, chance: random.Random) -> None:
    for worker in system.workers:
        worker.kill()
    time.sleep(chance.uniform(0, 2))
    for worker in system.workers:
        worker.start()


@fault("kill -9 of the web")
def _kill_web(system: System, chance: random.Random) -> None:
    system.web.kill()
    system.web.start()


@fault("kill -9 of the web between commit and publication")
def _kill_web_before_it_publishes(system: System, chance: random.Random) -> None:
    """With Redis stopped, jobs are committed and their publication waits (at most 250 ms)."""
    os.kill(system.redis.pid, signal.SIGSTOP)
    time.sleep(chance.uniform(0.02, 0.2))
    system.web.kill()
    os.kill(system.redis.pid, signal.SIGCONT)
    system.web.start()


@fault("rolling restart by SIGTERM")
def _roll(system: System, chance: random.Random) -> None:
    for worker in system.workers:
        worker.restart(signal.SIGTERM)


@fault("SIGSTOP for longer than the lease")
def _freeze(system: System, chance: random.Random) -> None:
    worker = chance.choice(system.workers)
    os.kill(worker.process.pid, signal.SIGSTOP)
    time.sleep(LEASE_SECONDS * chance.uniform(1.3, 2))
    os.kill(worker.process.pid, signal.SIGCONT)


@fault("FLUSHALL")
def _flush(system: System, chance: random.Random) -> None:
    with system.redis_client() as client:
        client.flushall()


@fault("Redis away for some seconds, empty when back")
def _redis_away(system: System, chance: random.Random) -> None:
    redis_server.end(system.redis)
    time.sleep(chance.uniform(0.5, 8))
    system.start_redis()


@fault("Redis full")
def _redis_full(system: System, chance: random.Random) -> None:
    with system.redis_client() as client:
        client.config_set("maxmemory", 1)
        time.sleep(chance.uniform(1, 5))
        client.config_set("maxmemory", 0)


@fault("PostgreSQL crashes and recovers")
def _crash_postgres(system: System, chance: random.Random) -> None:
    system.crashed_at.append(time.time())
    stop(system.postgres, polite=signal.SIGQUIT, grace_seconds=20)
    system.start_postgres()


@fault("PostgreSQL away for some seconds")
def _postgres_away(system: System, chance: random.Random) -> None:
    postgres.end(system.postgres)
    time.sleep(chance.uniform(1, 8))
    system.start_postgres()


@fault("every connection to PostgreSQL is ended")
def _terminate(system: System, chance: random.Random) -> None:
    system.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jobqueue'"
    )


@fault("no connection left in PostgreSQL")
def _exhaust(system: System, chance: random.Random) -> None:
    held = []
    with suppress(psycopg2.OperationalError):
        for _ in range(200):
            held.append(psycopg2.connect(system.database_url))
    time.sleep(chance.uniform(1, 4))
    for connection in held:
        connection.close()


@fault("the same ids published 1,000 times")
def _republish(system: System, chance: random.Random) -> None:
    ids = system.sql("SELECT id, queue FROM jobs ORDER BY id DESC LIMIT 50")
    with system.redis_client() as client:
        for _ in range(20):
            for job_id, queue in ids:
                client.zadd("{jobs}:ready:" + queue, {job_id.replace("-", ""): 0})
