"""A job's way through real processes when nothing is wrong, and when its handler is."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.journey


def test_a_posted_job_runs_and_its_result_is_kept(api, worker, wait_until, audit):
    worker()
    job_id = api.job("echo", {"hello": "wörld", "big": 12345678901234567890})
    job = wait_until(
        lambda: (found := api.get(f"/api/jobs/{job_id}"))["status"] == "completed" and found
    )
    assert job["result"] == {"hello": "wörld", "big": 12345678901234567890}
    assert job["attempts"] == 1
    audit()


def test_retries_lead_to_a_dead_letter_and_a_person_leads_back(
    api, worker, wait_until, redis, audit
):
    worker()
    job_id = api.job("fail", {"times": 4, "message": "no luck"}, maxAttempts=3)
    wait_until(lambda: api.status(job_id) == "failed")
    assert [a["outcome"] for a in api.get(f"/api/jobs/{job_id}/attempts")] == ["failed"] * 3

    [letter] = api.get("/api/dead-letters")
    assert (letter["jobId"], letter["attempts"]) == (job_id, 3)
    mirrored = wait_until(lambda: redis.lrange("job-dlq", 0, -1))
    entry = json.loads(mirrored[0])
    assert set(entry) == {"jobId", "type", "payload", "reason", "attempts", "failedAt"}
    assert "no luck" in entry["reason"]

    api.post(f"/api/jobs/{job_id}/retry", status=200)
    wait_until(lambda: api.status(job_id) == "failed" or redis.llen("job-dlq") == 0)
    wait_until(lambda: api.status(job_id) == "failed")
    audit()


def test_a_retry_starts_when_it_is_due_and_completes(api, worker, wait_until, ledger, audit):
    worker()
    job_id = api.job("ledger", ledger.payload("a", fail_times=2))
    wait_until(lambda: api.status(job_id) == "completed")
    assert [line[1:3] for line in ledger.lines()] == [
        ["start", "1"], ["start", "2"], ["start", "3"], ["end", "3"],
    ]  # fmt: skip
    audit()


def test_two_workers_run_each_job_once(api, worker, wait_until, ledger, audit, tmp_path):
    worker()
    worker()
    names, gate = [f"job-{n}" for n in range(400)], tmp_path / "gate"
    payloads = [ledger.payload(name, until=str(gate)) for name in names]
    api.jobs([{"type": "ledger", "payload": payload} for payload in payloads])
    wait_until(lambda: len(ledger.names("start")) == 10, timeout=20)
    gate.touch()
    wait_until(lambda: api.unfinished() == 0, timeout=20)
    assert ledger.count("start") == dict.fromkeys(names, 1)
    assert len({line[3] for line in ledger.lines()}) == 2
    audit()


def test_higher_priority_starts_first(api, worker, wait_until, ledger, redis, tmp_path):
    gate = tmp_path / "gate"
    api.post("/api/queues/default/pause")
    specs = [
        {"type": "ledger", "payload": ledger.payload(str(p), until=str(gate)), "priority": p}
        for p in range(-3, 4)
    ]
    api.jobs(specs)
    late = api.job("ledger", ledger.payload("late"), delay=3600)
    worker()
    # What it popped while the queue was paused is let go of before the next pop, which is this job's.
    wait_until(lambda: redis.zcard("{jobs}:ready:default") == 0)
    other = api.job("echo", {}, queue="other")
    wait_until(lambda: api.status(other) == "completed")
    assert ledger.lines() == []
    api.post("/api/queues/default/resume")
    # Five threads start at once and hold on to their jobs: the first claims took the highest.
    wait_until(lambda: len(ledger.names("start")) == 5)
    assert set(ledger.names("start")) == {"3", "2", "1", "0", "-1"}
    gate.touch()
    wait_until(lambda: len(ledger.names("end")) == 7)
    assert set(ledger.names("start")[5:]) == {"-2", "-3"}
    api.post(f"/api/jobs/{late}/run", status=200)
    wait_until(lambda: api.unfinished() == 0)
    assert ledger.names("start")[7:] == ["late"]


def test_a_running_job_stops_on_request(api, worker, wait_until, audit):
    worker()
    job_id = api.job("act", {"do": "wait for cancel"})
    wait_until(lambda: api.status(job_id) == "processing")
    assert api.post(f"/api/jobs/{job_id}/cancel", status=200)["cancelRequested"] is True
    wait_until(lambda: api.status(job_id) == "cancelled")
    audit()


def test_a_worker_stops_when_somebody_asks(api, worker, wait_until, sql, ledger):
    program = worker()
    job_id = api.job("ledger", ledger.payload("slow", seconds=1.5))
    wait_until(lambda: ledger.count("start")["slow"] == 1)
    [(worker_id,)] = sql("SELECT id FROM workers WHERE stopped_at IS NULL")
    sql(f"UPDATE workers SET stop_requested_at = now() WHERE id = '{worker_id}' RETURNING 1")
    wait_until(lambda: not program.is_alive, timeout=20)
    assert api.status(job_id) == "completed"
    assert sql(f"SELECT stopped_at IS NOT NULL FROM workers WHERE id = '{worker_id}'") == [(True,)]
