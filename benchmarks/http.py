"""A lean HTTP client: the load must not cost more than what it measures. Keep-alive, no parsing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any


class Client:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**22))

    async def post(self, request: bytes) -> tuple[int, bytes]:
        """The status and the body."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        start = lower.index(b"content-length:") + 15
        length = int(lower[start : lower.index(b"\r\n", start)])
        return int(head[9:12]), await self._reader.readexactly(length)

    @property
    def is_open(self) -> bool:
        return not self._reader.at_eof()

    def close(self) -> None:
        self._writer.close()


def request(path: str, body: Any, *, token: str | None = None) -> bytes:
    """A POST as bytes; ``token`` for a deployment that asks for one."""
    data = json.dumps(body, separators=(",", ":")).encode()
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"{authorization}Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


async def flood(port: int, one: bytes, connections: int, seconds: float) -> tuple[list[float], int]:
    """Posts ``one`` over and over; the time of each that got 200 or 201, and how many did not."""
    times: list[float] = []
    errors = 0
    until = time.perf_counter() + seconds

    async def run() -> None:
        nonlocal errors
        client = await Client.connect(port)
        while (now := time.perf_counter()) < until:
            status, _ = await client.post(one)
            if status in (200, 201):
                times.append(time.perf_counter() - now)
            else:
                errors += 1
        client.close()

    await asyncio.gather(*[run() for _ in range(connections)])
    return times, errors


async def paced(port: int, one: bytes, per_second: float, seconds: float) -> dict[str, float]:
    """Posts at a steady rate; id → when it was sent (seconds since 1970)."""
    sent: dict[str, float] = {}
    idle = [await Client.connect(port) for _ in range(8)]

    async def run() -> None:
        # The web closes connections that have been idle for some seconds.
        while idle:
            if (client := idle.pop()).is_open:
                break
        else:
            client = await Client.connect(port)
        at = time.time()
        status, body = await client.post(one)
        assert status == 201, body
        sent[json.loads(body)["id"]] = at
        idle.append(client)

    start, tasks = time.perf_counter(), []
    for n in range(int(per_second * seconds)):
        await asyncio.sleep(max(0.0, start + n / per_second - time.perf_counter()))
        tasks.append(asyncio.create_task(run()))
    await asyncio.gather(*tasks)
    return sent


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
