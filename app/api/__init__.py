"""The JSON API: one blueprint, thin views, marshmallow schemas, and the OpenAPI document generated from them."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from app.api.blueprint import blueprint
from app.api.http import cors, errors, reference
from app.api.resources import (
    bulk_actions,
    dead_letters,
    error_groups,
    health,
    job_types,
    jobs,
    limits,
    queues,
    schedule_changes,
    schedules,
    workers,
)
from app.errors import JobQueueError

__all__ = ["blueprint"]

#: Importing these registers their routes.
ROUTES = (
    reference,
    bulk_actions,
    dead_letters,
    error_groups,
    health,
    job_types,
    jobs,
    limits,
    queues,
    schedules,
    schedule_changes,
    workers,
)

blueprint.register_error_handler(JobQueueError, errors.tell)
blueprint.register_error_handler(DBAPIError, errors.database_failed)
blueprint.register_error_handler(PoolTimeout, errors.database_failed)
blueprint.register_error_handler(HTTPException, errors.answer)
blueprint.register_error_handler(Exception, errors.crashed)
blueprint.before_app_request(errors.no_such_route)
blueprint.after_app_request(cors.add_headers)
