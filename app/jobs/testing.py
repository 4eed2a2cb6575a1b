"""For tests of handlers: run one inline, without database, Redis or worker.

from app.jobs.testing import run_handler

def test_greets():
    assert run_handler("greet", {"name": "Ada"}) == "Hello Ada"
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from app import config
from app.config import Settings
from app.jobs import registry
from app.jobs.context import Context
from app.jobs.ids import new_id
from app.jobs.limits import definition as limits
from app.jobs.registry import Handler, JobType
from app.jobs.schedules import definition as schedules


def make_settings(**fields: Any) -> Settings:
    """Settings of the test environment, changed by ``fields``; the services they name are not used."""
    env = {
        "APP_ENV": "test",
        "DATABASE_URL": "postgresql://unused/unused",
        "REDIS_URL": "redis://unused",
    }
    return replace(config.load(env), **fields)


def make_context(
    type: str = "test",
    payload: Mapping[str, Any] | None = None,
    *,
    settings: Settings | None = None,
    **options: Any,
) -> Context:
    """A Context for a test; ``options`` are those of Context: attempt, max_attempts, timeout_seconds …"""
    return Context(
        **{
            "job_id": new_id(),
            "type": type,
            "payload": payload or {},
            "settings": settings or make_settings(),
            **options,
        }
    )


def run_handler(
    handler: str | Handler,
    payload: Mapping[str, Any] | None = None,
    *,
    context: Context | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> Any:
    """What the handler, given by its function or its type's name, returns for ``payload``.

    The payload is checked as enqueue does (ValidationFailed), and the result as the worker does (TypeError or
    ValueError when JSON can't hold it). What the handler raises is raised here, RetryAfter and the like included.
    Pass a ``context`` of ``make_context`` to check its log and progress afterwards, or pass its ``options`` here.
    """
    job_type = _job_type(handler)
    given = dict(payload or {})
    registry.validate_payload(job_type, given)
    ctx = context or make_context(job_type.name, given, settings=settings, **options)
    result = job_type.run(given, ctx)
    json.dumps(result, allow_nan=False)
    return result


def _job_type(handler: str | Handler) -> JobType:
    registry.discover()
    if isinstance(handler, str):
        return registry.get(handler)
    for job_type in registry.all_types():
        if job_type.handler is handler:
            return job_type
    raise LookupError(f"{handler!r} is not registered; decorate it with @job(…)")


@contextmanager
def temporary_types() -> Iterator[Callable[..., Any]]:
    """Unregister at the end the types, limits and schedules that were registered inside; yields the ``job`` decorator."""
    registers: list[dict[str, Any]] = [registry._types, limits._declared, schedules._declared]
    kept = [(names, dict(names)) for names in registers]
    try:
        yield registry.job
    finally:
        for names, before in kept:
            names.clear()
            names.update(before)
