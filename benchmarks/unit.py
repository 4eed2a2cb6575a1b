"""What one job costs: CPU of web, worker, PostgreSQL and Redis, WAL, dead rows, transactions, Redis commands.

The web runs in production settings, and each request carries its token. *POST* is single POSTs
without a worker, *POST and run* the same beside a live worker, from the first POST to the last
completion, *bulk* POSTs of 1,000 jobs, *drain* a backlog of 30,000 no-ops.

CPU and the rate are those of the measured span; the other figures include the second of warm-up,
its jobs too, because the server processes of PostgreSQL report what they counted with a delay.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from benchmarks import http, live, meter, production, programs
from benchmarks.drain import JOBS, enqueue

CONNECTIONS, SECONDS = 50, 8.0
#: Label → figure: CPU by program, and what meter.Counters counts.
ROWS = {
    "web CPU, µs": "web",
    "worker CPU, µs": "worker",
    "PostgreSQL CPU, µs": "PostgreSQL",
    "Redis CPU, µs": "Redis",
    "WAL, bytes": "wal_bytes",
    "whole pages in the WAL": "page_images",
    "dead rows": "dead_rows",
    "of them HOT": "hot_rows",
    "transactions": "transactions",
    "Redis commands": "redis_commands",
    "jobs/s": "rate",
}
Figures = dict[str, float]


def post(seconds: float = SECONDS, connections: int = CONNECTIONS) -> Figures:
    """Single POSTs, no worker."""
    figures: Figures = {}
    before = _start()
    with programs.web(**production.SETTINGS) as (web, port):
        _flood(port, 1, connections)
        with _timed(figures, web=web):
            figures["jobs"] = _flood(port, seconds, connections)
    return _per_job(figures, before, _jobs())


def post_and_run(seconds: float = SECONDS, connections: int = CONNECTIONS) -> Figures:
    """Single POSTs beside one live worker."""
    figures: Figures = {}
    before = _start()
    with (
        programs.worker(**production.SETTINGS) as worker,
        programs.web(**production.SETTINGS) as (web, port),
    ):
        _flood(port, 1, connections)
        programs.wait_until_done()
        with _timed(figures, web=web, worker=worker):
            figures["jobs"] = _flood(port, seconds, connections)
            programs.wait_until_done()
    return _per_job(figures, before, _jobs())


def bulk(requests: int = 30, size: int = 1000) -> Figures:
    """POSTs of many jobs over one connection, no worker."""
    body = {"jobs": [{"type": "echo", "payload": {"n": n}} for n in range(size)]}
    request = http.request("/api/jobs/bulk", body, token=production.TOKENS["poster"])

    async def send(port: int, times: int) -> None:
        client = await http.Client.connect(port)
        for _ in range(times):
            status, answer = await client.post(request)
            assert status == 201, answer
        client.close()

    figures: Figures = {}
    before = _start()
    with programs.web(**production.SETTINGS) as (web, port):
        asyncio.run(send(port, 2))
        with _timed(figures, web=web):
            asyncio.run(send(port, requests))
        figures["jobs"] = requests * size
    return _per_job(figures, before, _jobs())


def drain(jobs: int = JOBS, *, keep: bool = False) -> Figures:
    """A backlog through one worker that is up already; ``keep`` leaves what is in the table."""
    if not keep:
        programs.empty()
    with programs.worker(**production.SETTINGS) as worker:
        programs.settle()
        with _suspended(worker):
            enqueue(jobs)
            before = meter.counters()
        figures: Figures = {"jobs": jobs}
        with _timed(figures, worker=worker):
            programs.wait_until_done()
    return _per_job(figures, before, jobs)


def _start() -> meter.Counters:
    programs.empty()
    return meter.counters()


def _jobs() -> int:
    count: int = programs.scalar("SELECT count(*) FROM jobs")
    return count


def _flood(port: int, seconds: float, connections: int) -> int:
    times, errors = asyncio.run(http.flood(port, live.POST, connections, seconds))
    assert not errors, f"{errors} POSTs failed"
    return len(times)


@contextmanager
def _suspended(program: psutil.Process) -> Iterator[None]:
    processes = [program, *program.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


@contextmanager
def _timed(figures: Figures, **programs_of_ours: psutil.Process) -> Iterator[None]:
    """Adds the CPU and the seconds of the block, of all its jobs together."""
    used, started = meter.cpu_seconds(**programs_of_ours), time.perf_counter()
    yield
    figures["seconds"] = time.perf_counter() - started
    for name, seconds in meter.cpu_seconds(**programs_of_ours).items():
        figures[name] = seconds - used[name]


def _per_job(figures: Figures, before: meter.Counters, counted_jobs: int) -> Figures:
    """All figures for one job; call it when the programs have ended."""
    programs.wait(lambda: not programs.scalar(_ARE_SESSIONS_LEFT))
    jobs = figures.pop("jobs")
    rate = jobs / figures.pop("seconds")
    per_job = {name: 1e6 * seconds / jobs for name, seconds in figures.items()}
    counted = meter.counters().since(before)
    return {
        **per_job,
        **{name: n / counted_jobs for name, n in counted.items()},
        "rate": rate,
    }


_ARE_SESSIONS_LEFT = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'jobqueue%%'"
)

SCENARIOS: dict[str, Callable[[], Figures]] = {
    "POST": post,
    "POST and run": post_and_run,
    "bulk": bulk,
    "drain": drain,
}


def table(rounds: int) -> list[str]:
    """Lines of a Markdown table: medians of ``rounds``, the scenarios in turns."""
    measured: dict[str, list[Figures]] = {name: [] for name in SCENARIOS}
    for _ in range(rounds):
        for name, scenario in SCENARIOS.items():
            measured[name].append(scenario())
    lines = [f"| per job | {' | '.join(SCENARIOS)} |", "| --- |" + " ---: |" * len(SCENARIOS)]
    for label, figure in ROWS.items():
        cells = [
            _median([one[figure] for one in found if figure in one]) for found in measured.values()
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def _median(values: list[float]) -> str:
    if not values:
        return ""
    middle = statistics.median(values)
    return f"{middle:,.0f}" if middle >= 10 else f"{middle:.2f}"
