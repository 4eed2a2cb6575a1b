"""A worker."""

from __future__ import annotations

from marshmallow import fields

from app.api.schemas.common import about
from app.api.schemas.fields import BaseSchema


class WorkerSchema(BaseSchema):
    """One consumer process."""

    id = fields.UUID(required=True)
    state = fields.String(
        required=True,
        metadata=about("`silent`: stopped sending heartbeats; its jobs are rescued.")
        | {"enum": ["busy", "idle", "stopping", "stopped", "silent"]},
    )
    is_alive = fields.Boolean(
        required=True, metadata=about("Not stopped, and its heartbeat is recent.")
    )
    host = fields.String(required=True)
    pid = fields.Integer(required=True)
    version = fields.String(required=True)
    queues = fields.List(fields.String(), required=True, metadata=about("Empty: all queues."))
    threads = fields.Integer(required=True)
    live_threads = fields.Integer(required=True)
    memory_bytes = fields.Integer(required=True, allow_none=True)
    running = fields.List(
        fields.Dict(),
        required=True,
        metadata=about(
            "`{jobId, type, attempt, since, isOverdue}` of each job it ran at its last heartbeat."
        ),
    )
    completed = fields.Integer(required=True)
    started_at = fields.DateTime(required=True)
    heartbeat_at = fields.DateTime(required=True)
    stopping_at = fields.DateTime(required=True, allow_none=True)
    stopped_at = fields.DateTime(required=True, allow_none=True)


WORKER = WorkerSchema()
