"""Dramatiq on Redis: acknowledged after the work, results off."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers.client import stamp

broker = RedisBroker(url=os.environ.get("REDIS_URL"))
dramatiq.set_broker(broker)


@dramatiq.actor
def work(payload: dict[str, Any]) -> None:
    stamp(payload)


def enqueue(payload: dict[str, Any]) -> None:
    work.send(payload)
