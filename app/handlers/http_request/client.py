"""One HTTP request over one connection to a given address, with limits of time and size.

urllib3's connection does HTTP and TLS and nothing else: no proxies, cookies, netrc or redirects.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import urljoin

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Url, parse_url

from app.handlers.sockets.tls import tls_context
from app.handlers.sockets.watchdog import watchdog
from app.jobs.context import Context

#: An address that does not respond must leave time for the next one.
CONNECT_SECONDS = 10.0
CHUNK_BYTES = 16 * 1024


class RequestFailed(Exception):
    """There was no usable response; another attempt may get one."""


class BadUrl(ValueError):
    """A URL that can't be called; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: a URL, parsed once for both the check and the connection."""

    scheme: str
    host: str  # lower case, an IPv6 address without its brackets
    port: int
    path: str  # with the query

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """Host and port as in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """The URL for messages: without the query, which often contains keys."""
        return f"{self.scheme}://{self.authority}{self.path.partition('?')[0]}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


@dataclass(frozen=True, slots=True)
class Response:
    """A response. ``body`` is as sent, with no content encoding undone; ``is_cut``: it was longer than the limit."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool


_DEFAULT_PORTS = {"http": 80, "https": 443}


def parse(url: str) -> Target:
    """The target of a URL. Raises BadUrl."""
    if re.search(r"[\x00-\x20\x7f\\]", url):
        raise BadUrl("has blanks, control characters or backslashes; percent-encode them (%20)")
    try:
        parts: Url = parse_url(url)
    except LocationParseError:
        raise BadUrl("is not a URL; use a URL such as https://example.com/hook") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.host:
        raise BadUrl(
            "must start with http:// or https:// and a host, such as https://example.com/hook"
        )
    if parts.auth is not None:
        raise BadUrl("must not contain a user name or password; send an Authorization header")
    if "%" in parts.host:
        raise BadUrl("must have a host without a zone or percent-encoding")
    port = _DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    if port == 0:
        raise BadUrl("has port 0; use a port from 1 to 65535, or none")
    return Target(parts.scheme, parts.host.strip("[]"), port, parts.request_uri)


def follow(target: Target, location: str) -> Target:
    """The target of a redirect from ``target``. Raises BadUrl."""
    # Header bytes are decoded as Latin-1; sites that don't escape them send UTF-8.
    raw = location.encode("latin-1", "replace").decode("utf-8", "replace")
    try:
        return parse(urljoin(target.url, raw.strip()))
    except BadUrl:
        raise
    except ValueError:
        raise BadUrl("is not a URL") from None


def exchange(
    method: str,
    target: Target,
    addresses: Sequence[str],
    *,
    headers: Mapping[str, str],
    body: bytes | None,
    max_body_bytes: int,
    ends_at: float,
    ctx: Context,
) -> Response:
    """Send the request to the first of ``addresses`` that accepts a connection, and read the response.

    Ends by ``ends_at`` (monotonic) whatever the server does. Raises RequestFailed.
    """
    connection = _connect(target, addresses, ends_at, ctx)
    # Kept here, since http.client forgets the socket when the server is going to close it.
    sock = connection.sock
    assert sock is not None
    try:
        with watchdog(ctx, ends_at, lambda: sock, is_cancellable=True) as has_fired:
            _send(connection, method, target, headers, body, ends_at)
            response = _read(connection, max_body_bytes)
        # http.client treats the end of the stream as the end of the headers.
        if has_fired.is_set():
            raise RequestFailed(f"{target.authority} did not finish its response")
        return response
    except (OSError, HTTPError, HTTPException, ValueError) as error:
        raise RequestFailed(
            f"{target.authority} did not send a valid response: {_cause(error)}"
        ) from None
    finally:
        connection.close()


def _connect(
    target: Target, addresses: Sequence[str], ends_at: float, ctx: Context
) -> HTTPConnection:
    failure = "no time left"
    for address in addresses:
        ctx.raise_if_cancelled()
        left = ends_at - time.monotonic()
        if left <= 0:
            break
        connection = _connection(target, address, min(left, CONNECT_SECONDS))
        try:
            connection.connect()
        except (OSError, HTTPError) as error:
            connection.close()
            failure = _cause(error)
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise RequestFailed(f"can't connect to {target.host} port {target.port}: {failure}")


def _connection(target: Target, address: str, timeout: float) -> HTTPConnection:
    if target.scheme == "http":
        return HTTPConnection(address, target.port, timeout=timeout)
    # The certificate must be the named host's, not the address's.
    return HTTPSConnection(
        address,
        target.port,
        timeout=timeout,
        ssl_context=tls_context(),
        server_hostname=target.host,
    )


def _send(
    connection: HTTPConnection,
    method: str,
    target: Target,
    headers: Mapping[str, str],
    body: bytes | None,
    ends_at: float,
) -> None:
    left = max(0.001, ends_at - time.monotonic())
    connection.timeout = left
    if connection.sock is not None:
        connection.sock.settimeout(left)
    # A server may respond and close before it has read the whole body (413): read that response.
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.request(
            method,
            target.path,
            body=body,
            headers={"Host": target.authority, **headers},
            preload_content=False,
            decode_content=False,
        )


def _read(connection: HTTPConnection, max_body_bytes: int) -> Response:
    stream = connection.getresponse()
    try:
        body = _read_body(stream, max_body_bytes + 1)
        return Response(
            status=stream.status,
            reason=stream.reason or "",
            headers={name.lower(): value for name, value in stream.headers.items()},
            body=body[:max_body_bytes],
            is_cut=len(body) > max_body_bytes,
        )
    finally:
        stream.close()


def _read_body(stream: BaseHTTPResponse, max_bytes: int) -> bytes:
    body = bytearray()
    while len(body) < max_bytes:
        # read1, because read() would wait for the whole chunk.
        chunk = stream.read1(min(CHUNK_BYTES, max_bytes - len(body)), decode_content=False)
        if not chunk:
            break
        body += chunk
    return bytes(body)


def _cause(error: BaseException) -> str:
    """The innermost reason in a few words: urllib3 wraps it in the repr of its connection."""
    while isinstance(error, HTTPError) and (inner := error.__cause__ or error.__context__):
        error = inner
    if isinstance(error, TimeoutError | socket.timeout):
        return "timed out"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
