"""What every journey needs: the API over a socket, a ledger that handlers write, quick settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import requests

#: Leases and sweeps in seconds instead of half minutes.
QUICK = {
    "JOB_MODULES": "tests.support.handlers",
    "LEASE_SECONDS": "2",
    "HEARTBEAT_SECONDS": "0.5",
    "SWEEP_SECONDS": "0.3",
    "BACKOFF_BASE": "0.1",
}


class Api:
    """The JSON API of one web server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = requests.Session()

    def post(self, path: str, body: Any = None, status: int | None = None) -> Any:
        answer = self._http.post(self.url + path, json=body, timeout=30)
        assert status is None or answer.status_code == status, answer.text
        assert answer.status_code < 500, answer.text
        return answer.json()

    def put(self, path: str, body: Any) -> Any:
        return self._send("PUT", path, body)

    def patch(self, path: str, body: Any) -> Any:
        return self._send("PATCH", path, body)

    def delete(self, path: str, *, status: int) -> None:
        self._send("DELETE", path, None, status)

    def _send(self, method: str, path: str, body: Any, status: int | None = None) -> Any:
        answer = self._http.request(method, self.url + path, json=body, timeout=30)
        if status is None:
            assert answer.ok, answer.text
        else:
            assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def get(self, path: str) -> Any:
        answer = self._http.get(self.url + path, timeout=30)
        # "Not yet" to whoever waits for servers to come back.
        assert answer.status_code < 500, answer.text
        return answer.json()

    def job(self, type: str, payload: dict[str, Any] | None = None, **fields: Any) -> str:
        return self.post("/api/jobs", {"type": type, "payload": payload or {}, **fields}, 201)["id"]

    def jobs(self, specs: list[dict[str, Any]]) -> list[str]:
        return self.post("/api/jobs/bulk", {"jobs": specs}, 201)["ids"]

    def status(self, job_id: str) -> str:
        return self.get(f"/api/jobs/{job_id}")["status"]

    def stats(self) -> dict[str, int]:
        return self.get("/api/jobs/stats")

    def unfinished(self) -> int:
        counts = self.stats()
        return counts["pending"] + counts["processing"]


class Ledger:
    """What handlers wrote down: ``name event attempt pid`` a line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def payload(self, name: str, **more: Any) -> dict[str, Any]:
        return {"file": str(self.path), "name": name, **more}

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.path.read_text().splitlines()]

    def count(self, event: str) -> Counter[str]:
        return Counter(name for name, what, *_ in self.lines() if what == event)

    def names(self, event: str) -> list[str]:
        return [name for name, what, *_ in self.lines() if what == event]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    path = tmp_path / "ledger"
    path.touch()
    return Ledger(path)


@pytest.fixture
def api(web: Callable[..., Any]) -> Api:
    return Api(web(**QUICK).url)


@pytest.fixture
def worker(consumer: Callable[..., Any]) -> Callable[..., Any]:
    return lambda **env: consumer(**{**QUICK, **env})


@pytest.fixture
def sql(database_url: str) -> Iterator[Callable[[str], list[Any]]]:
    """Runs a query; its rows."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True

    def run(statement: str) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    yield run
    connection.close()


@pytest.fixture
def audit(sql: Callable[[str], list[Any]], api: Api) -> Callable[[], None]:
    """Checks what must hold after every journey: counters, dead letters, nothing half done."""

    def check() -> None:
        counted = {status: n for status, n in api.stats().items() if n}
        assert counted == dict(sql("SELECT status, count(*) FROM jobs GROUP BY 1"))
        open_letters = "SELECT job_id FROM dead_letters WHERE closed_at IS NULL ORDER BY 1"
        assert sql(open_letters) == sql(
            "SELECT id FROM jobs j WHERE status = 'failed' AND NOT EXISTS (SELECT 1 FROM"
            " dead_letters d WHERE d.job_id = j.id AND d.closed_how = 'discarded') ORDER BY 1"
        )

    return check
