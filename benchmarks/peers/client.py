"""``python -m benchmarks.peers.client MODULE one-by-one|bulk|paced ...``: enqueues; prints a figure."""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import Any


def stamp(payload: dict[str, Any]) -> None:
    """What every system's handler does when the time of its start is asked for."""
    if "file" in payload:
        file = os.open(payload["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{time.time() - payload['at']:.6f}\n".encode())
        os.close(file)


def one_by_one(peer: Any, jobs: int) -> float:
    """Jobs enqueued per second, one call each."""
    peer.enqueue({"n": -1})  # connections are made before the clock starts
    started = time.perf_counter()
    for n in range(jobs):
        peer.enqueue({"n": n})
    return jobs / (time.perf_counter() - started)


def bulk(peer: Any, jobs: int) -> float:
    """Jobs enqueued per second by the system's own call for many, 1,000 at a time."""
    peer.enqueue_many([{"n": -1}])
    started = time.perf_counter()
    for first in range(0, jobs, 1000):
        peer.enqueue_many([{"n": n} for n in range(first, min(first + 1000, jobs))])
    return jobs / (time.perf_counter() - started)


def paced(peer: Any, per_second: float, seconds: float, file: str) -> float:
    """Enqueues at a steady rate; each handler writes to ``file`` how long after the call it started."""
    start = time.perf_counter()
    for n in range(int(per_second * seconds)):
        time.sleep(max(0.0, start + n / per_second - time.perf_counter()))
        peer.enqueue({"at": time.time(), "file": file})
    return per_second


def main() -> None:
    name, action, *rest = sys.argv[1:]
    peer = importlib.import_module(f"benchmarks.peers.{name}")
    if action == "can-bulk":
        print(int(hasattr(peer, "enqueue_many")))
    elif action == "setup":
        getattr(peer, "setup", lambda: None)()
    elif action == "one-by-one":
        print(one_by_one(peer, int(rest[0])))
    elif action == "bulk":
        print(bulk(peer, int(rest[0])))
    elif action == "paced":
        print(paced(peer, float(rest[0]), float(rest[1]), rest[2]))


if __name__ == "__main__":
    main()
