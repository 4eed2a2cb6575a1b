"""Threads of the WSGI application, in lanes: what takes long has its own, and waits for nobody but its like."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from app.config import MIB
from app.errors import LargeAnswersSpent, ServerBusy, TooManyReads

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from granian.rsgi import HTTPProtocol

log = logging.getLogger(__name__)

#: Of one caller: one expensive read runs, the others of so many wait for it, …
READS_PER_CALLER = 4
#: Answers of more bytes count …
LARGE_BYTES = 256 * 1024
#: … for so long …
BUDGET_SECONDS = 60.0
#: … against these.
BYTES_PER_CALLER = 64 * MIB
BYTES_PER_PROCESS = 192 * MIB
#: … for so long; what comes beyond is refused.
TURN_SECONDS = 10.0
#: A read that took longer than this while other requests were served makes its caller a heavy one for a while.
HEAVY_SECONDS = 0.1
HEAVY_FOR_SECONDS = 30.0
#: After a read of a heavy caller that took t, none of them starts another one for this many times t.
REST_FACTOR = 6.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    seconds: float = 0.0  # that it took

    @property
    def size(self) -> int:
        return len(self.body)


CRASHED = Answer(500, [("Content-Type", "text/plain")], b"Internal Server Error\n")


def call(wsgi_app: WSGIApplication, environ: dict[str, Any]) -> Answer:
    """What ``wsgi_app`` answers, in whole."""
    started: list[tuple[str, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started[:] = [(status, headers)]
        return written.append

    pieces = wsgi_app(environ, start_response)
    try:
        body = b"".join([*written, *pieces])
    finally:
        if hasattr(pieces, "close"):
            pieces.close()
    status, headers = started[0]
    return Answer(int(status[:3]), headers, body)


class Lane:
    """Threads that each serve one request at a time, in the order they came."""

    def __init__(
        self,
        name: str,
        threads: int,
        wsgi_app: WSGIApplication,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.served = 0
        self._wsgi_app = wsgi_app
        self._loop = loop
        self._tasks: SimpleQueue[Any] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, name=f"web-{name}-{n}", daemon=True)
            for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        for _ in self._threads:
            self._tasks.put(None)

    async def run(
        self, protocol: HTTPProtocol, environ: dict[str, Any], *, is_last: bool = False
    ) -> Answer:
        """Answers the request by one of the threads; the connection ends after an answer that ``is_last``."""
        done: asyncio.Future[Answer] = self._loop.create_future()
        self._tasks.put((protocol, environ, is_last, done))
        return await done

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None:
            protocol, environ, is_last, done = task
            began = time.monotonic()
            try:
                answer = call(self._wsgi_app, environ)
            except Exception:
                log.exception("%s %s failed", environ["REQUEST_METHOD"], environ["PATH_INFO"])
                answer = CRASHED
            headers = [*answer.headers, ("Connection", "close")] if is_last else answer.headers
            # From this thread: the event loop need not wake up before the client has its answer.
            protocol.response_bytes(answer.status, headers, answer.body)
            self.served += 1
            answer = replace(answer, seconds=time.monotonic() - began)
            self._loop.call_soon_threadsafe(_finish, done, answer)


def _finish(done: asyncio.Future[Answer], answer: Answer) -> None:
    if not done.done():
        done.set_result(answer)


class Turns:
    """One expensive read at a time for each caller."""

    def __init__(self) -> None:
        self._lines: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def take(self, caller: str) -> AsyncIterator[None]:
        """The caller's turn. Raises TooManyReads when too many wait, or one for too long."""
        lock, waiting = self._lines.get(caller) or (asyncio.Lock(), 0)
        if waiting >= READS_PER_CALLER:
            raise TooManyReads(limit=READS_PER_CALLER, seconds=1)
        self._lines[caller] = (lock, waiting + 1)
        try:
            try:
                await asyncio.wait_for(lock.acquire(), TURN_SECONDS)
            except TimeoutError:
                raise TooManyReads(limit=waiting + 1, seconds=RETRY_SECONDS) from None
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, waiting = self._lines.pop(caller)
            if waiting > 1:
                self._lines[caller] = (lock, waiting - 1)


RETRY_SECONDS = 5


class Budget:
    """Bytes of large answers in one minute, since a client that does not read holds them in memory.

    The server does not say when an answer has been read, so each counts for a minute. A process that is kept from
    ever forgetting them reaches its limit of memory after many minutes, and is replaced.
    """

    def __init__(self) -> None:
        self._spent: deque[tuple[float, str, int]] = deque()

    def check(self, caller: str) -> None:
        """Raises LargeAnswersSpent for the caller alone, and ServerBusy when all have spent the process's share."""
        now = time.monotonic()
        while self._spent and self._spent[0][0] <= now:
            self._spent.popleft()
        own = [(until, size) for until, name, size in self._spent if name == caller]
        if sum(size for _, size in own) > BYTES_PER_CALLER:
            seconds = _seconds_to(own[0][0], now)
            raise LargeAnswersSpent(mib=BYTES_PER_CALLER // MIB, seconds=seconds)
        if sum(size for *_, size in self._spent) > BYTES_PER_PROCESS:
            raise ServerBusy(seconds=_seconds_to(self._spent[0][0], now))

    def spend(self, caller: str, size: int) -> None:
        if size > LARGE_BYTES:
            self._spent.append((time.monotonic() + BUDGET_SECONDS, caller, size))


def _seconds_to(until: float, now: float) -> int:
    return max(1, math.ceil(until - now))


class Pace:
    """Callers whose reads take long share a small part of the time while other requests are served.

    Nobody else waits for them: a list of small jobs is not delayed by somebody's search.
    """

    def __init__(self, quick: Lane) -> None:
        self._quick = quick
        self._one_at_a_time = asyncio.Lock()
        self._free_at = 0.0
        self._heavy: dict[str, float] = {}  # caller → until when

    async def run(self, caller: str, read: Callable[[], Awaitable[Answer]]) -> Answer:
        """What ``read`` gives, now or when it is a heavy caller's time. Raises TooManyReads."""
        if self._heavy.get(caller, 0.0) < time.monotonic():
            return await self._measured(caller, read)
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._one_at_a_time.acquire()
                try:
                    await asyncio.sleep(self._free_at - time.monotonic())
                except BaseException:
                    self._one_at_a_time.release()
                    raise
        except TimeoutError:
            raise TooManyReads(limit=1, seconds=RETRY_SECONDS) from None
        try:
            return await self._measured(caller, read)
        finally:
            self._one_at_a_time.release()

    async def _measured(self, caller: str, read: Callable[[], Awaitable[Answer]]) -> Answer:
        others = self._quick.served
        answer = await read()
        if answer.seconds > HEAVY_SECONDS and self._quick.served > others:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + REST_FACTOR * answer.seconds
            self._heavy = {name: until for name, until in self._heavy.items() if until > now}
            self._heavy[caller] = now + HEAVY_FOR_SECONDS
        return answer
