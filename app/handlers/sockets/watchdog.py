"""An end to waiting on a socket, however slowly the other side talks.

Socket time-outs bound one read each: a server that sends a byte every few seconds would hold a worker's
thread for hours. And an asynchronous JobTimeout can't land while a thread waits inside the kernel.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from app.jobs.context import Context

CANCEL_POLL_SECONDS = 0.25
SHUTDOWNS = 200


@contextmanager
def watchdog(
    ctx: Context,
    ends_at: float,
    get_socket: Callable[[], socket.socket | None],
    *,
    is_cancellable: bool,
) -> Iterator[threading.Event]:
    """Shuts the socket down at ``ends_at`` (monotonic), or soon after a cancel request.

    The blocked call in the body then fails with an OSError or sees the end of the stream. The latter
    may pass for a complete answer, so ask the event, set when the watchdog has bitten.
    """
    has_bitten = threading.Event()
    is_done = threading.Event()
    watch = threading.Thread(
        target=_watch,
        args=(ctx, ends_at, get_socket, is_cancellable, is_done, has_bitten),
        daemon=True,
    )
    watch.start()
    try:
        yield has_bitten
    finally:
        is_done.set()


def _watch(
    ctx: Context,
    ends_at: float,
    get_socket: Callable[[], socket.socket | None],
    is_cancellable: bool,
    is_done: threading.Event,
    has_bitten: threading.Event,
) -> None:
    while (left := ends_at - time.monotonic()) > 0:
        if is_cancellable and ctx.is_cancel_requested:
            break
        if is_done.wait(min(left, CANCEL_POLL_SECONDS)):
            return
    has_bitten.set()
    # Repeatedly: between two looks a handshake may have swapped the socket for its TLS twin.
    for _ in range(SHUTDOWNS):
        _shut_down(get_socket())
        if is_done.wait(0.05):
            return


def _shut_down(sock: socket.socket | None) -> None:
    if sock is not None:
        with suppress(OSError):
            # The plain method even for TLS: SSLSocket's own would pull the session from under the reader.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
