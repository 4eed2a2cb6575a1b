"""Leases prolonged, cancel requests brought back, progress stored, the worker's row signed."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.worker.heartbeat import memory_bytes
from app.worker.kernel import Kernel
from app.worker.sweeper.rescue import rescue_jobs
from tests.support import handlers


@pytest.fixture
def at_the_gate(kernel: Kernel, enqueue: Any) -> Any:
    """A job of this kernel whose handler waits until the gate opens: its id, and how to let it end."""
    handlers.gate_reached.clear()
    handlers.gate_opened.clear()
    job_id = enqueue("gate", {"report": True})
    claimed = kernel.next()
    assert claimed is not None
    thread = threading.Thread(target=kernel.run, args=[claimed])
    thread.start()
    assert handlers.gate_reached.wait(60)

    def end() -> None:
        handlers.gate_opened.set()
        thread.join(60)
        assert not thread.is_alive()

    yield job_id, end
    end()


@pytest.fixture(autouse=True)
def settings(app: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Leases that no busy machine outlasts between a heartbeat and a look at it."""
    long = replace(app.extensions["settings"], lease_seconds=120.0)
    monkeypatch.setitem(app.extensions, "settings", long)
    return long


def database_time(rows: Any) -> datetime:
    """The clock that leases are judged by."""
    [row] = rows("SELECT clock_timestamp() AS now")
    now: datetime = row.now
    return now


def expire_lease(rows: Any, job_id: UUID) -> None:
    rows("UPDATE jobs SET leased_until = now() - interval '1 s' WHERE id = :id", id=job_id)


def test_a_running_job_keeps_its_lease(
    kernel: Kernel,
    at_the_gate: Any,
    rows: Any,
    row: Any,
    engine: Any,
    ready: Any,
    settings: Any,
) -> None:
    job_id, end = at_the_gate
    expire_lease(rows, job_id)
    before = database_time(rows)
    kernel.heartbeat.beat()
    after = database_time(rows)
    assert rescue_jobs(engine, ready) == 0
    lease = timedelta(seconds=settings.lease_seconds)
    assert before + lease <= row(job_id).leased_until <= after + lease
    end()
    assert row(job_id).status == "completed"


def test_a_waiting_job_keeps_its_lease(
    kernel: Kernel, enqueue_many: Any, rows: Any, engine: Any, ready: Any
) -> None:
    ids = enqueue_many(3)
    for _ in range(60):
        kernel.inbox.finished()  # so busy that it takes more than it runs
    first = kernel.next()
    waiting = [i for i in ids if first and i != first.id]
    assert {job.id for job in kernel.inbox.held()} == set(waiting)
    for job_id in waiting:
        expire_lease(rows, job_id)
    kernel.heartbeat.beat()
    assert rescue_jobs(engine, ready) == 0


def test_a_job_whose_thread_died_is_left_to_rescue(
    kernel: Kernel, at_the_gate: Any, rows: Any, row: Any, engine: Any, ready: Any
) -> None:
    job_id, end = at_the_gate
    [attempt] = kernel.runner.attempts.values()
    dead = threading.Thread(target=lambda: None)
    dead.start()
    dead.join()
    attempt.thread = dead
    expire_lease(rows, job_id)
    kernel.heartbeat.beat()
    assert rescue_jobs(engine, ready) == 1
    end()  # its outcome comes too late
    assert (row(job_id).status, row(job_id).crashes) == ("pending", 1)


def test_a_cancel_request_reaches_the_handler(
    kernel: Kernel, at_the_gate: Any, session: Any, row: Any
) -> None:
    from app.jobs import lifecycle

    job_id, end = at_the_gate
    lifecycle.cancel(session, [job_id], by="ada")
    session.commit()
    kernel.heartbeat.beat()
    end()
    assert row(job_id).status == "cancelled"


def test_progress_and_log_lines_are_stored_while_the_job_runs(
    kernel: Kernel, at_the_gate: Any, row: Any, rows: Any
) -> None:
    job_id, _ = at_the_gate
    kernel.heartbeat.beat()
    assert row(job_id).progress["percent"] == 40
    lines = rows(
        "SELECT message, level FROM job_log_lines WHERE job_id = :id ORDER BY id", id=job_id
    )
    assert [tuple(line) for line in lines] == [("first line", "info"), ("second line", "warning")]


def test_the_row_shows_the_worker_and_its_running_jobs(
    kernel: Kernel, at_the_gate: Any, rows: Any
) -> None:
    job_id, _ = at_the_gate
    kernel.heartbeat.beat()
    [row] = rows("SELECT * FROM workers")
    assert (row.id, row.pid) == (kernel.worker_id, os.getpid())
    assert [(job["jobId"], job["type"], job["attempt"]) for job in row.running] == [
        (str(job_id), "gate", 1)
    ]
    assert row.memory_bytes > 10 * 1024 * 1024
    assert row.stopped_at is None


def test_the_row_counts_refused_endings(kernel: Kernel, rows: Any) -> None:
    kernel.outbox.refused = 3
    kernel.heartbeat.beat()
    assert [row.refused for row in rows("SELECT refused FROM workers")] == [3]


def test_a_stop_is_recorded(kernel: Kernel, rows: Any) -> None:
    kernel.heartbeat.beat()
    kernel.begin_stop()
    kernel.finish_stop()
    [row] = rows("SELECT stopped_at, running FROM workers")
    assert row.stopped_at is not None
    assert row.running == []


def test_a_wrong_clock_is_set_from_the_database(kernel: Kernel, rows: Any) -> None:
    kernel.clock.set(0.0)
    before = database_time(rows)
    kernel.heartbeat.beat()
    shown = kernel.clock.now_ms() / 1000
    after = database_time(rows)
    assert before.timestamp() - 0.01 <= shown <= after.timestamp() + 0.01


def test_an_unavailable_database_is_logged_once_and_retried(
    make_kernel: Any, cut_engine: Any, database_proxy: Any, caplog: Any, rows: Any
) -> None:
    kernel = make_kernel()
    kernel.heartbeat._engine = cut_engine
    database_proxy.cut()
    with caplog.at_level(logging.WARNING, "app.worker.heartbeat"):
        kernel.heartbeat.beat()
        kernel.heartbeat.beat()
    assert [r.message.partition(",")[0] for r in caplog.records] == ["Heartbeat failed"]
    database_proxy.mend()
    kernel.heartbeat.beat()
    assert rows("SELECT count(*) AS n FROM workers")[0].n == 1


def test_memory_is_that_of_this_process() -> None:
    assert 10 * 1024 * 1024 < (memory_bytes() or 0) < 4 * 1024**3
