"""PostgreSQL becomes read-only with its sockets open, as a managed failover leaves it, and is writable again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
import requests

from tests.journeys.conftest import QUICK, Api

pytestmark = [pytest.mark.journey, pytest.mark.long, pytest.mark.timeout(90)]


@pytest.fixture
def set_read_only(private: Any) -> Callable[[bool], None]:
    """Switches the server; every session of it notices at its next statement."""

    def switch(is_read_only: bool) -> None:
        connection = psycopg2.connect(private.database_url)
        connection.autocommit = True
        value = "on" if is_read_only else "off"
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
            cursor.execute("SELECT pg_reload_conf()")
        connection.close()

    return switch


def test_a_read_only_database_is_said_to_be_so_and_work_resumes_by_itself(
    private: Any, web: Any, consumer: Any, wait_until: Any, ledger: Any, set_read_only: Any
) -> None:
    base = private.env()
    api = Api(web(base=base, **QUICK).url)
    program = consumer(base=base, **QUICK)
    gate = str(ledger.path) + ".go"
    held = api.job("ledger", ledger.payload("held", until=gate))
    soon = [api.job("ledger", ledger.payload(f"soon-{n}"), delay=1) for n in range(20)]
    wait_until(lambda: ledger.names("start") == ["held"])

    set_read_only(True)
    wait_until(lambda: requests.get(f"{api.url}/health", timeout=5).status_code == 503)
    health = requests.get(f"{api.url}/health", timeout=5)
    assert health.json()["database"]["error"].startswith("The database is read-only")
    assert int(health.headers["Retry-After"]) > 0
    for _ in range(10):
        answer = requests.post(f"{api.url}/api/jobs", json={"type": "echo"}, timeout=5)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_read_only")
        assert int(answer.headers["Retry-After"]) > 0
    assert requests.get(f"{api.url}/jobs", timeout=5).status_code == 200
    pressed = requests.post(f"{api.url}/queues/default/pause", timeout=5)
    assert pressed.status_code in (400, 503)  # forms need their token first
    open(gate, "w").close()  # its outcome waits in the worker
    wait_until(lambda: "held" in ledger.names("end"))
    time.sleep(3)  # longer than the delay of the others: they are due and can't be claimed
    assert ledger.names("start") == ["held"]
    assert program.output.count("Can't fetch jobs") == 1

    set_read_only(False)
    writable_at = time.monotonic()
    wait_until(lambda: len(ledger.names("end")) == 21, timeout=10)
    assert time.monotonic() - writable_at < 5
    wait_until(lambda: api.stats()["completed"] == 21, timeout=10)
    assert requests.get(f"{api.url}/health", timeout=5).json()["status"] == "ok"
    api.job("echo")
    assert ledger.count("start") == {"held": 1, **{f"soon-{n}": 1 for n in range(20)}}
    assert {api.get(f"/api/jobs/{one}")["crashes"] for one in (held, *soon)} == {0}
    assert program.is_alive
