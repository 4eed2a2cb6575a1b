"""The pytest plugin as used by a package outside this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support import services

MODELS = """
from app.extensions import db


class Order(db.Model):
    __tablename__ = "shop_orders"
    number = db.Column(db.Integer, primary_key=True)
"""
JOBS = """
from app.extensions import db
from app.jobs import Limit, Permanent, enqueue, job
from shop.models import Order


@job("charge", limit=Limit("stripe", by="customer", concurrency=1, key_concurrency=1))
def charge(payload):
    return payload["customer"]


@job("place-order")
def place_order(payload):
    db.session.add(Order(number=payload["order"]))
    db.session.flush()
    if payload.get("is_bad"):
        raise Permanent("bad order")
    enqueue("send-receipt", {"order": payload["order"]}, queue="mail")
    return {"placed": payload["order"]}


@job("send-receipt", max_attempts=2)
def send_receipt(payload):
    if payload["order"] < 0:
        raise ValueError("no such order")
"""
TESTS = """
import pytest
from app.extensions import db
from app.jobs import Permanent, enqueue
from app.jobs.testing import run_handler
from shop.models import Order


def test_a_handler_by_name_needs_no_fixture():
    assert run_handler("send-receipt", {"order": 1}) is None


def test_a_handler_runs_with_its_session_and_its_children(jobs):
    assert jobs.run("place-order", {"order": 7}) == {"placed": 7}
    db.session.rollback()
    assert db.session.get(Order, 7)
    jobs.assert_enqueued("send-receipt", {"order": 7}, queue="mail", count=1)
    assert jobs.enqueued("place-order") == []


def test_every_test_starts_empty(jobs):
    assert jobs.enqueued() == []
    assert db.session.get(Order, 7) is None


def test_writes_of_a_handler_that_raises_are_rolled_back(jobs):
    with pytest.raises(Permanent):
        jobs.run("place-order", {"order": 8, "is_bad": True})
    assert db.session.get(Order, 8) is None
    assert jobs.enqueued() == []


def test_drain_runs_jobs_that_jobs_enqueue(jobs):
    enqueue("place-order", {"order": 9})
    db.session.commit()
    assert jobs.drain() == {"completed": 2}
    assert db.session.get(Order, 9)


def test_a_failing_job_is_pending_and_finally_failed(jobs):
    enqueue("send-receipt", {"order": -1})
    db.session.commit()
    assert jobs.drain() == {"pending": 1}
    assert jobs.drain() == {}
    assert jobs.drain(with_scheduled=True) == {"failed": 1}


def test_jobs_under_a_limit_are_drained(jobs):
    for customer in ("a", "a", "b"):
        enqueue("charge", {"customer": customer})
    db.session.commit()
    assert jobs.drain() == {"completed": 3}


def test_a_failed_assertion_lists_the_pending_jobs(jobs):
    enqueue("send-receipt", {"order": 1})
    with pytest.raises(AssertionError, match=r'send-receipt \\{"order": 1\\}'):
        jobs.assert_enqueued("place-order", {"order": 1})
    with pytest.raises(AssertionError, match="2 pending jobs .* found 1"):
        jobs.assert_enqueued("send-receipt", count=2)
"""


def test_another_package_can_test_its_handlers(tmp_path: Path, redis_url: str) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "models.py").write_text(MODELS)
    (package / "jobs.py").write_text(JOBS)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\njobqueue_modules = shop.jobs\naddopts = -p app.testing\npythonpath = .\n"
    )
    (tmp_path / "test_shop.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(services.ROOT),
            services.DATABASE_VARIABLE: os.environ[services.DATABASE_VARIABLE],
            services.REDIS_VARIABLE: redis_url,
        },
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout
