"""Sets up a process of the web server: file limit, thread switching, the end of its parent."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import resource
import signal
import sys
import threading

log = logging.getLogger(__name__)

#: Each connection is an open file, and a shell's limit is often 1,024.
MAX_FILES = 65_536
#: A busy thread lets other threads run after this time (Python's default: 0.005 s).
SWITCH_SECONDS = 0.001
PARENT_CHECK_SECONDS = 0.5
#: The time that granian gives its processes to stop.
STOP_SECONDS = 10.0


def raise_file_limit() -> None:
    """Allow this process up to MAX_FILES open files, as far as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def switch_threads_often() -> None:
    """Let quick requests run beside one that uses the CPU."""
    sys.setswitchinterval(SWITCH_SECONDS)


def end_with_parent(loop: asyncio.AbstractEventLoop) -> None:
    """Stop this process once granian's main process is gone (killed): it would keep serving old code."""
    started_by = multiprocessing.parent_process()
    # Not just getppid(): the main process may end before this one has started.
    parent = os.getppid() if started_by is None else started_by.pid

    def check() -> None:
        if os.getppid() == parent:
            loop.call_later(PARENT_CHECK_SECONDS, check)
            return
        log.warning("The web server's main process is gone; this process stops as well.")
        os.kill(os.getpid(), signal.SIGTERM)
        last_resort = threading.Timer(STOP_SECONDS, os._exit, (1,))
        last_resort.daemon = True
        last_resort.start()

    loop.call_later(PARENT_CHECK_SECONDS, check)
