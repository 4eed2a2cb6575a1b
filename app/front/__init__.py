"""The front of the web server: reads a complete request, with limits of time and size, then runs it in a thread.

An RSGI application for granian. Waiting for a client takes a coroutine, never a thread: clients that send late or
never, or that read slowly, don't keep threads from other requests.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any

from app import garbage
from app.config import Settings
from app.errors import BodyTooLarge, JobQueueError, ServerBusy, ServerStopping, TooManyReads
from app.front import process, routes
from app.front.bodies import Bodies
from app.front.environ import make_environ
from app.front.lanes import Budget, Lane, Throttle, Turns
from app.security.headers import security_headers
from app.security.refusals import refusal

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from granian.rsgi import HTTPProtocol, Scope

RETRY_AFTER_SECONDS = 5
QUICK_THREADS = 4


class Front:
    """``wsgi_app`` behind granian's RSGI interface."""

    def __init__(
        self,
        wsgi_app: WSGIApplication,
        settings: Settings,
        signed_in_name: Callable[[dict[str, Any]], str | None],
    ) -> None:
        """``signed_in_name``: the name in a request's session cookie."""
        self._wsgi_app = wsgi_app
        self._signed_in_name = signed_in_name
        self._budget = Budget()
        self._settings = settings
        self._is_open = settings.is_development or settings.is_auth_disabled
        self._bodies = Bodies()
        self._turns = Turns()
        self._lanes: dict[str, Lane] = {}

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called by granian in each of its processes, before it accepts connections."""
        process.raise_file_limit()
        process.switch_threads_often()
        process.end_with_parent(loop)
        create = Lane("create", self._settings.web_threads, self._wsgi_app, loop)
        quick = Lane("quick", quick_threads(self._settings), self._wsgi_app, loop)
        slow = Lane("slow", 1, self._wsgi_app, loop)
        self._throttle = Throttle(create, quick)
        self._lanes = {
            routes.CREATE: create,
            routes.QUICK: quick,
            routes.READ: slow,
            routes.BULK: slow,
        }

        def stop(*_: Any) -> None:
            loop.call_soon_threadsafe(self._bodies.stop)

        # granian waits for the requests in progress, even for those whose bodies never arrive. Its own handler belongs
        # to the event loop and still runs.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        garbage.exempt_start()

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called by granian after the last request."""
        for lane in self._lanes.values():
            lane.stop()

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Handles one request."""
        environ = make_environ(scope)
        path, method = scope.path, scope.method
        length, is_chunked = _body_length(environ)
        with self._bodies.one_body() as body:
            if length or is_chunked:
                if not self._is_open and routes.is_anonymous(method, path, environ):
                    # Authentication will refuse it, and needs no body for that.
                    await self._run_without_body(protocol, environ)
                    return
                try:
                    limit = routes.body_limit(self._settings, path)
                    data = await body.read(protocol, None if is_chunked else length, limit)
                except JobQueueError as error:
                    self._refuse(protocol, environ, error, is_body_unread=True)
                    if isinstance(error, BodyTooLarge) and "HTTP_EXPECT" not in environ:
                        await self._bodies.discard(protocol)
                    return
                environ |= body_keys(data)
            await self._dispatch(protocol, environ, routes.cost(method, path))

    async def _dispatch(self, protocol: HTTPProtocol, environ: dict[str, Any], cost: str) -> None:
        lane = self._lanes[cost]
        if cost != routes.READ:
            await lane.run(protocol, environ)
            return
        caller = routes.caller(environ, self._signed_in_name)
        try:
            self._budget.check(caller)
            async with self._turns.take(caller):
                response = await self._throttle.run(caller, lambda: lane.run(protocol, environ))
                self._budget.spend(caller, response.size)
        except (TooManyReads, ServerBusy) as error:
            self._refuse(protocol, environ, error)

    async def _run_without_body(self, protocol: HTTPProtocol, environ: dict[str, Any]) -> None:
        environ |= body_keys(b"")
        await self._lanes[routes.QUICK].run(protocol, environ, is_last=True)
        if "HTTP_EXPECT" not in environ:
            await self._bodies.discard(protocol)

    def _refuse(
        self,
        protocol: HTTPProtocol,
        environ: dict[str, Any],
        error: JobQueueError,
        *,
        is_body_unread: bool = False,
    ) -> None:
        retry_after = (
            error.facts.get("seconds") if isinstance(error, TooManyReads | ServerBusy) else None
        )
        if error.http_status == 503 and retry_after is None:
            retry_after = 1 if isinstance(error, ServerStopping) else RETRY_AFTER_SECONDS
        status, headers, body = refusal(error, environ["PATH_INFO"], retry_after=retry_after)
        is_https_only = self._settings.https_only
        headers += security_headers(environ, headers, is_https_only=is_https_only)
        if is_body_unread:
            headers.append(("Connection", "close"))
        is_head = environ["REQUEST_METHOD"] == "HEAD"
        protocol.response_bytes(status, headers, b"" if is_head else body)


def quick_threads(settings: Settings) -> int:
    """The threads of the lane for quick requests, up to QUICK_THREADS.

    Each may hold a connection while it waits for what another one reads for both, so the pool must have one for each
    of them, the slow lane, the counters and the combiner: with fewer they would wait for one another.
    """
    return max(1, min(QUICK_THREADS, settings.database_pool_size - 3))


def body_keys(body: bytes) -> dict[str, Any]:
    """The WSGI keys for a complete body."""
    return {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}


def _body_length(environ: dict[str, Any]) -> tuple[int, bool]:
    """The body's length in bytes (0 if there is none), and whether it is sent in chunks, without a length."""
    is_chunked = environ.pop("HTTP_TRANSFER_ENCODING", None) is not None
    return int(environ.get("CONTENT_LENGTH") or 0), is_chunked
