"""Plain Huey, as its documentation sets it up: what our drain is compared with."""

from __future__ import annotations

import os
from typing import Any

from huey import RedisHuey

huey = RedisHuey("peer", url=os.environ.get("REDIS_URL"), results=False)


@huey.task()
def echo(payload: dict[str, Any]) -> dict[str, Any]:
    return payload


def enqueue(jobs: int) -> None:
    for n in range(jobs):
        echo({"n": n})
