"""``fail``: fails on purpose."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from app.handlers.payload_fields import Flag, messages
from app.jobs.context import Context
from app.jobs.control_flow import Permanent
from app.jobs.registry import job

MAX_TIMES = 1000
_TIMES = f"give a whole number from 0 to {MAX_TIMES}, or leave it out to fail always"
_MESSAGE = "give up to 1000 characters of text, or leave it out"


class FailedOnPurpose(Exception):
    """What a ``fail`` job raises."""


class FailPayload(Schema):
    """``{"times": 2, "message": "…"}`` or ``{"permanent": true}``; without ``times`` it fails always."""

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
    """Fails a number of times and then succeeds, or is buried at once: for trying retries out."""
    if payload["permanent"]:
        raise Permanent(payload["message"])
    if payload["times"] is None or ctx.attempt <= payload["times"]:
        raise FailedOnPurpose(payload["message"])
    return {"attempt": ctx.attempt}
