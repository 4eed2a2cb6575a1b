"""Connects to Redis: which URLs are accepted, how a connection behaves, how an error is shown.

A connection is closed when its server no longer accepts writes (a failover demoted it, it is loading, the
slot moved): the next command connects to the address again and finds the new primary.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import (
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError as RedisError
from redis.exceptions import ResponseError as ResponseError
from redis.retry import Retry

CONNECT_SECONDS = 0.25
#: The length limit of an error in a log line: errors repeat data that others sent, which may be megabytes.
MAX_ERROR = 200
EXAMPLE = "redis://host:6379/0"
#: A worker needs connections for its inbox, five threads that publish, the sweeper and the pacer.
MIN_CONNECTIONS = 10

_OPTIONS = {"db", "username", "password", "client_name", "health_check_interval", "max_connections"}
_TLS_FILES = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
_TLS_OPTIONS = _TLS_FILES | {"ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_path", "ssl_password"}
_SCHEMES: dict[str, Any] = {
    "redis": Connection,
    "rediss": SSLConnection,
    "unix": UnixDomainSocketConnection,
}

# The error codes of a server that does not accept writes, or not yet. With scripts the code is inside the
# text: "ERR Error running script …: -READONLY You can't write against a read only replica."
_NOT_PRIMARY = re.compile(
    r"\b(READONLY|MASTERDOWN|LOADING|MOVED|ASK|CLUSTERDOWN|UNBLOCKED|NOREPLICAS)\b"
)
_PRIVATE_CHAIN = re.compile(r"CERTIFICATE_VERIFY_FAILED")


class NotPrimary(RedisConnectionError):
    """The server does not accept writes; the connection to it has been closed."""


def connect(url: str, *, timeout_seconds: float) -> Redis:
    """A client for ``url`` without hidden retries (by default redis-py takes 3.5 s to report a refused connection).

    ``timeout_seconds`` limits each command; it must be longer than the longest blocking command.
    """
    return Redis(connection_pool=_Pool(**_pool_options(url, timeout_seconds)))


def check_url(url: str) -> None:
    """Raises ValueError; its message continues a sentence that starts with the setting's name.

    The message never contains the URL, which may contain a password.
    """
    _check_address(url)
    _check_options(url)
    try:
        options = _pool_options(url, 1.0)
        connection_class = options.pop("connection_class")
        options.pop("max_connections", None)
        connection_class(**options)
    except (TypeError, ValueError, RedisError) as error:
        raise ValueError(f"has an option that the Redis client rejects: {brief(error)}") from None


def brief(error: BaseException) -> str:
    """The first line of an error, at most MAX_ERROR characters, or a remedy where one is known."""
    # SQLAlchemy's own text repeats the statement; the driver's message is enough.
    text = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    # Cut before splitting: the text may be megabytes long.
    line = text[: MAX_ERROR + 1].splitlines()[0]
    if len(line) > MAX_ERROR:
        line = line[: MAX_ERROR - 1] + "…"
    if _PRIVATE_CHAIN.search(text[:2000]):
        return (
            "the TLS certificate of Redis is not signed by a known authority"
            " (CERTIFICATE_VERIFY_FAILED); add ?ssl_cert_reqs=none to REDIS_URL to encrypt without"
            " verifying it, or ?ssl_ca_certs=<file> with the authority's certificate"
        )
    return line


class _FollowsPrimary:
    """Closes this connection and the pool's idle ones when the server no longer accepts writes."""

    pool: Any = None

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except ResponseError as error:
            code = getattr(error, "status_code", None) or ""
            match = _NOT_PRIMARY.search(f"{code} {str(error)[:500]}")
            if match is None:
                raise
            self.disconnect()  # type: ignore[attr-defined]
            if self.pool is not None:
                self.pool.disconnect(inuse_connections=False)
            raise NotPrimary(
                f"this Redis server does not accept writes ({match[1]}); connecting again"
            ) from error


class _Pool(ConnectionPool):
    def make_connection(self) -> Any:
        connection = super().make_connection()
        connection.pool = self  # type: ignore[attr-defined]
        return connection


def _following(base: Any) -> Any:
    return type(f"Following{base.__name__}", (_FollowsPrimary, base), {})


_CLASSES = {scheme: _following(base) for scheme, base in _SCHEMES.items()}


def _pool_options(url: str, timeout_seconds: float) -> dict[str, Any]:
    scheme = urlsplit(url).scheme
    fixed: dict[str, Any] = {
        "connection_class": _CLASSES[scheme],
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": CONNECT_SECONDS,
    }
    if scheme != "unix":
        fixed["socket_keepalive"] = True
    return {**parse_url(url), **fixed}


def _check_address(url: str) -> None:
    scheme = url.partition(":")[0]
    if scheme not in _SCHEMES:
        raise ValueError(
            f"starts with {scheme[:20]!r}; set it to {EXAMPLE} or rediss://host:6379/0."
        )
    try:
        parts = urlsplit(url)
        is_valid = parts.port != 0 and not parts.fragment and not re.search(r"\s", url)
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError(
            f"has no usable host and port; set it to {EXAMPLE}, with special characters in the"
            " password percent-encoded ('[' is %5B, '/' is %2F, '#' is %23)."
        )
    if scheme == "unix":
        if parts.hostname or not parts.path.strip("/"):
            raise ValueError("has no socket; set it to unix:///run/redis/redis.sock?db=0.")
    elif not re.fullmatch(r"/?|/\d+", parts.path):
        raise ValueError(f"has a path that is not a database number; set it to {EXAMPLE}.")


def _check_options(url: str) -> None:
    parts = urlsplit(url)
    allowed = _OPTIONS | (_TLS_OPTIONS if parts.scheme == "rediss" else set())
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in allowed:
            remedy = (
                "use rediss:// for TLS"
                if name in _TLS_OPTIONS
                else f"remove it; supported options: {', '.join(sorted(allowed))}"
            )
            raise ValueError(f"has the option {name[:40]!r}, which is not supported; {remedy}.")
        _check_option(name, value)


def _check_option(name: str, value: str) -> None:
    minimum = {"db": 0, "health_check_interval": 0, "max_connections": MIN_CONNECTIONS}
    if name in minimum and not (re.fullmatch(r"[0-9]{1,6}", value) and int(value) >= minimum[name]):
        raise ValueError(
            f"has {name}={value[:40]}; set it to a whole number of {minimum[name]} or more."
        )
    if name == "ssl_cert_reqs" and value not in ("none", "optional", "required"):
        raise ValueError(f"has ssl_cert_reqs={value[:40]}; set it to none, optional or required.")
    if name in _TLS_FILES and not Path(value).is_file():
        raise ValueError(f"has {name}={value[:200]}, but that file does not exist.")
