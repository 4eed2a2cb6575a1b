"""The database is away, locked or suspended for longer than a lease: nobody crashed, nothing runs twice."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest

from tests.journeys.conftest import QUICK, Api

pytestmark = [pytest.mark.journey, pytest.mark.long, pytest.mark.timeout(120)]

LEASE = float(QUICK["LEASE_SECONDS"])
PAUSE = 2.5 * LEASE


def away(private: Any, programs: list[Any]) -> None:
    private.stop_postgres()
    time.sleep(PAUSE)
    private.start_postgres()


def suspended(private: Any, programs: list[Any]) -> None:
    for program in programs:
        program.send(signal.SIGSTOP)
    time.sleep(PAUSE)
    for program in programs:
        program.send(signal.SIGCONT)


def locked(private: Any, programs: list[Any]) -> None:
    for mode in ("SHARE", "ACCESS EXCLUSIVE"):
        with psycopg2.connect(private.database_url) as connection, connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE jobs IN {mode} MODE")
            time.sleep(PAUSE)
        connection.close()
        time.sleep(LEASE / 2)


@pytest.mark.parametrize("pause", [away, suspended, locked])
def test_a_pause_longer_than_the_lease_counts_no_crash(
    private: Any, web: Any, consumer: Any, wait_until: Any, ledger: Any, pause: Callable[..., None]
) -> None:
    base = private.env()
    api = Api(web(base=base, **QUICK).url)
    programs = [consumer(base=base, **QUICK) for _ in range(2)]
    gates = [f"{ledger.path}.{n}" for n in range(2)]
    names = [f"job-{n}" for n in range(8)]
    # Half of them end while the database can't be written, the others run on.
    ids = api.jobs(
        [
            {"type": "ledger", "payload": ledger.payload(name, until=gates[n % 2])}
            for n, name in enumerate(names)
        ]
    )
    wait_until(lambda: len(ledger.names("start")) == len(names))
    time.sleep(LEASE * 1.5)  # the rescuers have observed the database for a whole lease

    with opened_during(gates[0]):
        pause(private, programs)
    time.sleep(LEASE * 2)  # whoever would be judged wrongly has been
    open(gates[1], "w").close()
    wait_until(lambda: api.unfinished() == 0, timeout=30)

    jobs = [api.get(f"/api/jobs/{job_id}") for job_id in ids]
    assert ledger.count("start") == dict.fromkeys(names, 1)
    assert {(job["status"], job["crashes"], job["attempts"]) for job in jobs} == {
        ("completed", 0, 1)
    }
    assert not [p.output for p in programs if "refused: its lease" in p.output]


@contextmanager
def opened_during(gate: str) -> Any:
    """Opens the gate a moment after the block began."""
    timer = threading.Timer(LEASE / 2, lambda: open(gate, "w").close())
    timer.start()
    yield
    timer.join()


def test_what_runs_at_most_once_does_not_start_again_after_a_crash_of_postgresql(
    private: Any, web: Any, consumer: Any, wait_until: Any, ledger: Any
) -> None:
    base = private.env()
    connection = psycopg2.connect(private.database_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        # What is committed asynchronously is lost for certain, not only within 0.2 s.
        cursor.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        cursor.execute("SELECT pg_reload_conf()")
    connection.close()
    api = Api(web(base=base, **QUICK).url)
    consumer(base=base, **QUICK)
    gate = f"{ledger.path}.go"
    job_id = api.job("ledger-once", ledger.payload("once", until=gate))
    wait_until(lambda: ledger.names("start") == ["once"])
    private.crash_postgres()
    private.start_postgres()
    wait_until(lambda: api.status(job_id) == "processing", timeout=15)
    time.sleep(LEASE)
    open(gate, "w").close()
    wait_until(lambda: api.unfinished() == 0, timeout=20)
    assert api.status(job_id) == "completed"
    assert ledger.count("start") == {"once": 1}
