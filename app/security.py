"""Headers that keep browsers strict, and which names sound like secrets."""

from __future__ import annotations

import re
from functools import lru_cache

from flask import Flask, Response, request

#: Nothing inline, nothing foreign: what an attacker manages to store can't run and can't phone home.
CONTENT_SECURITY_POLICY = "; ".join((
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
))  # fmt: skip
#: JSON is never a page: nothing in it may load anything.
API_CONTENT_SECURITY_POLICY = "default-src 'none'; frame-ancestors 'none'"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Our own pages need to know where an action came from; nobody else learns an address.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

MASK = "••••••"
_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|^pw$|secret|(^|[_-])tokens?$|api[_-]?key|private[_-]?key|access[_-]?key|credential|authorization"
    r"|^auth$|^cookie$|^set-cookie$|signature$|^cvv$|^cvc$|^ssn$|card[_-]?number",
    re.IGNORECASE,
)


def init_app(app: Flask) -> None:
    # A dashboard stays open all day: the token lives as long as the session that it belongs to.
    app.config.setdefault("WTF_CSRF_TIME_LIMIT", None)
    app.config.setdefault("SESSION_COOKIE_SAMESITE", "Lax")
    app.config.setdefault("SESSION_COOKIE_HTTPONLY", True)
    app.after_request(add_headers)


def add_headers(response: Response) -> Response:
    is_html = response.mimetype == "text/html"
    policy = (
        CONTENT_SECURITY_POLICY
        if is_html or request.endpoint == "static"
        else API_CONTENT_SECURITY_POLICY
    )
    response.headers.setdefault("Content-Security-Policy", policy)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a field called so is masked in the dashboard and in logs: password, api_key, accessToken …"""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return _SECRET_NAME.search(snake) is not None
