"""What is refused about limits."""

from __future__ import annotations

from app.errors import JobQueueError


class LimitNotFound(JobQueueError):
    """No limit is named {name}; known: {known}."""

    http_status, code = 404, "limit_not_found"


class LimitInUse(JobQueueError):
    """Limit {name} holds for {uses}; detach them first."""

    http_status, code = 409, "limit_in_use"


class LimitDefinedInCode(JobQueueError):
    """Limit {name} is defined in code: {remedy}."""

    http_status, code = 409, "defined_in_code"


class AttachedByCode(JobQueueError):
    """Job type {type} is put under limit {limit} by its code; change it there."""

    http_status, code = 409, "defined_in_code"


class OldWorkers(JobQueueError):
    """Worker {worker_id} runs version {version}, which doesn't know limits; try again when it has stopped."""

    http_status, code = 409, "old_workers"
