"""Limits: the list, one limit with its keys; pause, resume, and what is under it."""

from __future__ import annotations

from flask import Response, flash, request, url_for

from app.dashboard import cached_reads, render
from app.dashboard.blueprint import dashboard
from app.dashboard.present import limit_facts
from app.dashboard.redirects import commit, done, leave
from app.errors import ValidationFailed
from app.extensions import db
from app.jobs.limits import attach, keys, listing, listing_keys, starts, store
from app.security import actor
from app.security.roles import requires

HOME = "dashboard.limits"
KINDS = {"type": "Job type", "queue": "Queue"}


@dashboard.get("/limits")
@requires("viewer")
def limits() -> Response:
    return render.page(
        "limits/index.html",
        "limits/_table.html",
        limits=cached_reads.limits(),
        rates=cached_reads.rates_now(),
    )


@dashboard.get("/limits/<name>")
@requires("viewer")
def limit(name: str) -> Response:
    limit = listing.get_limit(db.session, name)
    lately = starts.starts(db.session, name)
    return render.page(
        "limits/show.html",
        "limits/_limit.html",
        limit=limit,
        facts=limit_facts.facts(limit),
        keys=listing_keys.list_keys(db.session, name, limit=listing.MAX_KEYS // 10),
        chart=limit_facts.starts_chart(lately.per_second, limit.effective.rate),
    )


@dashboard.post("/limits/<name>/pause")
@requires("operator")
def pause_limit(name: str) -> Response:
    store.pause_limit(db.session, name, by=actor())
    return done(f"Limit {name} paused. Running jobs will finish.", home=HOME)


@dashboard.post("/limits/<name>/resume")
@requires("operator")
def resume_limit(name: str) -> Response:
    store.resume_limit(db.session, name, by=actor())
    return done(f"Limit {name} resumed.", home=HOME)


@dashboard.post("/limits/<name>/override/delete")
@requires("operator")
def drop_limit_override(name: str) -> Response:
    store.drop_override(db.session, name, by=actor())
    return done(f"Limit {name} is back at the numbers of its code.", home=HOME)


@dashboard.post("/limits/<name>/delete")
@requires("admin")
def delete_limit(name: str) -> Response:
    """Without scripts, an unconfirmed delete asks first."""
    limit = listing.get_limit(db.session, name)
    if request.form.get("confirmed") != "yes":
        return render.page("limits/delete.html", None, limit=limit)
    store.delete_limit(db.session, name, by=actor())
    commit()
    flash(f"Limit {name} deleted. Its waiting jobs are released.", "done")
    # Its page is gone.
    return leave(url_for("dashboard.limits"))


@dashboard.post("/limits/<name>/keys/pause")
@requires("operator")
def pause_limit_key(name: str) -> Response:
    key = key_of(request.args.get("key"))
    store.pause_key(db.session, name, key, by=actor())
    return done(f"Key {key} paused. Its running jobs will finish.", home=HOME)


@dashboard.post("/limits/<name>/keys/resume")
@requires("operator")
def resume_limit_key(name: str) -> Response:
    key = key_of(request.args.get("key"))
    store.resume_key(db.session, name, key, by=actor())
    return done(f"Key {key} resumed.", home=HOME)


@dashboard.post("/limits/<name>/detach")
@requires("operator")
def detach_limit(name: str) -> Response:
    kind, use = request.args.get("kind", ""), request.args.get("use", "")
    attach.set_limit(db.session, kind_of(kind), use, None, by=actor())
    return done(f"{KINDS[kind]} {use} is no longer under limit {name}.", home=HOME)


def key_of(text: str | None) -> str:
    """The key of an address or form. Raises ValidationFailed."""
    key = text or ""
    if not keys.is_key(key):
        raise ValidationFailed({"key": [keys.KEY_RULE]})
    return key


def kind_of(text: str) -> str:
    """queue or type. Raises ValidationFailed."""
    if text not in KINDS:
        raise ValidationFailed({"kind": [f"must be one of {', '.join(KINDS)}."]})
    return text
