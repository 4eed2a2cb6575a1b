"""Jobs under limits: throughput, handover of a slot, bulk inserts, and admission with a million jobs that wait."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app import create_app
from app.extensions import db
from app.jobs import lifecycle
from app.jobs.lifecycle import NewJob
from app.jobs.limits import admission
from benchmarks import drain, http, programs

NAME = "measured"
#: Jobs of the insert that is compared.
BULK = 10_000


@contextmanager
def attached(**numbers: object) -> Iterator[None]:
    """The type echo is under a limit with these numbers (columns of limits); the table is empty before."""
    programs.empty()
    columns = ", ".join(["name", "source", *numbers])
    marks = ", ".join(["%s"] * (len(numbers) + 2))
    programs.scalar(
        f"INSERT INTO limits ({columns}) VALUES ({marks})", NAME, "api", *numbers.values()
    )
    programs.scalar(
        "INSERT INTO limit_attachments (kind, name, limit_name) VALUES ('type', 'echo', %s)", NAME
    )
    try:
        yield
    finally:
        programs.scalar("DELETE FROM limit_attachments WHERE limit_name = %s", NAME)
        programs.scalar("DELETE FROM limits WHERE name = %s", NAME)


def enqueue(jobs: int, keys: int) -> float:
    """Enqueue no-ops in statements of 5,000, their keys in turn; jobs per second."""
    app = create_app()
    with app.app_context():
        started = time.perf_counter()
        for start in range(0, jobs, 5000):
            batch = [
                NewJob("echo", {"n": n}, limit_key=str(n % keys) if keys else None)
                for n in range(start, min(jobs, start + 5000))
            ]
            lifecycle.enqueue(db.session, batch)
            db.session.commit()
        seconds = time.perf_counter() - started
        db.session.remove()
        db.engine.dispose()
    return jobs / seconds


def _span() -> float:
    seconds: float = programs.scalar(
        "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM jobs"
    )
    return seconds


def throughput(jobs: int = 20_000, slots: int = 200, keys: int = 1000, workers: int = 1) -> float:
    """Limited no-ops per second."""
    with attached(concurrency=slots):
        enqueue(jobs, keys)
        with programs.worker():
            extra = [programs.worker() for _ in range(workers - 1)]
            for worker in extra:
                worker.__enter__()
            programs.wait_until_done()
            for worker in extra:
                worker.__exit__(None, None, None)
        return jobs / _span()


def handover(jobs: int = 500) -> dict[str, float]:
    """Milliseconds from the end of a job to the start of the next, at a limit of one."""
    with attached(concurrency=1):
        enqueue(jobs, 0)
        with programs.worker():
            programs.wait_until_done()
        found = programs.scalar(
            "SELECT json_agg(1000 * extract(epoch FROM started_at - before)::float8) FROM ("
            "SELECT started_at, lag(finished_at) OVER (ORDER BY started_at) AS before FROM jobs) AS j"
            " WHERE before IS NOT NULL"
        )
    return {f"p{p}": http.percentile(found, p) for p in (50, 99)}


def bulk_ratio() -> float:
    """The rate of inserts of limited jobs, as a share of that of others."""
    programs.empty()
    drain.enqueue(BULK)
    programs.empty()
    free = enqueue(BULK, 0)
    programs.empty()
    with attached(concurrency=10):
        limited = enqueue(BULK, 1000)
    return limited / free


def waiting(jobs: int = 1_000_000, keys: int = 1000, passes: int = 50) -> dict[str, float]:
    """Milliseconds of a pass that admits one job, and of the claim order's window, while ``jobs`` wait."""
    with attached(concurrency=passes):
        programs.scalar(
            "INSERT INTO jobs (id, queue, type, payload, hold, limit_name, limit_key)"
            " SELECT gen_random_uuid(), 'default', 'echo', '{}', 1, %s, (n %% %s)::text"
            " FROM generate_series(1, %s) AS n", NAME, keys, jobs,
        )  # fmt: skip
        programs.scalar("VACUUM ANALYZE jobs")
        programs.scalar(
            "INSERT INTO workers (id, host, pid, version, queues, threads, live_threads)"
            " VALUES (gen_random_uuid(), 'here', 1, '0', '{}', 5, 5)"
        )
        times = []
        app = create_app()
        with app.app_context():
            for n in range(1, passes + 1):
                programs.scalar("UPDATE limits SET concurrency = %s WHERE name = %s", n, NAME)
                started = time.perf_counter()
                with db.engine.begin() as connection:
                    done = admission.admit(connection, NAME, alive_seconds=600)
                times.append(1000 * (time.perf_counter() - started))
                assert len(done.admitted) == 1
            db.engine.dispose()
        programs.scalar("TRUNCATE workers")
    return {"p50": statistics.median(times), "max": max(times)}
