"""RQ: each job is a hash in Redis; results kept for no time."""

from __future__ import annotations

import os
from typing import Any

from redis import Redis
from rq import Queue

from benchmarks.peers.client import stamp

queue = Queue(connection=Redis.from_url(os.environ.get("REDIS_URL", "redis://")))


def work(payload: dict[str, Any]) -> None:
    stamp(payload)


def enqueue(payload: dict[str, Any]) -> None:
    queue.enqueue(work, payload, result_ttl=0)


def enqueue_many(payloads: list[dict[str, Any]]) -> None:
    queue.enqueue_many([Queue.prepare_data(work, (p,), result_ttl=0) for p in payloads])
