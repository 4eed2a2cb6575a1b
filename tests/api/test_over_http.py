"""The API behind the Procfile's web server: what only a real connection can show."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.journey


class Connection:
    """One keep-alive connection."""

    def __init__(self, url: str) -> None:
        self.http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)

    def ask(
        self, method: str, path: str, body=None, headers=None, chunked=False
    ) -> tuple[int, dict, dict]:
        """Status, JSON, headers."""
        headers = {"Content-Type": "application/json"} | (headers or {}) if body is not None else {}
        self.http.request(method, path, body, headers, encode_chunked=chunked)
        response = self.http.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else {}, dict(response.headers)


@pytest.fixture
def connection(web) -> Connection:
    return Connection(web().url)


def chunks(body: bytes, size: int = 64 * 1024) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


CHUNKED = {"Transfer-Encoding": "chunked"}


def test_a_chunked_body_is_read(connection, stored):
    body = json.dumps({"type": "echo", "payload": {"a": "x" * 200_000}}).encode()
    status, job, _ = connection.ask("POST", "/api/jobs", chunks(body), CHUNKED, chunked=True)
    assert status == 201
    assert len(job["payload"]["a"]) == 200_000


def test_a_chunked_body_has_the_same_limit(connection, stored):
    for size, expected in ((1024 * 1024, 201), (1024 * 1024 + 1, 413)):
        head, tail = b'{"type":"echo","payload":{"a":"', b'"}}'
        body = head + b"x" * (size - len(head) - len(tail)) + tail
        assert len(body) == size
        status, _, _ = connection.ask("POST", "/api/jobs", chunks(body), CHUNKED, chunked=True)
        assert status == expected
        connection.http.close()
    assert len(stored()) == 1


def test_a_large_body_is_refused_without_ending_the_service(connection, stored):
    for _ in range(3):
        status, answer, _ = connection.ask("POST", "/api/jobs", b" " * (3 * 1024 * 1024))
        assert (status, answer["code"]) == (413, "body_too_large")
    assert connection.ask("GET", "/api/jobs/stats")[1]["pending"] == 0


def test_refusals_keep_the_connection_usable(connection):
    for body in (b"{", b"[]", b'{"type":"nope"}', b'{"type":"echo","payload":' + b'{"a":' * 50_000):
        assert connection.ask("POST", "/api/jobs", body)[0] in (400, 422)
    assert connection.ask("POST", "/api/jobs", b'{"type":"echo"}')[0] == 201


@pytest.mark.parametrize("length", ["-1", "x", "1e3"])
def test_a_wrong_content_length_is_refused(web, stored, length):
    import socket

    host = urlsplit(web().url)
    with socket.create_connection((host.hostname, host.port), timeout=5) as raw:
        head = f"POST /api/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        raw.sendall(head.encode() + b'{"type":"echo"}')
        assert b" 400 " in raw.recv(200).partition(b"\r\n")[0]
    assert stored() == []


def test_postgresql_goes_and_comes_back(private, web):
    connection = Connection(web(base=private.env()).url)
    job = b'{"type":"echo"}'
    assert connection.ask("POST", "/api/jobs", job)[0] == 201
    private.stop_postgres()
    for _ in range(3):
        started = time.monotonic()
        status, answer, headers = connection.ask("POST", "/api/jobs", job)
        assert (status, answer["code"]) == (503, "database_unavailable")
        assert int(headers["retry-after"]) > 0
        status, health, _ = connection.ask("GET", "/health")
        assert (status, health["status"]) == (503, "down")
        assert time.monotonic() - started < 2
    private.start_postgres()
    assert connection.ask("POST", "/api/jobs", job)[0] == 201
    assert connection.ask("GET", "/health")[1]["status"] == "ok"
    assert connection.ask("GET", "/api/jobs/stats")[1]["pending"] == 2


def test_without_redis_a_job_is_still_accepted(private, web):
    connection = Connection(web(base=private.env()).url)
    assert connection.ask("POST", "/api/jobs", b'{"type":"echo"}')[0] == 201
    private.stop_redis()
    for _ in range(3):
        started = time.monotonic()
        assert connection.ask("POST", "/api/jobs", b'{"type":"echo"}')[0] == 201
        assert time.monotonic() - started < 0.3
    status, health, _ = connection.ask("GET", "/health")
    assert (status, health["status"], health["redis"]["status"]) == (200, "degraded", "down")
    private.start_redis()
    assert connection.ask("GET", "/health")[1]["status"] == "ok"
