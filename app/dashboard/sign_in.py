"""Coming in and leaving: name and password, then a session."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Response, make_response, redirect, render_template, request, session, url_for

from app.dashboard import blueprint as dashboard
from app.dashboard.fragments import page_facts
from app.extensions import db
from app.jobs import lifecycle
from app.security.door import the_door

REFUSED = "That is not a name and a password that belong together."


@dashboard.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> Response:
    next_page = _ours(request.values.get("next"))
    door = the_door()
    if door.is_open:
        return make_response(redirect(next_page, 303))
    if request.method == "GET":
        return _ask(next_page)
    if seconds := door.rates.take_sign_in(request.remote_addr or ""):
        minutes = -(-seconds // 60)
        return _ask(next_page, f"Too many tries. Wait {minutes} min, then try again.", 429, seconds)
    name = request.form.get("name", "").strip()[:200]
    user = door.check_password(name, request.form.get("password", "")[:1000])
    if user is None:
        _record(name, "sign-in refused")
        return _ask(next_page, REFUSED, 422, name=name)
    door.admit(user)
    _record(user.name, "sign-in")
    return make_response(redirect(next_page, 303))


@dashboard.post("/sign-out")
def sign_out() -> Response:
    session.clear()
    return make_response(redirect(url_for("dashboard.sign_in"), 303))


def _ask(
    next_page: str, problem: str = "", status: int = 200, retry_after: int = 0, name: str = "admin"
) -> Response:
    html = render_template(
        "sign_in.html", next=next_page, problem=problem, name=name, **page_facts()
    )
    response = make_response(html, status)
    response.headers["Cache-Control"] = "no-store"
    if retry_after:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _record(name: str, action: str) -> None:
    lifecycle.record(
        db.session, name.replace("\0", "") or "nobody", action, request.remote_addr or "unknown"
    )
    db.session.commit()


def _ours(address: str | None) -> str:
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
