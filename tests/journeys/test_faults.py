"""Processes die, Redis forgets, PostgreSQL restarts: nothing that was accepted is lost."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest
import requests

from tests.journeys.conftest import QUICK, Api

pytestmark = [pytest.mark.journey, pytest.mark.timeout(90)]


def specs(ledger: Any, count: int, **payload: Any) -> list[dict[str, Any]]:
    return [
        {"type": "ledger", "payload": ledger.payload(f"job-{n}", **payload)} for n in range(count)
    ]


def test_jobs_of_a_killed_worker_are_rescued(api, worker, wait_until, ledger, sql, audit):
    victim = worker()
    until = str(ledger.path) + ".go"
    api.jobs(specs(ledger, 12, until=until))
    wait_until(lambda: len(ledger.names("start")) == 5)
    victim.kill()
    open(until, "w").close()

    worker()
    wait_until(lambda: api.unfinished() == 0, timeout=30)
    assert ledger.count("end") == {f"job-{n}": 1 for n in range(12)}
    # The attempt was given back, the crash counted.
    running = sql("SELECT count(*) FROM jobs WHERE crashes = 1 AND attempts = 1")
    assert running[0][0] >= 5
    assert sql("SELECT count(*) FROM job_attempts WHERE outcome = 'crashed'")[0][0] >= 5
    assert "silent" in [worker["state"] for worker in api.get("/api/workers")]
    audit()


def test_a_poison_pill_is_buried_and_its_neighbours_finish(api, worker, wait_until, ledger, audit):
    program = worker()
    # The first crash takes the worker down, as nobody could know; the platform starts another.
    pill = api.job("poison", ledger.payload("pill"))
    wait_until(lambda: not program.is_alive)
    program = worker()
    api.jobs(specs(ledger, 20))
    wait_until(lambda: api.unfinished() == 0, timeout=40)
    job = api.get(f"/api/jobs/{pill}")
    assert (job["status"], job["crashes"]) == ("failed", 3)
    assert program.is_alive
    assert ledger.count("end") == {f"job-{n}": 1 for n in range(20)}
    audit()


def test_sigterm_gives_back_what_did_not_finish(api, consumer, worker, wait_until, ledger, audit):
    first = worker()
    until = str(ledger.path) + ".go"
    api.jobs(specs(ledger, 12, until=until))
    wait_until(lambda: len(ledger.names("start")) == 5)
    second = worker()
    first.send(signal.SIGTERM)
    # The rest starts at the second worker while the first one waits for its own.
    wait_until(lambda: len(ledger.names("start")) == 10)
    open(until, "w").close()
    assert first.stop() == 0
    wait_until(lambda: api.unfinished() == 0)
    assert second.is_alive
    assert ledger.count("end") == {f"job-{n}": 1 for n in range(12)}
    assert [w for w in api.get("/api/workers") if w["stoppedAt"]]
    audit()


def test_a_flush_of_redis_loses_nothing(api, worker, wait_until, ledger, redis, audit):
    api.post("/api/queues/default/pause")
    worker()
    api.jobs(specs(ledger, 30))
    late = api.job("ledger", ledger.payload("late"), delay=1.5, queue="media")
    again = api.job("ledger", ledger.payload("again", fail_times=1), queue="media")
    wait_until(lambda: len(ledger.names("start")) >= 1)
    redis.flushdb()
    api.post("/api/queues/default/resume")
    wait_until(lambda: api.unfinished() == 0, timeout=20)
    assert ledger.count("end") == {
        **{f"job-{n}": 1 for n in range(30)}, "late": 1, "again": 1,
    }  # fmt: skip
    assert api.status(late) == api.status(again) == "completed"
    audit()


def test_jobs_posted_while_redis_is_away_run_when_it_is_back(private, web, consumer, wait_until):
    api = Api(web(base=private.env(), **QUICK).url)
    consumer(base=private.env(), **QUICK)
    private.stop_redis()
    ids = [api.job("echo", {"n": n}) for n in range(5)]
    health = requests.get(f"{api.url}/health", timeout=5)
    assert (health.status_code, health.json()["status"]) == (200, "degraded")

    private.start_redis()
    wait_until(lambda: api.stats()["completed"] == len(ids), timeout=20)
    wait_until(lambda: api.get("/health")["status"] == "ok")


def test_a_crash_of_postgresql_under_load_loses_nothing(private, web, consumer, wait_until, ledger):
    api = Api(web(base=private.env(), **QUICK).url)
    consumer(base=private.env(), **QUICK)
    api.jobs(specs(ledger, 200, seconds=0.02))
    wait_until(lambda: len(ledger.names("end")) > 20)
    private.crash_postgres()
    private.start_postgres()
    wait_until(lambda: api.unfinished() == 0, timeout=40)
    assert api.stats()["completed"] == 200
    # At least once: what ended while the outcome could not be written may have run again.
    assert set(ledger.count("end")) == {f"job-{n}" for n in range(200)}


def test_a_frozen_worker_cannot_write_the_outcome_of_a_rescued_job(
    api, worker, wait_until, ledger, sql, audit
):
    zombie = worker()
    until = str(ledger.path) + ".go"
    job_id = api.job("ledger", ledger.payload("a", until=until))
    wait_until(lambda: ledger.names("start"))
    zombie.send(signal.SIGSTOP)
    worker()
    wait_until(lambda: len(ledger.names("start")) == 2, timeout=30)
    open(until, "w").close()
    wait_until(lambda: api.status(job_id) == "completed")
    finished_at = api.get(f"/api/jobs/{job_id}")["finishedAt"]
    zombie.send(signal.SIGCONT)
    wait_until(lambda: "refused: its lease was lost" in zombie.output)
    assert api.get(f"/api/jobs/{job_id}")["finishedAt"] == finished_at
    assert sql("SELECT sum(n) FROM job_series WHERE outcome = 'completed'")[0][0] in (None, 1)
    audit()


def test_a_second_sigterm_is_no_hurry(api, worker, wait_until, ledger, audit):
    first = worker()
    until = str(ledger.path) + ".go"
    api.jobs(specs(ledger, 5, until=until))
    wait_until(lambda: len(ledger.names("start")) == 5)
    for _ in range(20):
        first.send(signal.SIGTERM)
        time.sleep(0.01)
    assert first.is_alive
    open(until, "w").close()
    assert first.stop() == 0
    assert api.unfinished() == 0
    assert ledger.count("end") == {f"job-{n}": 1 for n in range(5)}
    audit()
