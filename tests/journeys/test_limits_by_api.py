"""Limits set by the API, on real processes: attached to a backlog, throttled by a handler, lowered, paused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.journeys.conftest import QUICK, Api

pytestmark = pytest.mark.journey


@pytest.fixture
def put(api: Any) -> Any:
    """``put("stripe", {"concurrency": 1}, types=("ledger",))``."""

    def put(name: str, body: dict[str, Any], *, types: tuple[str, ...] = ()) -> None:
        api.put(f"/api/limits/{name}", body)
        for type_name in types:
            api.put(f"/api/job-types/{type_name}/limit", {"limit": name})

    return put


@pytest.mark.parametrize("type_name", ["throttle", "throttle-apart"])
def test_a_throttled_key_rests_and_others_go_on(
    api, worker, put, ledger, wait_until, sql, audit, type_name
):
    put("partner", {"by": "customer", "perKey": {"concurrency": 2}}, types=(type_name,))
    worker()

    def post(name: str, customer: str, **more: Any) -> str:
        return api.job(type_name, ledger.payload(name, customer=customer, **more))

    first = post("first", "a", seconds=2)
    wait_until(lambda: sql("SELECT FROM limit_keys WHERE key = 'a' AND blocked_until > now()"))
    [(closed_until,)] = sql("SELECT blocked_until FROM limit_keys WHERE key = 'a'")
    same, other = post("same", "a"), post("other", "b")
    wait_until(lambda: api.status(other) == "completed")
    wait_until(lambda: api.unfinished() == 0)
    started = dict(sql("SELECT id::text, started_at FROM jobs"))
    assert min(started[first], started[same]) >= closed_until
    assert started[other] < min(started[first], started[same])
    assert {api.get(f"/api/jobs/{job_id}")["attempts"] for job_id in (first, same, other)} == {1}
    audit()


def test_a_handler_closes_the_whole_limit(api, worker, put, ledger, wait_until, sql):
    put("partner", {"by": "customer", "concurrency": 5}, types=("throttle",))
    worker()
    api.job("throttle", ledger.payload("first", customer="a", seconds=1.5, scope="limit"))
    wait_until(lambda: sql("SELECT FROM limits WHERE blocked_until IS NOT NULL"))
    [(closed_until,)] = sql("SELECT blocked_until FROM limits WHERE name = 'partner'")
    other = api.job("throttle", ledger.payload("other", customer="b"))
    wait_until(lambda: api.unfinished() == 0)
    [(started_at,)] = sql(f"SELECT started_at FROM jobs WHERE id = '{other}'")
    assert started_at >= closed_until


def test_a_backlog_comes_under_its_limit_without_a_job_too_many(
    api, worker, put, ledger, wait_until, sql, tmp_path
):
    gate = tmp_path / "gate"
    names = [f"job-{n}" for n in range(2_500)]
    api.jobs(
        [{"type": "ledger", "payload": ledger.payload(name, until=str(gate))} for name in names]
    )
    put("tight", {"concurrency": 2}, types=("ledger",))
    worker()
    wait_until(lambda: len(ledger.lines()) == 2)
    wait_until(lambda: api.get("/api/limits/tight")["moves"] == [], timeout=20)
    assert sql("SELECT count(*) FROM jobs WHERE status = 'processing'") == [(2,)]
    assert api.get("/api/limits/tight")["waiting"] == {"count": 2498, "isExact": True}

    api.delete("/api/limits/tight", status=409)
    gate.touch()
    api.put("/api/job-types/ledger/limit", {"limit": None})
    wait_until(lambda: api.unfinished() == 0, timeout=40)
    api.delete("/api/limits/tight", status=204)
    assert ledger.count("end") == dict.fromkeys(names, 1)


def test_a_lowered_limit_ends_nothing_and_a_raised_one_fills_up(
    api, worker, put, ledger, wait_until, tmp_path
):
    put("wide", {"concurrency": 5}, types=("ledger",))
    worker()
    gates = [tmp_path / f"gate-{n}" for n in range(8)]
    for n, gate in enumerate(gates):
        api.job("ledger", ledger.payload(f"job-{n}", until=str(gate)))
    wait_until(lambda: len(ledger.lines()) == 5)
    api.patch("/api/limits/wide", {"concurrency": 2})
    assert api.get("/api/limits/wide")["running"] == 5

    for gate in gates[:4]:
        gate.touch()
    wait_until(
        lambda: api.get("/api/limits/wide")["running"] == 2 and len(ledger.names("end")) >= 3
    )
    api.patch("/api/limits/wide", {"concurrency": 5})
    wait_until(lambda: len(ledger.names("start")) == 8)
    for gate in gates:
        gate.touch()
    wait_until(lambda: api.unfinished() == 0)


def test_a_paused_limit_and_a_paused_key_start_nothing(api, worker, put, ledger, wait_until):
    put("partner", {"by": "customer", "concurrency": 5}, types=("throttle",))
    worker()
    api.post("/api/limits/partner/keys/a/pause", status=200)
    stopped = api.job("throttle", ledger.payload("a", customer="a"))
    other = api.job("throttle", ledger.payload("b", customer="b"))
    wait_until(lambda: api.status(other) == "completed")
    assert api.get(f"/api/jobs/{stopped}")["waitingFor"]["reason"] == "paused"
    api.post("/api/limits/partner/pause", status=200)
    api.post("/api/limits/partner/keys/a/resume", status=200)
    assert api.get(f"/api/jobs/{stopped}")["waitingFor"]["reason"] == "paused"
    api.post("/api/limits/partner/resume", status=200)
    wait_until(lambda: api.status(stopped) == "completed")


def test_an_edited_payload_moves_a_job_to_its_new_key(api, worker, put, ledger, wait_until):
    put("partner", {"by": "customer", "concurrency": 5}, types=("throttle",))
    worker()
    api.post("/api/limits/partner/keys/a/pause", status=200)
    job_id = api.job("throttle", ledger.payload("a", customer="a"))
    api.patch(f"/api/jobs/{job_id}", {"payload": ledger.payload("a", customer="b")})
    wait_until(lambda: api.status(job_id) == "completed")
    assert api.get(f"/api/jobs/{job_id}")["limit"] == {"name": "partner", "key": "b"}


MODULES = {"JOB_MODULES": "tests.support.handlers,tests.support.limited"}


def test_an_override_of_the_codes_numbers_survives_deploys(
    web, worker, ledger, wait_until, tmp_path
):
    api = Api(web(**{**QUICK, **MODULES}).url)
    program = worker(**MODULES)
    limit = wait_until(lambda: next(iter(api.get("/api/limits")), None))
    assert (limit["source"], limit["concurrency"], limit["types"]) == ("code", 3, ["limited"])
    api.patch("/api/limits/of-code", {"concurrency": 1})

    for number in ("5", "6", "7"):
        program.stop()
        program = worker(**MODULES, OF_CODE=number)
        wait_until(
            lambda number=number: api.get("/api/limits/of-code")["concurrency"] == int(number)
        )
        assert api.get("/api/limits/of-code")["effective"]["concurrency"] == 1

    gate = tmp_path / "gate"
    for n in range(4):
        api.job("limited", ledger.payload(f"job-{n}", until=str(gate), customer=str(n)))
    wait_until(lambda: api.get("/api/limits/of-code")["running"] == 1)
    assert api.get("/api/limits/of-code")["waiting"]["count"] == 3
    api.delete("/api/limits/of-code/override", status=200)
    wait_until(lambda: api.get("/api/limits/of-code")["running"] == 4)
    gate.touch()
    wait_until(lambda: api.unfinished() == 0)
