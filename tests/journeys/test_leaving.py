"""How a worker process ends: within its time, and with everything it started."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import psutil
import pytest

from tests.journeys.conftest import Api

pytestmark = [pytest.mark.journey, pytest.mark.long]


def is_gone(process: psutil.Process) -> bool:
    """Ended, though its exit status may not have been asked for."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("act", ["ledger-apart", "gil"])
def test_children_and_fork_server_die_with_their_worker(
    api: Api, worker: Any, wait_until: Any, ledger: Any, act: str
) -> None:
    program = worker()
    if act == "gil":
        api.job("act-apart", {"do": "hold the gil"})
        # Worker, fork server and resource tracker, child: the last one has a session of work in C.
        wait_until(lambda: any(p.cpu_times().user > 1 and p.ppid() != program.pid
                               for p in psutil.Process(program.pid).children(recursive=True)))  # fmt: skip
    else:
        api.job("ledger-apart", ledger.payload("job", seconds=60))
        wait_until(lambda: ledger.count("start"))
    descendants = psutil.Process(program.pid).children(recursive=True)
    assert len(descendants) >= 2

    os.kill(program.pid, signal.SIGKILL)  # only the worker: no group, no clean-up

    wait_until(lambda: all(is_gone(p) for p in descendants), timeout=5)


@pytest.mark.parametrize("act", ["leave a thread", "leave an executor"])
def test_what_handlers_left_running_does_not_keep_the_worker(
    api: Api, worker: Any, wait_until: Any, act: str
) -> None:
    program = worker()
    jobs = [api.job(type, {"do": act}) for type in ("act", "act-apart")]
    wait_until(lambda: [api.status(i) for i in jobs] == ["completed"] * 2, timeout=20)

    started = time.monotonic()
    assert program.stop(timeout=15) == 0
    assert time.monotonic() - started < 10
    [row] = api.get("/api/workers")
    assert row["state"] == "stopped"


def test_the_time_to_drain_is_a_setting_and_what_can_not_end_in_it_is_given_back(
    api: Api, worker: Any, wait_until: Any, ledger: Any, audit: Any
) -> None:
    program = worker(DRAIN_SECONDS="1")
    ids = [
        api.job("ledger", ledger.payload("thread", seconds=60)),
        api.job("ledger-apart", ledger.payload("child", seconds=60)),
        api.job("ledger", ledger.payload("quick", seconds=0.5)),
    ]
    wait_until(lambda: len(ledger.count("start")) == 3, timeout=20)
    started = time.monotonic()
    assert program.stop(timeout=15) == 0
    assert time.monotonic() - started < 10
    jobs = [api.get(f"/api/jobs/{i}") for i in ids]
    assert [job["status"] for job in jobs[:2]] == ["pending"] * 2
    assert [(job["attempts"], job["crashes"]) for job in jobs[:2]] == [(0, 0)] * 2
    for job in jobs[:2]:
        [attempt] = api.get(f"/api/jobs/{job['id']}/attempts")
        assert attempt["outcome"] == "released"
    audit()


def test_a_fork_server_that_hangs_ends_with_its_worker(
    api: Api, worker: Any, wait_until: Any, audit: Any
) -> None:
    program = worker()
    job_id = api.job("act-apart", {"do": "stop the fork server"})
    wait_until(lambda: api.status(job_id) == "completed", timeout=20)
    server = psutil.Process(api.get(f"/api/jobs/{job_id}")["result"])
    try:
        assert server.status() == psutil.STATUS_STOPPED
        assert program.stop(timeout=15) == 0
        wait_until(lambda: is_gone(server), timeout=5)
    finally:
        if not is_gone(server):
            server.kill()
    audit()
