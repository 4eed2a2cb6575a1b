"""``sleep``: keeps a thread for some seconds."""

from __future__ import annotations

import time
from typing import Any

from marshmallow import Schema, validate

from app.handlers.payload_fields import Number, messages
from app.jobs.context import Context
from app.jobs.registry import job

MAX_SECONDS = 86400
_REMEDY = f"give a number of seconds from 0 to {MAX_SECONDS}, such as 1.5"


class SleepPayload(Schema):
    """``{"seconds": 1.5}``"""

    seconds = Number(
        required=True,
        error_messages=messages(_REMEDY),
        validate=validate.Range(0, MAX_SECONDS, error=f"is out of range; {_REMEDY}"),
    )


@job("sleep", schema=SleepPayload)
def sleep(payload: dict[str, Any], ctx: Context) -> dict[str, float]:
    """Sleeps for some seconds, showing its progress; wakes up when cancelled or timed out."""
    seconds: float = payload["seconds"]
    started = time.monotonic()
    while (slept := time.monotonic() - started) < seconds:
        ctx.progress(100 * slept / seconds)
        ctx.sleep(min(1.0, seconds - slept))
    return {"seconds": seconds}
