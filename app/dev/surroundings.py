"""The environment our programs run in: given servers, or the embedded ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

from app import config
from app.dev import DevError
from app.dev.home import Home
from app.dev.instance import (
    InstanceInUse,
    State,
    fresh_instance,
    open_instance,
    running_state,
)
from app.dev.services import running

ROOT = Path(__file__).resolve().parents[2]
DEV_INSTANCE = "dev"
ANY_DATABASE = "postgresql://localhost/jobqueue"
ANY_REDIS = "redis://localhost:6379/0"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Variables for a program, and the processes of the embedded services, if there are any."""

    env: dict[str, str]
    processes: dict[str, Popen[bytes]] = field(default_factory=dict)


def development(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` for development: loopback only, this environment's programs first on PATH."""
    return {
        **environ,
        "APP_ENV": "development",
        "HOST": "127.0.0.1",
        "PATH": f"{Path(sys.executable).parent}:{environ.get('PATH', '/usr/bin:/bin')}",
        "PYTHONUNBUFFERED": "1",
    }


def names_servers(environ: Mapping[str, str]) -> bool:
    """Whether ``environ`` names a PostgreSQL and a Redis. Raises DevError if only one of them."""
    has_database = bool(environ.get("DATABASE_URL"))
    has_redis = bool(environ.get("REDIS_URL") or environ.get("REDIS_HOST"))
    if has_database != has_redis:
        given, absent = ("DATABASE_URL", "REDIS_URL")
        if has_redis:
            given, absent = absent, given
        raise DevError(
            f"{given} is set but {absent} is not; set both to use your own servers, "
            "or neither to use the embedded ones."
        )
    return has_database


def settings(environ: Mapping[str, str]) -> config.Settings:
    """The settings our programs will see. Raises ConfigError before anything is started."""
    embedded = {} if names_servers(environ) else _urls(ANY_DATABASE, ANY_REDIS)
    return config.load({**development(environ), **embedded})


@contextmanager
def surroundings(
    environ: Mapping[str, str],
    *,
    fresh: bool = False,
    share: bool = False,
    web_port: int | None = None,
    say: Callable[[str], object] | None = None,
) -> Iterator[Surroundings]:
    """Servers up for the block: the ones ``environ`` names, else embedded ones.

    ``fresh``: new and empty, and gone afterwards. ``share``: use the running ones of `make run`
    if it is running. ``web_port``: where the caller will serve, for `make demo` to find. ``say``
    gets a line before embedded servers are started. Raises DevError (InstanceInUse without ``share``).
    """
    env = development(environ)
    if names_servers(environ) and not fresh:
        yield Surroundings(env)
        return
    home = Home(ROOT / "var")
    with ExitStack() as stack:
        try:
            instance = stack.enter_context(
                fresh_instance(home, is_durable=True)
                if fresh
                else open_instance(home, DEV_INSTANCE)
            )
        except InstanceInUse as in_use:
            if not share or in_use.state is None:
                raise
            yield Surroundings(env | _urls(in_use.state.database_url, in_use.state.redis_url))
            return
        if web_port:
            instance.remember(web_port=web_port)
        if say:
            say("starting PostgreSQL and Redis; the first start takes a few seconds")
        services = stack.enter_context(running(instance))
        urls = _urls(services.database_url, services.redis_url)
        yield Surroundings(env | urls, services.processes)


def running_instance() -> State | None:
    """What this checkout's embedded services remember while they run; None if they don't."""
    var = ROOT / "var"
    return running_state(Home(var), DEV_INSTANCE) if var.exists() else None


def _urls(database_url: str, redis_url: str) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
