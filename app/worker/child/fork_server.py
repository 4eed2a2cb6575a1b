"""Imported by the fork server alone (multiprocessing's preload), never by a worker.

Platforms send SIGTERM to every process of a container, terminals SIGINT to the whole group. The worker decides when its
children end, so both are ignored: by a function, not SIG_IGN, which programs started by a handler would inherit.
"""

from __future__ import annotations

import os
import signal

PID = os.getpid()


def _ignore(*_: object) -> None:
    """The worker receives the signal as well."""


for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, _ignore)
