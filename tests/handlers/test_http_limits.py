"""http-request ends in time whatever the server does, and stops when its job is cancelled."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.handlers.http_request.client import RequestFailed
from app.jobs.control_flow import Cancel, JobTimeout
from app.jobs.testing import make_context, run_handler
from tests.handlers.conftest import RawServer, Talk
from tests.support.http_server import Answer, ScriptedServer

Start = Callable[[Talk], RawServer]

OK = b"HTTP/1.1 200 OK\r\n"


def drip(connection: socket.socket, text: bytes) -> None:
    """One byte at a time, so that no read ever times out."""
    for byte in text * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.02)


def slow_status(connection: socket.socket) -> None:
    drip(connection, b"HTTP/1.1 200 OKOKOKOK")


def slow_headers(connection: socket.socket) -> None:
    connection.sendall(OK)
    drip(connection, b"X-Slow: 1\r\n")


def slow_body(connection: socket.socket) -> None:
    connection.sendall(OK + b"Content-Length: 100000\r\n\r\n")
    drip(connection, b"x")


def slow_chunks(connection: socket.socket) -> None:
    connection.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    drip(connection, b"1\r\nx\r\n")


def endless_continue(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.01)


def silent(connection: socket.socket) -> None:
    time.sleep(30)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


SLOW = (slow_status, slow_headers, slow_body, slow_chunks, endless_continue, silent)


@pytest.mark.parametrize("talk", SLOW)
def test_the_timeout_limits_the_whole_response(raw_server: Start, talk: Talk) -> None:
    server = raw_server(talk)
    with within(2), pytest.raises(RequestFailed, match=r"did not respond within 0\.3 s"):
        run_handler("http-request", {"url": server.url, "timeout": 0.3})


def test_the_deadline_of_the_attempt_limits_it_as_well(raw_server: Start) -> None:
    server = raw_server(slow_body)
    with within(2), pytest.raises(JobTimeout):
        run_handler("http-request", {"url": server.url}, timeout_seconds=0.3)


def test_a_server_that_never_reads_does_not_block_the_job(raw_server: Start) -> None:
    server = raw_server(silent)
    payload = {"url": server.url, "method": "POST", "body": "x" * 10_000_000, "timeout": 0.3}
    with within(2), pytest.raises(RequestFailed):
        run_handler("http-request", payload)


def test_a_tls_handshake_that_never_ends_does_not_block_the_job(raw_server: Start) -> None:
    server = raw_server(silent)
    url = server.url.replace("http", "https")
    with within(2), pytest.raises(RequestFailed):
        run_handler("http-request", {"url": url, "timeout": 0.3})


def test_redirects_share_one_time_limit(http_server: ScriptedServer) -> None:
    step = Answer(302, headers={"Location": "/again"}, delay=0.2)
    http_server.script(*[step] * 4)
    with within(2), pytest.raises(RequestFailed, match=r"did not respond within 0\.5 s"):
        run_handler("http-request", {"url": http_server.url, "timeout": 0.5})


def test_a_cancel_request_breaks_the_connection(raw_server: Start) -> None:
    ctx = make_context()
    server = raw_server(silent)
    threading.Timer(0.1, ctx.request_cancel).start()
    with within(2), pytest.raises(Cancel):
        run_handler("http-request", {"url": server.url}, context=ctx)


def test_no_thread_is_left_behind(http_server: ScriptedServer, wait_until: Any) -> None:
    before = threading.active_count()
    run_handler("http-request", {"url": http_server.url})
    wait_until(lambda: threading.active_count() <= before + 1)  # the server may keep one


def test_a_huge_body_is_read_only_up_to_the_limit(raw_server: Start) -> None:
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        connection.recv(4096)
        connection.sendall(OK + b"\r\n")
        while True:
            sent += connection.send(b"x" * 65536)

    server = raw_server(flood)
    with within(5):
        result = run_handler("http-request", {"url": server.url})
    assert result["bodyTruncated"] is True
    assert len(result["body"]) == 64 * 1024
    assert sent < 50_000_000


@pytest.mark.parametrize(
    "talk",
    [
        lambda c: c.sendall(b"not http at all\r\n\r\n"),
        lambda c: c.sendall(OK + b"X: " + b"y" * 100_000 + b"\r\n\r\n"),
        lambda c: c.sendall(OK + b"X: y\r\n" * 200 + b"\r\n"),
        lambda c: c.sendall(OK + b"Content-Length: 10\r\n\r\nshort"),
        lambda c: c.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ],
    ids=["no-http", "long-header", "many-headers", "short-body", "bad-chunk"],
)
def test_an_invalid_response_is_retried(raw_server: Start, talk: Talk) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        talk(connection)

    server = raw_server(answer)
    with within(5), pytest.raises(RequestFailed, match="did not send a valid response"):
        run_handler("http-request", {"url": server.url, "timeout": 4})


def test_an_early_response_to_a_big_body_is_read(raw_server: Start) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    server = raw_server(refuse)
    payload = {"url": server.url, "method": "POST", "body": "x" * 5_000_000}
    with pytest.raises(Exception, match="returned 413"):
        run_handler("http-request", payload)
