"""Signing in with name and password, and signing out."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Response, make_response, redirect, render_template, request, url_for

from app.dashboard.blueprint import dashboard
from app.dashboard.render import page_facts
from app.extensions import db
from app.jobs import audit
from app.security import events
from app.security.authentication import authenticator
from app.security.roles import PUBLIC, requires

#: An address that an account has signed in from this recently is not slowed down when others guess its password.
KNOWN_DAYS = 30

REFUSED = "Wrong name or password."


@dashboard.route("/sign-in", methods=["GET", "POST"])
@requires(PUBLIC)
def sign_in() -> Response:
    next_page = _local_path(request.values.get("next"))
    auth = authenticator()
    if auth.is_open:
        return make_response(redirect(next_page, 303))
    if request.method != "POST":  # HEAD comes to this view as well
        return _form_page(next_page)
    name = request.form.get("name", "").strip()[:200]
    address = request.remote_addr or "unknown"
    if seconds := _wait(name, address):
        events.refused("sign-in.limited", actor=_known(name))
        minutes = -(-seconds // 60)
        return _form_page(
            next_page, f"Too many failed attempts. Try again in {minutes} min.", 429, seconds
        )
    user = auth.check_password(name, request.form.get("password", ""))
    if user is None:
        auth.rate_limits.count_failed_sign_in(address, name)
        _record_refusal(name, address)
        return _form_page(next_page, REFUSED, 422, name=name)
    auth.sign_in(user)
    _record(user.name, "sign-in", address)
    return make_response(redirect(next_page, 303))


@dashboard.post("/sign-out")
@requires(PUBLIC)
def sign_out() -> Response:
    auth = authenticator()
    person = auth.person()
    auth.sign_out()
    db.session.commit()
    if person is not None:
        _record(person.name, "sign-out", request.remote_addr or "unknown")
    return _leave_page()


@dashboard.post("/sign-out/everywhere")
@requires(PUBLIC)
def sign_out_everywhere() -> Response:
    """End all sessions of this person, copied cookies included."""
    auth = authenticator()
    person = auth.person()
    if person is not None:
        auth.sessions.end_all(person.name)
        _record(person.name, "sign-out everywhere", request.remote_addr or "unknown")
    auth.sign_out()
    db.session.commit()
    return _leave_page()


def _wait(name: str, address: str) -> int:
    rate_limits = authenticator().rate_limits
    # Read only while somebody guesses this account's password.
    is_known_here = rate_limits.is_account_guessed(name) and audit.has_event(
        db.session, actor=name, action="sign-in", subject=address, days=KNOWN_DAYS
    )
    return rate_limits.sign_in_wait(address, name, is_known_here=is_known_here)


def _form_page(
    next_page: str, problem: str = "", status: int = 200, retry_after: int = 0, name: str = ""
) -> Response:
    html = render_template(
        "sign_in.html", next=next_page, problem=problem, name=name, **page_facts()
    )
    response = make_response(html, status)
    response.headers["Cache-Control"] = "no-store"
    if retry_after:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _record(name: str, action: str, address: str) -> None:
    audit.record(db.session, name, action, address)
    db.session.commit()
    events.happened(action.replace(" ", "-"), actor=name)


def _record_refusal(name: str, address: str) -> None:
    events.refused("sign-in.refused", actor=_known(name))
    # Unknown names are not recorded: strangers must not fill the table.
    if authenticator().user(name) is not None:
        audit.record(db.session, name, "sign-in refused", address)
        db.session.commit()


def _known(name: str) -> str:
    # Unknown names are not logged: people type their password into the wrong field.
    return name if authenticator().user(name) is not None else "unknown"


def _leave_page() -> Response:
    response = make_response(redirect(url_for("dashboard.sign_in"), 303))
    # Pages that the browser keeps for its back button as well.
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


def _local_path(address: str | None) -> str:
    """A path of this server, never an address of another."""
    home = url_for("dashboard.overview")
    if not address or not address.startswith("/") or "\\" in address:
        return home
    if any(ord(character) < 32 for character in address):
        return home
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or address.startswith("//"):
        return home
    return address
