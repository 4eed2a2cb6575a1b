"""Huey's own commands reach the same sets, and a message is an id, never code."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.worker.storage import JobIdSerializer, ReadySetStorage


@pytest.fixture
def storage(redis_url: str, redis: Any) -> ReadySetStorage:
    return ReadySetStorage("jobs", url=redis_url)


def test_a_message_is_an_id() -> None:
    job_id = uuid4()
    data = JobIdSerializer().serialize(job_id)
    assert data == job_id.hex.encode()
    assert JobIdSerializer().deserialize(data) == str(job_id)


@pytest.mark.parametrize("data", [b"", b"nonsense", pickle.dumps(print), b"\xff" * 32])
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        JobIdSerializer().deserialize(data)


def test_the_same_id_a_thousand_times_is_one_message(storage: ReadySetStorage) -> None:
    data = uuid4().hex.encode()
    for _ in range(1000):
        storage.enqueue(data)
    assert storage.queue_size() == 1
    assert storage.dequeue() == data
    assert storage.dequeue() is None


def test_higher_priorities_come_first(storage: ReadySetStorage) -> None:
    low, high = uuid4().hex.encode(), uuid4().hex.encode()
    storage.enqueue(low, priority=-5)
    storage.enqueue(high, priority=5)
    assert storage.dequeue() == high
    assert storage.dequeue() == low


def test_scheduled_jobs_wait_in_the_delayed_set(storage: ReadySetStorage) -> None:
    storage.add_to_schedule(uuid4().hex.encode(), datetime.now(UTC) + timedelta(hours=1))
    assert storage.dequeue() is None
    assert storage.schedule_size() == 1
    # Promotion alone moves it: Huey's scheduler would pop it first and place it later.
    assert storage.read_schedule(datetime.now(UTC) + timedelta(hours=2)) == []
    assert storage.schedule_size() == 1
