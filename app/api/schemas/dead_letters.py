"""A dead letter."""

from __future__ import annotations

from marshmallow import fields

from app.api.schemas.common import about
from app.api.schemas.fields import BaseSchema
from app.api.schemas.masked_fields import MaskedObject


class DeadLetterSchema(BaseSchema):
    """The open dead letter of a failed job."""

    job_id = fields.UUID(required=True)
    type = fields.String(required=True)
    payload = MaskedObject(required=True)
    reason = fields.String(required=True, metadata=about("The last error's text."))
    attempts = fields.Integer(required=True)
    failed_at = fields.DateTime(required=True)
    queue = fields.String(required=True)


DEAD_LETTER = DeadLetterSchema()
