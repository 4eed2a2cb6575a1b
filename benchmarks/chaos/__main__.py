"""``python -m benchmarks.chaos --minutes 3 --seed 1``: random faults, then a check of every accepted job.

A private PostgreSQL and Redis, the Procfile's web and workers, a mixed load by HTTP, and a ledger:
every id that was accepted, and every start and end of a handler, in files that no fault of ours can
touch. The seed gives the sequence of faults. After the last one the system gets a minute to finish what is
left without help; then ledger, database, Redis and counters must agree.

Everything listens on loopback; only processes started here are signalled. Exits with 0 when nothing was
lost, stuck, doubly held or miscounted, else with 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections import Counter
from contextlib import suppress

import requests

from benchmarks.chaos import limits, schedules
from benchmarks.chaos.faults import FAULTS
from benchmarks.chaos.load import Load
from benchmarks.chaos.system import System, private_system
from benchmarks.chaos.verdict import REST_SECONDS, audit, report


def run(minutes: float, seed: int, only: str | None = None) -> int:
    chance = random.Random(seed)
    names = [name for name in FAULTS if only is None or only in name]
    if not names:
        sys.exit(f"No fault is called {only!r}; there are: {', '.join(FAULTS)}.")
    with private_system() as system:
        _until_answers(system)
        schedules.create(system)
        sampler = limits.Sampler(system)
        load = Load(system, random.Random(seed + 1))
        thread = threading.Thread(target=load.run, daemon=True)
        thread.start()
        start = time.monotonic()
        happened: Counter[str] = Counter()
        while time.monotonic() - start < minutes * 60:
            time.sleep(chance.uniform(1, 6))
            name = chance.choice(names)
            print(f"{time.monotonic() - start:7.1f} s  {name}", flush=True)
            with system.hands_off:
                FAULTS[name](system, chance)
            happened[name] += 1
        load.stop()
        schedules.stop(system)
        thread.join(30)
        rested = _rest(system)
        sampler.stop()
        verdict = audit(system, load, sampler)
        report(system, load, happened, rested, verdict)
        return 0 if verdict.is_good else 1


def _until_answers(system: System) -> None:
    give_up_at = time.monotonic() + 30
    while time.monotonic() < give_up_at:
        with suppress(requests.RequestException):
            if requests.get(f"{system.url}/health", timeout=2).ok:
                return
        time.sleep(0.1)
    raise SystemExit(f"The web did not start:\n{system.web.log.read_text()[-2000:]}")


def _rest(system: System) -> float | None:
    """Seconds until nothing was left to do, or None when that took longer than allowed."""
    started = time.monotonic()
    todo = (
        "SELECT (SELECT count(*) FROM jobs WHERE status IN ('pending', 'processing'))"
        " + (SELECT count(*) FROM dead_letter_changes)"
    )
    while time.monotonic() - started < REST_SECONDS:
        if system.sql(todo)[0][0] == 0:
            return time.monotonic() - started
        time.sleep(0.2)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="only faults with this in their name")
    arguments = parser.parse_args()
    sys.exit(run(arguments.minutes, arguments.seed, arguments.only))


if __name__ == "__main__":
    main()
