"""Single POSTs while a worker runs their jobs: from the first POST sent to the last job completed.

Production settings, a token, 50 keep-alive connections, the Procfile's web and one worker of five threads.
"""

from __future__ import annotations

import asyncio
import time

from benchmarks import http, meter, production, programs

ECHO = {"type": "echo", "payload": {"to": "user@example.com"}}
POST = http.request("/api/jobs", ECHO, token=production.TOKENS["poster"])


def post_and_run(seconds: float = 8, connections: int = 50) -> dict[str, float]:
    """Jobs per second from the first POST to the last completion, POSTs per second, and CPU µs per job."""
    programs.empty()
    with (
        programs.worker(**production.SETTINGS) as worker,
        programs.web(**production.SETTINGS) as (web, port),
    ):
        asyncio.run(http.flood(port, POST, connections, 1))
        programs.wait_until_done()
        before = meter.cpu_seconds(web=web, worker=worker)
        began = time.perf_counter()
        times, errors = asyncio.run(http.flood(port, POST, connections, seconds))
        posting = time.perf_counter() - began
        programs.wait_until_done()
        elapsed = time.perf_counter() - began
        after = meter.cpu_seconds(web=web, worker=worker)
    jobs = len(times)
    return {
        "jobs/s": jobs / elapsed,
        "POSTs/s": jobs / posting,
        "errors": errors,
        "web, µs of CPU": 1e6 * (after["web"] - before["web"]) / jobs,
        "worker, µs of CPU": 1e6 * (after["worker"] - before["worker"]) / jobs,
        "PostgreSQL, µs of CPU": 1e6 * (after["PostgreSQL"] - before["PostgreSQL"]) / jobs,
        "Redis, µs of CPU": 1e6 * (after["Redis"] - before["Redis"]) / jobs,
    }


def post_only(seconds: float = 8, connections: int = 50) -> dict[str, float]:
    """POSTs per second without a worker, their times in ms, and CPU µs per POST."""
    programs.empty()
    with programs.web(**production.SETTINGS) as (web, port):
        asyncio.run(http.flood(port, POST, connections, 1))
        before = meter.cpu_seconds(web=web)
        times, errors = asyncio.run(http.flood(port, POST, connections, seconds))
        after = meter.cpu_seconds(web=web)
    return {
        "POSTs/s": len(times) / seconds,
        "p50, ms": 1000 * http.percentile(times, 50),
        "p99, ms": 1000 * http.percentile(times, 99),
        "errors": errors,
        "web, µs of CPU": 1e6 * (after["web"] - before["web"]) / len(times),
        "PostgreSQL, µs of CPU": 1e6 * (after["PostgreSQL"] - before["PostgreSQL"]) / len(times),
        "Redis, µs of CPU": 1e6 * (after["Redis"] - before["Redis"]) / len(times),
    }
