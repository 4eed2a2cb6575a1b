"""Expensive requests: each caller runs one at a time, and no other caller waits for them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import psycopg2
import pytest

from app import config, database
from app.errors import ServerBusy, TooManyReads
from app.front import lanes, quick_threads, routes
from app.front.lanes import READS_PER_CALLER, Response, Throttle
from tests import factories as make
from tests.front.test_bodies import JOB, JSON, is_healthy
from tests.support.racing import in_thread

pytestmark = pytest.mark.journey

EYE = "Authorization: Bearer eye-token-0123456789"
OPS = "Authorization: Bearer ops-token-0123456789"


@pytest.fixture
def slow_reads(database_url) -> Iterator:
    """Lists wait until this is called."""
    connection = psycopg2.connect(database_url)
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE job_log_lines IN ACCESS EXCLUSIVE MODE")
    yield connection.rollback
    connection.close()


def test_a_callers_reads_in_progress_are_limited_without_affecting_others(
    guarded, wire, stored, slow_reads, wait_until
):
    request = wire(guarded).post("/api/jobs", JOB, JSON, OPS, "Content-Length: 15")
    job = json.loads(request.answer()[2])["id"]
    log = f"GET /api/jobs/{job}/log HTTP/1.1\r\nHost: x\r\n{EYE}\r\n\r\n"
    waiting = [wire(guarded).send(log) for _ in range(READS_PER_CALLER)]
    for variant in (EYE, EYE.replace("Bearer ", "bearer   ")):
        refused = wire(guarded).send(log.replace(EYE, variant))
        status, headers, body = refused.answer()
        assert (status, json.loads(body)["code"]) == (429, "too_many_reads")
        assert int(headers["retry-after"]) >= 1
        assert headers["x-content-type-options"] == "nosniff"
    # Cheap requests still work, of the same caller and of others.
    cheap = wire(guarded).send(f"GET /api/jobs/{job} HTTP/1.1\r\nHost: x\r\n{EYE}\r\n\r\n")
    assert cheap.answer()[0] == 200
    assert is_healthy(guarded)
    created = wire(guarded).post("/api/jobs", JOB, JSON, OPS, "Content-Length: 15")
    assert created.answer()[0] == 201
    slow_reads()
    for reader in waiting:
        assert reader.answer()[0] == 200
    assert wire(guarded).send(log).answer()[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/jobs", routes.READ),
        ("HEAD", "/jobs/all", routes.READ),
        ("GET", "/jobs", routes.READ),
        ("GET", "/jobs/01890a5d-ac96-774b-bcce-b302099a8057", routes.READ),
        ("GET", "/dead-letters", routes.READ),
        ("GET", "/api/dead-letters", routes.READ),
        ("GET", "/failures/dead-letters", routes.READ),
        ("GET", "/api/error-groups", routes.READ),
        ("POST", "/api/error-groups/0123456789ab/mute", routes.QUICK),
        ("GET", "/api/jobs/01890a5d-ac96-774b-bcce-b302099a8057", routes.QUICK),
        ("OPTIONS", "/api/jobs", routes.QUICK),
        ("GET", "/health", routes.QUICK),
        ("GET", "/", routes.QUICK),
        ("POST", "/api/jobs", routes.CREATE),
        ("POST", "/api/jobs/bulk", routes.BULK),
        ("POST", "/jobs/all", routes.BULK),
        ("POST", "/bulk/7/undo", routes.BULK),
        ("POST", "/api/bulk-actions", routes.BULK),
        ("POST", "/api/bulk-actions/7/undo", routes.BULK),
        ("POST", "/api/bulk-actions/7/pause", routes.QUICK),
        ("GET", "/api/bulk-actions/7", routes.READ),
    ],
)
def test_the_cost_of_a_request(method, path, expected):
    assert routes.cost(method, path) == expected


def test_every_list_of_the_application_counts_as_expensive(app):
    """A new route with rows of any size must be named in the front's table."""
    bounded = {
        "/api/docs", "/api/health", "/api/job-types", "/api/jobs/stats", "/api/openapi.json", "/api/queues",
        "/api/workers", "/health", "/metrics", "/", "/job-types", "/pulse", "/queues",
        "/sign-in", "/workers", "/new-limit", "/new-schedule", "/schedule-payload", "/schedule-preview",
    }  # fmt: skip
    paths = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if "GET" in rule.methods and not rule.arguments
    }
    unknown = {path for path in paths if routes.cost("GET", path) != routes.READ}
    assert unknown <= bounded


class Quick:
    """A lane of quick requests that always serves something."""

    def __init__(self, rate: int = 1) -> None:
        self._served, self._rate = 0, rate

    @property
    def served(self) -> int:
        self._served += self._rate
        return self._served


def read_of(seconds: float, log: list[str], name: str):
    async def read() -> Response:
        log.append(name)
        return Response(200, [], b"", seconds)

    return read


def test_heavy_callers_wait_for_each_other_and_light_ones_do_not_wait(monkeypatch):
    monkeypatch.setattr(lanes, "TURN_SECONDS", 0.05)
    log: list[str] = []

    async def scene() -> None:
        throttle = Throttle(Quick())
        await throttle.run("heavy", read_of(1.0, log, "first"))
        for _ in range(3):
            await throttle.run("light", read_of(0.01, log, "light"))
        for caller in ("heavy", "heavy"):
            with pytest.raises(TooManyReads):
                await throttle.run(caller, read_of(1.0, log, "again"))
        throttle._free_at = 0.0
        await throttle.run("heavy", read_of(0.01, log, "later"))

    in_thread(lambda: asyncio.run(scene()))
    assert log == ["first", "light", "light", "light", "later"]


def test_a_heavy_caller_does_not_wait_while_no_one_else_is_served(monkeypatch):
    monkeypatch.setattr(lanes, "TURN_SECONDS", 0.05)
    log: list[str] = []

    async def scene() -> None:
        throttle = Throttle(Quick(rate=0))
        for n in range(3):
            await throttle.run("heavy", read_of(1.0, log, str(n)))

    in_thread(lambda: asyncio.run(scene()))
    assert log == ["0", "1", "2"]


def test_large_responses_are_limited_per_caller_and_process(monkeypatch):
    """Clients that do not read keep them in memory, and the server does not report when one has read."""
    now = 1000.0
    monkeypatch.setattr(lanes.time, "monotonic", lambda: now)
    budget = lanes.Budget()
    page = 8 * 1024 * 1024

    def spend(caller: str, size: int = page) -> None:
        budget.check(caller)
        budget.spend(caller, size)

    for _ in range(1000):
        spend("small", lanes.LARGE_BYTES)
    for _ in range(9):
        spend("eve")
    with pytest.raises(TooManyReads) as refused:
        spend("eve")
    assert refused.value.facts["seconds"] == 60
    assert str(refused.value) == (
        "Your large responses exceeded 64 MiB in a minute;"
        " request fewer rows at a time, or try again in 60 seconds."
    )
    for n in range(16):
        spend(f"other {n}")
    with pytest.raises(ServerBusy) as busy:
        spend("anybody")
    assert busy.value.facts["seconds"] == 60
    now += 60
    spend("eve")


def test_a_caller_with_too_many_large_responses_gets_429(server, session, wire):
    for n in range(9):
        make.pending_job(payload={"text": f"{n}" * 900_000})
    read = "GET /api/jobs?limit=9 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answers = [wire(server, 20).send(read).answer() for _ in range(10)]
    assert [status for status, *_ in answers] == [200] * 9 + [429]
    assert 1 <= int(answers[-1][1]["retry-after"]) <= 60
    assert is_healthy(server)


class Sent:
    """The part of granian's protocol that a lane uses."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        pass


def test_a_lane_serves_in_the_order_of_arrival_and_ends_after_what_waits():
    gate, served, names = threading.Event(), [], set()

    def wsgi_app(environ, start_response):
        assert gate.wait(20)
        served.append(environ["n"])
        names.add(threading.current_thread().name)
        start_response("200 OK", [])
        return [b""]

    async def scene(threads: int, requests: int) -> lanes.Lane:
        lane = lanes.Lane("test", threads, wsgi_app, asyncio.get_running_loop())
        runs = [asyncio.create_task(lane.run(Sent(), {"n": n})) for n in range(requests)]
        await asyncio.sleep(0)
        lane.stop()
        gate.set()
        assert [response.status for response in await asyncio.gather(*runs)] == [200] * requests
        return lane

    lane = in_thread(lambda: asyncio.run(scene(1, 20)))
    assert served == list(range(20))
    several = in_thread(lambda: asyncio.run(scene(4, 50)))
    assert sorted(served[20:]) == list(range(50))
    for thread in (*lane._threads, *several._threads):
        thread.join(20)
        assert not thread.is_alive()
    assert names <= {f"web-test-{n}" for n in range(4)}


@pytest.mark.parametrize("size", [1, 3, 4, 5, 7, 20])
def test_the_pool_has_a_connection_for_whoever_may_hold_one_and_wait_for_another(test_env, size):
    """Otherwise pages that read the same thing wait for one another until the pool's time-out."""
    settings = config.load({**test_env, "DATABASE_POOL_SIZE": str(size)})
    slow_and_counters_and_combiner = 3
    needed = quick_threads(settings) + slow_and_counters_and_combiner
    assert database.engine_options(settings)["pool_size"] >= needed
