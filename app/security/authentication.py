"""Authentication: every request has a sender with a role, or is refused before its view runs.

Programs send a token; people have a session. In development there is no authentication, and only
requests from this machine are accepted.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import Any

from flask import Flask, Request, current_app, g, has_request_context, request, session
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.middleware.proxy_fix import ProxyFix

from app.api_paths import is_api_path
from app.config import ROLES, Credential, Settings
from app.errors import (
    CrossSite,
    Forbidden,
    JobQueueError,
    LocalOnly,
    PayloadsNotSearched,
    TooManyRequests,
    Unauthenticated,
)
from app.extensions import current_request, current_settings
from app.security import events
from app.security.api_tokens import Tokens
from app.security.masking import masked
from app.security.origins import is_cross_site, is_from_this_machine
from app.security.rate_limits import RateLimits
from app.security.roles import PUBLIC, required_role, requires
from app.security.sessions import Sessions

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
#: The elements whose requests the dashboard's pages send by themselves, as htmx names them.
_REFRESHING_ELEMENTS = ("#live", "#pulse")


_RANK = {role: rank for rank, role in enumerate(ROLES)}


@dataclass(frozen=True, slots=True)
class Principal:
    """The sender of a request."""

    name: str
    role: str  # one of ROLES; empty: no role
    is_anybody: bool = False  # not authenticated, because authentication is off

    def may(self, role: str) -> bool:
        """Whether the sender has the role or a higher one."""
        return _RANK.get(self.role, -1) >= _RANK[role]


#: The sender of every request while authentication is off.
ANYBODY = Principal("anybody", "admin", is_anybody=True)
#: The sender of a request that is not authenticated, or not yet.
NOBODY = Principal("nobody", "")


class Authenticator:
    """Identifies senders by token or session; one per process, since it caches what it has verified."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.is_open = settings.is_development or settings.is_auth_disabled
        self.tokens = Tokens(settings)
        self.sessions = Sessions(settings)
        self.rate_limits = RateLimits(settings)

    def identify(self, request: Request) -> Principal | None:
        """The sender; None without valid credentials. Raises TooManyRequests."""
        header = request.environ.get("HTTP_AUTHORIZATION")
        if header:
            scheme, _, secret = header.partition(" ")
            return self._of_token(
                secret.strip() if scheme.lower() == "bearer" else "", request.remote_addr or ""
            )
        return self.person()

    def _of_token(self, secret: str, address: str) -> Principal | None:
        # An address that guesses tokens is blocked, except for tokens that were valid before: behind a
        # router, clients with a valid token may share the address.
        wait = self.rate_limits.token_wait(address)
        if wait and not self.tokens.was_valid(secret):
            raise TooManyRequests(seconds=wait)
        name_and_role = self.tokens.find(secret)
        if name_and_role is None:
            self.rate_limits.count_failure(address)
            return None
        return Principal(*name_and_role)

    def person(self) -> Principal | None:
        """The person of the request's session, whatever other credentials it has; None without a valid session."""
        # A request to the API has a session only if it has a session cookie.
        signed_in = session.get("who") if session is not None else None
        if not isinstance(signed_in, dict):
            return None
        user = self.user(str(signed_in.get("name")))
        age = time.time() - float(signed_in.get("at", 0))
        is_fresh = 0 <= age < self._settings.session_hours * 3600
        if user is None or not is_fresh or signed_in.get("proof") != self._proof(user):
            return None
        is_in_use = not request.headers.get("HX-Source", "").endswith(_REFRESHING_ELEMENTS)
        if not self.sessions.is_live(str(signed_in.get("id")), user.name, is_in_use=is_in_use):
            return None
        return Principal(user.name, user.role)

    def user(self, name: str) -> Credential | None:
        """The person of that name in the settings."""
        return next((user for user in self._settings.dashboard_users if user.name == name), None)

    def check_password(self, name: str, password: str) -> Credential | None:
        """The user, if the password is correct. Takes the same time for unknown names."""
        user = self.user(name)
        expected = _digest(user.secret if user else "\0")
        is_correct = hmac.compare_digest(_digest(password), expected)
        return user if user and is_correct else None

    def sign_in(self, user: Credential) -> None:
        """Start a session, which replaces the browser's previous one. The caller commits."""
        self.sign_out()
        session_id = self.sessions.begin(user.name, request.remote_addr or "unknown")
        session["who"] = {
            "name": user.name,
            "at": time.time(),
            "proof": self._proof(user),
            "id": session_id,
        }

    def sign_out(self) -> None:
        """End this browser's session, including for copies of its cookie. The caller commits."""
        signed_in = session.get("who")
        if isinstance(signed_in, dict) and "id" in signed_in:
            self.sessions.end(str(signed_in["id"]))
        session.clear()

    def _proof(self, user: Credential) -> str:
        # A change of password or role ends all sessions that were started before it.
        key = self._settings.secret_key.encode()
        text = f"{user.name}\0{user.secret}\0{user.role}".encode()
        return hmac.new(key, text, hashlib.sha256).hexdigest()[:32]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def init_app(app: Flask, settings: Settings) -> None:
    app.extensions["authenticator"] = Authenticator(settings)
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        # Not X-Forwarded-Host: many routers forward the client's own value, but they keep Host.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=0)  # type: ignore[method-assign]
    requires(PUBLIC)(app.view_functions["static"])
    app.before_request(_authorize)
    app.jinja_env.globals["may"] = may


def authenticator() -> Authenticator:
    """The current application's Authenticator."""
    extension: Authenticator = current_app.extensions["authenticator"]
    return extension


class RoleNotDeclared(Exception):
    """A route does not declare a role; see app.security.roles."""


def _authorize() -> None:
    """Runs before everything else, including the CSRF check: a body is read only for authorized senders."""
    request = current_request()
    if request.method == "OPTIONS":
        return
    endpoint = request.endpoint
    if endpoint is None:
        _identify_for_error_page(request)
        return
    role = required_role(current_app.view_functions.get(endpoint))
    if role is None:
        raise RoleNotDeclared(endpoint)
    if role == PUBLIC:
        return
    try:
        _admit(request, role)
    except (Unauthenticated, TooManyRequests, LocalOnly, CrossSite) as refusal:
        # No credentials at all: a page that was opened before signing in, not an attack.
        is_suspicious = (
            not isinstance(refusal, Unauthenticated) or "Authorization" in request.headers
        )
        events.refused(f"door.{refusal.code}", is_suspicious=is_suspicious, actor=current().name)
        raise


def _identify_for_error_page(request: Request) -> None:
    # No route matches: all senders get a 404, and people who are signed in see it in the dashboard's layout.
    try:
        g.principal = _principal(authenticator(), request)
    except (JobQueueError, SQLAlchemyError):
        return


def _admit(request: Request, role: str) -> None:
    authentication = authenticator()
    principal = g.principal = _principal(authentication, request)
    if principal.is_anybody:
        allowed = current_settings().cors_origins if request.blueprint == "api" else ()
        if request.method not in SAFE_METHODS and is_cross_site(request, allowed):
            raise CrossSite
        return
    if seconds := authentication.rate_limits.take(principal.name):
        raise TooManyRequests(seconds=seconds)
    _require(principal, role)


def _principal(authentication: Authenticator, request: Request) -> Principal:
    """The sender of the request. Raises LocalOnly, Unauthenticated, TooManyRequests."""
    if authentication.is_open:
        if current_settings().is_development and not is_from_this_machine(request):
            raise LocalOnly
        return ANYBODY
    principal = authentication.identify(request)
    if principal is None:
        raise Unauthenticated
    return principal


def require(role: str) -> None:
    """Raises Forbidden unless this request's sender has the role or a higher one."""
    _require(current(), role)


def _require(principal: Principal, role: str) -> None:
    if not principal.may(role):
        events.refused("door.forbidden", actor=principal.name, role=principal.role, needed=role)
        raise Forbidden(name=principal.name, role=principal.role or "none", needed=role)


def current() -> Principal:
    """The sender of this request; NOBODY until it is authenticated."""
    principal: Principal = g.get("principal", NOBODY) if has_request_context() else NOBODY
    return principal


def may(role: str) -> bool:
    """Whether this request's sender has the role or a higher one."""
    return current().may(role)


def actor() -> str:
    """The name of this request's sender for the audit log; without authentication "api" or "dashboard"."""
    principal = current()
    if not principal.is_anybody:
        return principal.name
    return "api" if is_api_path(request.path) else "dashboard"


def shown(value: Any) -> Any:
    """A payload or result as this request's sender may see it: secrets are masked for viewers."""
    return value if current().may("operator") else masked(value)


def may_search_payloads() -> bool:
    """Whether a search may include payloads: finding a masked value would reveal it."""
    return may("operator")


def require_payload_search() -> None:
    """Raises PayloadsNotSearched."""
    if not may_search_payloads():
        raise PayloadsNotSearched(name=current().name, role=current().role or "none")
