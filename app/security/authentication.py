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
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.middleware.proxy_fix import ProxyFix

from app.config import ROLES, Credential, Settings
from app.errors import (
    CrossSite,
    Forbidden,
    JobQueueError,
    NotHere,
    PayloadsNotSearched,
    TooManyRequests,
    Unauthenticated,
)
from app.security import events
from app.security.api_tokens import Tokens
from app.security.masking import masked
from app.security.origins import is_cross_site, is_from_this_machine
from app.security.rate_limits import Rates
from app.security.sessions import Sessions

#: Answered to anybody: nothing in them tells of any job.
OPEN_ENDPOINTS = frozenset(
    {"static", "dashboard.bundle", "api.health", "dashboard.sign_in", "dashboard.sign_out",
     "dashboard.sign_out_everywhere"}
)  # fmt: skip
#: What can't be undone, and who did what.
ADMIN_ENDPOINTS = frozenset({"api.delete_job", "dashboard.delete_job", "dashboard.audit"})
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
#: Requests that pages of the dashboard send by themselves (htmx names the element that asked).
_REFRESHES = ("#live", "#pulse")


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever sent this request."""

    name: str
    role: str  # one of ROLES; empty: none
    is_anybody: bool = False  # nobody was asked

    def may(self, role: str) -> bool:
        return self.role in ROLES and ROLES.index(self.role) >= ROLES.index(role)


#: Where the door is open, whoever comes.
ANYBODY = Principal("anybody", "admin", is_anybody=True)
#: Who showed nothing valid, or was not asked yet.
NOBODY = Principal("nobody", "")


class Door:
    """What one process knows about who may come in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.is_open = settings.is_development or settings.is_auth_disabled
        self.tokens = Tokens(settings)
        self.sessions = Sessions(settings)
        self.rates = Rates(settings)

    def identify(self, request: Request) -> Principal | None:
        """Who it is; None where nothing valid was shown. Raises TooManyRequests."""
        header = request.headers.get("Authorization", "")
        if header:
            scheme, _, secret = header.partition(" ")
            return self._of_token(
                secret.strip() if scheme.lower() == "bearer" else "", request.remote_addr or ""
            )
        return self.person()

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

    def person(self) -> Principal | None:
        """Who is signed in here, whatever else the request shows."""
        # A request of the API has a session only where it carries the cookie of one.
        who = session.get("who") if session is not None else None
        if not isinstance(who, dict):
            return None
        user = self.user(str(who.get("name")))
        age = time.time() - float(who.get("at", 0))
        is_fresh = 0 <= age < self._settings.session_hours * 3600
        if user is None or not is_fresh or who.get("proof") != self._proof(user):
            return None
        is_in_use = not request.headers.get("HX-Source", "").endswith(_REFRESHES)
        if not self.sessions.is_live(str(who.get("id")), user.name, is_in_use=is_in_use):
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
        """Begin a session; whatever the browser had before is forgotten. The caller commits."""
        self.leave()
        session_id = self.sessions.begin(user.name, request.remote_addr or "unknown")
        session["who"] = {
            "name": user.name,
            "at": time.time(),
            "proof": self._proof(user),
            "id": session_id,
        }

    def leave(self) -> None:
        """End this browser's session, copies of its cookie included. The caller commits."""
        who = session.get("who")
        if isinstance(who, dict) and "id" in who:
            self.sessions.end(str(who["id"]))
        session.clear()

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
        # Not X-Forwarded-Host: many routers pass on what the client sent. They keep Host.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=0)  # type: ignore[method-assign]
    app.before_request(_ask)
    app.jinja_env.globals["may"] = may


def the_door() -> Door:
    found: Door = current_app.extensions["door"]
    return found


def _ask() -> None:
    """Before everything else, the form's CSRF check included: a body is read for those who may send it."""
    if request.method == "OPTIONS" or request.endpoint in OPEN_ENDPOINTS:
        return
    if request.endpoint is None:
        _recognize()
        return
    try:
        _admit(the_door())
    except (Unauthenticated, TooManyRequests, NotHere, CrossSite) as refusal:
        # Without credentials it is a page that was opened before signing in, not an attack.
        is_bad = not isinstance(refusal, Unauthenticated) or "Authorization" in request.headers
        events.refused(f"door.{refusal.code}", is_bad=is_bad, actor=current().name)
        raise


def _recognize() -> None:
    # An address that nothing stands at is answered to anybody; who is known sees the page around it.
    try:
        g.principal = _principal(the_door())
    except (JobQueueError, SQLAlchemyError):
        return


def _admit(door: Door) -> None:
    principal = g.principal = _principal(door)
    if principal.is_anybody:
        settings: Settings = current_app.extensions["settings"]
        allowed = settings.cors_origins if request.blueprint == "api" else ()
        if request.method not in SAFE_METHODS and is_cross_site(request, allowed):
            raise CrossSite
        return
    if seconds := door.rates.take(principal.name):
        raise TooManyRequests(seconds=seconds)
    require(needed_role(str(request.endpoint), request.method))


def _principal(door: Door) -> Principal:
    """Who sent this request. Raises NotHere, Unauthenticated, TooManyRequests."""
    if door.is_open:
        if current_app.extensions["settings"].is_development and not is_from_this_machine(request):
            raise NotHere
        return ANYBODY
    principal = door.identify(request)
    if principal is None:
        raise Unauthenticated
    return principal


def needed_role(endpoint: str, method: str) -> str:
    """viewer reads, operator changes, admin deletes and reads the audit."""
    if endpoint in ADMIN_ENDPOINTS:
        return "admin"
    return "viewer" if method in SAFE_METHODS else "operator"


def require(role: str) -> None:
    """Raises Forbidden where this request's sender has neither the role nor one above it."""
    principal = current()
    if not principal.may(role):
        events.refused("door.forbidden", actor=principal.name, role=principal.role, needed=role)
        raise Forbidden(name=principal.name, role=principal.role or "none", needed=role)


def current() -> Principal:
    """Who sent this request; nobody until the door knows better."""
    found: Principal = g.get("principal", NOBODY) if has_request_context() else NOBODY
    return found


def may(role: str) -> bool:
    """Whether this request's sender has the role, or one above it."""
    return current().may(role)


def actor() -> str:
    """Who does this, for the audit."""
    principal = current()
    if not principal.is_anybody:
        return principal.name
    return "api" if request.path.startswith("/api/") else "dashboard"


def shown(value: Any) -> Any:
    """A payload or result as this request's sender may see it: a viewer sees no secrets."""
    return value if current().may("operator") else masked(value)


def may_search_payloads() -> bool:
    """Whether a search may look at payloads: to find a masked value is to read it."""
    return may("operator")


def require_payload_search() -> None:
    """Raises PayloadsNotSearched."""
    if not may_search_payloads():
        raise PayloadsNotSearched(name=current().name, role=current().role or "none")
