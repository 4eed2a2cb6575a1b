"""The answer of /health."""

from __future__ import annotations

from marshmallow import fields

from app.api.schemas.fields import BaseSchema


class DependencySchema(BaseSchema):
    """A dependency of the service."""

    status = fields.String(required=True, metadata={"enum": ["ok", "down"]})
    error = fields.String(required=True, allow_none=True)
    latency_ms = fields.Float(required=True, allow_none=True)


class HealthSchema(BaseSchema):
    """Whether the service can work."""

    status = fields.String(required=True, metadata={"enum": ["ok", "degraded", "down"]})
    database = fields.Nested(DependencySchema, required=True)
    redis = fields.Nested(DependencySchema, required=True)


HEALTH = HealthSchema()
