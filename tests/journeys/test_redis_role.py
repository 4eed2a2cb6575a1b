"""Whole programs on a Redis that fails over, and on one that two deployments share."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.conftest import QUICK, Api
from tests.support.redis_servers import fail_over, replicated, starter


@pytest.mark.long
def test_work_goes_on_within_ten_seconds_of_a_failover_of_redis(
    test_env: dict[str, str], redis: Any, web: Any, consumer: Any, wait_until: Any, tmp_path: Path
) -> None:
    with starter(tmp_path) as start:
        primary, replica, address = replicated(start)
        env = {**test_env, **QUICK, "REDIS_URL": address.url}
        api = Api(web(base=env).url)
        worker = consumer(base=env)
        for n in range(20):
            api.job("echo", {"n": n})
        wait_until(lambda: api.unfinished() == 0, timeout=10)

        fail_over(primary, replica, address)
        took = []
        for n in range(20):
            began = time.monotonic()
            api.job("echo", {"n": n})
            took.append(time.monotonic() - began)
        wait_until(lambda: api.unfinished() == 0, timeout=10)

        assert api.stats()["completed"] == 40
        assert max(took) < 2
        assert api.job("fail", {"permanent": True})
        wait_until(lambda: replica.client.llen("job-dlq") == 1, timeout=10)
        assert worker.output.count("Traceback") == 0
        address.close()


@pytest.mark.long
def test_two_deployments_on_one_redis_run_their_own_jobs_soon(
    test_env: dict[str, str], private: Any, redis: Any, web: Any, consumer: Any, wait_until: Any
) -> None:
    envs = [{**test_env, **QUICK}, {**private.env(), **QUICK, "REDIS_URL": test_env["REDIS_URL"]}]
    apis = [Api(web(base=env).url) for env in envs]
    workers = [consumer(base=env) for env in envs]
    waits = []
    for n in range(20):
        for api in apis:
            began = time.monotonic()
            job_id = api.job("echo", {"n": n})
            wait_until(lambda api=api, job_id=job_id: api.status(job_id) == "completed", timeout=15)
            waits.append(time.monotonic() - began)
    for api in apis:
        assert api.job("fail", {"permanent": True})

    assert sorted(waits)[len(waits) // 2] < 1
    assert max(waits) < 4
    wait_until(lambda: all("REDIS_PREFIX" in worker.output for worker in workers), timeout=10)
    wait_until(lambda: redis.llen("job-dlq") == 1, timeout=10)  # of one of them only
