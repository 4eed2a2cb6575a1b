"""Threads that run the WSGI application, in lanes: slow requests have their own lane, so that quick ones never wait for them."""

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
from typing import TYPE_CHECKING, Any

from app.config import MIB
from app.errors import ServerBusy, TooManyLargeResponses, TooManyReads

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from granian.rsgi import HTTPProtocol

log = logging.getLogger(__name__)

#: Expensive reads that a caller may have in progress: one of them runs, the others wait for it.
READS_PER_CALLER = 4
#: The longest wait for a turn; after that the read is refused.
TURN_SECONDS = 10.0
#: The Retry-After of a read that was refused.
RETRY_SECONDS = 5

#: A response above this size counts against the two limits below …
LARGE_BYTES = 256 * 1024
#: … for this long.
BUDGET_SECONDS = 60.0
BYTES_PER_CALLER = 64 * MIB
BYTES_PER_PROCESS = 192 * MIB

#: A caller is heavy for HEAVY_FOR_SECONDS after a read that took longer than this while other requests were served.
HEAVY_SECONDS = 0.1
HEAVY_FOR_SECONDS = 30.0
#: After a heavy caller's read, no heavy caller starts another one for this many times as long as that read took.
REST_FACTOR = 6.0


@dataclass(frozen=True, slots=True)
class Response:
    """A complete response of the WSGI application, and the seconds it took."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    seconds: float = 0.0

    @property
    def size(self) -> int:
        """The length of the body in bytes."""
        return len(self.body)


CRASHED = Response(500, [("Content-Type", "text/plain")], b"Internal Server Error\n")


def call(wsgi_app: WSGIApplication, environ: dict[str, Any]) -> Response:
    """The complete response of ``wsgi_app``."""
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
    return Response(int(status[:3]), headers, body)


class _Seat:
    """Where a thread waits for its next task."""

    def __init__(self) -> None:
        self.task: Any = None
        self.wake = threading.Lock()
        self.wake.acquire()


class Lane:
    """Threads that each serve one request at a time, in order of arrival."""

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
        self._lock = threading.Lock()
        self._tasks: deque[Any] = deque()  # that wait for a thread
        self._idle: list[_Seat] = []
        self._finished: deque[tuple[asyncio.Future[Response], Response]] = deque()
        self._is_finishing = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"web-{name}-{n}", daemon=True)
            for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads after the requests that are already waiting."""
        for _ in self._threads:
            self._assign(None)

    async def run(
        self, protocol: HTTPProtocol, environ: dict[str, Any], *, is_last: bool = False
    ) -> Response:
        """Run the request in one of the threads, which sends the response. ``is_last`` closes the connection after it."""
        done: asyncio.Future[Response] = self._loop.create_future()
        self._assign((protocol, environ, is_last, done))
        return await done

    def _assign(self, task: Any) -> None:
        """Give ``task`` to an idle thread, or to the first that is free. None ends a thread."""
        with self._lock:
            if not self._idle:
                self._tasks.append(task)
                return
            # The last one that worked: its memory is still in the caches of the processor.
            seat = self._idle.pop()
        seat.task = task
        seat.wake.release()

    def _next(self, seat: _Seat) -> Any:
        with self._lock:
            if self._tasks:
                return self._tasks.popleft()
            self._idle.append(seat)
        seat.wake.acquire()
        return seat.task

    def _serve(self) -> None:
        seat = _Seat()
        while (task := self._next(seat)) is not None:
            protocol, environ, is_last, done = task
            started = time.monotonic()
            try:
                response = call(self._wsgi_app, environ)
            except Exception:
                log.exception("%s %s failed", environ["REQUEST_METHOD"], environ["PATH_INFO"])
                response = CRASHED
            headers = [*response.headers, ("Connection", "close")] if is_last else response.headers
            # Sent from this thread: the client does not have to wait for the event loop to wake up.
            protocol.response_bytes(response.status, headers, response.body)
            self.served += 1
            response = replace(response, seconds=time.monotonic() - started)
            self._finish_soon(done, response)

    def _finish_soon(self, done: asyncio.Future[Response], response: Response) -> None:
        self._finished.append((done, response))
        # Waking the event loop is a system call: one for all requests that finish until it runs.
        if not self._is_finishing:
            self._is_finishing = True
            self._loop.call_soon_threadsafe(self._finish_all)

    def _finish_all(self) -> None:
        # First: what is appended from here on wakes the loop again.
        self._is_finishing = False
        while self._finished:
            _finish(*self._finished.popleft())


def _finish(done: asyncio.Future[Response], response: Response) -> None:
    if not done.done():
        done.set_result(response)


class Turns:
    """Lets each caller run one expensive read at a time."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}  # caller → lock, reads in progress

    @asynccontextmanager
    async def take(self, caller: str) -> AsyncIterator[None]:
        """Wait for the caller's turn. Raises TooManyReads if too many reads wait, or this one waits too long."""
        lock, count = self._locks.get(caller) or (asyncio.Lock(), 0)
        if count >= READS_PER_CALLER:
            raise TooManyReads(limit=READS_PER_CALLER, seconds=1)
        self._locks[caller] = (lock, count + 1)
        try:
            try:
                await asyncio.wait_for(lock.acquire(), TURN_SECONDS)
            except TimeoutError:
                raise TooManyReads(limit=count + 1, seconds=RETRY_SECONDS) from None
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, count = self._locks.pop(caller)
            if count > 1:
                self._locks[caller] = (lock, count - 1)


class Budget:
    """Limits the bytes of large responses within a minute, since a client that does not read keeps them in memory.

    The server does not report when a response has been read, so each one counts for a minute. A process whose clients
    keep responses for longer reaches its memory limit after many minutes, and is replaced.
    """

    def __init__(self) -> None:
        self._spent: deque[tuple[float, str, int]] = deque()  # counts until, caller, bytes

    def check(self, caller: str) -> None:
        """Raises TooManyLargeResponses if the caller's share is used up, ServerBusy if the process's is."""
        now = time.monotonic()
        while self._spent and self._spent[0][0] <= now:
            self._spent.popleft()
        own = [(until, size) for until, name, size in self._spent if name == caller]
        if sum(size for _, size in own) > BYTES_PER_CALLER:
            seconds = _seconds_until(own[0][0], now)
            raise TooManyLargeResponses(mib=BYTES_PER_CALLER // MIB, seconds=seconds)
        if sum(size for *_, size in self._spent) > BYTES_PER_PROCESS:
            raise ServerBusy(seconds=_seconds_until(self._spent[0][0], now))

    def spend(self, caller: str, size: int) -> None:
        """Count a response of ``size`` bytes, if it is large."""
        if size > LARGE_BYTES:
            self._spent.append((time.monotonic() + BUDGET_SECONDS, caller, size))


def _seconds_until(until: float, now: float) -> int:
    return max(1, math.ceil(until - now))


class Throttle:
    """Limits callers whose reads take long to a small part of the time while other requests are served.

    Other callers don't wait for them: a short list of jobs is not delayed by another caller's search.
    """

    def __init__(self, *others: Lane) -> None:
        self._others = others
        self._one_at_a_time = asyncio.Lock()
        self._free_at = 0.0
        self._heavy: dict[str, float] = {}  # caller → until when

    @property
    def _served(self) -> int:
        return sum(lane.served for lane in self._others)

    async def run(self, caller: str, read: Callable[[], Awaitable[Response]]) -> Response:
        """The response of ``read``; a heavy caller waits for its turn first. Raises TooManyReads."""
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

    async def _measured(self, caller: str, read: Callable[[], Awaitable[Response]]) -> Response:
        served_before = self._served
        response = await read()
        if response.seconds > HEAVY_SECONDS and self._served > served_before:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + REST_FACTOR * response.seconds
            self._heavy = {name: until for name, until in self._heavy.items() if until > now}
            self._heavy[caller] = now + HEAVY_FOR_SECONDS
        return response
