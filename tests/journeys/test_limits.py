"""Limits hold while workers are killed and frozen and Redis is emptied, as rows and ledgers see it from outside."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest
from redis import Redis

from app.broker.ready_set import ReadySet
from tests.journeys.conftest import Api, Ledger
from tests.support.ready_sets import depths
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.timeout(240)]

LONG = pytest.mark.long
USED = """
SELECT COALESCE(sum(n), 0)::int, COALESCE(max(n), 0)::int FROM (
    SELECT count(*) AS n FROM jobs WHERE limit_name = 'stripe' AND hold = 0 AND status IN ('pending', 'processing')
    GROUP BY limit_key) AS k
"""
#: Starts of attempts in the windows of :seconds that begin with one.
IN_WINDOWS = """
SELECT COALESCE(max(n), 0) FROM (SELECT count(*) OVER (ORDER BY started_at
    RANGE BETWEEN CURRENT ROW AND interval '{seconds} s' FOLLOWING) AS n FROM jobs WHERE started_at IS NOT NULL) AS w
"""


@pytest.fixture
def limit(database_url: str) -> Callable[..., None]:
    """``limit(concurrency=3)``: the type ledger is under it."""

    def limit(**numbers: Any) -> None:
        with (
            closing(psycopg2.connect(database_url)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            columns = ", ".join(["name", "source", *numbers])
            marks = ", ".join(["%s"] * (len(numbers) + 2))
            cursor.execute(
                f"INSERT INTO limits ({columns}) VALUES ({marks})",
                ("stripe", "api", *numbers.values()),
            )
            cursor.execute(
                "INSERT INTO limit_attachments (kind, name, limit_name) VALUES ('type', 'ledger', 'stripe')"
            )

    return limit


class Sampler:
    """The most slots in use, in all and of one key, that a look every 10 ms has seen."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self.most = self.most_of_a_key = self.looks = 0

    def run(self) -> None:
        with closing(psycopg2.connect(self._url)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            while not self._stop.wait(0.01):
                cursor.execute(USED)
                [(used, of_a_key)] = cursor.fetchall()
                self.most = max(self.most, used)
                self.most_of_a_key = max(self.most_of_a_key, of_a_key)
                self.looks += 1

    def stop(self) -> None:
        self._stop.set()


@pytest.fixture
def sampled(database_url: str) -> Callable[[], Any]:
    @contextmanager
    def sampled() -> Iterator[Sampler]:
        sampler = Sampler(database_url)
        thread = threading.Thread(target=sampler.run)
        thread.start()
        try:
            yield sampler
        finally:
            sampler.stop()
            thread.join()

    return sampled


def post(api: Api, ledger: Ledger, names: list[str], *, keys: int = 1, **payload: Any) -> None:
    for start in range(0, len(names), 1000):
        api.jobs(
            [
                {"type": "ledger", "payload": ledger.payload(name, c=str(n % keys), **payload)}
                for n, name in enumerate(names[start : start + 1000])
            ]
        )


@pytest.mark.parametrize(("jobs", "kills"), [(200, 1), pytest.param(5000, 6, marks=LONG)])
def test_never_more_than_the_limit_while_workers_are_killed_and_redis_is_emptied(
    api: Api,
    worker: Any,
    ledger: Ledger,
    limit: Any,
    sampled: Any,
    redis: Redis,
    audit: Any,
    jobs: int,
    kills: int,
) -> None:
    limit(concurrency=3)
    names = [f"job-{n}" for n in range(jobs)]
    with sampled() as seen:
        first, second = worker(), worker()
        post(api, ledger, names, seconds=0.005)
        for n in range(kills):
            wait_until(lambda n=n: len(ledger.lines()) > jobs * (n + 1) / (kills + 2), timeout=100)
            first.kill()
            redis.flushdb()
            first, second = second, worker()
        wait_until(lambda: api.unfinished() == 0, timeout=180)
    assert seen.looks > 0
    assert seen.most <= 3
    assert set(ledger.names("end")) == set(names)
    audit()


def test_never_two_of_a_key(
    api: Api, worker: Any, ledger: Ledger, limit: Any, sampled: Any
) -> None:
    limit(by_field="c", key_concurrency=1)
    worker()
    with sampled() as seen:
        post(api, ledger, [f"job-{n}" for n in range(200)], keys=20, seconds=0.02)
        wait_until(lambda: api.unfinished() == 0, timeout=100)
    assert seen.most_of_a_key == 1
    assert seen.most > 1


@pytest.mark.parametrize(("jobs", "is_frozen"), [(60, False), pytest.param(1000, True, marks=LONG)])
def test_a_rate_holds_in_every_window(
    api: Api, worker: Any, ledger: Ledger, limit: Any, sql: Any, jobs: int, is_frozen: bool
) -> None:
    limit(rate_count=50, rate_seconds=1.0, burst=5)
    first = worker()
    post(api, ledger, [f"job-{n}" for n in range(jobs)])
    if is_frozen:
        wait_until(lambda: len(ledger.names("end")) > jobs / 3, timeout=100)
        first.send(signal.SIGSTOP)
        time.sleep(10)
        first.send(signal.SIGCONT)
    wait_until(lambda: api.unfinished() == 0, timeout=150)
    # The bounds of the windows are part of them.
    assert sql(IN_WINDOWS.format(seconds=0.999))[0][0] <= 55
    assert sql(IN_WINDOWS.format(seconds=9.999))[0][0] <= 505


def test_a_tenant_with_many_jobs_does_not_delay_the_others(
    api: Api, worker: Any, ledger: Ledger, limit: Any, sql: Any
) -> None:
    limit(by_field="c", concurrency=5)
    post(api, ledger, [f"large-{n}" for n in range(2000)], seconds=0.002)
    worker()
    wait_until(lambda: ledger.names("end"), timeout=30)
    small = [f"small-{n}" for n in range(10)]
    api.jobs([{"type": "ledger", "payload": ledger.payload(name, c=name)} for name in small])
    wait_until(lambda: set(small) <= set(ledger.names("end")), timeout=60)
    assert sql("SELECT count(*) FROM jobs WHERE hold = 1")[0][0] > 0


def test_no_waiting_job_is_published_again_after_redis_was_emptied(
    api: Api, worker: Any, ledger: Ledger, limit: Any, sql: Any, redis: Redis
) -> None:
    limit(concurrency=1)
    worker()
    gate = ledger.path.with_name("open")
    post(api, ledger, [f"job-{n}" for n in range(500)], until=str(gate))
    wait_until(lambda: ledger.names("start"), timeout=30)
    redis.flushdb()
    wait_until(lambda: redis.exists("{jobs}:epoch"), timeout=30)
    assert sum(depths(ReadySet(redis)).values()) == 0
    assert sql("SELECT count(*) FROM jobs WHERE hold = 1")[0][0] == 499
    gate.touch()
    wait_until(lambda: api.unfinished() == 0, timeout=100)
