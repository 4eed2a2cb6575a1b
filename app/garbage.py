"""Python's garbage collector in processes that serve for a long time."""

from __future__ import annotations

import gc

#: New objects until the next collection (Python's default: 700). A batch of 200 jobs creates thousands.
NEW_OBJECTS = 10_000


def exempt_start() -> None:
    """Exempt what exists now from all later collections: it lives as long as the process.

    Otherwise each full collection walks through all modules, routes and models, 130,000 objects in 40 ms, while no
    other thread of the process can run. Called once, when a process has started.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
