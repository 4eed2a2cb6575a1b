"""Processes of the web server that die, and silent connections."""

from __future__ import annotations

import os
import re
import signal
import time

import psutil
import pytest

from tests.front.test_bodies import is_healthy

pytestmark = pytest.mark.journey


def workers_of(server) -> list[psutil.Process]:
    return psutil.Process(server.pid).children()


def test_only_the_process_that_dies_is_replaced(web, wait_until):
    server = web(WEB_CONCURRENCY="2")
    wait_until(
        lambda: len(re.findall(r"Started worker-\d$", server.output, re.M)) == 2,
        what="both are listening",
    )
    first, second = workers_of(server)
    os.kill(first.pid, signal.SIGKILL)
    wait_until(
        lambda: len(set(workers_of(server)) - {first}) == 2, timeout=15, what="a new process"
    )
    assert second.is_running()
    assert server.is_alive
    for _ in range(10):
        assert is_healthy(server)


def test_processes_stop_without_their_main_process(web, wait_until):
    server = web(WEB_CONCURRENCY="2")
    orphans = workers_of(server)
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, orphans)), timeout=8, what="orphans are gone")


def is_running(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.long
def test_silent_connections_block_nothing_and_are_closed(server, wire):
    silent = [wire(server, 10) for _ in range(700)]
    for one in silent[::2]:
        one.send("GET / HTTP/1.1\r\nHos")
    asked = wire(server, 10).send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert asked.answer()[0] == 200
    started = time.monotonic()
    for _ in range(20):
        assert is_healthy(server)
    assert time.monotonic() - started < 5
    assert all(one.is_over() for one in [*silent, asked])


def test_slow_readers_block_no_thread(server, wire, stored):
    large = b'{"type":"echo","payload":{"a":"' + b"x" * 900_000 + b'"}}'
    for _ in range(4):
        one = wire(server).post(
            "/api/jobs", large, "Content-Type: application/json", f"Content-Length: {len(large)}"
        )
        assert one.answer()[0] == 201
    for _ in range(3):
        wire(server).send("GET /api/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for _ in range(5):
        assert is_healthy(server)
