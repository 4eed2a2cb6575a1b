"""A job type."""

from __future__ import annotations

from marshmallow import fields

from app.api.schemas.common import about
from app.api.schemas.fields import BaseSchema
from app.api.schemas.jobs import StatsSchema


class JobTypeSchema(BaseSchema):
    """A job type: its policy, and statistics of its jobs."""

    name = fields.String(required=True)
    description = fields.String(required=True, allow_none=True)
    is_registered = fields.Boolean(
        required=True,
        metadata=about("false: this server does not have its code, and its policy is null."),
    )
    queue = fields.String(required=True, allow_none=True)
    priority = fields.Integer(required=True, allow_none=True)
    max_attempts = fields.Integer(required=True, allow_none=True)
    timeout_seconds = fields.Float(required=True, allow_none=True)
    max_crashes = fields.Integer(required=True, allow_none=True)
    payload_schema = fields.Dict(
        required=True, allow_none=True, metadata=about("JSON Schema of the payload.")
    )
    is_paused = fields.Boolean(required=True)
    limit = fields.String(
        required=True, allow_none=True, metadata=about("The name of the limit that it is under.")
    )
    counts = fields.Nested(StatsSchema, required=True)
    failure_share = fields.Float(required=True, allow_none=True)
    run_p50_ms = fields.Float(required=True, allow_none=True)
    run_p95_ms = fields.Float(required=True, allow_none=True)
    completed_per_minute = fields.Float(required=True)


JOB_TYPE = JobTypeSchema()
