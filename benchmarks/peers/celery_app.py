"""Celery on Redis: results off."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from benchmarks.peers.client import stamp

app = Celery("peer", broker=os.environ.get("REDIS_URL"))
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True


@app.task
def work(payload: dict[str, Any]) -> None:
    stamp(payload)


def enqueue(payload: dict[str, Any]) -> None:
    work.delay(payload)
