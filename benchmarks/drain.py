"""30,000 pre-queued no-op jobs through the Procfile's worker, beside plain Huey on the same Redis.

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


def ours(jobs: int = JOBS, workers: int = 1) -> float:
    """Jobs per second."""
    programs.empty()
    enqueue(jobs)
    scalar = programs.scalar
    with programs.worker():
        extra = [programs.worker() for _ in range(workers - 1)]
        for one in extra:
            one.__enter__()
        programs.wait(
            lambda: scalar("SELECT count(*) FROM jobs WHERE status = 'completed'") == jobs
        )
        for one in extra:
            one.__exit__(None, None, None)
    span = scalar("SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM jobs")
    return jobs / span


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
