"""A queue."""

from __future__ import annotations

from marshmallow import fields

from app.api.schemas.common import about
from app.api.schemas.fields import BaseSchema


class QueueSchema(BaseSchema):
    """A queue, with the numbers of its waiting and running jobs."""

    name = fields.String(required=True)
    is_paused = fields.Boolean(required=True)
    limit = fields.String(
        required=True, allow_none=True, metadata=about("The name of the limit that it is under.")
    )
    pending = fields.Integer(
        required=True, metadata=about("All pending jobs: due, scheduled and retrying.")
    )
    due = fields.Integer(required=True)
    scheduled = fields.Integer(required=True)
    retrying = fields.Integer(required=True)
    is_exact = fields.Boolean(
        required=True,
        metadata=about("false: due, scheduled and retrying are lower bounds."),
    )
    processing = fields.Integer(required=True)
    oldest_wait_seconds = fields.Float(required=True, allow_none=True)
    completed_per_minute = fields.Float(
        required=True, metadata=about("Over the last five minutes.")
    )


QUEUE = QueueSchema()
