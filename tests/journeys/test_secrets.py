"""What lets people and programs in is kept from handlers."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.journey


def test_a_handler_finds_no_web_secret(api, worker, wait_until):
    worker(
        SECRET_KEY="a key of thirty-two characters or more",
        API_TOKENS="ci:0123456789abcdef:viewer",
        DASHBOARD_PASSWORD="a password of its own",
        DASHBOARD_USERS="eve:another password:viewer",
    )
    for type in ("secrets", "secrets-apart"):
        job_id = api.job(type)
        job = wait_until(
            lambda i=job_id: (j := api.get(f"/api/jobs/{i}"))["status"] == "completed" and j
        )
        assert job["result"] == []
