"""The fork server of this process: it starts every child, each within a time limit.

A server that hangs would block the thread that starts a child, and all that wait for their turn. Killing it ends their
wait with an error, and the next call starts a new server.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from multiprocessing import forkserver
from typing import Any

log = logging.getLogger(__name__)

#: For a server that has started a child before: a fork takes milliseconds.
START_SECONDS = 10.0
#: For a new server, which imports the application first.
BOOT_SECONDS = 60.0
#: From SIGKILL to the end of the process.
DEATH_SECONDS = 5.0

#: What a server imports before its first fork: what every child needs to run a handler.
PRELOAD = [
    "app.worker.child.fork_server",
    "app.worker.child.process",
    "app.handlers",
]

#: Held by the thread that starts a child.
turn = threading.Lock()
_working_pid: int | None = None  # of a server that has started a child


class _Limit:
    """Kills the fork server unless ``met()`` comes within ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
        self._is_over = False
        self.was_missed = False
        self._timer = threading.Timer(seconds, self._miss)
        self._timer.daemon = True
        self._timer.start()

    def _miss(self) -> None:
        with self._lock:
            if not self._is_over:
                self.was_missed = True
                kill()

    def met(self) -> None:
        with self._lock:
            self._is_over = True
        self._timer.cancel()


def start(process: Any) -> None:
    """Start a multiprocessing ``process`` from the fork server. The caller holds ``turn``.

    Raises OSError or EOFError if the server died or was killed because it hung, and RuntimeError if no thread can be
    started to watch the time. The next call starts a new server if necessary.
    """
    global _working_pid
    forkserver.set_forkserver_preload(PRELOAD)
    forkserver.ensure_running()
    pid = _pid()
    seconds = START_SECONDS if pid == _working_pid else BOOT_SECONDS
    limit = _Limit(seconds)
    try:
        process.start()
    finally:
        limit.met()
        if limit.was_missed:
            log.error(
                "The fork server (process %s) did not start a child within %g s and was killed;"
                " a new one is started", pid, seconds,
            )  # fmt: skip
            _replace(pid)
    _working_pid = pid


def kill() -> None:
    """Kill the fork server, stopped or not. On Linux its children die with it."""
    if (pid := _pid()) is not None:
        with suppress(OSError):  # it has ended
            os.kill(pid, signal.SIGKILL)


def _pid() -> int | None:
    server: Any = forkserver._forkserver
    pid: int | None = server._forkserver_pid
    return pid


def _replace(pid: int | None) -> None:
    # A killed server counts as running until its process is gone.
    give_up_at = time.monotonic() + DEATH_SECONDS
    with suppress(OSError):
        while _pid() == pid and time.monotonic() < give_up_at:
            forkserver.ensure_running()
            time.sleep(0.01)
