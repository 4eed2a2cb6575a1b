"""Attempts in a child process: their results come back, and their end harms nobody else."""

from __future__ import annotations

import time

import pytest

pytestmark = [pytest.mark.journey, pytest.mark.long]


@pytest.fixture(autouse=True)
def _running(worker):
    worker()


def test_a_child_answers_with_result_progress_and_log(api, wait_until, audit):
    job_id = api.job("act-apart", {"do": "report"})
    job = wait_until(
        lambda: (found := api.get(f"/api/jobs/{job_id}"))["status"] == "completed" and found
    )
    assert job["result"] == "reported"
    assert job["progress"]["percent"] == 40
    lines = api.get(f"/api/jobs/{job_id}/log")
    assert [line["message"] for line in lines] == ["first line", "second line"]
    audit()


def test_it_runs_in_another_process_and_every_attempt_in_its_own(api, wait_until):
    ids = [api.job("act-apart", {"do": "attempt"}) for _ in range(3)]
    jobs = [
        wait_until(lambda i=i: (j := api.get(f"/api/jobs/{i}"))["status"] == "completed" and j)
        for i in ids
    ]
    [pid] = {w["pid"] for w in api.get("/api/workers")}
    pids = {job["result"]["pid"] for job in jobs}
    assert len(pids) == 3
    assert pid not in pids


def test_an_error_in_a_child_is_an_error_with_its_traceback(api, wait_until):
    job_id = api.job("act-apart", {"do": "raise", "message": "far away"}, maxAttempts=1)
    wait_until(lambda: api.status(job_id) == "failed")
    [attempt] = api.get(f"/api/jobs/{job_id}/attempts")
    assert (attempt["outcome"], attempt["error"]) == ("failed", "ValueError: far away")
    assert "tests/support/handlers.py" in attempt["traceback"]
    assert "pebble" not in attempt["traceback"]


def test_a_child_that_dies_counts_as_a_crash_until_it_is_buried(api, wait_until, audit):
    job_id = api.job("act-apart", {"do": "die", "code": 9})
    wait_until(lambda: api.status(job_id) == "failed", timeout=20)
    attempts = api.get(f"/api/jobs/{job_id}/attempts")
    assert [a["outcome"] for a in attempts] == ["crashed"] * 3
    assert "exit code 9" in attempts[0]["error"]
    [letter] = api.get("/api/dead-letters")
    assert letter["reason"] == "crashed its worker 3 times"
    audit()


@pytest.mark.parametrize("act", ["spin", "hold the gil"])
def test_a_child_past_its_timeout_ends_even_where_a_thread_would_not(api, wait_until, act):
    started = time.monotonic()
    spec = {"do": act, "seconds": 60}
    job_id = api.job("act-apart", spec, timeoutSeconds=1, maxAttempts=1)
    wait_until(lambda: api.status(job_id) == "failed", timeout=20)
    [attempt] = api.get(f"/api/jobs/{job_id}/attempts")
    assert attempt["outcome"] == "timed_out"
    assert time.monotonic() - started < 20


def test_a_child_is_ended_on_request(api, wait_until, audit):
    job_id = api.job("act-apart", {"do": "spin", "seconds": 60})
    wait_until(lambda: api.status(job_id) == "processing")
    api.post(f"/api/jobs/{job_id}/cancel", status=200)
    wait_until(lambda: api.status(job_id) == "cancelled")
    audit()


def test_a_child_starts_in_well_under_a_second_once_one_has(api, wait_until):
    """No figure is asserted but an order of magnitude: a fork, not a new interpreter with imports."""
    first = api.job("act-apart")
    wait_until(lambda: api.status(first) == "completed")
    ids = [api.job("act-apart") for _ in range(5)]
    wait_until(lambda: all(api.status(i) == "completed" for i in ids), timeout=20)


def test_a_childs_session_is_committed_when_its_handler_returns_and_rolled_back_when_it_raises(
    api, wait_until, audit
):
    ids = [
        api.job("act-apart", {"do": "enqueue", **more}, maxAttempts=1)
        for more in ({}, {"then": "raise"}, {"then": "permanent"}, {"then": "snooze", "seconds": 900})
    ]  # fmt: skip
    wait_until(lambda: [api.status(i) for i in ids] == ["completed", "failed", "failed", "pending"])
    [child] = wait_until(lambda: api.get("/api/jobs?tag=child&status=completed"))
    assert child["payload"] == {"of": ids[0]}
    assert api.get(f"/api/jobs/{ids[0]}")["result"] == child["id"]
    audit()
