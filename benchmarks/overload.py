"""The web under overload: slow bodies, silent connections and expensive reads, next to ordinary clients.

Everything on the loopback address, bounded in number and time.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from benchmarks import http, production, programs
from benchmarks.http import percentile
from benchmarks.production import TOKENS

OLD = (
    "granian --interface wsgi --host ${HOST} --port ${PORT} --workers 2 --blocking-threads 1 --no-ws"
    " --workers-kill-timeout 10 wsgi:app"
)
SLOW_BODIES, SILENT, SECONDS = 50, 2_500, 10.0
LARGE_JOBS, SMALL_JOBS = 100, 100_000
WORST = ("/api/jobs?limit=500", "/api/jobs?search=zzzz&limit=500", "/jobs?q=zzzz", "/jobs/all?q=zzzz", "/api/jobs?payload=%7B%22no%22%3A1%7D&limit=500")  # fmt: skip


@dataclass
class Figures:
    """Of one turn: milliseconds of /health on new connections, and of one client's POSTs."""

    health: list[float]
    posts: list[float]
    unanswered: int = 0

    @property
    def posts_per_second(self) -> float:
        return len(self.posts) / SECONDS


def fill() -> None:
    """Small jobs, and large ones that no compression makes small."""
    programs.empty()
    programs.scalar(
        "INSERT INTO jobs (id, type, queue, payload, status, finished_at) SELECT gen_random_uuid(), 'echo', 'default',"
        " jsonb_build_object('a', repeat(md5(n::text), 20)), 'cancelled', now() FROM generate_series(1, %s) AS n",
        SMALL_JOBS,
    )
    programs.scalar(
        "INSERT INTO jobs (id, type, queue, payload, status, finished_at) SELECT ('f' || substr(gen_random_uuid()::text, 2))::uuid,"
        " 'echo', 'default', jsonb_build_object('a', (SELECT string_agg(md5(m::text || n), '') FROM generate_series(1, 31000) AS m)),"
        " 'cancelled', now() FROM generate_series(1, %s) AS n",
        LARGE_JOBS,
    )
    programs.scalar("VACUUM ANALYZE jobs")


def turns(rounds: int) -> tuple[list[Figures], list[Figures]]:
    """Undisturbed and overloaded, alternating on one web program."""
    _raise_file_limit()
    fill()
    quiet, overloaded = [], []
    with programs.web(**production.SETTINGS) as (_, port):
        asyncio.run(_turn(port, is_overloaded=False, seconds=1))
        for _ in range(rounds):
            quiet.append(asyncio.run(_turn(port, is_overloaded=False)))
            overloaded.append(asyncio.run(_turn(port, is_overloaded=True)))
    return quiet, overloaded


def fronts(rounds: int, seconds: float = 5) -> dict[str, list[float]]:
    """Requests a second of 16 connections: the Procfile's front and granian's own WSGI, by turns."""
    programs.empty()
    get = b"GET /api/jobs/stats HTTP/1.1\r\nHost: localhost\r\n\r\n"
    post = http.request("/api/jobs", {"type": "echo", "payload": {"to": "user@example.com"}})
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, command in (("this front", None), ("granian's WSGI", OLD)):
            with programs.web(command) as (_, port):
                for kind, one in (("GET", get), ("POST", post)):
                    asyncio.run(http.flood(port, one, 16, 1))
                    times, _ = asyncio.run(http.flood(port, one, 16, seconds))
                    found.setdefault(f"{kind}, {name}", []).append(len(times) / seconds)
    return found


async def _turn(port: int, *, is_overloaded: bool, seconds: float = SECONDS) -> Figures:
    figures = Figures([], [])
    hostile: list[Callable[[], Awaitable[None]]] = []
    if is_overloaded:
        hostile += [lambda: _slow_body(port)] * SLOW_BODIES
        hostile += [lambda: _silent(port)] * SILENT
        hostile += [lambda token=TOKENS[f"eye{n}"]: _viewer(port, token) for n in range(1, 5)]  # type: ignore[misc]
    tasks = [asyncio.create_task(_over_and_over(one)) for one in hostile]
    await asyncio.sleep(2 if is_overloaded else 0)
    until = time.perf_counter() + seconds
    await asyncio.gather(_health(port, until, figures), _posts(port, until, figures))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return figures


async def _over_and_over(one: Callable[[], Awaitable[None]]) -> None:
    while True:
        with suppress(OSError, EOFError, ValueError):
            await one()
        await asyncio.sleep(0.05)


async def _slow_body(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        while not reader.at_eof():
            writer.write(b"a")
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    if not await reader.read(1000):
                        return
    finally:
        writer.close()


async def _silent(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await reader.read(1)
    finally:
        writer.close()


async def _viewer(port: int, token: str) -> None:
    for path in WORST:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**25)
        try:
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
                "Connection: close\r\n\r\n".encode()
            )
            while await reader.read(2**20):
                pass
        finally:
            writer.close()


async def _health(port: int, until: float, figures: Figures) -> None:
    ask = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    while (began := time.perf_counter()) < until:
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(ask)
                assert b" 200 " in await reader.readline()
                writer.close()
            figures.health.append((time.perf_counter() - began) * 1000)
        except (OSError, AssertionError, TimeoutError):
            figures.unanswered += 1
        await asyncio.sleep(0.1)


async def _posts(port: int, until: float, figures: Figures) -> None:
    post = http.request(
        "/api/jobs", {"type": "echo", "payload": {"to": "user@example.com"}}, token=TOKENS["poster"]
    )
    client = await http.Client.connect(port)
    while (began := time.perf_counter()) < until:
        status, body = await client.post(post)
        assert status == 201, body
        figures.posts.append((time.perf_counter() - began) * 1000)
    client.close()


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))


def summary(quiet: list[Figures], overloaded: list[Figures]) -> Iterator[tuple[str, list[float]]]:
    """What to print: a name, and a value of each round."""
    for name, turns_of in (("undisturbed", quiet), ("overloaded", overloaded)):
        yield f"/health p95, ms, {name}", [percentile(one.health, 95) for one in turns_of]
        yield f"/health unanswered, {name}", [float(one.unanswered) for one in turns_of]
        yield f"POSTs of one client a second, {name}", [one.posts_per_second for one in turns_of]
