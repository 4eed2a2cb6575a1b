"""Settings with special rules: addresses of servers, queues, email."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urlsplit

from app.broker import client
from app.config import database_url as database_urls
from app.config.credentials import secret_key
from app.config.readers import (
    ConfigError,
    Environment,
    check_address,
    flag,
    is_development,
    names,
    number,
    text,
)
from app.names import NAME, NAME_RULE


def database_url(env: Environment, name: str) -> str:
    """DATABASE_URL in the form that SQLAlchemy accepts."""
    url = text(env, name)
    if url is None:
        raise ConfigError(
            f"{name} is not set; set it to postgresql://user:password@host:5432/name "
            "(or use `make run`, which starts its own PostgreSQL and Redis)."
        )
    try:
        return database_urls.normalize(url)
    except ValueError as error:
        raise ConfigError(f"{name} {error}") from None


def redis_url(env: Environment, name: str) -> str:
    """REDIS_URL, or a URL built from REDIS_HOST and REDIS_PORT."""
    url = text(env, name)
    if url is None and (host := text(env, "REDIS_HOST")):
        port = number(int, 6379, 1, 65535)(env, "REDIS_PORT")
        url = f"redis://{host}:{port}/0"
    if url is None:
        raise ConfigError(
            f"{name} is not set; set it to redis://host:6379/0 (or rediss:// for TLS), "
            "or set REDIS_HOST and REDIS_PORT."
        )
    try:
        client.check_url(url)
    except ValueError as error:
        raise ConfigError(f"{name} {error}") from None
    return url


def redis_prefix(env: Environment, name: str) -> str:
    """The prefix of all keys in Redis: empty, or ending with a colon."""
    prefix = (text(env, name) or "").rstrip(":")
    if not re.fullmatch(r"[A-Za-z0-9._:-]{0,100}", prefix):
        raise ConfigError(
            f"{name} must be up to 100 letters, digits, '.', '_', ':' or '-'; set it to a name"
            " such as shop-staging."
        )
    return f"{prefix}:" if prefix else ""


def session_key(env: Environment, name: str) -> str:
    """The key that signs sessions and forms: SECRET_KEY, or one derived from DATABASE_URL."""
    # All processes must sign with the same key, and the database's URL is the only secret they share.
    url = database_url(env, "DATABASE_URL")
    derived = hashlib.sha256(b"jobqueue session key\0" + url.encode()).hexdigest()
    return secret_key(env, name) or derived


def origins(env: Environment, name: str) -> tuple[str, ...]:
    """The origins whose pages may call the API."""
    allowed = names(env, name) or ("http://localhost:5173",)
    for origin in allowed:
        if origin != "*" and not origin.startswith(("http://", "https://")):
            raise ConfigError(
                f"{name} contains {origin!r}; set it to origins such as "
                "https://example.com, separated by commas."
            )
    return tuple(origin.rstrip("/") for origin in allowed)


def queues(env: Environment, name: str) -> tuple[str, ...]:
    """The names of queues, in the order in which they are served."""
    queue_names = names(env, name)
    if not queue_names and (value := text(env, name)):
        raise ConfigError(
            f"{name} is {value!r}, which contains no queue; leave it empty to serve all queues, "
            "or set it to names separated by commas."
        )
    for queue in queue_names:
        if not NAME.fullmatch(queue):
            raise ConfigError(
                f"{name} contains {queue!r}; a queue's name {NAME_RULE.rstrip('.')}, "
                "and names are separated by commas."
            )
    return queue_names


def audit_retention(env: Environment, name: str) -> float:
    """The days for which audit events are kept: at least 1, or 0 to keep all of them."""
    days: float = number(float, 365, 0, 36500)(env, name)
    if 0 < days < 1:
        raise ConfigError(f"{name} is {days:g}; set it to at least 1, or 0 to keep everything.")
    return days


def smtp_url(env: Environment, name: str) -> str | None:
    """The SMTP server; None if it is not set."""
    url = text(env, name)
    if url is None:
        return None
    example = "smtp://user:password@mail.example.com:587?starttls"
    check_address(name, url, example)
    if urlsplit(url).scheme not in ("smtp", "smtps") or not urlsplit(url).hostname:
        raise ConfigError(f"{name} must be smtp:// or smtps:// with a host; set it to {example}.")
    return url


def mail_from(env: Environment, name: str) -> str:
    """The sender of emails whose job has none."""
    address = text(env, name) or "jobs@localhost"
    if "@" not in address:
        raise ConfigError(
            f"{name} is {address!r}; set it to an address such as Jobs <jobs@example.com>."
        )
    return address


def sql_echo(env: Environment, name: str) -> bool:
    """Whether all SQL statements are logged; not allowed in production, where they would flood the log."""
    is_on: bool = flag(False)(env, name)
    if is_on and not is_development(env):
        raise ConfigError(
            f"{name} works only in development; unset it, or set APP_ENV=development."
        )
    return is_on
