"""The domain: what a job is and how it lives. No request, no Huey, no Jinja.

from app.jobs import job, enqueue

@job("greet")
def greet(payload, ctx):
    return f"Hello {payload['name']}"

enqueue("greet", {"name": "Ada"})      # joins the transaction of db.session
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.jobs.context import Context
from app.jobs.outcomes import Cancel, Permanent, RetryAfter, Snooze
from app.jobs.registry import job

__all__ = ["Cancel", "Context", "Permanent", "RetryAfter", "Snooze", "enqueue", "job"]


def enqueue(type: str, payload: Mapping[str, Any] | None = None, **options: Any) -> UUID:
    """Add a job in the transaction of ``db.session``: published after its commit, gone with a rollback.

    ``options`` are the fields of lifecycle.NewJob. Answers the job's id (the live job's, where its
    ``unique_key`` is taken). Raises UnknownJobType, and ValidationFailed where the payload does not
    fit the type's schema.
    """
    from app.extensions import db
    from app.jobs import lifecycle, registry

    registry.validate_payload(registry.get(type), payload or {})
    new = lifecycle.NewJob(type=type, payload=payload or {}, **options)
    return lifecycle.enqueue(db.session, [new])[0].id
