"""Rarer faults: a web process killed between commit and publish, a full Redis, a network that swallows
packets, a PostgreSQL without connections, a worker whose clock is wrong, handlers that do the unthinkable."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg2
import pytest
import requests
from redis import Redis

from tests.journeys.conftest import QUICK, Api
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.journey, pytest.mark.long, pytest.mark.timeout(90)]


def test_a_web_process_killed_between_commit_and_publish_loses_nothing(
    private: Any, web: Any, consumer: Any, wait_until: Any
) -> None:
    server = web(base=private.env(), **QUICK)
    os.kill(private.redis.pid, signal.SIGSTOP)  # the publication hangs, the rows are committed
    try:

        def post() -> None:
            with suppress(requests.RequestException):
                requests.post(f"{server.url}/api/jobs", json={"type": "echo"}, timeout=5)

        # The first one is written alone, the others together.
        threads = [threading.Thread(target=post) for _ in range(10)]
        for thread in threads:
            thread.start()
        wait_until(lambda: count(private, "pending") > 1)
        server.kill()
        for thread in threads:
            thread.join(10)
    finally:
        os.kill(private.redis.pid, signal.SIGCONT)
    stored = count(private, "pending")
    with Redis.from_url(private.redis_url) as redis:
        assert redis.keys("*ready*") == []
    consumer(base=private.env(), **QUICK)
    wait_until(lambda: count(private, "completed") == stored, timeout=15)


def test_a_full_redis_delays_jobs_and_loses_none(
    private: Any, web: Any, consumer: Any, wait_until: Any
) -> None:
    api = Api(web(base=private.env(), **QUICK).url)
    worker = consumer(base=private.env(), **QUICK)
    with Redis.from_url(private.redis_url) as redis:
        redis.config_set("maxmemory", 1)
        for n in range(10):
            api.job("echo", {"n": n})
        api.job("fail", {"times": 1})
        wait_until(lambda: api.get("/health")["status"] == "degraded", timeout=10)
        assert api.get("/health")["redis"]["error"] == "OutOfMemoryError"
        redis.config_set("maxmemory", 0)
    wait_until(lambda: api.stats()["completed"] == 11, timeout=20)
    assert worker.is_alive
    wait_until(lambda: api.get("/health")["status"] == "ok", timeout=10)


def test_a_network_that_swallows_packets_costs_leases_not_jobs(
    private: Any, web: Any, consumer: Any, wait_until: Any
) -> None:
    proxy = Proxy(private.database_url)
    api = Api(web(base=private.env(), **QUICK).url)
    cut_off = consumer(base={**private.env(), "DATABASE_URL": proxy.url}, **QUICK)
    ids = api.jobs([{"type": "sleep", "payload": {"seconds": 0.3}} for _ in range(12)])
    wait_until(lambda: count(private, "processing") > 0)
    proxy.stall()
    consumer(base=private.env(), **QUICK)
    wait_until(lambda: api.stats()["completed"] == len(ids), timeout=30)
    proxy.mend()
    # Back, it goes on; what it had is not its any more.
    more = api.jobs([{"type": "echo", "payload": {}} for _ in range(50)])
    wait_until(lambda: api.stats()["completed"] == len(ids) + len(more), timeout=20)
    assert cut_off.is_alive
    proxy.close()


def test_a_postgresql_without_connections_is_waited_for(
    private: Any, web: Any, consumer: Any, wait_until: Any
) -> None:
    api = Api(web(base=private.env(), **QUICK).url)
    worker = consumer(base=private.env(), **QUICK)
    worker.send(signal.SIGSTOP)
    held = []
    with suppress(psycopg2.OperationalError):
        while len(held) < 500:
            held.append(psycopg2.connect(private.database_url))
    worker.send(signal.SIGCONT)
    answers = {requests.post(f"{api.url}/api/jobs", json={"type": "echo"}, timeout=20).status_code for _ in range(3)}  # fmt: skip
    assert answers <= {201, 503}
    for connection in held:
        connection.close()
    job_id = api.job("echo")
    wait_until(lambda: api.status(job_id) == "completed", timeout=20)
    wait_until(lambda: api.unfinished() == 0, timeout=20)
    assert worker.is_alive


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_worker_with_a_wrong_clock_keeps_the_times_of_the_database(
    api: Api, worker: Any, wait_until: Any, tmp_path: Any, hours: int, ledger: Any, audit: Any
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        f"import time; _real = time.time; time.time = lambda: _real() + {3600 * hours}\n"
    )
    worker(PYTHONPATH=str(tmp_path))
    now = api.job("ledger", ledger.payload("now", fail_times=1))
    soon = api.job("ledger", ledger.payload("soon"), delay=1)
    later = api.job("ledger", ledger.payload("later"), delay=600)
    wait_until(lambda: api.status(now) == api.status(soon) == "completed", timeout=15)
    assert api.status(later) == "pending"
    audit()


def test_handlers_that_do_the_unthinkable_harm_only_their_own_jobs(
    api: Api, worker: Any, wait_until: Any, ledger: Any, audit: Any
) -> None:
    program = worker()
    acts = ["exit", "interrupt", "memory", "return a set", "return nan", "return a nul", "leak",
            "log without end", "fork"]  # fmt: skip
    specs = [
        {"type": "act", "payload": {"do": act}, "maxAttempts": 1} for act in acts
    ] + [
        {"type": "act", "payload": {"do": "return big", "size": 50_000_000}, "maxAttempts": 1},
        {"type": "act", "payload": {"do": "spin", "seconds": 30}, "maxAttempts": 1, "timeoutSeconds": 0.5},
        {"type": "act-apart", "payload": {"do": "die"}, "maxAttempts": 1},
    ]  # fmt: skip
    ids = api.jobs(specs)
    neighbours = api.jobs(
        [{"type": "ledger", "payload": ledger.payload(f"job-{n}")} for n in range(60)]
    )
    wait_until(lambda: api.unfinished() == 0, timeout=40)
    found = {spec["payload"]["do"]: api.get(f"/api/jobs/{i}") for spec, i in zip(specs, ids, strict=True)}  # fmt: skip
    assert {act for act, job in found.items() if job["status"] == "completed"} == {
        "leak", "log without end", "fork", "return a set", "return nan", "return a nul", "return big",
    }  # fmt: skip
    assert found["return a set"]["result"] == [1, 2]
    assert len(found["return big"]["result"]) > 1_000_000
    [warning] = api.get(f"/api/jobs/{found['return big']['id']}/log")
    assert "MAX_RESULT_BYTES" in warning["message"]
    assert len(api.get(f"/api/jobs/{found['log without end']['id']}/log?limit=500")) == 500
    assert ledger.count("end") == {f"job-{n}": 1 for n in range(len(neighbours))}
    assert program.is_alive
    [worker_row] = api.get("/api/workers")
    assert worker_row["liveThreads"] == worker_row["threads"] == 5
    audit()


def test_a_busy_consumer_keeps_to_its_budget_of_connections(
    api: Api, worker: Any, wait_until: Any, ledger: Any, test_env: dict[str, str]
) -> None:
    program = worker()
    until = str(ledger.path) + ".go"
    api.jobs(
        [{"type": "ledger", "payload": ledger.payload(str(n), until=until)} for n in range(5)]
        + [{"type": "fail", "payload": {"times": 2}} for _ in range(20)]
    )
    wait_until(lambda: len(ledger.names("start")) == 5)
    ports = {name: urlsplit(test_env[name]).port for name in ("DATABASE_URL", "REDIS_URL")}
    most = dict.fromkeys(ports, 0)

    def look() -> bool:
        for name, port in ports.items():
            found = [
                c for c in psutil.Process(program.pid).net_connections("tcp")
                if c.raddr and c.raddr.port == port and c.status == psutil.CONN_ESTABLISHED
            ]  # fmt: skip
            most[name] = max(most[name], len(found))
        return api.unfinished() == 0

    for _ in range(20):
        look()
    open(until, "w").close()
    wait_until(look, timeout=20)
    assert 1 <= most["DATABASE_URL"] <= 7
    assert 1 <= most["REDIS_URL"] <= 7


def test_no_transaction_is_open_while_a_handler_runs(
    api: Api, worker: Any, wait_until: Any, ledger: Any, sql: Any
) -> None:
    worker()
    until = str(ledger.path) + ".go"
    api.jobs([{"type": "ledger", "payload": ledger.payload(str(n), until=until)} for n in range(5)])
    wait_until(lambda: len(ledger.names("start")) == 5)
    open_ones = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'jobqueue' AND state LIKE 'idle in transaction%'"
        " AND state_change < now() - interval '0.5 s'"
    )
    assert {sql(open_ones)[0][0] for _ in range(20)} == {0}
    open(until, "w").close()
    wait_until(lambda: api.unfinished() == 0)


def count(private: Any, status: str) -> int:
    connection = psycopg2.connect(private.database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM jobs WHERE status = %s", [status])
            return int(cursor.fetchone()[0])
    finally:
        connection.close()


def test_a_worker_killed_while_it_shuts_down_counts_no_crash(
    api: Api, worker: Any, wait_until: Any, ledger: Any, audit: Any
) -> None:
    """Platforms that give five seconds: SIGTERM, then SIGKILL in the middle of draining."""
    program = worker()
    job_id = api.job("ledger", ledger.payload("long", seconds=60))
    wait_until(lambda: ledger.count("start") == {"long": 1})
    program.send(signal.SIGTERM)
    wait_until(lambda: api.get("/api/workers")[0]["state"] == "stopping", timeout=2)
    program.kill()
    worker()
    job = wait_until(
        lambda: ledger.count("start") == {"long": 2} and api.get(f"/api/jobs/{job_id}")
    )
    assert (job["attempts"], job["crashes"]) == (1, 0)
    [attempt] = api.get(f"/api/jobs/{job_id}/attempts")
    assert attempt["outcome"] == "released"
    audit()
