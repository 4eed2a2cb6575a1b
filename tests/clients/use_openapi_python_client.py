"""What an integrator does with the client of openapi-python-client. Argument: the server's address."""

from __future__ import annotations

import sys
import time
from uuid import UUID

from job_queue_client import Client
from job_queue_client.api.jobs import create_job, get_job, list_jobs
from job_queue_client.models import Error, Job, JobRequest, JobRequestPayload, JobStatus

client = Client(base_url=sys.argv[1])

payload = JobRequestPayload.from_dict({"hello": "world", "deep": [1, {"a": None}]})
made = [
    create_job.sync(client=client, body=JobRequest(type_="echo", payload=payload)) for _ in range(3)
]
assert all(isinstance(job, Job) for job in made), made

job = made[0]
until = time.monotonic() + 20
while job.status != JobStatus.COMPLETED:
    assert time.monotonic() < until, job
    time.sleep(0.05)
    job = get_job.sync(job.id, client=client)
    assert isinstance(job, Job), job
assert job.result == {"hello": "world", "deep": [1, {"a": None}]}, job.result

found, cursor = [], None
while True:
    page = list_jobs.sync_detailed(client=client, limit=2, **({"cursor": cursor} if cursor else {}))
    found += [one.id for one in page.parsed]
    cursor = page.headers.get("X-Next-Cursor")
    if cursor is None:
        break
assert {one.id for one in made} <= set(found)
assert len(found) == len(set(found))

refused = create_job.sync_detailed(client=client, body=JobRequest(type_="no-such-type"))
assert refused.status_code == 422
assert isinstance(refused.parsed, Error)
assert refused.parsed.code == "unknown_job_type", refused.parsed
assert "type" in refused.parsed.errors.additional_properties

absent = get_job.sync(UUID(int=0), client=client)
assert isinstance(absent, Error), absent
assert absent.code == "job_not_found"
