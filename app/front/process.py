"""What one process of the web needs of its surroundings."""

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

#: Connections are files, and a shell's limit is often 1,024.
FILES = 65_536
#: A thread that computes lets the others run after so many seconds (Python's own default: 0.005).
SWITCH_SECONDS = 0.001
PARENT_LOOK_SECONDS = 0.5
#: As long as granian gives its processes to stop.
STOP_SECONDS = 10.0


def raise_file_limit() -> None:
    """As many open files as this process may have, up to FILES."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def share_the_interpreter() -> None:
    """Quick requests get their share of time beside one that computes."""
    sys.setswitchinterval(SWITCH_SECONDS)


def end_with_parent(loop: asyncio.AbstractEventLoop) -> None:
    """When granian's main process is gone (killed), this one stops: it would go on serving old code."""
    started_by = multiprocessing.parent_process()
    # Not getppid() alone: the main process may be gone before this one has finished starting.
    parent = os.getppid() if started_by is None else started_by.pid

    def look() -> None:
        if os.getppid() == parent:
            loop.call_later(PARENT_LOOK_SECONDS, look)
            return
        log.warning("The web's main process is gone; this one stops as well.")
        os.kill(os.getpid(), signal.SIGTERM)
        last_resort = threading.Timer(STOP_SECONDS, os._exit, (1,))
        last_resort.daemon = True
        last_resort.start()

    loop.call_later(PARENT_LOOK_SECONDS, look)
