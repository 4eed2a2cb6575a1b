"""What an integrator does with openapi-generator's Python client. Argument: the server's address."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from uuid import UUID

from openapi_client import ApiClient, ApiException, Configuration, JobRequest, JobsApi

jobs = JobsApi(ApiClient(Configuration(host=sys.argv[1])))

made = [
    jobs.create_job(JobRequest(type="echo", payload={"hello": "world", "n": [1, None]}))
    for _ in range(3)
]
job = made[0]
until = time.monotonic() + 20
while job.status != "completed":
    assert time.monotonic() < until, job
    time.sleep(0.05)
    job = jobs.get_job(job.id)
assert job.result == {"hello": "world", "n": [1, None]}, job.result

found, cursor = [], None
while True:
    page = jobs.list_jobs_with_http_info(limit=2, cursor=cursor)
    found += [one.id for one in page.data]
    headers = {name.lower(): value for name, value in page.headers.items()}
    cursor = headers.get("x-next-cursor")
    if cursor is None:
        break
assert {one.id for one in made} <= set(found)


def refused(call: Callable[[], object]) -> ApiException:
    try:
        call()
    except ApiException as error:
        return error
    raise AssertionError("not refused")


error = refused(lambda: jobs.create_job(JobRequest(type="no-such-type")))
assert error.status == 422
assert error.data.code == "unknown_job_type", error.data
assert "type" in error.data.errors

error = refused(lambda: jobs.get_job(UUID(int=0)))
assert (error.status, error.data.code) == (404, "job_not_found")
