"""Security headers of every response, and the session cookie of the dashboard."""

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
from app.security.hosts import HostCheck

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: Nothing inline and nothing from other hosts: stored text of an attacker can't run and can't send anything.
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
#: For everything that is not a page: it may load nothing.
API_CONTENT_SECURITY_POLICY = "default-src 'none'; frame-ancestors 'none'"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Our own pages need to know the previous page; other sites don't get its address.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

_PAGE_HEADERS = [("Content-Security-Policy", CONTENT_SECURITY_POLICY), *HEADERS.items()]
_API_HEADERS = [("Content-Security-Policy", API_CONTENT_SECURITY_POLICY), *HEADERS.items()]

_HSTS = ("Strict-Transport-Security", "max-age=31536000")


def init_app(app: Flask, settings: Settings) -> None:
    # Assigned, because Flask and its extensions have already set defaults.
    # A dashboard stays open all day, so a form's token is valid as long as its session.
    app.config["WTF_CSRF_TIME_LIMIT"] = None
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
    app.config["SESSION_COOKIE_HTTPONLY"] = True
    app.config["SESSION_COOKIE_SECURE"] = settings.https_only
    app.config["SESSION_COOKIE_PATH"] = "/"
    app.session_interface = DashboardSessions()
    # Inside SecurityHeaders, so that its refusals have the headers as well.
    app.wsgi_app = HostCheck(app.wsgi_app)  # type: ignore[method-assign]
    app.wsgi_app = SecurityHeaders(app.wsgi_app, is_https_only=settings.https_only)  # type: ignore[method-assign]


class DashboardSessions(SecureCookieSessionInterface):
    """Sessions of the dashboard. Requests to the JSON API have one only for reading."""

    digest_method = staticmethod(hashlib.sha256)

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if request.path.startswith("/api/"):
            # The dashboard links to the API. Only for reading, so that other sites can't make a browser
            # change anything here.
            is_read = request.method in ("GET", "HEAD") and "Authorization" not in request.headers
            if not is_read or self.get_cookie_name(app) not in request.cookies:
                return None
        return super().open_session(app, request)

    def get_cookie_name(self, app: Flask) -> str:
        # With the prefix, neither another host of the domain nor a page without TLS can set the cookie.
        name: str = app.config["SESSION_COOKIE_NAME"]
        return f"__Host-{name}" if self.get_cookie_secure(app) else name

    def get_cookie_secure(self, app: Flask) -> bool:
        return bool(app.config["SESSION_COOKIE_SECURE"]) or is_tls(flask_request.environ)


def signed_in_name(app: Flask, environ: WSGIEnvironment) -> str | None:
    """The name in a session cookie with a valid signature; not whether the session is still live."""
    interface = app.session_interface
    assert isinstance(interface, DashboardSessions)
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
    """Whether the browser used HTTPS, according to this server or the proxy in front of it."""
    forwarded = environ.get("HTTP_X_FORWARDED_PROTO", "").partition(",")[0].strip().lower()
    return "https" in (environ.get("wsgi.url_scheme"), forwarded)


class SecurityHeaders:
    """Adds the security headers to every response.

    Around Flask, where it joins two lists: as a hook after each request, which set six headers one by one,
    it took 90 µs of a POST's 1,200.
    """

    def __init__(self, wsgi_app: WSGIApplication, *, is_https_only: bool) -> None:
        self._wsgi_app = wsgi_app
        self._is_https_only = is_https_only

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            added = security_headers(environ, headers, is_https_only=self._is_https_only)
            return start_response(status, headers + added, *exc_info)

        return self._wsgi_app(environ, start)


def security_headers(
    environ: WSGIEnvironment, headers: list[tuple[str, str]], *, is_https_only: bool
) -> list[tuple[str, str]]:
    """The security headers for a response with ``headers``."""
    is_page = environ.get("PATH_INFO", "").startswith(("/static/", "/assets/")) or any(
        name == "Content-Type" and value.startswith("text/html") for name, value in headers
    )
    added = _PAGE_HEADERS if is_page else _API_HEADERS
    return [*added, _HSTS] if is_https_only or is_tls(environ) else added
