"""A handler that no exception reaches costs its worker, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.journey, pytest.mark.timeout(90)]


def test_a_stuck_thread_is_reported_and_the_worker_exits_after_its_other_jobs(
    api: Any, worker: Any, wait_until: Any, ledger: Any, audit: Any
) -> None:
    program = worker(STUCK_SECONDS="1")
    # One C call: the thrown exception waits until it returns.
    stuck = api.job("sleep-in-c", {"seconds": 60}, timeoutSeconds=0.3, maxAttempts=1)
    neighbours = [{"type": "ledger", "payload": ledger.payload(f"job-{n}", seconds=3)} for n in range(4)]  # fmt: skip
    api.jobs(neighbours)
    wait_until(lambda: any(r.get("isOverdue") for w in api.get("/api/workers") for r in w["running"]))  # fmt: skip
    assert program.process.wait(30) == 70
    assert "has ignored its timeout" in program.output
    # What ran beside it was finished, not interrupted; the stuck attempt is spent, not given back.
    assert ledger.count("end") == {f"job-{n}": 1 for n in range(4)}
    job = api.get(f"/api/jobs/{stuck}")
    assert (job["status"], job["attempts"]) == ("failed", 1)
    assert "time" in job["lastError"].lower()
    assert [w["state"] for w in api.get("/api/workers")] == ["stopped"]
    audit()
