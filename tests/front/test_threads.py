"""Requests that wait for the database leave threads for others, and are answered before the web stops."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest

from tests.front.test_bodies import JOB, JSON, is_healthy

pytestmark = pytest.mark.journey
LENGTH = f"Content-Length: {len(JOB)}"


@pytest.fixture
def lock(database_url: str) -> Iterator[Callable[[str], Callable[[], None]]]:
    """``release = lock(sql)``: a transaction that holds what ``sql`` locks."""
    connection = psycopg2.connect(database_url)

    def lock(sql: str) -> Callable[[], None]:
        with connection.cursor() as cursor:
            cursor.execute(sql)
        return connection.rollback

    yield lock
    connection.close()


@pytest.fixture
def waiting(database_url: str) -> Iterator[Callable[[], int]]:
    """How many statements wait for a lock."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True

    def waiting() -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return int(cursor.fetchone()[0])

    yield waiting
    connection.close()


def create(wire: Any, server: Any) -> Any:
    return wire(server, 20).post("/api/jobs", JOB, JSON, LENGTH)


def test_slow_requests_do_not_occupy_the_web(server, wire, lock, waiting, wait_until):
    """One process; with a thread for each process, two of these would stop a web of two."""
    status, _, body = create(wire, server).answer()
    assert status == 201
    path = f"/api/jobs/{json.loads(body)['id']}/cancel"
    release = lock("SELECT 1 FROM jobs FOR UPDATE")
    slow = [wire(server, 20).post(path, "", "Content-Length: 0") for _ in range(3)]
    wait_until(lambda: waiting() == 3)
    assert is_healthy(server)
    assert create(wire, server).answer()[0] == 201
    release()
    assert [one.answer()[0] for one in slow] == [200] * 3


def test_jobs_that_wait_to_be_written_are_answered_before_the_web_stops(
    web, wire, lock, waiting, wait_until, stored
):
    server = web()
    release = lock("LOCK TABLE jobs IN SHARE MODE")
    posts = [create(wire, server) for _ in range(10)]
    wait_until(lambda: waiting() == 1)
    server.send(signal.SIGTERM)
    wait_until(lambda: "Shutting down" in server.output)
    release()
    answers = [post.answer() for post in posts]
    # A request that the server had not read yet when it was stopped gets 503.
    created = [json.loads(body)["id"] for status, *_, body in answers if status == 201]
    assert {status for status, *_ in answers} <= {201, 503}
    assert len(created) > 1
    assert sorted(created) == stored()
    # Not stop(): a second SIGTERM kills a server that is ending.
    assert server.process.wait(30) == 0
