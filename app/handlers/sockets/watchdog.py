"""A deadline for a conversation over a socket, however slowly the server sends.

A socket's timeout limits a single read: a server that sends a byte every few seconds could occupy a worker's
thread for hours. And an asynchronous JobTimeout is not raised while a thread waits in a system call.
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
    """Shut the socket down at ``ends_at`` (monotonic), or soon after a cancel request.

    The blocked call in the body then fails with an OSError or reads the end of the stream. The latter can
    look like a complete response, so check the event, which is set before the socket is shut down.
    """
    has_fired = threading.Event()
    is_done = threading.Event()
    watch = threading.Thread(
        target=_watch,
        args=(ctx, ends_at, get_socket, is_cancellable, is_done, has_fired),
        daemon=True,
    )
    watch.start()
    try:
        yield has_fired
    finally:
        is_done.set()


def _watch(
    ctx: Context,
    ends_at: float,
    get_socket: Callable[[], socket.socket | None],
    is_cancellable: bool,
    is_done: threading.Event,
    has_fired: threading.Event,
) -> None:
    while (left := ends_at - time.monotonic()) > 0:
        if is_cancellable and ctx.is_cancel_requested:
            break
        if is_done.wait(min(left, CANCEL_POLL_SECONDS)):
            return
    has_fired.set()
    # Repeatedly: a TLS handshake may have replaced the socket in the meantime.
    for _ in range(SHUTDOWNS):
        _shut_down(get_socket())
        if is_done.wait(0.05):
            return


def _shut_down(sock: socket.socket | None) -> None:
    if sock is not None:
        with suppress(OSError):
            # The plain method even for TLS: SSLSocket's own would discard the session while the reader uses it.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
