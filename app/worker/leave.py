"""Ends a worker process without waiting for what its handlers left running."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import suppress

from app.worker.child import forking


def within(seconds: float) -> None:
    """End this process, with exit status 0, after ``seconds`` unless it has ended by itself."""
    threading.Thread(target=_leave, args=[seconds], name="Leave", daemon=True).start()


def _leave(seconds: float) -> None:
    time.sleep(seconds)
    for flush in (logging.shutdown, sys.stdout.flush, sys.stderr.flush):
        # A thread that holds the lock of a stream must not delay the exit.
        with suppress(RuntimeError):  # too late to start threads
            helper = threading.Thread(target=_quietly, args=[flush], daemon=True)
            helper.start()
            helper.join(0.1)
    at_once(0)


def at_once(status: int) -> None:
    """End this process now, and its fork server, which may hang and not notice."""
    forking.kill()
    os._exit(status)


def _quietly(flush: object) -> None:
    with suppress(Exception):
        if callable(flush):
            flush()
