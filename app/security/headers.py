"""Headers that keep browsers strict, and sessions that belong to pages."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from flask import Flask, Request
from flask import request as flask_request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from itsdangerous import BadSignature
from werkzeug.http import parse_cookie

from app.config import Settings
from app.security.hosts import Hosts

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

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

_PAGE_HEADERS = [("Content-Security-Policy", CONTENT_SECURITY_POLICY), *HEADERS.items()]
_API_HEADERS = [("Content-Security-Policy", API_CONTENT_SECURITY_POLICY), *HEADERS.items()]

_ONLY_TLS = ("Strict-Transport-Security", "max-age=31536000")


def init_app(app: Flask, settings: Settings) -> None:
    # Assigned: Flask and its extensions have put defaults of their own there.
    # A dashboard stays open all day: the token lives as long as the session that it belongs to.
    app.config["WTF_CSRF_TIME_LIMIT"] = None
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
    app.config["SESSION_COOKIE_HTTPONLY"] = True
    app.config["SESSION_COOKIE_SECURE"] = settings.https_only
    app.config["SESSION_COOKIE_PATH"] = "/"
    app.session_interface = SessionsOfPages()
    # Inside Headers, so that what it refuses has them as well.
    app.wsgi_app = Hosts(app.wsgi_app)  # type: ignore[method-assign]
    app.wsgi_app = Headers(app.wsgi_app, is_https_only=settings.https_only)  # type: ignore[method-assign]


class SessionsOfPages(SecureCookieSessionInterface):
    """Sessions for the dashboard; a call of the JSON API has none and need not look for one."""

    digest_method = staticmethod(hashlib.sha256)

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if request.path.startswith("/api/"):
            # Links of the dashboard lead to the API; only reading, so that no other site can make
            # a browser change anything here.
            is_a_look = request.method in ("GET", "HEAD") and "Authorization" not in request.headers
            if not is_a_look or self.get_cookie_name(app) not in request.cookies:
                return None
        return super().open_session(app, request)

    def get_cookie_name(self, app: Flask) -> str:
        # With the prefix no other host of the domain, and no page without TLS, can set the cookie.
        name: str = app.config["SESSION_COOKIE_NAME"]
        return f"__Host-{name}" if self.get_cookie_secure(app) else name

    def get_cookie_secure(self, app: Flask) -> bool:
        return bool(app.config["SESSION_COOKIE_SECURE"]) or is_tls(flask_request.environ)


def signed_in_name(app: Flask, environ: WSGIEnvironment) -> str | None:
    """Whom a validly signed session cookie names; whether the session is still live is the door's question."""
    interface = app.session_interface
    assert isinstance(interface, SessionsOfPages)
    serializer = interface.get_signing_serializer(app)
    cookies = parse_cookie(environ)
    name = app.config["SESSION_COOKIE_NAME"]
    for cookie in (f"__Host-{name}", name):
        if serializer is not None and (value := cookies.get(cookie)):
            with suppress(BadSignature):
                session = serializer.loads(
                    value, max_age=int(app.permanent_session_lifetime.total_seconds())
                )
                return str(session["who"]["name"]) if session.get("who") else None
    return None


def is_tls(environ: WSGIEnvironment) -> bool:
    """Whether the browser came by HTTPS, as this server or the proxy before it says."""
    forwarded = environ.get("HTTP_X_FORWARDED_PROTO", "").partition(",")[0].strip().lower()
    return "https" in (environ.get("wsgi.url_scheme"), forwarded)


class Headers:
    """The headers of every answer. Around Flask, where a list is joined to a list: as a hook after
    each request, six headers set one by one took 90 µs of a POST's 1,200."""

    def __init__(self, wsgi_app: WSGIApplication, *, is_https_only: bool) -> None:
        self._wsgi_app = wsgi_app
        self._is_https_only = is_https_only

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            ours = of(environ, headers, is_https_only=self._is_https_only)
            return start_response(status, headers + ours, *exc_info)

        return self._wsgi_app(environ, start)


def of(
    environ: WSGIEnvironment, headers: list[tuple[str, str]], *, is_https_only: bool
) -> list[tuple[str, str]]:
    """The headers of ours that go with an answer's own ``headers``."""
    is_page = environ.get("PATH_INFO", "").startswith(("/static/", "/assets/")) or any(
        name == "Content-Type" and value.startswith("text/html") for name, value in headers
    )
    ours = _PAGE_HEADERS if is_page else _API_HEADERS
    return [*ours, _ONLY_TLS] if is_https_only or is_tls(environ) else ours
