"""Job types: what ``@job`` declares, by name.

    @job("send-email", max_attempts=8, timeout=60)
    def send_email(payload: dict, ctx: Context) -> Any:
        ...

Filled once, when ``discover()`` imports the modules at boot; read-only afterwards.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from marshmallow import Schema

from app.config import ConfigError
from app.errors import UnknownJobType, ValidationFailed
from app.jobs import payloads
from app.jobs.backoff import Backoff, Policy
from app.jobs.bounds import MAX_PRIORITY, MIN_PRIORITY
from app.jobs.context import Context
from app.jobs.limits.definition import Limit
from app.jobs.schedules import definition as schedules
from app.jobs.schedules.definition import Schedule
from app.names import NAME, NAME_RULE

Handler = Callable[..., Any]  # (payload) or (payload, ctx)
F = TypeVar("F", bound=Handler)

BUILT_IN = "app.handlers"


_types: dict[str, JobType] = {}


class PayloadRefused(Exception):
    """The payload doesn't match the schema in this process's code; another version may accept it."""


def is_name(value: object) -> bool:
    """Whether ``value`` can be the name of a type or a queue."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class JobType:
    """A registered name, its handler, and the policy of its jobs. None means the setting of that name."""

    name: str
    handler: Handler
    queue: str = "default"
    priority: int = 0
    max_attempts: int | None = None
    timeout: float | None = None  # seconds per attempt
    backoff: Policy | None = None
    max_crashes: int | None = None  # 0: at most once
    isolate: bool = False  # each attempt in a child process of its own
    schema: Schema | None = None
    description: str | None = None
    takes_context: bool = True
    limit: Limit | None = None
    schedule: Schedule | None = None

    def run(self, payload: Mapping[str, Any], ctx: Context) -> Any:
        """Call the handler with the payload as its schema loads it (defaults filled in), and return its result.

        Raises what the handler raises, and PayloadRefused for a payload that does not match its schema.
        """
        try:
            loaded = load_payload(self, payload)
        except ValidationFailed as refusal:
            # Accepted by another version of the schema, or not written by enqueue.
            raise PayloadRefused(
                f"the payload does not fit {self.name}: {payloads.one_line(refusal.errors or {})}"
            ) from None
        return self.handler(loaded, ctx) if self.takes_context else self.handler(loaded)


def job(
    name: str,
    *,
    queue: str = "default",
    priority: int = 0,
    max_attempts: int | None = None,
    timeout: float | None = None,
    backoff: Policy | None = None,
    max_crashes: int | None = None,
    isolate: bool = False,
    schema: Schema | type[Schema] | None = None,
    description: str | None = None,
    limit: Limit | None = None,
    schedule: Schedule | None = None,
) -> Callable[[F], F]:
    """Register the decorated function, unchanged, as the handler of ``name``.

    Raises ConfigError for a name that another function has, and for a policy out of range.
    """

    def register(handler: F) -> F:
        _add(
            JobType(
                name=name,
                handler=handler,
                queue=queue,
                priority=priority,
                max_attempts=max_attempts,
                timeout=timeout,
                backoff=tuple(backoff) if isinstance(backoff, list) else backoff,
                max_crashes=max_crashes,
                isolate=isolate,
                schema=schema() if isinstance(schema, type) else schema,
                description=description or _first_sentence(handler),
                takes_context=_takes_context(name, handler),
                limit=limit,
                schedule=schedule,
            )
        )
        return handler

    return register


def get(name: str) -> JobType:
    """The type of that name. Raises UnknownJobType, which lists the known ones."""
    job_type = _types.get(name)
    if job_type is None:
        raise UnknownJobType(type=name, known=", ".join(sorted(_types)) or "none")
    return job_type


def find(name: str) -> JobType | None:
    """The type of that name, or None: rows may outlive the code of their type."""
    return _types.get(name)


def names() -> list[str]:
    """The names of the registered types, in no particular order."""
    return list(_types)


def all_types() -> list[JobType]:
    """Every registered type, by name."""
    return [_types[name] for name in sorted(_types)]


def once_types(default_max_crashes: int) -> list[str]:
    """Names of the types that run at most once: with max_crashes 0, their own or ``MAX_CRASHES``."""
    limits = {
        name: default_max_crashes if job_type.max_crashes is None else job_type.max_crashes
        for name, job_type in _types.items()
    }
    return [name for name, limit in limits.items() if limit == 0]


def discover(modules: Iterable[str] = ()) -> None:
    """Import the built-in handlers and then ``modules`` (JOB_MODULES), so that their types are registered.

    Raises ConfigError with the name of a module that can't be imported. Safe to call again.
    """
    importlib.import_module(BUILT_IN)
    for module in modules:
        try:
            importlib.import_module(module)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                f"JOB_MODULES names {module!r}, which does not import ({type(error).__name__}: {error}); "
                "correct the module or the name."
            ) from error


def validate_payload(job_type: JobType, payload: Any) -> dict[str, Any]:
    """The payload itself, checked against its type: enqueue stores what the client sent.

    Raises ValidationFailed with paths such as ``payload.to.0`` as keys.
    """
    load_payload(job_type, payload)
    return payload


def load_payload(job_type: JobType, payload: Any) -> dict[str, Any]:
    """The payload as the schema of its type loads it. Raises ValidationFailed."""
    return payloads.load(job_type.schema, payload)


# Registration


def _add(job_type: JobType) -> None:
    known = _types.get(job_type.name)
    # The same function of a reloaded module replaces the old one.
    if known is not None and _source(known.handler) != _source(job_type.handler):
        raise ConfigError(
            f"The job type {job_type.name!r} is registered twice: by {_source(known.handler)} and by "
            f"{_source(job_type.handler)}; rename one of them."
        )
    for complaint in _complaints(job_type):
        raise ConfigError(f"@job({job_type.name!r}) on {_source(job_type.handler)}: {complaint}.")
    if job_type.schedule is not None:
        schedules.declare(job_type.schedule.definition(job_type.name, job_type.name))
    _types[job_type.name] = job_type


def _complaints(job_type: JobType) -> Iterator[str]:
    if not NAME.fullmatch(job_type.name):
        yield f"a name {NAME_RULE.rstrip('.')}"
    if not NAME.fullmatch(job_type.queue):
        yield f"queue is {job_type.queue!r}; it is spelled like a name"
    if not MIN_PRIORITY <= job_type.priority <= MAX_PRIORITY:
        yield f"priority is {job_type.priority}; it is {MIN_PRIORITY} to {MAX_PRIORITY}"
    if job_type.max_attempts is not None and job_type.max_attempts < 1:
        yield f"max_attempts is {job_type.max_attempts}; it is at least 1"
    if job_type.timeout is not None and not job_type.timeout > 0:
        yield f"timeout is {job_type.timeout}; it is seconds, more than 0"
    if job_type.max_crashes is not None and job_type.max_crashes < 0:
        yield f"max_crashes is {job_type.max_crashes}; it is 0 (at most once) or more"
    if not _is_policy(job_type.backoff):
        yield "backoff is a Backoff, a list of seconds, or a function of the attempt's number"
    limit: object = job_type.limit
    if not isinstance(limit, Limit | None):
        yield f"limit is {limit!r}; it is a Limit, such as Limit('stripe', concurrency=5)"
    schedule: object = job_type.schedule
    if not isinstance(schedule, Schedule | None):
        yield f"schedule is {schedule!r}; it is a Schedule, such as Schedule(cron='30 2 * * *')"
    schema: object = job_type.schema  # typed Schema, but the caller's code may be unchecked
    if not isinstance(schema, Schema | None):
        yield "schema is a marshmallow Schema, class or instance"


def _is_policy(backoff: object) -> bool:
    if backoff is None or isinstance(backoff, Backoff) or callable(backoff):
        return True
    return (
        isinstance(backoff, tuple)
        and bool(backoff)
        and all(isinstance(wait, int | float) and wait >= 0 for wait in backoff)
    )


def _takes_context(name: str, handler: Handler) -> bool:
    """Whether the handler takes (payload, ctx) rather than (payload). Raises ConfigError if it takes neither."""
    if inspect.iscoroutinefunction(handler) or inspect.isgeneratorfunction(handler):
        raise ConfigError(
            f"@job({name!r}): the handler runs in a thread; write it with def, without await or yield."
        )
    signature = inspect.signature(handler)
    for arguments in (2, 1):
        try:
            signature.bind(*[None] * arguments)
        except TypeError:
            continue
        return arguments == 2
    raise ConfigError(
        f"@job({name!r}): {_source(handler)} must take (payload) or (payload, ctx), not {signature}."
    )


def _source(handler: Handler) -> str:
    return (
        f"{getattr(handler, '__module__', '?')}.{getattr(handler, '__qualname__', repr(handler))}"
    )


def _first_sentence(handler: Handler) -> str | None:
    return (inspect.getdoc(handler) or "").partition("\n")[0].strip() or None
