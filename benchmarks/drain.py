"""30,000 pre-queued no-op jobs through the Procfile's worker, compared with plain Huey on the same Redis.

Both clocks run from the first job's start to the last job's end; starting the program is not in it.
Ours: every outcome committed in PostgreSQL (with fsync), counters, statistics, results kept.
Plain Huey 3.5: five threads, RedisHuey as its documentation sets it up, results off (nobody reads
them), nothing durable.
"""

from __future__ import annotations

import time

from app import create_app
from app.extensions import db
from app.jobs import lifecycle
from app.jobs.lifecycle import NewJob
from benchmarks import programs
from benchmarks.peers import plain_huey as peer

JOBS = 30_000


def ours(jobs: int = JOBS, workers: int = 1, *, keep: bool = False) -> float:
    """Jobs per second; ``keep`` leaves what is in the table."""
    if not keep:
        programs.empty()
    scalar = programs.scalar
    if keep:
        # Jobs that were pending there would run as well.
        scalar("UPDATE jobs SET run_at = now() + interval '1 day' WHERE status = 'pending'")
        scalar("VACUUM ANALYZE jobs")
        with programs.worker():
            programs.settle()
    scalar("CREATE TEMP TABLE IF NOT EXISTS mark AS SELECT now() AS at")
    scalar("UPDATE mark SET at = now()")
    enqueue(jobs)
    with programs.worker():
        extra = [programs.worker() for _ in range(workers - 1)]
        for one in extra:
            one.__enter__()
        programs.wait_until_done()
        for one in extra:
            one.__exit__(None, None, None)
    span = scalar(
        "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM jobs"
        " WHERE started_at > (SELECT at FROM mark)"
    )
    done = scalar("SELECT count(*) FROM jobs WHERE started_at > (SELECT at FROM mark)")
    assert done == jobs, (done, jobs)
    return jobs / span


def busy(per_second: float, seconds: float = 10) -> dict[str, float]:
    """Milliseconds from enqueuing to completion while jobs come at a steady rate, 50 to a transaction."""
    programs.empty()
    app = create_app()
    with app.app_context(), programs.worker():
        start = time.perf_counter()
        for n in range(int(per_second * seconds / 50)):
            time.sleep(max(0.0, start + n * 50 / per_second - time.perf_counter()))
            lifecycle.enqueue(db.session, [NewJob("echo", {"n": n}) for _ in range(50)])
            db.session.commit()
        rate = int(per_second * seconds / 50) * 50 / (time.perf_counter() - start)
        programs.wait(lambda: programs.scalar("SELECT count(*) FROM jobs WHERE status <> 'completed'") == 0)  # fmt: skip
        db.session.remove()
        db.engine.dispose()
    found = programs.scalar(
        "SELECT json_agg(percentile) FROM (SELECT unnest(percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP ("
        "ORDER BY extract(epoch FROM finished_at - created_at)::float8)) * 1000 AS percentile FROM jobs) AS p"
    )
    return {"rate": rate, **dict(zip(("p50", "p95", "p99"), found, strict=True))}


def enqueue(jobs: int, type: str = "echo") -> None:
    """``jobs`` due jobs, published, as any application would."""
    app = create_app()
    with app.app_context():
        for start in range(0, jobs, 5000):
            batch = [NewJob(type, {"n": n}) for n in range(start, min(jobs, start + 5000))]
            lifecycle.enqueue(db.session, batch)
            db.session.commit()
        db.session.remove()
        db.engine.dispose()


def plain_huey(jobs: int = JOBS) -> float:
    """Jobs per second."""
    programs.redis().flushdb()
    for n in range(jobs):
        peer.enqueue({"n": n})
    with programs.program("huey_consumer benchmarks.peers.plain_huey.huey -w 5 -k thread"):
        programs.wait(lambda: peer.huey.pending_count() < jobs)
        started, left = time.perf_counter(), peer.huey.pending_count()
        programs.wait(lambda: peer.huey.pending_count() == 0)
        return left / (time.perf_counter() - started)
