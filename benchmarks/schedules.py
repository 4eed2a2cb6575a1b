"""How late scheduled jobs are, how long 10,000 at one instant take, and what many schedules cost at rest.

Two workers of the Procfile, schedules of "echo" jobs. The lag is measured from the tick to the start of its handler;
what the pacer itself needs, to the transaction that creates the job.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil

from benchmarks import idle, programs

_ADD = """
INSERT INTO schedules (name, source, type, payload, cron, every_seconds, overlap, starts_at, next_run_at)
SELECT 's' || n, 'api', 'echo', '{}', %s, %s, %s, now() - interval '1 day', date_trunc('second', now()) + %s * interval '1 s'
FROM generate_series(1, %s) AS n
"""
_LAGS = """
SELECT json_agg(json_build_array(
    1000 * extract(epoch FROM t.made_at - t.tick_at)::float8,
    1000 * extract(epoch FROM j.started_at - t.tick_at)::float8))
FROM schedule_ticks t JOIN jobs j ON j.id = t.job_id WHERE j.started_at IS NOT NULL
"""


@contextmanager
def workers(count: int = 2) -> Iterator[Sequence[psutil.Process]]:
    """Workers without jobs and schedules."""
    programs.empty()
    programs.scalar("TRUNCATE schedules CASCADE")
    with ExitStack() as stack:
        yield [stack.enter_context(programs.worker()) for _ in range(count)]
    programs.scalar("TRUNCATE schedules CASCADE")


def lag(count: int = 100, seconds: float = 20) -> dict[str, float]:
    """Milliseconds, of ``count`` schedules each second."""
    with workers():
        _add(count, every_seconds=1, overlap="allow", due_in=2)
        time.sleep(seconds)
        programs.scalar("UPDATE schedules SET next_run_at = NULL")
        programs.wait_until_done()
        return _lags()


def burst(count: int = 10_000) -> dict[str, float]:
    """``count`` ticks at one instant: milliseconds until they are created and started, and how many jobs there are."""
    with workers():
        _add(count, cron="* * * * *", overlap="skip", due_in=4)
        programs.scalar("ANALYZE schedules")
        due = programs.scalar("SELECT min(next_run_at) FROM schedules")
        programs.wait(
            lambda: (
                programs.scalar("SELECT count(*) FROM schedule_ticks WHERE tick_at = %s", due)
                == count
            )
        )
        programs.scalar("UPDATE schedules SET next_run_at = NULL")
        programs.wait_until_done()
        jobs = programs.scalar(
            "SELECT count(DISTINCT job_id) FROM schedule_ticks WHERE tick_at = %s", due
        )
        return {"jobs": jobs, **_lags()}


def at_rest(count: int = 10_000, seconds: float = 20) -> dict[str, float]:
    """Per second and worker: transactions, commands, CPU; ``count`` schedules whose ticks are an hour away."""
    with workers() as processes:
        _add(count, cron="* * * * *", overlap="skip", due_in=3600)
        time.sleep(idle.SETTLE_SECONDS)
        traffic = idle.traffic(processes, seconds)
        each = {name: traffic[name] / len(processes) for name in ("transactions", "Redis commands")}
        return {**each, "CPU ms": traffic["CPU ms"]}


def _add(
    count: int,
    *,
    due_in: int,
    overlap: str,
    cron: str | None = None,
    every_seconds: int | None = None,
) -> None:
    programs.scalar(_ADD, cron, every_seconds, overlap, due_in, count)
    # What the store does after a change.
    programs.redis().zadd("{jobs}:pace", {"schedules": 0})


def _lags() -> dict[str, float]:
    pairs: list[Any] = programs.scalar(_LAGS) or []
    created, started = (sorted(values) for values in zip(*pairs, strict=True))
    return {
        "created p50": statistics.median(created),
        "created max": created[-1],
        "started p50": statistics.median(started),
        "started p99": started[int(len(started) * 0.99)],
        "started max": started[-1],
    }
