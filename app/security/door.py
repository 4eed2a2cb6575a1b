"""The door: every request is somebody's, with a role, or is refused before its view runs.

Programs send a token, people have a session. Development is open, to this machine only.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import Any

from flask import Flask, Request, current_app, g, has_request_context, request, session
from werkzeug.middleware.proxy_fix import ProxyFix

from app.config import ROLES, Credential, Settings
from app.errors import Forbidden, NotHere, TooManyRequests, Unauthenticated
from app.security.rates import Rates
from app.security.secrets import masked
from app.security.tokens import Tokens

#: Answered to anybody: nothing in them tells of any job.
OPEN_ENDPOINTS = frozenset(
    {"static", "dashboard.bundle", "api.health", "dashboard.sign_in", "dashboard.sign_out"}
)
#: What can't be undone, and who did what.
ADMIN_ENDPOINTS = frozenset({"api.delete_job", "dashboard.delete_job", "dashboard.audit"})
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]", "::1")


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever sent this request."""

    name: str
    role: str
    is_anybody: bool = False  # nobody was asked

    def may(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


ANYBODY = Principal("anybody", "admin", is_anybody=True)


class Door:
    """What one process knows about who may come in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.is_open = settings.is_development or settings.is_auth_disabled
        self.tokens = Tokens(settings.api_tokens)
        self.rates = Rates(settings)

    def identify(self, request: Request) -> Principal | None:
        """Who it is; None where nothing valid was shown."""
        header = request.headers.get("Authorization", "")
        if header:
            scheme, _, secret = header.partition(" ")
            return self._of_token(
                secret.strip() if scheme.lower() == "bearer" else "", request.remote_addr or ""
            )
        return self._of_session()

    def _of_token(self, secret: str, address: str) -> Principal | None:
        # An address that guesses is not listened to; tokens that were right before still are, since
        # behind a router it may be shared by those who have one.
        shut = self.rates.is_shut(address)
        if shut and not self.tokens.was_right(secret):
            raise TooManyRequests(seconds=shut)
        found = self.tokens.find(secret)
        if found is None:
            self.rates.count_failure(address)
            return None
        return Principal(*found)

    def _of_session(self) -> Principal | None:
        # A request of the API has a session only where it carries the cookie of one.
        told = session.get("who") if session is not None else None
        if not isinstance(told, dict):
            return None
        user = self.user(str(told.get("name")))
        age = time.time() - float(told.get("at", 0))
        is_fresh = 0 <= age < self._settings.session_hours * 3600
        if user is None or not is_fresh or told.get("proof") != self._proof(user):
            return None
        return Principal(user.name, user.role)

    def user(self, name: str) -> Credential | None:
        return next((one for one in self._settings.dashboard_users if one.name == name), None)

    def check_password(self, name: str, password: str) -> Credential | None:
        """The user, if the password is theirs; as slow for a name that nobody has."""
        user = self.user(name)
        expected = _digest(user.secret if user else "\0")
        is_right = hmac.compare_digest(_digest(password), expected)
        return user if user and is_right else None

    def admit(self, user: Credential) -> None:
        """Begin a session; whatever the browser had before is forgotten."""
        session.clear()
        session["who"] = {"name": user.name, "at": time.time(), "proof": self._proof(user)}

    def _proof(self, user: Credential) -> str:
        # A changed password or role ends every session that was begun with the old one.
        key = self._settings.secret_key.encode()
        text = f"{user.name}\0{user.secret}\0{user.role}".encode()
        return hmac.new(key, text, hashlib.sha256).hexdigest()[:32]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def init_app(app: Flask, settings: Settings) -> None:
    app.extensions["door"] = Door(settings)
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=count)  # type: ignore[method-assign]
    app.before_request(_ask)
    app.jinja_env.globals["may"] = may


def the_door() -> Door:
    found: Door = current_app.extensions["door"]
    return found


def _ask() -> None:
    door = the_door()
    if (
        request.endpoint in OPEN_ENDPOINTS
        or request.endpoint is None
        or request.method == "OPTIONS"
    ):
        return
    if door.is_open:
        if current_app.extensions["settings"].is_development:
            _only_this_machine()
        g.principal = ANYBODY
        return
    principal = door.identify(request)
    if principal is None:
        raise Unauthenticated
    if seconds := door.rates.take(principal.name):
        raise TooManyRequests(seconds=seconds)
    g.principal = principal
    needed = needed_role(request.endpoint, request.method)
    if not principal.may(needed):
        raise Forbidden(name=principal.name, role=principal.role, needed=needed)


def needed_role(endpoint: str, method: str) -> str:
    """viewer reads, operator changes, admin deletes and reads the audit."""
    if endpoint in ADMIN_ENDPOINTS:
        return "admin"
    return "viewer" if method in SAFE_METHODS else "operator"


def _only_this_machine() -> None:
    # A page of anywhere can point its own name at 127.0.0.1 (DNS rebinding): the name must be ours, too.
    host = request.host.rsplit(":", 1)[0] if not request.host.endswith("]") else request.host
    address = request.remote_addr or "127.0.0.1"
    is_near = address.startswith("127.") or address in ("::1", "::ffff:127.0.0.1")
    if not is_near or host.lower() not in _LOOPBACK_HOSTS:
        raise NotHere


def current() -> Principal:
    """Who sent this request; anybody on pages that ask for nobody."""
    found: Principal = g.get("principal", ANYBODY) if has_request_context() else ANYBODY
    return found


def may(role: str) -> bool:
    """Whether this request's sender has the role, or one above it."""
    return current().may(role)


def actor() -> str:
    """Who does this, for the audit."""
    principal = current()
    if not principal.is_anybody:
        return principal.name
    is_page = has_request_context() and not request.path.startswith("/api/")
    return "dashboard" if is_page else "api"


def shown(value: Any) -> Any:
    """A payload or result as this request's sender may see it: a viewer sees no secrets."""
    return value if current().may("operator") else masked(value)
