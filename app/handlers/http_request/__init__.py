"""``http-request``: calls a URL.

How an answer counts: 2xx completes the job; 408, 425, 429 and 5xx fail the attempt, and ``Retry-After`` (seconds
or a date) sets the wait; every other status buries the job, since asking again would get the same. No answer
(refused, reset, timed out, bad certificate) fails the attempt.

With ``secret`` the request is signed as Standard Webhooks (https://www.standardwebhooks.com) describes, so that
receivers verify it with a ready library:

    webhook-id: <the job's id; the same for every attempt, so a repeat can be recognised>
    webhook-timestamp: <seconds since 1970>
    webhook-signature: v1,<base64 of HMAC-SHA256(secret, "<id>.<timestamp>.<body>")>

A secret that starts with ``whsec_`` is base64 after that prefix; any other one is used as its UTF-8 bytes.
Every request carries ``X-Job-Id`` and ``X-Job-Attempt``, signed or not.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from app.handlers.http_request.addresses import LookupFailed, allowed_addresses
from app.handlers.http_request.client import (
    Answer,
    BadUrl,
    RequestFailed,
    Target,
    exchange,
    follow,
    parse,
)
from app.handlers.http_request.payload import HttpRequestPayload, secret_bytes
from app.handlers.http_request.result import excerpt, result_of
from app.jobs.context import Context
from app.jobs.control_flow import JobTimeout, Permanent, RetryAfter
from app.jobs.registry import job

MAX_REDIRECTS = 5
MAX_RETRY_AFTER_SECONDS = 86400
RETRIED = (408, 425, 429)
#: Headers that may follow a redirect to another origin. All others may hold keys.
HARMLESS = frozenset(
    {"accept", "accept-encoding", "accept-language", "connection", "content-type", "user-agent"}
)
USER_AGENT = "jobqueue/0.1"


class UnexpectedStatus(Exception):
    """The server's answer was an error that may pass."""


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    target: Target
    headers: dict[str, str]
    body: bytes | None


@job("http-request", schema=HttpRequestPayload)
def http_request(payload: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Calls a URL, signed if wanted, and keeps the answer; retries what may pass."""
    started = time.monotonic()
    ends_at = _ends_at(started, payload["timeout"], ctx)
    request = _first_request(payload, ctx)
    try:
        request, answer, redirects = _follow_redirects(request, ctx, ends_at)
    except (RequestFailed, LookupFailed) as error:
        # The watchdog breaks connections for these three reasons, too; they explain better.
        ctx.raise_if_cancelled()
        if ctx.remaining() == 0:
            raise JobTimeout from error
        if time.monotonic() >= ends_at:
            limit = f"{payload['timeout']:g} s"
            raise RequestFailed(f"{request.target.shown} did not answer within {limit}") from error
        raise
    _judge(request, answer)
    return result_of(
        answer,
        url=request.target.url,
        redirects=redirects,
        elapsed_seconds=time.monotonic() - started,
    )


def _ends_at(started: float, timeout: float, ctx: Context) -> float:
    remaining = ctx.remaining()
    return started + (timeout if remaining is None else min(timeout, remaining))


def _first_request(payload: Mapping[str, Any], ctx: Context) -> _Request:
    body, content_type = _encoded(payload["body"])
    headers = {
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        # Nothing here undoes an encoding: a small answer could become a big one.
        "Accept-Encoding": "identity",
        "Connection": "close",
        "X-Job-Id": str(ctx.job_id),
        "X-Job-Attempt": str(ctx.attempt),
    }
    if content_type:
        headers["Content-Type"] = content_type
    _put(headers, payload["headers"])
    if payload["secret"] is not None:
        _put(headers, signature_headers(payload["secret"], str(ctx.job_id), body or b""))
    return _Request(payload["method"], parse(payload["url"]), headers, body)


def _encoded(body: Any) -> tuple[bytes | None, str | None]:
    if body is None:
        return None, None
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode(), "application/json"


def _put(headers: dict[str, str], more: Mapping[str, str]) -> None:
    """Adds ``more``, replacing headers of the same name in any case."""
    for name, value in more.items():
        for known in [known for known in headers if known.lower() == name.lower()]:
            del headers[known]
        headers[name] = value


def signature_headers(
    secret: str, message_id: str, body: bytes, timestamp: int | None = None
) -> dict[str, str]:
    """The three headers that sign ``body``; see the top of this file."""
    at = str(int(time.time()) if timestamp is None else timestamp)
    signed = b".".join((message_id.encode(), at.encode(), body))
    digest = hmac.new(secret_bytes(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": at,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


# Redirects


def _follow_redirects(
    request: _Request, ctx: Context, ends_at: float
) -> tuple[_Request, Answer, int]:
    """The last request, its answer, and how many redirects led there."""
    for redirects in range(MAX_REDIRECTS + 1):
        answer = _ask(request, ctx, ends_at)
        location = answer.headers.get("location")
        if answer.status not in (301, 302, 303, 307, 308) or not location:
            return request, answer, redirects
        request = _redirected(request, answer.status, location)
        ctx.log(f"{answer.status} redirects to {request.target.shown}")
    raise Permanent(f"more than {MAX_REDIRECTS} redirects; the last led to {request.target.shown}")


def _ask(request: _Request, ctx: Context, ends_at: float) -> Answer:
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
        # JSON may write a character in six; the answer must fit with room for the rest.
        max_body_bytes=min(64 * 1024, ctx.settings.max_result_bytes // 8),
        ends_at=ends_at,
        ctx=ctx,
    )


def _redirected(request: _Request, status: int, location: str) -> _Request:
    """The request after a redirect, as browsers do it, less what must not reach another origin."""
    try:
        target = follow(request.target, location)
    except BadUrl as error:
        raise Permanent(f"{request.target.shown} redirects to a URL that {error}") from None
    if request.target.scheme == "https" and target.scheme == "http":
        raise Permanent(f"{request.target.shown} redirects to plain http, {target.shown}; refused")
    request = (
        replace(request, target=target) if _same(request, target) else _stripped(request, target)
    )
    if status == 303 and request.method != "HEAD":
        return _without_body(request)
    if status in (301, 302) and request.method == "POST":
        return _without_body(request)
    return request


def _same(request: _Request, target: Target) -> bool:
    return request.target.origin == target.origin


def _stripped(request: _Request, target: Target) -> _Request:
    kept = {name: value for name, value in request.headers.items() if name.lower() in HARMLESS}
    return replace(request, target=target, headers=kept)


def _without_body(request: _Request) -> _Request:
    kept = {
        name: value
        for name, value in request.headers.items()
        if not name.lower().startswith(("content-", "webhook-"))  # they speak of the body
    }
    return replace(request, method="GET", headers=kept, body=None)


# Judging


def _judge(request: _Request, answer: Answer) -> None:
    """Nothing for 2xx. Raises RetryAfter, UnexpectedStatus or Permanent."""
    if 200 <= answer.status < 300:
        return
    status = f"{answer.status} {answer.reason}".strip()
    message = f"{request.method} {request.target.shown} answered {status}{excerpt(answer)}"
    if answer.status not in RETRIED and answer.status < 500:
        raise Permanent(message)
    wait = retry_after_seconds(answer.headers.get("retry-after"), datetime.now(UTC))
    if wait is not None:
        raise RetryAfter(wait, message)
    raise UnexpectedStatus(message)


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """The wait a Retry-After header asks for, 1 s to a day; None when it is absent or unreadable."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        wait = float(text[:12])
    else:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):
            return None
        wait = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    # At least 1 s: "0" would spend every attempt within a moment.
    return min(max(wait, 1.0), MAX_RETRY_AFTER_SECONDS)
