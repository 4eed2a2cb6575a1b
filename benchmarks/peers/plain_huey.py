"""Plain Huey: results off, as nobody reads them."""

from __future__ import annotations

import os
from typing import Any

from huey import RedisHuey

from benchmarks.peers.client import stamp

huey = RedisHuey("peer", url=os.environ.get("REDIS_URL"), results=False)


@huey.task()
def work(payload: dict[str, Any]) -> None:
    stamp(payload)


def enqueue(payload: dict[str, Any]) -> None:
    work(payload)
