"""Faults that take their time: outages of half a minute, twenty rolling restarts, a migration under load.

``make test ARGS="-m long"``; continuous integration runs them, the quick suite leaves them out.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
import pytest
import requests

from tests.journeys.conftest import QUICK, Api
from tests.support.services import migrate

pytestmark = [pytest.mark.journey, pytest.mark.long, pytest.mark.timeout(240)]


class Load:
    """Posts "ledger" jobs at a steady rate; knows which were accepted."""

    def __init__(self, url: str, ledger: Any, per_second: float, seconds: float) -> None:
        self._url, self._ledger = url, ledger
        self._wait, self._seconds = 1 / per_second, seconds
        self.accepted: list[str] = []
        self.refused: list[int] = []
        self.slowest = 0.0
        self._stop = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._stop.wait(self._wait):
            number += 1
            name = f"job-{number}"
            body = {"type": "ledger", "payload": self._ledger.payload(name, seconds=self._seconds)}
            started = time.monotonic()
            with suppress(requests.RequestException):
                status = requests.post(f"{self._url}/api/jobs", json=body, timeout=10).status_code
                if status == 201:
                    self.accepted.append(name)
                    self.slowest = max(self.slowest, time.monotonic() - started)
                else:
                    self.refused.append(status)

    def stop(self) -> None:
        self._stop.set()


@contextmanager
def load(api: Api, ledger: Any, per_second: float = 20, seconds: float = 0.02) -> Iterator[Load]:
    one = Load(api.url, ledger, per_second, seconds)
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        yield one
    finally:
        one.stop()
        thread.join(15)


def test_twenty_rolling_restarts_cost_no_attempt(
    api: Api, worker: Any, wait_until: Any, ledger: Any, sql: Any, audit: Any
) -> None:
    workers = [worker(), worker()]
    with load(api, ledger, per_second=40, seconds=0.1) as posted:
        for round in range(20):
            old = workers[round % 2]
            workers[round % 2] = worker()
            assert old.stop(signal.SIGTERM) == 0
    wait_until(lambda: api.unfinished() == 0, timeout=20)
    # Handlers of a tenth of a second are waited for: each ran once, none was cut off, none crashed.
    assert posted.refused == []
    assert ledger.count("end") == dict.fromkeys(posted.accepted, 1)
    assert sql("SELECT count(*) FROM jobs WHERE crashes > 0 OR attempts <> 1") == [(0,)]
    assert sql("SELECT count(*) FROM job_attempts") == [(0,)]
    audit()


def test_half_a_minute_without_redis(
    private: Any, web: Any, consumer: Any, wait_until: Any, ledger: Any
) -> None:
    api = Api(web(base=private.env(), **QUICK).url)
    program = consumer(base=private.env(), **QUICK)
    with load(api, ledger) as posted:
        wait_until(lambda: len(ledger.names("end")) > 20)
        private.stop_redis()
        time.sleep(30)
        assert requests.get(f"{api.url}/health", timeout=5).json()["status"] == "degraded"
        private.start_redis()
        back_at = time.monotonic()
        wait_until(lambda: set(ledger.names("end")) >= set(posted.accepted[:-20]), timeout=15)
        assert time.monotonic() - back_at < 15
    wait_until(lambda: api.unfinished() == 0, timeout=15)
    assert posted.refused == []
    # Each answer within the promise (300 ms), with room for a busy machine.
    assert posted.slowest < 1.5
    assert ledger.count("end") == dict.fromkeys(posted.accepted, 1)
    assert program.is_alive


def test_half_a_minute_without_postgresql(
    private: Any, web: Any, consumer: Any, wait_until: Any, ledger: Any
) -> None:
    api = Api(web(base=private.env(), **QUICK).url)
    program = consumer(base=private.env(), **QUICK)
    with load(api, ledger) as posted:
        wait_until(lambda: len(ledger.names("end")) > 20)
        private.stop_postgres()
        time.sleep(30)
        health = requests.get(f"{api.url}/health", timeout=5)
        assert (health.status_code, health.json()["status"]) == (503, "down")
        private.start_postgres()
        wait_until(lambda: posted.accepted and api.get("/health")["status"] == "ok", timeout=30)
        time.sleep(2)
    wait_until(lambda: api.unfinished() == 0, timeout=60)
    assert set(posted.refused) == {503}
    # At least once: an outcome that could not be written in time is run again.
    assert set(ledger.count("end")) >= set(posted.accepted)
    assert api.stats()["failed"] == 0
    assert program.is_alive
    # It waited, it did not hammer: backoff with jitter.
    assert program.output.count("trying again") < 60


def test_workers_of_the_old_release_go_on_while_the_schema_grows(
    private: Any, web: Any, consumer: Any, wait_until: Any, ledger: Any
) -> None:
    api = Api(web(base=private.env(), **QUICK).url)
    program = consumer(base=private.env(), **QUICK)
    connection = psycopg2.connect(private.database_url)
    connection.autocommit = True
    cursor = connection.cursor()
    with load(api, ledger, per_second=40) as posted:
        wait_until(lambda: len(ledger.names("end")) > 20)
        # What a later release may do in its release phase: add, never rename or remove.
        for statement in (
            "ALTER TABLE jobs ADD COLUMN later_one text NOT NULL DEFAULT 'x'",
            "CREATE TABLE later_table (id bigint PRIMARY KEY, job_id uuid REFERENCES jobs (id))",
            "CREATE INDEX CONCURRENTLY ix_later ON jobs (created_by)",
            "ALTER TABLE job_attempts ADD COLUMN later_one integer",
            "ALTER TABLE workers ADD COLUMN later_one jsonb NOT NULL DEFAULT '{}'",
            "ALTER TABLE dead_letters ADD COLUMN later_one text",
        ):
            cursor.execute(statement)
            time.sleep(0.3)
        migrate(private.env())  # and the release command again, under load
    wait_until(lambda: api.unfinished() == 0, timeout=20)
    connection.close()
    assert posted.refused == []
    assert ledger.count("end") == dict.fromkeys(posted.accepted, 1)
    assert program.is_alive
