"""``echo``, ``fail`` and ``sleep``: job types to try out the queue."""

from __future__ import annotations

import time
from typing import Any

from marshmallow import Schema, fields, validate

from app.handlers.payload_fields import Flag, Number, messages
from app.jobs.context import Context
from app.jobs.control_flow import Permanent
from app.jobs.registry import job

MAX_TIMES = 1000
MAX_SECONDS = 86400
_TIMES = f"give a whole number from 0 to {MAX_TIMES}, or leave it out to fail always"
_MESSAGE = "give up to 1000 characters of text, or leave it out"
_SECONDS = f"give a number of seconds from 0 to {MAX_SECONDS}, such as 1.5"


@job("echo")
def echo(payload: dict[str, Any]) -> dict[str, Any]:
    """Returns its payload, whatever it is: for trying things out."""
    return payload


class FailedOnPurpose(Exception):
    """Raised by ``fail``."""


class FailPayload(Schema):
    """``{"times": 2, "message": "…"}`` or ``{"permanent": true}``; without ``times`` it always fails."""

    times = fields.Integer(
        strict=True,
        load_default=None,
        error_messages=messages(_TIMES),
        validate=validate.Range(0, MAX_TIMES, error=f"is out of range; {_TIMES}"),
    )
    message = fields.String(
        load_default="This job fails on purpose.",
        error_messages=messages(_MESSAGE),
        validate=validate.Length(max=1000, error=f"is too long; {_MESSAGE}"),
    )
    permanent = Flag(
        load_default=False, error_messages=messages("give true, or leave it out to be retried")
    )


@job("fail", schema=FailPayload)
def fail(payload: dict[str, Any], ctx: Context) -> dict[str, int]:
    """Fails a number of times and then succeeds, or fails for good at once: for trying out retries."""
    if payload["permanent"]:
        raise Permanent(payload["message"])
    if payload["times"] is None or ctx.attempt <= payload["times"]:
        raise FailedOnPurpose(payload["message"])
    return {"attempt": ctx.attempt}


class SleepPayload(Schema):
    """``{"seconds": 1.5}``"""

    seconds = Number(
        required=True,
        error_messages=messages(_SECONDS),
        validate=validate.Range(0, MAX_SECONDS, error=f"is out of range; {_SECONDS}"),
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
