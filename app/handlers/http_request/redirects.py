"""A request, and the request that follows a redirect."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.handlers.http_request.client import BadUrl, Target, follow
from app.jobs.control_flow import Permanent

#: The only headers that are sent to another origin after a redirect. Any other header may contain a key.
SAFE_HEADERS = frozenset(
    {"accept", "accept-encoding", "accept-language", "connection", "content-type", "user-agent"}
)
REDIRECT_STATUSES = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent to one target."""

    method: str
    target: Target
    headers: dict[str, str]
    body: bytes | None


def redirected(request: Request, status: int, location: str) -> Request:
    """The request after a redirect, as browsers do it, without what must not reach another origin.

    Raises Permanent for an unusable URL and for a redirect from https to http.
    """
    try:
        target = follow(request.target, location)
    except BadUrl as error:
        raise Permanent(f"{request.target.shown} redirects to a URL that {error}") from None
    if request.target.scheme == "https" and target.scheme == "http":
        raise Permanent(f"{request.target.shown} redirects to plain http, {target.shown}; refused")
    is_same_origin = request.target.origin == target.origin
    headers = request.headers if is_same_origin else _safe_headers(request)
    request = replace(request, target=target, headers=headers)
    if status == 303 and request.method != "HEAD":
        return _without_body(request)
    if status in (301, 302) and request.method == "POST":
        return _without_body(request)
    return request


def _safe_headers(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name.lower() in SAFE_HEADERS}


def _without_body(request: Request) -> Request:
    headers = {
        name: value
        for name, value in request.headers.items()
        if not name.lower().startswith(("content-", "webhook-"))  # they describe the body
    }
    return replace(request, method="GET", headers=headers, body=None)
