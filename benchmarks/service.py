"""What users of the HTTP API feel: latency, single and bulk inserts; and the worker's memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from benchmarks import http, meter, programs
from benchmarks.drain import enqueue

ONE = http.request("/api/jobs", {"type": "echo", "payload": {"to": "user@example.com"}})


def latency(seconds: float = 20, per_second: float = 50) -> dict[str, float]:
    """Milliseconds from sending a POST until its job is completed and committed.

    Both ends are read from this machine's clock: the client's before it sends, PostgreSQL's when the
    finishing statement starts, which is its commit but for a fsync. Warm-up: two seconds.
    """
    programs.empty()
    with programs.worker(), programs.web() as (_, port):
        asyncio.run(http.paced(port, ONE, per_second, 2))
        sent = asyncio.run(http.paced(port, ONE, per_second, seconds))
        programs.wait(lambda: programs.scalar(
            "SELECT count(*) FROM jobs WHERE status <> 'completed'") == 0)  # fmt: skip
    finished = programs.scalar(
        "SELECT json_object_agg(id, extract(epoch FROM finished_at)::float8) FROM jobs"
    )
    times = [(finished[job_id] - at) * 1000 for job_id, at in sent.items()]
    return {f"p{p}": http.percentile(times, p) for p in (50, 95, 99)}


def bulk(size: int = 5000, jobs: int = 60_000) -> float:
    """Jobs per second over one connection, ``size`` at a time."""
    programs.empty()
    body = {"jobs": [{"type": "echo", "payload": {"n": n}} for n in range(size)]}
    one = http.request("/api/jobs/bulk", body)

    async def run(port: int) -> float:
        client = await http.Client.connect(port)
        await client.post(one)
        started = time.perf_counter()
        for _ in range(jobs // size):
            status, answer = await client.post(one)
            assert status == 201, answer
        client.close()
        return jobs / (time.perf_counter() - started)

    with programs.web() as (_, port):
        return asyncio.run(run(port))


def single(seconds: float = 10, connections: int = 50) -> dict[str, float]:
    """POSTs per second, their times in ms, and who used how much CPU (100 = one core)."""
    programs.empty()
    with programs.web() as (process, port):
        asyncio.run(http.flood(port, ONE, connections, 1))
        before = meter.cpu_seconds(program=process)
        times, errors = asyncio.run(http.flood(port, ONE, connections, seconds))
        after = meter.cpu_seconds(program=process)
    shares = {f"CPU {n}": 100 * (after[n] - before[n]) / seconds for n in before}
    return {
        "per second": len(times) / seconds,
        "p50": 1000 * http.percentile(times, 50),
        "p99": 1000 * http.percentile(times, 99),
        "errors": errors,
        **shares,
    }


def memory(batches: int = 4, jobs: int = 25_000) -> Iterator[tuple[int, float]]:
    """(jobs run so far, MiB resident) of one worker."""
    programs.empty()
    with programs.worker() as process:
        yield 0, process.memory_info().rss / 2**20
        for batch in range(1, batches + 1):
            enqueue(jobs)
            done = batch * jobs
            programs.wait(lambda done=done: programs.scalar(
                "SELECT count(*) FROM jobs WHERE status = 'completed'") >= done)  # fmt: skip
            yield done, process.memory_info().rss / 2**20
