"""Schedules beside the load: each of their ticks must be in the history once, and have one job at most."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import requests

from benchmarks.chaos.system import System

COUNT = 20
#: One slow schedule skips most of its ticks; every other one has a job for each.
SLOW = "slow"

_HISTORY = """
SELECT s.name, s.every_seconds, count(*), sum(t.n)::bigint,
       extract(epoch FROM max(COALESCE(t.last_at, t.tick_at)) - min(t.tick_at))::bigint,
       count(*) FILTER (WHERE t.outcome = 'enqueued'), count(DISTINCT t.job_id) FILTER (WHERE t.outcome = 'enqueued'),
       count(*) FILTER (WHERE t.outcome = 'failed')
FROM schedules s JOIN schedule_ticks t ON t.schedule_id = s.id GROUP BY s.id ORDER BY s.name
"""
_JOBS = "SELECT created_by, count(*) FROM jobs WHERE created_by LIKE 'schedule:%' GROUP BY 1"


def create(system: System) -> None:
    """Schedules that run every one to three seconds; the system answers."""
    for n in range(COUNT):
        name = SLOW if n == 0 else f"tick-{n}"
        kind = {"kind": "slow", "times": 3} if n == 0 else {"kind": "quick", "times": 1}
        body = {
            "type": "chaos", "payload": {**kind, "number": n}, "everySeconds": 1 + n % 3,
            "overlap": "skip" if n == 0 else "allow",
        }  # fmt: skip
        response = requests.put(f"{system.url}/api/schedules/{name}", json=body, timeout=10)
        response.raise_for_status()


def stop(system: System, seconds: float = 30) -> None:
    """No tick comes after this; waits for a database that is away."""
    give_up_at = time.monotonic() + seconds
    while time.monotonic() < give_up_at:
        with suppress(Exception):
            system.sql("UPDATE schedules SET next_run_at = NULL")
            return
        time.sleep(0.2)


def problems(system: System) -> Iterator[str]:
    """What the history, the schedules and the jobs disagree about."""
    jobs = dict(system.sql(_JOBS))
    rows = system.sql(_HISTORY)
    if len(rows) != COUNT:
        yield f"{len(rows)} of {COUNT} schedules ever ticked"
    for name, every, count, ticks, seconds, enqueued, distinct, failed in rows:
        if ticks != seconds // every + 1:
            yield f"{name}: {ticks} ticks in {count} rows, for {seconds} s of one every {every} s"
        if distinct != enqueued or jobs.get(f"schedule:{name}", 0) != enqueued:
            yield f"{name}: {enqueued} ticks with a job, {distinct} different ones, {jobs.get(f'schedule:{name}', 0)} jobs"
        if failed:
            yield f"{name}: {failed} ticks failed"


def summary(system: System) -> str:
    """What became of the ticks."""
    return str(dict(system.sql("SELECT outcome, sum(n)::bigint FROM schedule_ticks GROUP BY 1 ORDER BY 1")))  # fmt: skip
