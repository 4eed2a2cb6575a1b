"""``http-request``: calls a URL.

``status`` says how a response counts. Without a response (refused, reset, timed out, bad certificate) the attempt
fails. With ``secret`` the request is signed; see ``signature``. Every request has ``X-Job-Id`` and
``X-Job-Attempt``, signed or not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from app.handlers.http_request.addresses import LookupFailed, allowed_addresses
from app.handlers.http_request.client import RequestFailed, Response, exchange, parse
from app.handlers.http_request.payload import HttpRequestPayload
from app.handlers.http_request.redirects import REDIRECT_STATUSES, Request, redirected
from app.handlers.http_request.result import result_of
from app.handlers.http_request.signature import signature_headers
from app.handlers.http_request.status import check_status
from app.jobs.context import Context
from app.jobs.control_flow import JobTimeout, Permanent
from app.jobs.registry import job

MAX_REDIRECTS = 5
USER_AGENT = "jobqueue/0.1"


@job("http-request", schema=HttpRequestPayload)
def http_request(payload: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Calls a URL, with a signature if a secret is given, and stores the response; retries temporary errors."""
    started = time.monotonic()
    ends_at = _ends_at(started, payload["timeout"], ctx)
    request = _first_request(payload, ctx)
    try:
        request, response, redirects = _follow_redirects(request, ctx, ends_at)
    except (RequestFailed, LookupFailed) as error:
        # The watchdog breaks connections for these three reasons as well; they explain more than a broken connection.
        ctx.raise_if_cancelled()
        if ctx.remaining() == 0:
            raise JobTimeout from error
        if time.monotonic() >= ends_at:
            limit = f"{payload['timeout']:g} s"
            raise RequestFailed(f"{request.target.shown} did not respond within {limit}") from error
        raise
    line = f"{request.method} {request.target.shown}"
    check_status(response, line, is_limited=ctx.limit is not None)
    return result_of(
        response,
        url=request.target.url,
        redirects=redirects,
        elapsed_seconds=time.monotonic() - started,
    )


def _ends_at(started: float, timeout: float, ctx: Context) -> float:
    remaining = ctx.remaining()
    return started + (timeout if remaining is None else min(timeout, remaining))


def _first_request(payload: Mapping[str, Any], ctx: Context) -> Request:
    body, content_type = _encoded(payload["body"])
    headers = {
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        # No encoding is undone here: a small response could become a big one.
        "Accept-Encoding": "identity",
        "Connection": "close",
        "X-Job-Id": str(ctx.job_id),
        "X-Job-Attempt": str(ctx.attempt),
    }
    if content_type:
        headers["Content-Type"] = content_type
    _set_headers(headers, payload["headers"])
    if payload["secret"] is not None:
        _set_headers(headers, signature_headers(payload["secret"], str(ctx.job_id), body or b""))
    return Request(payload["method"], parse(payload["url"]), headers, body)


def _encoded(body: Any) -> tuple[bytes | None, str | None]:
    """The bytes of a body and their content type."""
    if body is None:
        return None, None
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode(), "application/json"


def _set_headers(headers: dict[str, str], new_headers: Mapping[str, str]) -> None:
    """Add ``new_headers``, replacing headers of the same name in any case."""
    for name, value in new_headers.items():
        for replaced in [known for known in headers if known.lower() == name.lower()]:
            del headers[replaced]
        headers[name] = value


def _follow_redirects(
    request: Request, ctx: Context, ends_at: float
) -> tuple[Request, Response, int]:
    """The last request, its response, and the number of redirects before it."""
    for redirects in range(MAX_REDIRECTS + 1):
        response = _send(request, ctx, ends_at)
        location = response.headers.get("location")
        if response.status not in REDIRECT_STATUSES or not location:
            return request, response, redirects
        request = redirected(request, response.status, location)
        ctx.log(f"{response.status} redirects to {request.target.shown}")
    raise Permanent(f"more than {MAX_REDIRECTS} redirects; the last led to {request.target.shown}")


def _send(request: Request, ctx: Context, ends_at: float) -> Response:
    target = request.target
    addresses = allowed_addresses(
        target.host,
        target.port,
        is_private_allowed=ctx.settings.http_allow_private,
        ctx=ctx,
        ends_at=ends_at,
    )
    return exchange(
        request.method,
        target,
        addresses,
        headers=request.headers,
        body=request.body,
        # JSON may need six bytes for a character; the response must fit with room for the rest.
        max_body_bytes=min(64 * 1024, ctx.settings.max_result_bytes // 8),
        ends_at=ends_at,
        ctx=ctx,
    )
